//! Requests of web pages of other origins.

use crate::equipment::{Answer, Guest, On, Proxy, Response, Step, Upstream, forwarding, in_listener};

const PAGES: &str = "{allow_origin: [\"https://a.test\", {suffix: .trusted.test}], allow_methods: [GET, PUT], \
    allow_headers: [x-own, content-type], expose_headers: [x-seen], max_age: 10m, allow_credentials: true, \
    allow_private_network: true}";

fn start(upstream: &Upstream, cors: &str) -> Proxy {
    Proxy::start(&forwarding(&[upstream.address()], &format!("cors: {cors}")))
}

fn preflight(proxy: &Proxy, origin: &str) -> Response {
    let fields = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-private-network", "true"),
    ];
    proxy.client().request("OPTIONS", "/", &fields, "")
}

fn said(response: &Response) -> Vec<(String, String)> {
    let fields = response.head.fields.iter();
    let cors = fields.filter(|(name, _)| name.starts_with("access-control-") || name == "vary");
    cors.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn a_preflight_request_is_answered_by_the_proxy() {
    let upstream = Upstream::ok("hello");
    let proxy = start(&upstream, PAGES);
    for origin in ["https://a.test", "http://b.trusted.test"] {
        let response = preflight(&proxy, origin);
        assert_eq!((response.status(), response.text()), (200, String::new()));
        for (field, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-own, content-type"),
            ("access-control-max-age", "600"),
            ("access-control-allow-private-network", "true"),
            ("vary", "origin"),
        ] {
            assert_eq!(response.field(field), Some(value), "{field}");
        }
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_preflight_request_of_another_origin_gets_no_word_of_permission() {
    let upstream = Upstream::start(|_| Answer::sized(405, &[], "no"));
    let response = preflight(&start(&upstream, PAGES), "https://b.test");
    assert_eq!(response.status(), 405, "it goes on, as in Envoy");
    let varies = [("vary".to_owned(), "origin".to_owned())];
    assert_eq!(said(&response), varies);
    let strict = PAGES.replace("{allow_origin", "{forward_not_matching_preflights: false, allow_origin");
    let response = preflight(&start(&upstream, &strict), "https://b.test");
    assert_eq!(response.status(), 200);
    assert_eq!(said(&response), varies);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn what_is_no_preflight_request_goes_on() {
    let upstream = Upstream::ok("hello");
    let proxy = start(&upstream, PAGES);
    let mut client = proxy.client();
    for (method, fields) in [
        ("OPTIONS", &[("origin", "https://a.test")][..]),
        ("OPTIONS", &[("access-control-request-method", "PUT")]),
        ("GET", &[("origin", "https://a.test"), ("access-control-request-method", "PUT")]),
    ] {
        assert_eq!(client.request(method, "/", fields, "").text(), "hello");
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn an_answer_says_what_pages_may_see_of_it() {
    let fields = [("access-control-allow-origin", "*"), ("vary", "accept"), ("x-seen", "1")];
    let upstream = Upstream::start(move |_| Answer::sized(200, &fields, "hello"));
    let proxy = start(&upstream, PAGES);
    let mut client = proxy.client();
    let response = client.request("GET", "/", &[("origin", "https://a.test")], "");
    let all = response.head.all("access-control-allow-origin");
    assert_eq!(all, ["https://a.test"], "what the upstream says of it is replaced");
    assert_eq!(response.field("access-control-expose-headers"), Some("x-seen"));
    assert_eq!(response.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(response.head.all("vary"), ["accept", "origin"]);
    let other = client.request("GET", "/", &[("origin", "https://b.test")], "");
    assert_eq!(other.head.all("access-control-allow-origin"), ["*"], "nothing is said for the upstream");
    let none = client.get("/");
    assert_eq!(none.field("access-control-expose-headers"), None);
}

#[test]
fn a_page_sees_the_answers_of_filters_and_of_the_proxy() {
    let guest = Guest::new().on(On::RequestHeaders, [Step::reply(401, "who are you?", &[])]);
    let upstream = Upstream::ok("hello");
    let config =
        in_listener(&forwarding(&[upstream.address()], "cors: {allow_origin: \"*\"}"), &["filters: [f]"]);
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", guest.build())
        .start();
    let response = proxy.client().request("GET", "/", &[("origin", "https://any.test")], "");
    assert_eq!(response.status(), 401);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://any.test"));
    assert_eq!(preflight(&proxy, "https://any.test").status(), 200, "no filter sees a preflight request");
    assert_eq!(preflight(&proxy, "null").field("access-control-allow-origin"), Some("null"));
}

#[test]
fn a_route_replaces_what_its_listener_says_or_switches_it_off() {
    let upstream = Upstream::ok("hello");
    let config = forwarding(&[upstream.address()], "");
    let config = in_listener(&config, &["cors: {allow_origin: https://a.test}"]);
    let routes = "  routes:\n  - {match: {path: {prefix: /off}}, cluster: up, cors: off}\n  \
        - {match: {path: {prefix: /own}}, cluster: up, cors: {allow_origin: https://b.test}}\n";
    let proxy = Proxy::start(&config.replace("  routes:\n", routes));
    let mut client = proxy.client();
    for (path, origin, allowed) in [
        ("/", "https://a.test", true),
        ("/", "https://b.test", false),
        ("/off", "https://a.test", false),
        ("/own", "https://a.test", false),
        ("/own", "https://b.test", true),
    ] {
        let response = client.request("GET", path, &[("origin", origin)], "");
        assert_eq!(response.field("access-control-allow-origin").is_some(), allowed, "{path} {origin}");
    }
}
