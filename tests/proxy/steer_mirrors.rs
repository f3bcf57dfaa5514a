//! Copies of requests for clusters whose answers nobody waits for.

use std::time::{Duration, Instant};

use crate::equipment::{
    Answer, Gate, Guest, Map, On, Proxy, Step, Upstream, eventually, forwarding, in_listener,
    refusing_address, request_text,
};

/// Everything goes to the cluster `up`, and as `mirror` says to the clusters `copy` and `other`.
fn config(upstream: &Upstream, mirrors: [&Upstream; 2], mirror: &str) -> String {
    let [copy, other] = mirrors.map(Upstream::address);
    let config = forwarding(&[upstream.address()], &format!("mirror: {mirror}"));
    config + &format!("  copy: {{endpoints: [\"{copy}\"]}}\n  other: {{endpoints: [\"{other}\"]}}\n")
}

fn copies(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metrics().sum("tidegate_mirrored_requests_total", &[("outcome", outcome)])
}

#[test]
fn a_mirror_gets_the_request_as_it_is_sent_and_marked() {
    let upstream = Upstream::ok("hello");
    let mirrors = [Upstream::ok("copied"), Upstream::ok("copied too")];
    let list = "[{cluster: copy}, {cluster: other, mark_host: false}], rewrite: {prefix: /new/}, name: all";
    let config = config(&upstream, mirrors.each_ref(), list).replace("prefix: /}", "prefix: /old/}");
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    let body = "some text ".repeat(10_000);
    let response = client.request("POST", "/old/x?a=1", &[("host", "api.test:81"), ("x-own", "1")], &body);
    assert_eq!(response.text(), "hello");
    // Nobody says that copies come in the order of their requests.
    let answered = [("outcome", "answered")];
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &answered, 2.0);
    client.request("GET", "/old/y", &[("host", "api.test")], "");
    let [original, second] = [0, 1].map(|at| upstream.requests()[at].clone());
    let copies = mirrors.each_ref().map(|mirror| mirror.wait_for(2));
    for copy in copies.each_ref().map(|copies| &copies[0]) {
        assert_eq!((copy.head.method(), copy.head.target()), ("POST", "/new/x?a=1"));
        assert_eq!(copy.head.field("x-own"), Some("1"));
        assert_eq!(copy.head.field("x-request-id"), original.head.field("x-request-id"));
        assert_eq!(copy.head.field("x-tidegate-mirrored-by"), Some("all"));
        assert_eq!(copy.body.as_ref().expect("it was read").text(), body);
    }
    let host = |copies: &[crate::equipment::Received]| copies[0].head.field("host").map(str::to_owned);
    assert_eq!(host(&copies[0]).as_deref(), Some("api.test-shadow:81"));
    assert_eq!(host(&copies[1]).as_deref(), Some("api.test:81"));
    assert_eq!(copies[0][1].head.field("host"), Some("api.test-shadow"));
    assert_eq!(second.head.field("x-tidegate-mirrored-by"), None);
    assert_eq!(original.head.field("host"), Some("api.test:81"));
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &answered, 4.0);
}

#[test]
fn a_mirror_gets_its_share() {
    let upstream = Upstream::ok("hello");
    let mirrors = [Upstream::ok("copied"), Upstream::ok("copied too")];
    let mirror = "[{cluster: copy, percent: 25%}, {cluster: other, percent: 0%}]";
    let proxy = Proxy::start(&config(&upstream, mirrors.each_ref(), mirror));
    let mut client = proxy.client();
    for _ in 0..1000 {
        client.get("/");
    }
    let count = proxy.metrics().sum("tidegate_upstream_requests_total", &[("cluster", "copy")]);
    // Six standard deviations.
    assert!((250.0 - count).abs() < 6.0 * (1000.0 * 0.25 * 0.75_f64).sqrt(), "{count}");
    assert!(mirrors[1].requests().is_empty());
}

#[test]
fn a_mirror_gets_what_filters_made_of_the_request() {
    let upstream = Upstream::ok("hello");
    let mirrors = [Upstream::ok("copied"), Upstream::ok("copied too")];
    let guest = Guest::new().on(On::RequestHeaders, [Step::add(Map::RequestHeaders, "x-seen", "1")]);
    let config = in_listener(&config(&upstream, mirrors.each_ref(), "{cluster: copy}"), &["filters: [f]"]);
    let proxy = Proxy::with(&format!("{config}filters: {{f: {{module: ./f.wasm}}}}\n"))
        .file("f.wasm", guest.build())
        .start();
    proxy.client().request("POST", "/", &[], "body");
    assert_eq!(mirrors[0].wait_for(1)[0].head.all("x-seen"), ["1"]);
}

