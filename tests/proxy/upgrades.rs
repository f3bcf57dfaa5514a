//! Upgraded connections are tunnels: bytes pass both ways until either side ends.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::equipment::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, frame,
};
use crate::equipment::{
    Act, Answer, Client, GrpcAct, GrpcService, Proxy, Upstream, eventually, forwarding, in_listener,
};

pub(super) const ASK: &str = "GET /chat HTTP/1.1\r\nhost: tide.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

pub(super) fn echo() -> Upstream {
    Upstream::start(|head| {
        assert!(head.lists("connection", "upgrade"), "the upgrade is passed on: {head:?}");
        let fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("keep-alive", "timeout=5")];
        Answer::default().head(101, &fields).act(Act::Echo)
    })
}

fn upgraded(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
    client
}

/// The socket of an upgraded connection.
fn raw_tunnel(proxy: &Proxy) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address("in")).expect("it listens");
    client.write_all(ASK.as_bytes()).expect("it listens");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("it answers");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client
}

#[test]
fn bytes_pass_both_ways_after_an_upgrade() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = upgraded(&proxy);
    for round in 0..10 {
        let message = format!("\u{81}\u{5}message {round} of any bytes \0\r\n\r\n");
        client.send(&message);
        assert_eq!(client.exactly(message.chars().count()), message);
    }
    assert_eq!(upstream.requests()[0].head.field("upgrade"), Some("websocket"));
    client.half_close();
    assert_eq!(client.rest(), "");
}

#[test]
fn bytes_that_follow_the_request_at_once_reach_the_tunnel() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(&format!("{ASK}early bytes"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(11), "early bytes");
    client.leave();
}

#[test]
fn a_tunnel_ends_when_either_side_leaves() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let client = upgraded(&proxy);
    client.reset();
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
    let ending = Upstream::start(|_| {
        let answer = Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        answer.send("bye").act(Act::Close)
    });
    let proxy = Proxy::forwarding_to(&[ending.address()]);
    let mut client = upgraded(&proxy);
    assert_eq!(client.rest(), "bye");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::start(|head| match head.field("upgrade") {
        Some(_) => Answer::sized(403, &[], "no"),
        None => Answer::ok("plain"),
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    client.send(ASK);
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
    assert_eq!(client.get("/").text(), "plain", "and the connection goes on");
}

#[test]
fn a_101_that_nobody_asked_for_is_a_fault_of_the_upstream() {
    let upstream = Upstream::start(|head| {
        let protocol = if head.line.contains("/chat") { "other" } else { "websocket" };
        let fields = [("connection", "upgrade"), ("upgrade", protocol)];
        Answer::default().read_body().head(101, &fields).act(Act::AwaitEnd)
    });
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    assert_eq!(proxy.client().get("/").status(), 502);
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().status(), 502, "it was asked for another");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upstream_malformed")], 2.0);
}

#[test]
fn a_protocol_that_is_not_listed_is_not_asked_for() {
    let upstream = Upstream::start(|head| match head.field("upgrade") {
        Some(protocol) => {
            Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", protocol)]).act(Act::Echo)
        }
        None => Answer::ok("plain"),
    });
    let config = forwarding(&[upstream.address()], "");
    let listed = Proxy::start(&in_listener(&config, &["upgrades: [websocket, XMPP/2]"]));
    let usual = Proxy::start(&config);
    let none = Proxy::start(&in_listener(&config, &["upgrades: []"]));
    let ask = |protocol: &str| ASK.replace("upgrade: websocket", &format!("upgrade: {protocol}"));
    for (proxy, protocol, status) in [
        (&usual, "websocket", 101),
        (&usual, "WebSocket", 101),
        (&usual, "xmpp/2", 200),
        (&usual, "TLS/1.2", 200),
        (&usual, "websocket, xmpp/2", 200),
        (&none, "websocket", 200),
        (&listed, "websocket", 101),
        (&listed, "xmpp/2", 101),
        (&listed, "xmpp", 200),
    ] {
        let mut client = proxy.client();
        client.send(&ask(protocol));
        assert_eq!(client.head().status(), status, "{protocol}");
    }
    let (_, refused) = upgraded_stream(&none);
    assert_eq!(refused, 501, "there is no other way to serve a CONNECT (RFC 9220, 3)");
}

