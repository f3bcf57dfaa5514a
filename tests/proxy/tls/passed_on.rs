//! TLS that is passed on as it is, by the host that its client asks for.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{prepared, tls, with_files};
use crate::equipment::{
    Authority, Backend, Client, Proxy, TlsClient, TlsOptions, TlsServer, Upstream, eventually,
    refusing_address,
};

/// Two servers with TLS of their own, and one without.
struct Servers {
    authority: Authority,
    one: TlsServer,
    two: TlsServer,
    _plain: [Upstream; 2],
}

impl Servers {
    fn start() -> Servers {
        let authority = Authority::new("tide");
        let plain = [Upstream::ok("one"), Upstream::ok("two")];
        let one = TlsServer::before(plain[0].address(), &authority.issue(&["one.test"]), &[]);
        let two = TlsServer::before(plain[1].address(), &authority.issue(&["*.two.test", "two.test"]), &[]);
        Servers { authority, one, two, _plain: plain }
    }

    fn clusters(&self, other: SocketAddr) -> String {
        let (one, two) = (self.one.address(), self.two.address());
        format!(
            "clusters:\n  one: {{endpoints: [\"{one}\"]}}\n  two: {{endpoints: [\"{two}\"]}}\n  other: {{endpoints: [\"{other}\"]}}\n"
        )
    }

    fn ask(&self, proxy: &Proxy, name: &str) -> Option<String> {
        let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&self.authority, name));
        let mut client = Client::connect(way.address());
        client.send("GET / HTTP/1.1\r\nhost: tide.test\r\nconnection: close\r\n\r\n");
        client.try_response_to("GET").ok().flatten().map(|response| response.text())
    }
}

#[test]
fn a_connection_goes_to_the_cluster_of_its_host_and_nobody_reads_it() {
    let (servers, other) = (Servers::start(), Backend::start());
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  access_log: true\n  cluster: other\n  \
         server_names: {{one.test: one, \"*.two.test\": two}}\n{}",
        servers.clusters(other.address())
    );
    let proxy = Proxy::start(&config);
    assert_eq!(servers.ask(&proxy, "one.test").as_deref(), Some("one"));
    assert_eq!(servers.ask(&proxy, "ONE.test").as_deref(), Some("one"));
    assert_eq!(servers.ask(&proxy, "a.two.test").as_deref(), Some("two"));
    assert_eq!(servers.one.shaken()[0].as_ref().unwrap().name, "one.test", "it has the handshake whole");
    // What is no TLS, and what asks for another host or for none, goes to the rest.
    let mut client = proxy.client();
    client.send("anything");
    assert_eq!(other.accept().exactly(8), "anything");
    for name in ["three.test", "two.test", "127.0.0.1"] {
        let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&servers.authority, name));
        let _client = Client::connect(way.address());
        assert_eq!(other.accept().exactly(2), "\u{16}\u{3}", "{name}: its handshake, as it is");
    }
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["cluster"], &line["protocol"]), (&"one".into(), &"TCP".into()), "{line}");
    assert_eq!((&line["server_name"], &line["tls_version"]), (&"one.test".into(), &Value::Null), "{line}");
}

#[test]
fn without_a_cluster_for_the_rest_they_are_closed() {
    let servers = Servers::start();
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  server_names: {{one.test: one}}\n{}",
        servers.clusters(refusing_address().0)
    );
    let proxy = Proxy::start(&config);
    assert_eq!(servers.ask(&proxy, "one.test").as_deref(), Some("one"));
    assert_eq!(servers.ask(&proxy, "two.test"), None);
    let mut plain = proxy.client();
    plain.send("GET / HTTP/1.1\r\n\r\n");
    plain.expect_end();
    let labels = [("reason", "no_route")];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, 2.0);
}

#[test]
fn some_hosts_are_passed_on_and_the_others_end_here() {
    let servers = Servers::start();
    let (own, other) = (servers.authority.issue(&["own.test"]), Upstream::ok("other"));
    let fields = [&*tls(&["own"], ""), "server_names: {one.test: one}"];
    let start = prepared(other.address(), &fields, &[("own", &own)]);
    let one = format!("  one: {{endpoints: [\"{}\"]}}\n", servers.one.address());
    let proxy = start.and(&one).start();
    assert_eq!(servers.ask(&proxy, "one.test").as_deref(), Some("one"));
    assert_eq!(servers.ask(&proxy, "own.test").as_deref(), Some("other"), "by a route, over HTTP");
    let seen = other.requests().remove(0);
    assert_eq!(seen.head.field("x-forwarded-proto"), Some("https"));
    assert_eq!(proxy.client().get("/").status(), 400, "plain HTTP is not spoken");
}

#[test]
fn a_first_message_may_come_bit_by_bit() {
    let servers = Servers::start();
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  server_names: {{one.test: one}}\n{}",
        servers.clusters(refusing_address().0)
    );
    let proxy = Proxy::start(&config);
    // Between the client and the proxy there is one who passes on byte by byte.
    let slow = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let (at, to) = (slow.local_addr().expect("it is bound"), proxy.address("in"));
    std::thread::spawn(move || {
        let (client, _) = slow.accept().expect("it connects");
        let server = TcpStream::connect(to).expect("it listens");
        server.set_nodelay(true).expect("a socket takes its options");
        let (mut back, mut forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut forth, &mut back));
        for byte in std::io::Read::bytes(client) {
            if (&server).write_all(&[byte.expect("it goes on")]).is_err() {
                return;
            }
        }
        let _ = server.shutdown(std::net::Shutdown::Write);
    });
    let way = TlsClient::to(at, &TlsOptions::new(&servers.authority, "one.test"));
    assert_eq!(Client::connect(way.address()).get("/").text(), "one");
}

#[test]
fn tls_ends_before_tcp_goes_on_and_filters_see_what_was_said() {
    use crate::equipment::{Buffer, Guest, On, Step};
    let backend = Backend::start();
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    let config = format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  access_log: true\n  cluster: up\n  {}\n  filters: [see]\n\
         filters:\n  see: {{module: ./see.wasm}}\nclusters:\n  up: {{endpoints: [\"{}\"]}}\n",
        tls(&["a"], ""),
        backend.address()
    );
    let seeing = Guest::new().on(On::DownstreamData, [Step::GetBuffer(Buffer::DownstreamData, 0, 100)]);
    let start = with_files(Proxy::with(&config), &[("a", &issued)]).file("see.wasm", seeing.build());
    let proxy = start.log_guests_fully().start();
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test"));
    let mut client = Client::connect(way.address());
    let mut upstream = backend.accept();
    client.send("in clear text");
    assert_eq!(upstream.exactly(13), "in clear text");
    eventually("the filter to have seen it", || {
        proxy.guest_log().iter().any(|(_, line)| line.contains("in clear text")).then_some(())
    });
    upstream.send("answered");
    assert_eq!(client.exactly(8), "answered");
    client.half_close();
    upstream.expect_orderly_end();
    upstream.send("last words");
    upstream.half_close();
    assert_eq!(client.rest(), "last words", "each side ends on its own");
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["tls_version"], &line["outcome"]), (&"TLSv1.3".into(), &"ok".into()), "{line}");
}
