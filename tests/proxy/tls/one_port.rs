//! Several protocols on one port, told apart by what clients say first.

use super::{tls, with_files};
use crate::equipment::{
    Authority, Backend, Client, Http2Client, Proxy, Start, TlsClient, TlsOptions, TlsServer, Upstream,
};

/// A proxy whose listener `in` takes everything: HTTP goes to `web`, the rest to `rest`.
fn prepared(web: &Upstream, rest: &Backend, fields: &[&str], clusters: &str) -> Start {
    let lines: String = fields.iter().map(|field| format!("  {field}\n")).collect();
    let (web, rest) = (web.address(), rest.address());
    Proxy::with(&format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: auto\n  access_log: true\n  cluster: rest\n{lines}  \
         routes: [{{match: {{}}, cluster: web}}]\n\
         clusters:\n  web: {{endpoints: [\"{web}\"]}}\n  rest: {{endpoints: [\"{rest}\"]}}\n{clusters}"
    ))
}

#[test]
fn http_goes_by_its_route_and_the_rest_to_its_cluster() {
    let (web, rest) = (Upstream::ok("hello"), Backend::start());
    let proxy = prepared(&web, &rest, &[], "").start();
    let mut http1 = proxy.client();
    assert_eq!(http1.get("/").text(), "hello");
    assert_eq!(http1.get("/again").text(), "hello");
    assert_eq!(Http2Client::connect(proxy.address("in")).get("/").text(), "hello");
    let mut slow = proxy.client();
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n".chars().for_each(|character| slow.send(&character.to_string()));
    assert_eq!(slow.response().text(), "hello");
    for said in ["EHLO mail.test\r\n", "*1\r\n$4\r\nPING\r\n", "\u{16}\u{3}\u{1}\0\u{4}\u{2}\0\0\u{1}"] {
        let mut client = proxy.client();
        client.send(said);
        let mut upstream = rest.accept();
        assert_eq!(upstream.exactly(said.len()), said);
        upstream.send("answered");
        assert_eq!(client.exactly(8), "answered");
        client.half_close();
        upstream.expect_orderly_end();
        upstream.half_close();
        client.expect_end();
    }
    proxy.wait_for_metric("tidegate_tcp_connections_total", &[("cluster", "rest"), ("outcome", "ok")], 3.0);
}

#[test]
fn who_waits_for_the_server_to_speak_gets_there_after_a_while() {
    let (web, rest) = (Upstream::ok("hello"), Backend::start());
    let proxy = prepared(&web, &rest, &["limits: {detection_timeout: 100ms}"], "").start();
    let mut silent = proxy.client();
    let mut upstream = rest.accept();
    upstream.send("220 ready\r\n");
    assert_eq!(silent.exactly(11), "220 ready\r\n");
    let mut half = proxy.client();
    half.send("GET /unfin");
    let mut upstream = rest.accept();
    assert_eq!(upstream.exactly(10), "GET /unfin", "nothing of it is lost");
    half.send("ished");
    assert_eq!(upstream.exactly(5), "ished");
    // Who leaves without a word is nobody's business, and who ends in the middle of one is passed on.
    proxy.client().leave();
    let mut short = proxy.client();
    short.send("GE");
    short.half_close();
    let mut upstream = rest.accept();
    assert_eq!(upstream.exactly(2), "GE");
    upstream.expect_orderly_end();
}

#[test]
fn with_a_certificate_tls_ends_here_and_is_looked_into() {
    let (web, rest) = (Upstream::ok("hello"), Backend::start());
    let authority = Authority::new("tide");
    let (own, passed) = (authority.issue(&["own.test"]), authority.issue(&["passed.test"]));
    let inner = Upstream::ok("passed on");
    let server = TlsServer::before(inner.address(), &passed, &[]);
    let fields = [&*tls(&["own"], ""), "server_names: {passed.test: passed}"];
    let more = format!("  passed: {{endpoints: [\"{}\"]}}\n", server.address());
    let proxy = with_files(prepared(&web, &rest, &fields, &more), &[("own", &own)]).start();
    let way = |name: &str, alpn: &[&str]| {
        TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, name).alpn(alpn))
    };
    let http = way("own.test", &["http/1.1"]);
    assert_eq!(Client::connect(http.address()).get("/").text(), "hello");
    let http2 = way("own.test", &["h2"]);
    assert_eq!(Http2Client::connect(http2.address()).get("/").text(), "hello");
    let untold = way("own.test", &[]);
    assert_eq!(Client::connect(untold.address()).get("/").text(), "hello", "by its first bytes");
    let other = way("own.test", &[]);
    let mut client = Client::connect(other.address());
    client.send("something else");
    let mut upstream = rest.accept();
    assert_eq!(upstream.exactly(14), "something else");
    let on = way("passed.test", &[]);
    assert_eq!(Client::connect(on.address()).get("/").text(), "passed on");
    assert_eq!(proxy.client().get("/").text(), "hello", "without TLS as well");
    let schemes: Vec<_> =
        web.requests().iter().map(|it| it.head.field("x-forwarded-proto").map(str::to_owned)).collect();
    let expected = ["https", "https", "https", "http"].map(|scheme| Some(scheme.to_owned()));
    assert_eq!(schemes, expected);
}

#[test]
fn tls_that_nobody_ends_here_goes_to_the_rest() {
    let (web, rest) = (Upstream::ok("hello"), Upstream::ok("behind tls"));
    let authority = Authority::new("tide");
    let server = TlsServer::before(rest.address(), &authority.issue(&["a.test"]), &[]);
    let proxy = Proxy::start(&format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: auto\n  cluster: rest\n  \
         routes: [{{match: {{}}, cluster: web}}]\n\
         clusters:\n  web: {{endpoints: [\"{}\"]}}\n  rest: {{endpoints: [\"{}\"]}}\n",
        web.address(),
        server.address()
    ));
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test"));
    assert_eq!(Client::connect(way.address()).get("/").text(), "behind tls");
    assert_eq!(proxy.client().get("/").text(), "hello");
}