#[test]
fn an_open_tunnel_counts_as_under_way_and_is_logged_once() {
    let upstream = echo();
    let config = forwarding(&[upstream.address()], "");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = upgraded(&proxy);
    proxy.wait_for_metric("tidegate_active_requests", &[], 1.0);
    proxy.wait_for_metric("tidegate_upstream_active_requests", &[], 1.0);
    client.send("ping");
    assert_eq!(client.exactly(4), "ping");
    assert!(proxy.access_log().is_empty());
    client.leave();
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["status"], &line["outcome"]), (&101.into(), &"ok".into()), "{line}");
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&4.into(), &4.into()), "{line}");
    proxy.wait_for_metric("tidegate_requests_total", &[("code_class", "1xx")], 1.0);
}

#[test]
fn a_drain_waits_for_an_open_tunnel() {
    let upstream = echo();
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = upgraded(&proxy);
    let mut idle = proxy.client();
    proxy.terminate();
    idle.expect_end(); // those that carry nothing are closed
    client.send("still here");
    assert_eq!(client.exactly(10), "still here");
    client.half_close();
    assert_eq!(client.rest(), "");
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_tunnel_counts_as_one_of_its_listeners_connections() {
    let upstream = echo();
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["limits: {connections: 1}"]);
    let proxy = Proxy::with(&config).workers(1).start();
    let client = upgraded(&proxy);
    let listener = [("listener", "in")];
    proxy.wait_for_metric("tidegate_downstream_active_connections", &listener, 1.0);
    proxy.client().expect_end(); // there is room for one
    proxy.wait_for_metric("tidegate_downstream_refused_connections_total", &listener, 1.0);
    client.leave();
    proxy.wait_for_metric("tidegate_downstream_active_connections", &listener, 0.0);
    upgraded(&proxy).leave();
}

#[test]
fn a_listener_that_is_taken_away_ends_its_tunnels_when_its_time_is_over() {
    let upstream = echo();
    let first = format!("drain_timeout: 200ms\n{}", forwarding(&[upstream.address()], ""));
    let first = in_listener(&first, &["access_log: true"]);
    let mut proxy = Proxy::start(&first);
    let mut client = upgraded(&proxy);
    client.send("still here");
    assert_eq!(client.exactly(10), "still here");
    assert!(proxy.change(&first.replace("name: in", "name: out").replace("127.0.0.1:0", "127.0.0.2:0")));
    client.expect_end();
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["outcome"], &line["request_bytes"]), (&"draining".into(), &10.into()), "{line}");
}

#[test]
fn a_tunnel_ends_that_carries_nothing_for_as_long_as_its_route_allows() {
    let upstream = echo();
    let config = forwarding(&[upstream.address()], "idle_timeout: 200ms");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let (mut client, (mut stream, _)) = (upgraded(&proxy), upgraded_stream(&proxy));
    client.send("ping");
    assert_eq!(client.exactly(4), "ping");
    client.expect_end();
    stream.wait_for(|it| it.kind == RST_STREAM).expect("it is reset");
    for line in proxy.wait_for_access_log(2) {
        assert_eq!(line["outcome"], "connection_idle", "{line}");
    }
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
}

#[test]
fn a_tunnel_whose_request_is_never_whole_ends_as_one_that_carries_nothing() {
    let upstream = echo();
    let config = forwarding(&[upstream.address()], "idle_timeout: 200ms");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = proxy.client();
    client.send(&ASK.replace("\r\n\r\n", "\r\ncontent-length: 3\r\n\r\n"));
    assert_eq!(client.head().status(), 101);
    client.expect_end();
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!(line["outcome"], "connection_idle", "{line}");
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
}

#[test]
fn a_tunnel_lasts_no_longer_than_its_route_lets_an_exchange_last() {
    let upstream = echo();
    let config = forwarding(&[upstream.address()], "max_duration: 1s");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = upgraded(&proxy);
    client.expect_end();
    assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "duration_exceeded");
}

#[test]
fn what_a_tunnel_carried_is_counted_however_it_ends() {
    let upstream = echo();
    let config = forwarding(&[upstream.address()], "");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = upgraded(&proxy);
    client.send("ping");
    assert_eq!(client.exactly(4), "ping");
    client.reset();
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&4.into(), &4.into()), "{line}");
}

#[test]
fn a_tunnel_carries_more_than_its_ends_take_at_once() {
    const BYTES: usize = 8 << 20;
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = raw_tunnel(&proxy);
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let (bytes, mut received) = (&bytes, vec![0; BYTES]);
    std::thread::scope(|scope| {
        let mut sender = client.try_clone().expect("there is a descriptor");
        scope.spawn(move || sender.write_all(bytes).expect("it is taken"));
        client.read_exact(&mut received).expect("it comes back");
    });
    assert!(received == *bytes, "every byte comes back in its order");
}

