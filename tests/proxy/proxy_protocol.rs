//! The PROXY protocol: connections that begin by saying whose they are, in and out, among ourselves and with Envoy.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use crate::equipment::{Client, Envoy, Proxy, Upstream, forwarding, in_listener};

const GET: &str = "GET / HTTP/1.1\r\nhost: tide.test\r\nconnection: close\r\n\r\n";

/// A header of version 2 from 192.0.2.1, port 4000, with more after the addresses.
fn version_2(command: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 7, 0x0f, 0xa0, 1, 0xbb];
    let more = [0x04, 0, 2, b'x', b'y'];
    let length = u8::try_from(addresses.len() + more.len()).expect("it is short");
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x11, 0, length][..], &addresses, &more].concat()
}

fn introduced(upstream: &Upstream) -> Proxy {
    let fields = ["proxy_protocol: true", "limits: {header_timeout: 300ms}"];
    Proxy::start(&in_listener(&forwarding(&[upstream.address()], ""), &fields))
}

/// Whom an upstream took the client of its last request for.
fn last_client(upstream: &Upstream) -> String {
    let last = upstream.requests().pop().expect("there is one");
    last.head.field("x-forwarded-for").expect("it is said").to_owned()
}

#[test]
fn a_connection_is_whose_it_says_it_is() {
    let upstream = Upstream::ok("hello");
    let proxy = introduced(&upstream);
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n".to_vec();
    let line_6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 443\r\n".to_vec();
    for (header, client) in [
        (line, "192.0.2.1"),
        (version_2(1), "192.0.2.1"),
        (line_6, "2001:db8::1"),
        // A check of health speaks for itself.
        (version_2(0), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        // Together, and a byte at a time.
        let whole = [&header[..], GET.as_bytes()].concat();
        let mut together = proxy.client();
        together.send_bytes(&whole);
        assert_eq!(together.response().text(), "hello");
        assert_eq!(last_client(&upstream), client);
        let mut slow = proxy.client();
        whole.iter().for_each(|byte| slow.send_bytes(&[*byte]));
        assert_eq!(slow.response().text(), "hello");
        assert_eq!(last_client(&upstream), client);
    }
}

#[test]
fn who_does_not_say_it_is_closed_and_counted() {
    let upstream = Upstream::ok("hello");
    let proxy = introduced(&upstream);
    for wrong in [GET, "PROXY TCP4 nobody nowhere 1 2\r\n", &"P".repeat(200)] {
        let mut client = proxy.client();
        client.send(wrong);
        assert!(client.try_orderly_rest().unwrap_or_default().is_empty(), "{wrong:?} is not answered");
    }
    // Nor may it take as long as it likes.
    let mut silent = proxy.client();
    silent.send("PROXY ");
    assert_eq!(silent.rest(), "");
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &[("reason", "not_introduced")], 4.0);
    assert!(upstream.requests().is_empty());
}

/// A TCP listener that passes everything on to this address.
fn passing_on(to: SocketAddr, version: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n- {{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: up, send_proxy_protocol: {version}}}\n\
         clusters: {{up: {{endpoints: [\"{to}\"]}}}}\n"
    ))
}

#[test]
fn upstreams_are_told_by_each_version_and_understand() {
    let upstream = Upstream::ok("hello");
    let behind = introduced(&upstream);
    for version in ["v1", "v2"] {
        let before = passing_on(behind.address("in"), version);
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), before.address("in"));
        client.send(GET);
        assert_eq!(client.response().text(), "hello");
        assert_eq!(last_client(&upstream), "127.0.0.9", "{version}");
    }
}

#[test]
fn envoy_understands_what_is_said_and_is_understood() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = Upstream::ok("hello");
    let behind = introduced(&upstream);
    let envoy = envoy(upstream.address(), behind.address("in"));
    for version in ["v1", "v2"] {
        let before = passing_on(envoy.address("http"), version);
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), before.address("in"));
        client.send(GET);
        assert_eq!(client.response().text(), "hello");
        assert_eq!(last_client(&upstream), "127.0.0.9", "to Envoy by {version}");
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, 8), envoy.address(version));
        client.send(GET);
        assert_eq!(client.response().text(), "hello");
        assert_eq!(last_client(&upstream), "127.0.0.8", "from Envoy by {version}");
    }
}

/// An Envoy that expects to be told in `http`, and tells those behind its listeners `v1` and `v2`.
fn envoy(upstream: SocketAddr, behind: SocketAddr) -> Envoy {
    let socket = |at: SocketAddr| json!({"socket_address": {"address": at.ip(), "port_value": at.port()}});
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let cluster = |name: &str, at: SocketAddr| {
        let endpoint = json!({"endpoint": {"address": socket(at)}});
        json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}})
    };
    let telling = |version: &str| {
        let mut cluster = cluster(version, behind);
        cluster["transport_socket"] = json!({"name": "proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": version.to_uppercase()},
            "transport_socket": {"name": "raw", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
            }},
        }});
        cluster
    };
    let tcp = |version: &str| {
        json!({"name": version, "address": socket(any), "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": version, "cluster": version,
        }}]}]})
    };
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": true,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "up"}},
        ]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    });
    let http = json!({
        "name": "http",
        "address": socket(any),
        "listener_filters": [{"name": "proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        }}],
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    });
    let bootstrap = json!({
        "admin": {"address": socket(any)},
        "static_resources": {
            "listeners": [http, tcp("v1"), tcp("v2")],
            "clusters": [cluster("up", upstream), telling("v1"), telling("v2")],
        },
    });
    Envoy::start(tempfile::tempdir().expect("a temporary folder can be made"), &bootstrap)
}