#[test]
fn a_mirror_that_does_not_read_holds_nobody_up() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let shut = gate.clone();
    let slow = Upstream::start(move |_| Answer::default().wait(&shut).read_body().head(200, &[]));
    let config = config(&upstream, [&slow, &slow], "{cluster: copy}");
    let config = in_listener(&config, &["buffer_limit: 64MiB"]);
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    let body = "x".repeat(16 << 20);
    for _ in 0..2 {
        assert_eq!(client.request("POST", "/", &[], &body).text(), "hello");
    }
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &[("outcome", "overrun")], 2.0);
    let received = upstream.requests().iter().map(|request| request.arrived).sum::<u64>();
    assert_eq!(received, 32 << 20);
    slow.pardon();
    gate.open();
}

#[test]
fn what_a_mirror_may_hold_is_its_own_and_not_what_filters_may() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let shut = gate.clone();
    let slow = Upstream::start(move |_| {
        Answer::default().wait(&shut).read_body().head(200, &[("content-length", "0")])
    });
    let config = config(&upstream, [&slow, &slow], "{cluster: copy}");
    let proxy = Proxy::start(&in_listener(&config, &["buffer_limit: 1KiB"]));
    let body = "x".repeat(700 << 10);
    assert_eq!(proxy.client().request("POST", "/", &[], &body).text(), "hello");
    gate.open();
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &[("outcome", "answered")], 1.0);
    assert_eq!(slow.requests()[0].arrived, 700 << 10);
}

#[test]
fn a_copy_has_its_time_when_the_request_is_whole() {
    let (upstream, mirror) = (Upstream::ok("hello"), Upstream::ok("copied"));
    let limit = Duration::from_secs(2);
    let config = config(&upstream, [&mirror, &mirror], "{cluster: copy}");
    let proxy = Proxy::start(&config.replace("mirror:", "timeout: 2s, mirror:"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < limit + Duration::from_millis(200) {
        client.send("1\r\nx\r\n");
        sent += 1;
        eventually("the piece to reach the mirror", || {
            mirror.requests().first().is_some_and(|it| it.arrived >= sent).then_some(())
        });
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response_to("POST").text(), "hello");
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &[("outcome", "answered")], 1.0);
}

#[test]
fn only_a_trusted_proxy_says_that_a_request_is_a_copy() {
    let upstream = Upstream::ok("hello");
    for (trusted, seen) in [(0, None), (1, Some("forged"))] {
        let config =
            in_listener(&forwarding(&[upstream.address()], ""), &[&format!("trusted_hops: {trusted}")]);
        let proxy = Proxy::start(&config);
        proxy.client().request("GET", "/", &[("x-tidegate-mirrored-by", "forged")], "");
        let requests = upstream.requests();
        let last = &requests.last().expect("it came").head;
        assert_eq!(last.field("x-tidegate-mirrored-by"), seen, "{trusted}");
    }
}

#[test]
fn a_mirror_that_fails_changes_nothing() {
    let upstream = Upstream::ok("hello");
    let (refusing, _socket) = refusing_address();
    let config = forwarding(&[upstream.address()], "mirror: {cluster: copy}");
    let proxy = Proxy::start(&format!("{config}  copy: {{endpoints: [\"{refusing}\"]}}\n"));
    let mut client = proxy.client();
    for body in ["", "a body"] {
        assert_eq!(client.request("POST", "/", &[], body).text(), "hello");
    }
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &[("outcome", "failed")], 2.0);
    let all = [("outcome", "ok"), ("code_class", "2xx")];
    assert_eq!(proxy.metrics().sum("tidegate_requests_total", &all), 2.0);
}

#[test]
fn a_client_that_leaves_takes_its_copies_with_it() {
    let gate = Gate::new();
    let shut = gate.clone();
    let upstream = Upstream::start(move |_| Answer::default().wait(&shut).read_body().head(200, &[]));
    let mirror = Upstream::ok("copied");
    let proxy = Proxy::start(&config(&upstream, [&mirror, &mirror], "{cluster: copy}"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    mirror.wait_for_heads(1);
    drop(client);
    proxy.wait_for_metric("tidegate_mirrored_requests_total", &[("outcome", "failed")], 1.0);
    upstream.pardon();
    mirror.pardon();
    gate.open();
}

#[test]
fn a_drain_does_not_wait_for_a_mirror() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let shut = gate.clone();
    let silent = Upstream::start(move |_| Answer::default().read_body().wait(&shut));
    let config = config(&upstream, [&silent, &silent], "{cluster: copy}");
    let mut proxy = Proxy::start(&format!("drain_timeout: 1h\n{config}"));
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    assert_eq!(client.response().text(), "hello");
    eventually("the copy to be sent", || (!silent.requests().is_empty()).then_some(()));
    assert_eq!(copies(&proxy, "cancelled"), 0.0);
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0), "it ends though the mirror never answers");
    gate.open();
}
