//! Where messages end: HEAD, 204, 304, interim responses, trailers.

use super::filters::with_filters;
use crate::equipment::{
    Act, Answer, Body, Framing, Gate, Guest, Map, On, Proxy, Step, Upstream, forwarding, in_listener,
    request_text,
};

#[test]
fn a_response_to_head_has_the_length_of_get_and_no_body() {
    let upstream = Upstream::start(|head| match head.method() {
        "HEAD" => Answer::default().head(200, &[("content-length", "5")]),
        _ => Answer::ok("hello"),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let response = client.request("HEAD", "/", &[], "");
    assert_eq!((response.status(), response.field("content-length")), (200, Some("5")));
    assert_eq!(client.get("/").text(), "hello", "the connection goes on right after the head");
}

#[test]
fn a_filter_does_not_change_the_length_of_a_body_that_is_only_spoken_of() {
    let upstream = Upstream::start(|head| {
        let status = if head.target() == "/304" { 304 } else { 200 };
        Answer::default().read_body().head(status, &[("content-length", "5")])
    });
    let guest = Guest::logger().on(On::Log, [Step::get(Map::ResponseHeaders, "content-length")]);
    let proxy = with_filters(&upstream, &[("log", &guest, "")]);
    let mut client = proxy.client();
    assert_eq!(client.request("HEAD", "/", &[], "").field("content-length"), Some("5"));
    assert_eq!(client.get("/304").status(), 304);
    proxy.settle();
    let log = proxy.guest_log();
    let lengths: Vec<&str> = log
        .iter()
        .filter_map(|(_, line)| line.strip_prefix("  get response-headers content-length -> "))
        .collect();
    assert_eq!(lengths, ["0 5", "0 5"]);
}

/// A length that two could read differently is how requests are smuggled past a proxy.
#[test]
fn what_a_filter_says_of_a_length_is_put_right() {
    type Says = fn(Map) -> Step;
    let says: [(&str, Says); 4] = [
        ("another", |map| Step::replace(map, "content-length", "3")),
        ("one more", |map| Step::add(map, "content-length", "5")),
        ("one that is none", |map| Step::replace(map, "content-length", "+5")),
        ("another beside it", |map| Step::add(map, "content-length", "50")),
    ];
    for (what, says) in says {
        let upstream = Upstream::start(|_| Answer::ok("hello"));
        let guest = Guest::logger()
            .on(On::RequestHeaders, [says(Map::RequestHeaders)])
            .on(On::ResponseHeaders, [says(Map::ResponseHeaders)]);
        let proxy = with_filters(&upstream, &[("liar", &guest, "")]);
        let mut client = proxy.client();
        for round in 0..2 {
            let response = client.request("POST", "/", &[], "howdy");
            assert_eq!((response.status(), &response.text()[..]), (200, "hello"), "{what}, {round}");
            assert_eq!(response.head.all("content-length"), ["5"], "{what}, {round}");
        }
        for request in upstream.requests() {
            assert_eq!(request.body.as_ref().map(Body::text).as_deref(), Some("howdy"), "{what}");
            assert_eq!(request.head.all("content-length"), ["5"], "{what}");
        }
    }
}

#[test]
fn a_filter_is_not_shown_the_body_that_head_does_not_get() {
    let upstream = Upstream::ok("never");
    let guest = Guest::logger().on(On::RequestHeaders, [Step::reply(403, "denied", &[])]);
    let proxy = with_filters(&upstream, &[("deny", &guest, "")]);
    let response = proxy.client().request("HEAD", "/", &[], "");
    assert_eq!((response.status(), response.field("content-length")), (403, Some("6")));
    proxy.settle();
    let log = proxy.guest_log();
    assert!(
        log.iter().any(|(_, line)| line.starts_with("response_headers ctx=2 ") && line.ends_with(" eos=1")),
        "{log:#?}"
    );
    assert!(!log.iter().any(|(_, line)| line.starts_with("response_body")), "{log:#?}");
}

#[test]
fn the_proxys_own_answer_to_head_has_the_length_of_get_and_no_body() {
    let upstream = Upstream::ok("ok");
    let config = forwarding(&[upstream.address()], "").replace("prefix: /}", "prefix: /only}");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = proxy.client();
    let head = client.request("HEAD", "/other", &[], "");
    let get = client.get("/other");
    assert_eq!((head.status(), get.status()), (404, 404));
    assert!(get.field("content-length").is_some_and(|length| length == get.text().len().to_string()));
    assert_eq!(head.field("content-length"), get.field("content-length"));
    let sent: Vec<_> =
        proxy.wait_for_access_log(2).iter().map(|line| line["response_bytes"].clone()).collect();
    assert_eq!(sent, [0, get.text().len()]);
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let upstream = Upstream::start(|head| match head.target() {
        "/204" => Answer::default().read_body().head(204, &[]),
        "/304" => Answer::default().read_body().head(304, &[("etag", "\"a\"")]),
        "/0" => Answer::sized(200, &[], ""),
        _ => Answer::ok("hello"),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.get("/204").status(), 204);
        let not_modified = client.get("/304");
        assert_eq!((not_modified.status(), not_modified.field("etag")), (304, Some("\"a\"")));
        assert_eq!(client.get("/0").field("content-length"), Some("0"));
        assert_eq!(client.get("/").text(), "hello");
    }
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "ok")], 8.0);
}