#[test]
#[cfg(target_os = "linux")]
fn the_kernel_finds_out_about_peers_that_are_gone_without_a_word() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let client = raw_tunnel(&proxy);
    // Local address, remote address, state (01 is established), queues, then the timer that runs: 02 is keepalive.
    let is_kept_alive = |own: &dyn Fn(&str, &str) -> bool| {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux shows its sockets");
        sockets.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, "01", _, timer, ..] = fields[..] else { return false };
            let port = |address: &str| address.split_once(':').map(|(_, port)| port.to_owned());
            port(local).zip(port(remote)).is_some_and(|(local, remote)| own(&local, &remote))
                && timer.starts_with("02:")
        })
    };
    let port = |port: u16| format!("{port:04X}");
    let (ours, theirs) =
        (port(proxy.address("in").port()), port(client.local_addr().expect("it has one").port()));
    // Until what was sent is acknowledged another timer runs.
    let to_client = |local: &str, remote: &str| local == ours && remote == theirs;
    eventually("keepalive to the client", || is_kept_alive(&to_client).then_some(()));
    let up = port(upstream.address().port());
    eventually("keepalive to the upstream", || is_kept_alive(&|_, remote| remote == up).then_some(()));
}

/// Opens a stream for a WebSocket (RFC 8441), and waits for the answer's status.
pub(super) fn upgraded_stream(proxy: &Proxy) -> (Frames, u16) {
    let mut client = Frames::dial(proxy.address("in"));
    client.send(frames::PREFACE).expect("it listens");
    client.send(&frame(SETTINGS, 0, 0, &[])).expect("it listens");
    let settings = client.wait_for(|it| it.kind == SETTINGS).expect("it speaks HTTP/2");
    assert!(
        settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]),
        "it may be asked: {settings:?}"
    );
    let pseudo =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let fields =
        [(":authority", "tide.test"), ("sec-websocket-version", "13"), ("origin", "http://tide.test")];
    let ask = frames::block(&[&pseudo[..], &fields].concat());
    client.send(&frame(HEADERS, END_HEADERS, 1, &ask)).expect("it listens");
    let answer = client.wait_for(|it| it.kind == HEADERS).expect("it answers");
    (client, answer.status())
}

#[test]
fn a_success_that_is_no_agreement_is_not_told_to_a_client_over_http2() {
    let upstream = Upstream::ok("a page");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let (_client, status) = upgraded_stream(&proxy);
    assert_eq!(status, 502, "RFC 8441, 4: it would take 200 for a tunnel");
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "upgrade_failed")], 1.0);
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().text(), "a page", "over HTTP/1.1 it is told apart");
}

#[test]
fn a_websocket_over_http2_is_a_stream_and_its_upstream_speaks_http1() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let (mut client, status) = upgraded_stream(&proxy);
    assert_eq!(status, 200);
    for message in ["one", "two"] {
        client.send(&frame(DATA, 0, 1, message.as_bytes())).expect("it listens");
        let echoed = client.wait_for(|it| it.kind == DATA).expect("it is there");
        assert_eq!(echoed.payload, message.as_bytes());
    }
    let asked = upstream.requests().remove(0).head;
    assert_eq!((&*asked.line, asked.field("upgrade")), ("GET /chat HTTP/1.1", Some("websocket")));
    assert_eq!((asked.field("host"), asked.field("sec-websocket-version")), (Some("tide.test"), Some("13")));
    let key = asked.field("sec-websocket-key").expect("HTTP/1.1 wants one");
    assert_eq!(key.len(), 24, "sixteen bytes: {key}");
    // Another request goes on beside it.
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &frames::get(&[("x-other", "1")])))
        .expect("it listens");
    client.wait_for(|it| it.kind == HEADERS && it.stream == 3).expect("it answers");
    client.send(&frame(DATA, END_STREAM, 1, b"")).expect("it listens");
    client.wait_for(|it| it.kind == DATA && it.stream == 1 && it.flags & END_STREAM != 0).expect("it ends");
    proxy.wait_for_metric("tidegate_active_requests", &[], 0.0);
}

