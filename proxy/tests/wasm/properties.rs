//! Properties in Envoy's encodings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate::wasm::stream::{Certificate, Direction, StreamRef, Tls};

use crate::bench::{Bench, ROOT, get, respond};
use crate::guest::{Dump, Guest, OUT, read_pairs};

/// Asks for properties in `proxy_on_log` of an exchange that this prepares; the answer is `None` for `NotFound`.
fn properties<const N: usize>(paths: [&str; N], prepare: impl FnOnce(&StreamRef)) -> [Option<Vec<u8>>; N] {
    let mut guest = Guest::new();
    let out = |i: usize| OUT + 8 * i as i64;
    let mut i = 0;
    let slots = paths.map(|path| {
        let path = guest.text(path.replace('.', "\0").replace("~", "."));
        i += 1;
        guest.call("proxy_on_log", "proxy_get_property", &[path.0, path.1, out(i), out(i) + 4])
    });
    let stream = get("/a/b?c=d");
    prepare(&stream);
    let mut vm = Bench::new().start(&guest);
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.close(context).expect("nothing fails");
    let dump = Dump::of(&stream);
    let mut i = 0;
    slots.map(|slot| {
        i += 1;
        match dump.status(slot) {
            0 => Some(dump.value(out(i)).to_vec()),
            1 => None,
            other => panic!("status {other}"),
        }
    })
}

