//! What a proxy takes away and adds when it passes a message on.

use crate::equipment::{Answer, Gate, Proxy, Upstream, eventually, forwarding, in_listener};

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let upstream = Upstream::start(|_| {
        let fields = [
            ("connection", "x-private, keep-alive"),
            ("keep-alive", "timeout=9"),
            ("x-private", "1"),
            ("x-kept", "2"),
        ];
        Answer::sized(200, &fields, "ok")
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let fields = [
        ("connection", "keep-alive, X-Named"),
        ("Proxy-Connection", "keep-alive"),
        ("X-Named", "gone"),
        ("TE", "gzip, trailers"),
        ("X-Kept", "stays"),
    ];
    let response = proxy.client().request("GET", "/", &fields, "");
    assert_eq!((response.field("x-private"), response.field("x-kept")), (None, Some("2")));
    let head = upstream.requests().remove(0).head;
    assert_eq!((head.field("x-named"), head.field("x-kept")), (None, Some("stays")));
    assert_eq!(head.field("te"), Some("trailers"), "the one that may pass");
}

#[test]
fn hop_by_hop_fields_need_no_connection_field_to_stay() {
    let upstream = Upstream::start(|_| Answer::sized(200, &[("keep-alive", "timeout=9")], "ok"));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let fields = [("keep-alive", "timeout=5"), ("upgrade", "h2c")];
    assert_eq!(proxy.client().request("GET", "/", &fields, "").field("keep-alive"), None);
    let head = upstream.requests().remove(0).head;
    assert_eq!((head.field("keep-alive"), head.field("upgrade")), (None, None), "nobody meant an upgrade");
}

#[test]
fn a_question_about_the_whole_server_is_left_to_the_routes() {
    let config = "listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n\
                  \x20 - {match: {path: {exact: '/'}}, respond: {status: 204}}\n";
    let proxy = Proxy::start(config);
    assert_eq!(proxy.client().request("OPTIONS", "*", &[], "").status(), 404);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "no_route")], 1.0);
}

#[test]
fn only_options_asks_about_the_whole_server() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    assert_eq!(proxy.client().request("GET", "*", &[], "").status(), 400);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "malformed_request")], 1.0);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_request_of_http_1_0_is_one_of_http_1_1_behind_the_proxy() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.response().text(), "reached");
    let head = upstream.requests().remove(0).head;
    assert_eq!(head.field("host"), Some(&*upstream.address().to_string()));
    assert_eq!((head.field("upgrade"), head.field("connection")), (None, None), "it cannot have meant that");
}

#[test]
fn what_proxies_say_of_a_request_is_believed_of_trusted_ones_only() {
    let upstream = Upstream::ok("reached");
    let address = upstream.address();
    let fields = [
        ("x-forwarded-client-cert", "URI=spiffe://mesh/admin"),
        ("x-envoy-internal", "true"),
        ("X-Envoy-External-Address", "10.0.0.1"),
    ];
    for (setting, passes) in [("trusted_hops: 0", false), ("trusted_hops: 1", true)] {
        let proxy = Proxy::start(&in_listener(&forwarding(&[address], ""), &[setting]));
        assert_eq!(proxy.client().request("GET", "/", &fields, "").status(), 200);
        let head = upstream.requests().pop().expect("it came").head;
        for (name, value) in fields {
            assert_eq!(head.field(name), passes.then_some(value), "{name}, {setting:?}");
        }
    }
}

#[test]
fn connect_is_not_for_this_proxy() {
    let upstream = Upstream::ok("reached");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("CONNECT tide.test:443 HTTP/1.1\r\nhost: tide.test:443\r\n\r\n");
    assert_eq!(client.head().status(), 501);
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "unsupported")], 1.0);
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_connection_field_cannot_take_away_what_the_proxy_needs() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let fields = [("connection", "host, content-length, x-forwarded-for")];
    let response = proxy.client().request("POST", "/", &fields, "body");
    if response.status() == 200 {
        let request = upstream.requests().remove(0);
        assert_eq!(request.body.unwrap().text(), "body");
        assert_eq!(request.head.field("x-forwarded-for"), Some("127.0.0.1"));
    } else {
        assert_eq!(response.status(), 400);
    }
}

#[test]
fn the_upstream_learns_who_asked_and_how() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    proxy.client().get("/");
    proxy.client().request("GET", "/", &[("x-forwarded-for", "10.9.9.9"), ("x-request-id", "mine")], "");
    let requests = upstream.requests();
    let first = &requests[0].head;
    assert_eq!(first.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(first.field("x-forwarded-proto"), Some("http"));
    assert!(first.field("x-request-id").is_some_and(|id| id.len() >= 16), "{first:?}");
    let second = &requests[1].head;
    assert_eq!(second.all("x-forwarded-for"), ["10.9.9.9, 127.0.0.1"], "the last word is the proxy's own");
    assert_eq!(second.field("x-request-id"), Some("mine"));
}

