//! Paths reach routes, filters and upstreams in one form, however they were written.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Proxy, Step, Upstream, When, forwarding, in_listener, request_text};

use super::filters::with_filters_in;

/// A proxy that denies one path by a route and sends everything else on, with more fields of its listener.
fn denying(upstream: &Upstream, listener: &[&str]) -> Proxy {
    let config = forwarding(&[upstream.address()], "");
    let deny = "  routes:\n  - {match: {path: {prefix: /admin}}, respond: {status: 403, body: denied}}\n";
    Proxy::start(&in_listener(&config.replace("  routes:\n", deny), listener))
}

/// Ways to write `/admin`, or to hide it from who does not read as the server does.
const WAYS: [&str; 14] = [
    "/admin",
    "//admin",
    "/./admin",
    "/open/../admin",
    "/%2e/admin",
    "/open/%2e%2E/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/open\\..\\admin",
    "/\\admin",
    "/open/..;/admin",
    "/open/..;a=b/admin",
    "/../../admin",
    "/open//../../admin",
];

#[test]
fn a_route_that_denies_a_path_cannot_be_dodged() {
    let upstream = Upstream::ok("reached");
    let proxy = denying(&upstream, &[]);
    for way in WAYS {
        assert_eq!(proxy.client().get(way).status(), 403, "{way}");
    }
    for refused in ["/open%2f..%2fadmin", "/open%5C..%5cadmin", "/open/..%3b/admin", "/admin%00", "/%%61dmin"]
    {
        let response = proxy.client().get(refused);
        assert_eq!((response.status(), response.text().as_str()), (400, "ambiguous path"), "{refused}");
    }
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "ambiguous_path")], 5.0);
    assert!(upstream.requests().is_empty());
    assert_eq!(proxy.client().get("/administer/../open").text(), "reached");
    assert_eq!(upstream.requests()[0].head.target(), "/open", "the upstream is asked what was decided about");
}

#[test]
fn a_filter_that_denies_a_path_cannot_be_dodged() {
    let upstream = Upstream::ok("reached");
    let admin = When::Header(RequestHeaders, ":path", "/admin");
    let guest =
        Guest::new().quiet().on(On::RequestHeaders, [Step::If(admin, vec![Step::reply(403, "denied", &[])])]);
    let proxy = with_filters_in(&upstream, &[], &[("deny", &guest, "")]);
    for way in WAYS {
        assert_eq!(proxy.client().get(way).status(), 403, "{way}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_access_log_has_the_path_as_the_client_sent_it() {
    let upstream = Upstream::ok("reached");
    let proxy = denying(&upstream, &["access_log: true"]);
    proxy.client().get("/open/../%61dmin?q=/../");
    proxy.client().get("/admin%00");
    let lines = proxy.wait_for_access_log(2);
    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/open/../%61dmin?q=/../".into(), &403.into()));
    assert_eq!((&lines[1]["path"], &lines[1]["outcome"]), (&"/admin%00".into(), &"ambiguous_path".into()));
    assert_eq!(lines[1]["details"], "path_normalization_failed:encoded_nul");
}

#[test]
fn a_client_is_sent_to_the_path_in_which_slashes_are_plain() {
    let upstream = Upstream::ok("reached");
    let proxy =
        denying(&upstream, &["path_normalization: {escaped_slashes: redirect, merge_slashes: false}"]);
    for (target, location) in [
        ("/a%2Fb?c=%2F", "/a/b?c=%2F"),
        ("/open%2f..%2Fadmin", "/admin"),
        // A location that began with two slashes would lead to another host.
        ("/%2Fevil.test/", "/.//evil.test/"),
    ] {
        let response = proxy.client().get(target);
        assert_eq!((response.status(), response.field("location")), (307, Some(location)), "{target}");
    }
    let grpc = [("content-type", "application/grpc")];
    let response = proxy.client().request("POST", "/a%2Fb", &grpc, "");
    assert_eq!(
        (response.status(), response.field("grpc-status")),
        (200, Some("13")),
        "gRPC follows no redirects"
    );
    assert!(upstream.requests().is_empty());
}

#[test]
fn paths_pass_as_they_come_where_that_is_asked_for() {
    let upstream = Upstream::ok("reached");
    let off = "path_normalization: {normalize_path: false, merge_slashes: false}";
    let proxy = denying(&upstream, &[off]);
    for target in ["//admin", "/a/../admin", "/%61dmin", "/%zz", "/a%00", "/a\\b", "/a%2F..%2Fb"] {
        assert_eq!(proxy.client().get(target).text(), "reached", "{target}");
    }
    let requests = upstream.requests();
    assert_eq!(requests[0].head.target(), "//admin");
    assert_eq!(requests[3].head.target(), "/%zz");
}

#[test]
fn a_question_about_the_whole_server_has_no_path_to_normalise() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
                  \x20 - {match: {path: {exact: '*'}}, respond: {status: 204}}\n";
    let proxy = Proxy::start(config);
    assert_eq!(proxy.client().request("OPTIONS", "*", &[], "").status(), 204);
}

#[test]
fn an_absolute_target_has_its_path_normalised() {
    let upstream = Upstream::ok("reached");
    let proxy = denying(&upstream, &[]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "http://tide.test/open/..//admin", &[], ""));
    assert_eq!(client.response().status(), 403);
}