fn text(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn number(number: u64) -> Option<Vec<u8>> {
    Some(number.to_le_bytes().to_vec())
}

#[test]
fn a_requests_properties_have_envoys_bytes() {
    let found = properties(
        [
            "request.path",
            "request.url_path",
            "request.query",
            "request.host",
            "request.scheme",
            "request.method",
            "request.protocol",
            "request.time",
            "request.duration",
            "request.size",
            "request.total_size",
            "request.id",
            "request.headers.x-twice",
            "request.headers.:path",
            "request.referer",
            "request.nothing",
        ],
        |stream| stream.borrow_mut().info.duration = Some(Duration::from_micros(3)),
    );
    let expected = [
        text("/a/b?c=d"),
        text("/a/b"),
        text("c=d"),
        text("example.com"),
        text("http"),
        text("GET"),
        text("HTTP/1.1"),
        number(5_000_000_007),
        number(3000),
        number(3),
        number(3 + 82),
        None,
        text("one,two"),
        text("/a/b?c=d"),
        None,
        None,
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_requests_headers_are_a_map_in_which_a_name_comes_once() {
    let [map] = properties(["request.headers"], |_| {});
    let map = read_pairs(&map.expect("there is one"));
    assert_eq!(map[0], (":authority".to_owned(), "example.com".to_owned()));
    assert_eq!(map[4], ("x-twice".to_owned(), "one,two".to_owned()));
    assert_eq!(map.len(), 6);
}

#[test]
fn a_responses_properties_are_there_once_it_is() {
    let paths = [
        "response.code",
        "response.size",
        "response.headers.x-r",
        "response.grpc_status",
        "response.flags",
        "response.code_details",
        "response.trailers",
    ];
    let before = properties(paths, |_| {});
    assert_eq!(
        before,
        [None, number(4), None, None, number(0), None, None],
        "sizes and flags are always there"
    );
    let found = properties(paths, |stream| {
        respond(stream, 503, &[("x-r", "v"), ("grpc-status", "14")]);
        stream.borrow_mut().info.code_details = Some("via_upstream".into());
    });
    let expected = [number(503), number(4), text("v"), number(14), number(0), text("via_upstream"), None];
    assert_eq!(found, expected);
}

#[test]
fn addresses_are_texts_and_ports_numbers() {
    let found = properties(
        [
            "source.address",
            "source.port",
            "destination.address",
            "destination.port",
            "connection.id",
            "connection_id",
            "connection.mtls",
            "connection.requested_server_name",
            "connection.tls_version",
            "upstream.address",
            "upstream.port",
        ],
        |stream| stream.borrow_mut().info.upstream = Some(SocketAddr::from(([10, 0, 0, 9], 9000)).into()),
    );
    let expected = [
        text("10.0.0.1:4321"),
        number(4321),
        text("127.0.0.1:80"),
        number(80),
        number(99),
        number(99),
        Some(vec![0]),
        text(""),
        None,
        text("10.0.0.9:9000"),
        number(9000),
    ];
    assert_eq!(found, expected);
    assert_eq!(properties(["upstream.address"], |_| {}), [None]);
}

#[test]
fn surroundings_have_their_new_and_their_old_names() {
    let found = properties(
        [
            "xds.cluster_name",
            "cluster_name",
            "xds.route_name",
            "route_name",
            "xds.listener_direction",
            "listener_direction",
            "plugin_name",
            "plugin_root_id",
            "plugin_vm_id",
            "plugin_vm_memory",
            "",
            "xds",
        ],
        |_| {},
    );
    let expected = [
        text("the-cluster"),
        text("the-cluster"),
        text("the-route"),
        text("the-route"),
        number(1),
        number(1),
        text("tested"),
        text("the-root"),
        text("the-vm"),
        number(2 << 16),
        None,
        None,
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_a_guest_stores_it_finds_again_under_each_of_envoys_names() {
    let on = "proxy_on_request_headers";
    let mut guest = Guest::new();
    let (path, value) = (guest.text("my\0path"), guest.text("stored"));
    let set = guest.call(on, "proxy_set_property", &[path.0, path.1, value.0, value.1]);
    for (i, name) in ["my\0path", "wasm.my\0path", "filter_state\0wasm.my\0path"].iter().enumerate() {
        let name = guest.text(name);
        let out = OUT + 8 * i as i64;
        guest.call(on, "proxy_get_property", &[name.0, name.1, out, out + 4]);
    }
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.status(set), 0);
    for i in 0..3 {
        assert_eq!(dump.value(OUT + 8 * i), b"stored");
    }
    assert_eq!(stream.borrow().properties[&b"my\0path"[..]], "stored");
}

#[test]
fn without_a_stream_properties_are_kept_on_the_root() {
    let mut guest = Guest::new();
    let (path, value) = (guest.text("mine"), guest.text("stored"));
    let slots = [
        guest.call("proxy_on_configure", "proxy_set_property", &[path.0, path.1, value.0, value.1]),
        guest.call("proxy_on_configure", "proxy_get_property", &[path.0, path.1, OUT, OUT + 4]),
        guest.call("proxy_on_request_headers", "proxy_get_property", &[path.0, path.1, OUT + 8, OUT + 12]),
    ];
    let name = guest.text("plugin_name");
    guest.call("proxy_on_configure", "proxy_get_property", &[name.0, name.1, OUT + 16, OUT + 20]);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 1]);
    assert_eq!((dump.value(OUT), dump.value(OUT + 16)), (&b"stored"[..], &b"tested"[..]));
}

#[test]
fn a_guest_cannot_store_without_end() {
    let on = "proxy_on_request_headers";
    let mut guest = Guest::new();
    let path = guest.text("0123");
    let large = guest.call(on, "proxy_set_property", &[path.0, path.1, 0, 0x1_fff0]);
    let again = guest.call(on, "proxy_set_property", &[path.0, path.1, 0, 0x1_fff0]);
    let other = guest.call(on, "proxy_set_property", &[path.0, 3, 0, 0x1_fff0]);
    let third = guest.call(on, "proxy_set_property", &[path.0, 2, 0, 0x1_fff0]);
    guest.call(on, "proxy_set_property", &[path.0, path.1, 0, 0]);
    let stream = get("/");
    let mut vm = Bench::new().start(&guest);
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([large, again, other, third]), [0, 0, 0, 10]);
}

#[test]
fn an_encrypted_connection_says_who_is_at_its_ends() {
    let paths = [
        "connection.mtls",
        "connection.requested_server_name",
        "connection.tls_version",
        "connection.subject_peer_certificate",
        "connection.uri_san_peer_certificate",
        "connection.dns_san_peer_certificate",
        "connection.sha256_peer_certificate_digest",
        "connection.subject_local_certificate",
        "connection.uri_san_local_certificate",
        "connection.dns_san_local_certificate",
    ];
    let plain = properties(paths, |_| {});
    let mut expected = [const { None }; 10];
    (expected[0], expected[1]) = (Some(vec![0]), text(""));
    assert_eq!(plain, expected);

    let encrypted = properties(paths, |stream| {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let peer = Certificate {
            subject: "CN=ann".to_owned(),
            uri_sans: names(&["spiffe://t/ann", "spiffe://t/other"]),
            dns_sans: Vec::new(),
            sha256: "00ff".to_owned(),
        };
        let local = Certificate { dns_sans: names(&["a.test", "b.test"]), ..Certificate::default() };
        let version = "TLSv1.3".to_owned();
        let tls = Tls { version, server_name: "a.test".to_owned(), peer: Some(peer), local: Some(local) };
        stream.borrow_mut().info.tls = Some(Arc::new(tls));
    });
    let expected = [
        Some(vec![1]),
        text("a.test"),
        text("TLSv1.3"),
        text("CN=ann"),
        text("spiffe://t/ann"),
        None,
        text("00ff"),
        text(""),
        None,
        text("a.test"),
    ];
    assert_eq!(encrypted, expected);
}