#[test]
fn a_204_speaks_of_no_body_whoever_made_it() {
    let upstream = Upstream::start(|head| match head.target() {
        "/204" => Answer::default().read_body().head(204, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    });
    let guest = Guest::new().on(On::ResponseHeaders, [Step::replace(Map::ResponseHeaders, ":status", "204")]);
    let proxy = with_filters(&upstream, &[("emptying", &guest, "")]);
    let through = Proxy::forwarding_to(&[upstream.address()]);
    for (proxy, path) in [(&proxy, "/"), (&through, "/204")] {
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.get(path);
            assert_eq!((response.status(), response.field("content-length")), (204, None), "{path}");
        }
    }
}

#[test]
fn a_response_that_ends_with_its_connection_is_passed_on_whole() {
    let upstream = Upstream::start(|_| {
        Answer::default().read_body().head(200, &[]).send("until the end").act(Act::Close)
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!(response.text(), "until the end");
    assert_eq!(response.body.framing, Framing::Chunked, "the client's connection need not end for it");
    assert_eq!(client.get("/").text(), "until the end");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_from_the_upstream() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().wait(&held).send("HTTP/1.1 100 Continue\r\n\r\n").read_body();
        answer.head(200, &[("content-length", "2")]).send("ok")
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    upstream.wait_for_heads(1);
    gate.open();
    assert_eq!(client.head().status(), 100);
    client.send("body");
    assert_eq!(client.response().text(), "ok");
    let request = upstream.wait_for(1).remove(0);
    assert_eq!(request.body.unwrap().text(), "body");
    assert_eq!(request.head.field("expect"), None, "the proxy has answered it");
}

#[test]
fn a_client_whose_expectation_is_refused_learns_it_before_it_sends_its_body() {
    let upstream =
        Upstream::start(|_| Answer::default().head(417, &[("content-length", "0"), ("connection", "close")]));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    let mut response = client.response();
    response.interim.retain(|head| head.status() != 100); // a proxy may say it for itself
    assert_eq!((response.status(), response.interim.len()), (417, 0));
}

#[test]
fn trailers_pass_in_both_directions() {
    let upstream =
        Upstream::start(|_| Answer::chunked(200, &[("trailer", "x-down")], &["a"], &[("x-down", "1")]));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\ntrailer: x-up\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nup\r\n0\r\nx-up: 2\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.body.trailers, [("x-down".to_owned(), "1".to_owned())]);
    let request = upstream.wait_for(1).remove(0);
    assert_eq!(request.body.unwrap().trailers, [("x-up".to_owned(), "2".to_owned())]);
    assert_eq!(client.request("POST", "/", &[], "next").status(), 200, "the connection is in step");
}

#[test]
fn a_response_before_the_end_of_the_request_reaches_the_client() {
    let upstream = Upstream::start(|_| {
        let fields = [("content-length", "5"), ("connection", "close")];
        Answer::default().head(403, &fields).send("early").act(Act::AwaitEnd)
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 1000000\r\n\r\nsome");
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (403, "early"));
    assert_eq!(response.field("connection"), Some("close"), "the rest of the request is not read");
    client.expect_end();
}

#[test]
fn a_request_may_go_on_while_its_response_comes() {
    let upstream = Upstream::start(|_| {
        let answer = Answer::default().head(200, &[("transfer-encoding", "chunked")]).chunk("first");
        answer.read_body().chunk("last").last_chunk(&[])
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n");
    let head = client.head();
    assert_eq!(head.status(), 200);
    assert_eq!(client.exactly("5\r\nfirst\r\n".len()), "5\r\nfirst\r\n");
    client.send("4\r\nmore\r\n0\r\n\r\n");
    assert_eq!(client.body(Framing::Chunked).text(), "last");
    assert_eq!(upstream.wait_for(1)[0].body.clone().unwrap().text(), "upmore");
}

#[test]
fn several_interim_responses_do_not_confuse_anybody() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().send(hints).send(hints).head(200, &[("content-length", "2")]).send("ok")
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
    assert_eq!(client.get("/").text(), "ok");
}