#[test]
fn what_several_proxies_said_of_the_client_is_kept_in_order() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let fields = [("x-forwarded-for", "10.9.9.9, 10.8.8.8"), ("x-forwarded-for", "10.7.7.7")];
    proxy.client().request("GET", "/", &fields, "");
    let head = upstream.requests().remove(0).head;
    assert_eq!(head.all("x-forwarded-for"), ["10.9.9.9, 10.8.8.8, 10.7.7.7, 127.0.0.1"]);
}

#[test]
fn a_request_identifier_that_is_none_is_replaced() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    for (given, kept) in [("y".repeat(128), true), ("y".repeat(129), false), (String::new(), false)] {
        proxy.client().request("GET", "/", &[("x-request-id", &given)], "");
        let head = upstream.requests().pop().expect("it was forwarded").head;
        let ids = head.all("x-request-id");
        assert_eq!((ids.len(), ids == [given.as_str()]), (1, kept), "{head:?}");
        assert!(!ids[0].is_empty());
    }
}

#[test]
fn only_a_trusted_proxy_is_believed_about_the_client() {
    let upstream = Upstream::ok("ok");
    let fields = [("x-forwarded-for", "10.9.9.9"), ("x-forwarded-proto", "https")];
    for (hops, proto, client) in [(0, "http", "127.0.0.1:"), (1, "https", "10.9.9.9:0")] {
        let config = forwarding(&[upstream.address()], "");
        let listener = ["access_log: true", &format!("trusted_hops: {hops}")];
        let proxy = Proxy::start(&in_listener(&config, &listener));
        proxy.client().request("GET", "/", &fields, "");
        let head = upstream.requests().pop().expect("it was forwarded").head;
        assert_eq!(head.all("x-forwarded-proto"), [proto]);
        let line = proxy.wait_for_access_log(1).remove(0);
        assert!(line["client"].as_str().is_some_and(|said| said.starts_with(client)), "{line}");
    }
}

#[test]
fn fields_pass_unchanged_in_value_number_and_order() {
    let upstream = Upstream::start(|_| {
        let fields =
            [("Set-Cookie", "a=1"), ("x-bytes", "caf\u{e9}\u{ff}"), ("Set-Cookie", "b=2"), ("x-empty", "")];
        Answer::sized(200, &fields, "ok")
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let fields =
        [("x-multi", "1"), ("X-Bytes", "\u{e9}\u{80}"), ("x-multi", "2"), ("x-empty", ""), ("x-multi", "1")];
    let response = proxy.client().request("GET", "/p%20q?a=b%2Fc&&d", &fields, "");
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((response.field("x-bytes"), response.field("x-empty")), (Some("caf\u{e9}\u{ff}"), Some("")));
    let head = upstream.requests().remove(0).head;
    assert_eq!(head.target(), "/p%20q?a=b%2Fc&&d");
    assert_eq!(head.all("x-multi"), ["1", "2", "1"]);
    assert_eq!((head.field("x-bytes"), head.field("x-empty")), (Some("\u{e9}\u{80}"), Some("")));
}

#[test]
fn every_method_passes() {
    let upstream = Upstream::start(|head| Answer::sized(200, &[("x-method", head.method())], ""));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "M-SEARCH"] {
        assert_eq!(client.request(method, "/", &[], "").field("x-method"), Some(method));
    }
}

#[test]
fn an_absolute_target_is_forwarded_in_origin_form_with_its_host() {
    let upstream = Upstream::ok("ok");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    proxy.client().request("GET", "http://real.test:81/path?q", &[("host", "other.test")], "");
    let head = upstream.requests().remove(0).head;
    assert_eq!(
        (head.target(), head.field("host")),
        ("/path?q", Some("real.test:81")),
        "RFC 9112 section 3.2.2"
    );
}

#[test]
fn endpoints_take_turns() {
    let upstreams: Vec<Upstream> = ["a", "b", "c"].into_iter().map(Upstream::ok).collect();
    let addresses: Vec<_> = upstreams.iter().map(Upstream::address).collect();
    let proxy = Proxy::forwarding_to(&addresses);
    let mut client = proxy.client();
    let answers: String = (0..9).map(|_| client.get("/").text()).collect();
    for upstream in ["a", "b", "c"] {
        assert_eq!(answers.matches(upstream).count(), 3, "{answers}");
    }
}

#[test]
fn the_least_busy_endpoint_is_preferred() {
    let gate = Gate::new();
    let held = gate.clone();
    let busy = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "4")]).send("busy")
    });
    let free = Upstream::ok("free");
    let config = forwarding(&[busy.address(), free.address()], "");
    let proxy = Proxy::start(&config.replace("endpoints:", "load_balancer: least_request, endpoints:"));
    let mut occupying = Vec::new();
    while busy.requests().is_empty() {
        assert!(occupying.len() < 200, "the busy endpoint was never picked");
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
        occupying.push(client);
        eventually("the request to arrive somewhere", || {
            (busy.requests().len() + free.requests().len() == occupying.len()).then_some(())
        });
    }
    let mut client = proxy.client();
    let answers: Vec<String> = (0..10).map(|_| client.get("/").text()).collect();
    assert!(answers.iter().all(|answer| answer == "free"), "{answers:?}");
    gate.open();
    for mut client in occupying {
        client.response();
    }
}