#[test]
fn a_websocket_over_http2_that_is_taken_back_ends_its_upstreams_connection() {
    let upstream = echo();
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let (mut client, _) = upgraded_stream(&proxy);
    client.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).expect("it listens");
    eventually("the upstream to be told", || (upstream.open_connections() == 0).then_some(()));
    proxy.wait_for_metric("tidegate_active_requests", &[], 0.0);
    // And the other way round.
    let ending = Upstream::start(|_| {
        let answer = Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        answer.send("bye").act(Act::Close)
    });
    let proxy = Proxy::forwarding_to(&[ending.address()]);
    let (mut client, _) = upgraded_stream(&proxy);
    assert_eq!(client.wait_for(|it| it.kind == DATA).expect("it is sent").payload, b"bye");
    client.wait_for(|it| it.kind == DATA && it.flags & END_STREAM != 0).expect("it ends");
}

#[test]
fn a_websocket_over_http2_that_is_refused_is_an_ordinary_answer() {
    let upstream = Upstream::start(|_| Answer::sized(403, &[], "no"));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let (mut client, status) = upgraded_stream(&proxy);
    assert_eq!(status, 403);
    assert_eq!(client.wait_for(|it| it.kind == DATA).expect("it has a body").payload, b"no");
}

#[test]
fn an_upgrade_is_not_asked_of_an_endpoint_that_speaks_http2() {
    let service = GrpcService::start(|_| vec![GrpcAct::Head(vec![])]);
    let config = forwarding(&[service.address()], "").replace("endpoints:", "protocol: http2, endpoints:");
    let proxy = Proxy::start(&in_listener(&config, &["access_log: true"]));
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().status(), 502);
    assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "upgrade_failed");
    assert!(service.rpcs().is_empty());
}

#[test]
fn a_websocket_over_http2_smuggles_no_request() {
    let upstream = Upstream::start(|_| Answer::sized(403, &[], "no"));
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = Frames::open(proxy.address("in"));
    let pseudo =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let ask =
        frames::block(&[&pseudo[..], &[(":authority", "tide.test"), ("content-length", "300")]].concat());
    client.send(&frame(HEADERS, END_HEADERS, 1, &ask)).expect("it listens");
    assert_eq!(client.wait_for(|it| it.kind == HEADERS).expect("it answers").status(), 403);
    assert_eq!(upstream.requests()[0].head.field("content-length"), None);
    assert_eq!(proxy.client().get("/").status(), 403, "the upstream takes nobody's request for that body");
}

#[test]
fn http2_in_the_place_of_http1_is_not_passed_on() {
    let upstream = Upstream::ok("hello");
    let proxy = Proxy::forwarding_to(&[upstream.address()]);
    let mut client = proxy.client();
    for protocol in ["h2c", "websocket, H2C"] {
        client.send(&format!(
            "GET / HTTP/1.1\r\nhost: tide.test\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\
             http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "hello");
        let head = upstream.requests().pop().expect("it is there").head;
        assert_eq!((head.field("upgrade"), head.field("http2-settings")), (None, None), "{protocol}");
    }
}

#[test]
fn a_tunnel_is_one_of_the_connections_that_its_cluster_may_have() {
    let upstream = Upstream::start(|head| match head.field("upgrade") {
        Some(protocol) => {
            Answer::default().head(101, &[("connection", "upgrade"), ("upgrade", protocol)]).act(Act::Echo)
        }
        None => Answer::ok("plain"),
    });
    let config = forwarding(&[upstream.address()], "");
    let config =
        config.replace("endpoints:", "breakers: {connections_per_endpoint: 1, pending: 1}, endpoints:");
    let proxy = Proxy::start(&config);
    let mut client = upgraded(&proxy);
    client.send("ping");
    assert_eq!(client.exactly(4), "ping");
    let of_cluster = [("cluster", "up")];
    proxy.wait_for_metric("tidegate_upstream_active_connections", &of_cluster, 1.0);
    // Of two, one waits for it to end and the other is refused, which says that it does.
    let mut others = [proxy.client(), proxy.client()];
    others.iter_mut().for_each(|other| other.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n"));
    let of_waits = [("cluster", "up"), ("limit", "pending")];
    proxy.wait_for_metric("tidegate_upstream_overflows_total", &of_waits, 1.0);
    assert_eq!(upstream.connections(), 1);
    client.half_close();
    assert_eq!(client.rest(), "");
    let mut statuses = others.each_mut().map(|other| other.response().status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    proxy.wait_for_metric("tidegate_upstream_connections_total", &of_cluster, 2.0);
}
