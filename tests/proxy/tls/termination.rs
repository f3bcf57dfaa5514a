//! TLS with clients.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, SystemTime};

use rustls::ProtocolVersion;

use super::{prepared, tls};
use crate::equipment::{
    Authority, BOUND, Client, Guest, Http2Client, Issued, On, Proxy, Step, TlsClient, TlsOptions, Upstream,
    eventually, message,
};

/// What is needed for a proxy that ends TLS: an authority, and a certificate of it for `a.test`.
fn certified() -> (Authority, Issued) {
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    (authority, issued)
}

fn wait_for_error(proxy: &Proxy, reason: &str, count: f64) {
    let labels = [("listener", "in"), ("reason", reason)];
    proxy.wait_for_metric("tidegate_downstream_protocol_errors_total", &labels, count);
}

#[test]
fn a_request_comes_in_by_tls_and_the_upstream_is_told_so() {
    let upstream = Upstream::ok("hello");
    let (authority, issued) = certified();
    let proxy = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]).start();
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test"));
    let mut client = Client::connect(way.address());
    assert_eq!(client.get("/one").text(), "hello");
    assert_eq!(client.get("/two").text(), "hello", "the connection is kept");
    let request = upstream.requests().remove(0);
    assert_eq!(request.head.field("x-forwarded-proto"), Some("https"));
    let shaken = way.shaken().remove(0).expect("the handshake goes well");
    assert_eq!((shaken.version, shaken.alpn), (ProtocolVersion::TLSv1_3, None));
    let line = proxy.wait_for_access_log(1).remove(0);
    assert_eq!((&line["tls_version"], &line["server_name"]), (&"TLSv1.3".into(), &"a.test".into()), "{line}");
    let labels = [("listener", "in"), ("version", "TLSv1.3"), ("resumed", "false")];
    proxy.wait_for_metric("tidegate_downstream_tls_handshakes_total", &labels, 1.0);
}

#[test]
fn both_sides_agree_on_a_version_of_http() {
    let upstream = Upstream::ok("hello");
    let (authority, issued) = certified();
    let proxy = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]).start();
    for (offered, agreed, protocol) in [
        (&["h2", "http/1.1"][..], Some("h2"), "HTTP/2"),
        (&["http/1.1"], Some("http/1.1"), "HTTP/1.1"),
        // Nothing is offered: the first bytes say.
        (&[], None, "HTTP/1.1"),
        (&[], None, "HTTP/2"),
    ] {
        let options = TlsOptions::new(&authority, "a.test").alpn(offered);
        let way = TlsClient::to(proxy.address("in"), &options);
        let before = proxy.access_log().len();
        if protocol == "HTTP/2" {
            assert_eq!(Http2Client::connect(way.address()).get("/").text(), "hello");
        } else {
            assert_eq!(Client::connect(way.address()).get("/").text(), "hello");
        }
        let shaken = way.shaken().remove(0).expect("the handshake goes well");
        assert_eq!(shaken.alpn.as_deref(), agreed);
        assert_eq!(proxy.wait_for_access_log(before + 1)[before]["protocol"], protocol);
    }
}

#[test]
fn who_speaks_none_of_the_protocols_is_refused() {
    let (authority, issued) = certified();
    let upstream = Upstream::ok("hello");
    let proxy = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]).start();
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test").alpn(&["acme"]));
    Client::connect(way.address()).expect_end();
    assert!(
        way.shaken()[0].as_ref().is_err_and(|error| error.contains("NoApplicationProtocol")),
        "{:?}",
        way.shaken()
    );
    wait_for_error(&proxy, "tls_incompatible", 1.0);
}

#[test]
fn the_certificate_is_that_of_the_host_that_is_asked_for() {
    let authority = Authority::new("tide");
    let first = authority.issue(&["first.test"]);
    let exact = authority.issue(&["a.example.com", "b.example.com"]);
    let wild = authority.issue(&["*.example.com"]);
    let upstream = Upstream::ok("hello");
    let proxy = prepared(
        upstream.address(),
        &[&tls(&["first", "exact", "wild"], "")],
        &[("first", &first), ("exact", &exact), ("wild", &wild)],
    )
    .start();
    for (asked, shown) in [
        ("a.example.com", "a.example.com"),
        ("B.example.com", "a.example.com"),
        ("c.example.com", "*.example.com"),
        ("a.b.example.com", "first.test"),
        ("example.com", "first.test"),
        ("first.test", "first.test"),
        ("127.0.0.1", "first.test"),
    ] {
        let (seen, _) = shown_to(&proxy, asked);
        assert_eq!(seen, shown, "for {asked}");
    }
}

/// The first host of the certificate that OpenSSL is shown who asks for this one.
fn shown_to(proxy: &Proxy, asked: &str) -> (String, String) {
    let address = proxy.address("in").to_string();
    let mut command = std::process::Command::new("openssl");
    command.args(["s_client", "-connect", &address]);
    match asked.parse::<std::net::IpAddr>() {
        Ok(_) => command.arg("-noservername"),
        Err(_) => command.args(["-servername", asked]),
    };
    let output = command.stdin(std::process::Stdio::null()).output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default();
    (subject.trim().trim_start_matches("CN").trim_start_matches([' ', '=']).to_owned(), said)
}

#[test]
fn versions_below_the_lowest_are_refused() {
    let (authority, issued) = certified();
    let upstream = Upstream::ok("hello");
    for (lowest, is_taken) in [("1.2", true), ("1.3", false)] {
        let field = tls(&["a"], &format!("min_version: {lowest}"));
        let proxy = prepared(upstream.address(), &[&field], &[("a", &issued)]).start();
        let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&authority, "a.test").version_1_2());
        let mut client = Client::connect(way.address());
        if is_taken {
            assert_eq!(client.get("/").text(), "hello");
            assert_eq!(proxy.wait_for_access_log(1)[0]["tls_version"], "TLSv1.2");
        } else {
            client.expect_end();
            wait_for_error(&proxy, "tls_incompatible", 1.0);
        }
    }
}

#[test]
fn a_client_that_does_not_believe_the_certificate_is_counted() {
    let (_, issued) = certified();
    let upstream = Upstream::ok("hello");
    let proxy = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]).start();
    let way = TlsClient::to(proxy.address("in"), &TlsOptions::new(&Authority::new("other"), "a.test"));
    Client::connect(way.address()).expect_end();
    wait_for_error(&proxy, "tls_rejected", 1.0);
}

#[test]
fn a_session_goes_on_with_any_worker_and_after_a_reload() {
    let upstream = Upstream::ok("hello");
    let (authority, issued) = certified();
    let field = tls(&["a"], "");
    for version_1_2 in [false, true] {
        let mut proxy = prepared(upstream.address(), &[&field], &[("a", &issued)]).workers(4).start();
        let options = TlsOptions::new(&authority, "a.test");
        let options = if version_1_2 { options.version_1_2() } else { options };
        let way = TlsClient::to(proxy.address("in"), &options);
        let ask = || {
            let fields = [("connection", "close")];
            assert_eq!(Client::connect(way.address()).request("GET", "/", &fields, "").text(), "hello");
        };
        (0..12).for_each(|_| ask());
        assert!(proxy.reload());
        ask();
        let resumed: Vec<bool> = way.shaken().iter().map(|shaken| shaken.as_ref().unwrap().resumed).collect();
        assert_eq!(resumed, [&[false][..], &[true; 12]].concat());
        let version = if version_1_2 { "TLSv1.2" } else { "TLSv1.3" };
        let labels = [("version", version), ("resumed", "true")];
        proxy.wait_for_metric("tidegate_downstream_tls_handshakes_total", &labels, 12.0);
    }
}

#[test]
fn another_certificate_is_served_as_soon_as_it_is_there_and_a_bad_one_is_not() {
    let upstream = Upstream::ok("hello");
    let (authority, issued) = certified();
    let start = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]);
    let proxy = start.watching().start();
    let options = TlsOptions::new(&authority, "a.test");
    let shown = || {
        let way = TlsClient::to(proxy.address("in"), &options);
        let answered = Client::connect(way.address()).request("GET", "/", &[("connection", "close")], "");
        assert_eq!(answered.text(), "hello");
        way.shaken().remove(0).expect("the handshake goes well").name
    };
    assert_eq!(shown(), "a.test");
    // A key alone does not fit: what was served is served on.
    let next = authority.issue(&["b.test", "a.test"]);
    proxy.put("a.key", &next.key);
    let refused = proxy.wait_for_log("the refusal", |event| message(event).contains("is not taken over"));
    assert!(message(&refused).contains("the private key of another certificate"), "{refused}");
    assert!(!message(&refused).contains("BEGIN"), "{refused}");
    assert_eq!(shown(), "a.test");
    proxy.put("a.pem", &next.certificate);
    eventually("the new certificate", || (shown() == "b.test").then_some(()));
}

#[test]
fn what_is_wrong_with_certificates_is_said_at_its_place() {
    let (authority, issued) = certified();
    let other = authority.issue(&["other.test"]);
    let upstream = Upstream::ok("hello");
    let check = |certificate: &str, key: &str| {
        let mixed = Issued { certificate: certificate.to_owned(), key: key.to_owned() };
        prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &mixed)]).run("check")
    };
    for (certificate, key, said) in [
        (&*issued.certificate, &*other.key, "has the private key of another certificate in it"),
        ("nothing", &issued.key, "a.pem` has no certificate in it"),
        (&issued.key, &issued.key, "a.pem` has no certificate in it"),
        (&issued.certificate, "nothing", "a.key` has no private key in it"),
        (
            &issued.certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "is encrypted",
        ),
    ] {
        let exit = check(certificate, key);
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains(said) || exit.stdout.contains(said), "{said}: {exit:?}");
    }
    let missing = prepared(upstream.address(), &[&tls(&["b"], "")], &[]).run("check");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("b.pem` cannot be read"), "{missing:?}");
    let expired = authority.issue_expired(&["a.test"]);
    let exit = check(&expired.certificate, &expired.key);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("expired at 2020-02-03T00:00:00Z"), "{exit:?}");
}

#[test]
fn keys_are_shown_to_nobody() {
    let (_, issued) = certified();
    let upstream = Upstream::ok("hello");
    let start = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]);
    let proxy = start.env("TIDEGATE_LOG", "trace").start();
    let page = proxy.admin("/config").text();
    assert!(page.contains("a.key") && page.contains("a.pem"), "{page}");
    let inside: Vec<&str> = issued.key.lines().filter(|line| !line.contains("-----")).collect();
    let told = format!("{page}{:?}", proxy.log());
    assert!(inside.iter().all(|line| !told.contains(line)));
}

#[test]
fn a_request_in_plain_http_is_told_so_in_plain_http() {
    let (_, issued) = certified();
    let upstream = Upstream::ok("hello");
    let proxy = prepared(upstream.address(), &[&tls(&["a"], "")], &[("a", &issued)]).start();
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("HTTPS"), "{answer:?}");
    wait_for_error(&proxy, "not_tls", 1.0);
    assert!(upstream.requests().is_empty());
}

/// The first message of a client, from a handshake that nobody answers.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = silent.local_addr().expect("it is bound");
    let way = TlsClient::to(address, &TlsOptions::new(authority, "a.test"));
    let _client = Client::connect(way.address());
    let (mut server, _) = silent.accept().expect("it connects");
    let mut hello = vec![0; 4096];
    let count = server.read(&mut hello).expect("it speaks first");
    hello.truncate(count);
    hello
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_one_that_is_slow_is_not() {
    let (authority, issued) = certified();
    let hello = client_hello(&authority);
    let upstream = Upstream::ok("hello");
    let field = tls(&["a"], "handshake_timeout: 300ms");
    let proxy = prepared(upstream.address(), &[&field], &[("a", &issued)]).start();
    let connect = || TcpStream::connect(proxy.address("in")).expect("it listens");
    let (mut silent, mut half) = (connect(), connect());
    half.write_all(&hello[..hello.len() / 2]).expect("it is taken");
    for stream in [&mut silent, &mut half] {
        stream.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "it is closed without a word");
    }
    wait_for_error(&proxy, "tls_timeout", 2.0);
    let mut slow = connect();
    hello.iter().for_each(|byte| slow.write_all(&[*byte]).expect("it is taken"));
    assert!(slow.read(&mut [0; 64]).expect("it answers") > 0);
    // Who connects and goes, as checks of health do, is not counted.
    drop(connect());
    let cut = connect();
    (&cut).write_all(&hello[..9]).expect("it is taken");
    cut.shutdown(Shutdown::Both).expect("it is open");
    wait_for_error(&proxy, "tls_failed", 1.0);
    drop(slow);
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 0.0);
}

#[test]
fn a_handshakes_time_begins_with_its_connection() {
    let (authority, issued) = certified();
    let upstream = Upstream::ok("hello");
    let hello = client_hello(&authority);
    let tls = tls(&["a"], "handshake_timeout: 200ms");
    for look in ["server_names: {}", "server_names: {passed.test: up}"] {
        let fields = [&*tls, "proxy_protocol: true", look];
        let proxy = prepared(upstream.address(), &fields, &[("a", &issued)]).start();
        let connect = || TcpStream::connect(proxy.address("in")).expect("it listens");
        let introduction = b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n";
        // The time of the later one is over, and so is that of the earlier one, whatever it does then.
        let (mut earlier, mut later) = (connect(), connect());
        later.write_all(introduction).expect("it is taken");
        later.write_all(&hello[..9]).expect("it is taken");
        later.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
        assert_eq!(later.read(&mut [0; 64]).unwrap_or(0), 0, "it is closed without a word");
        let _ = earlier.write_all(introduction);
        let shaken = TlsOptions::new(&authority, "a.test").version_1_2().shake(earlier);
        assert!(shaken.is_err(), "{look}");
        wait_for_error(&proxy, "tls_timeout", 2.0);
    }
}

#[test]
fn who_says_nothing_has_no_more_time_for_that_than_for_a_handshake() {
    let (_, issued) = certified();
    let upstream = Upstream::ok("hello");
    let tls = tls(&["a"], "handshake_timeout: 200ms");
    let fields = [&*tls, "proxy_protocol: true", "limits: {header_timeout: 10m}"];
    let proxy = prepared(upstream.address(), &fields, &[("a", &issued)]).start();
    let mut silent = TcpStream::connect(proxy.address("in")).expect("it listens");
    silent.set_read_timeout(Some(BOUND)).expect("a socket takes its options");
    assert_eq!(silent.read(&mut [0; 64]).expect("it is closed"), 0);
    wait_for_error(&proxy, "tls_timeout", 1.0);
}

#[test]
fn handshakes_count_as_connections_and_a_drain_ends_them() {
    let (_, issued) = certified();
    let upstream = Upstream::ok("hello");
    let fields = [&*tls(&["a"], "handshake_timeout: 1h"), "limits: {connections: 2}"];
    let mut proxy = prepared(upstream.address(), &fields, &[("a", &issued)]).start();
    let connect = || TcpStream::connect(proxy.address("in")).expect("it listens");
    let _two = [connect(), connect()];
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 2.0);
    assert_eq!(connect().read(&mut [0; 8]).unwrap_or(0), 0, "a third one is one too many");
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
}

/// A proxy that asks its clients for certificates, who vouches for it, and who for them.
fn asking_for_certificates(upstream: &Upstream) -> (Proxy, Authority, Authority) {
    let (authority, issued) = certified();
    let clients = Authority::new("clients");
    let field = tls(&["a"], "client_ca: clients.pem");
    let start = prepared(upstream.address(), &[&field], &[("a", &issued)]);
    (start.file("clients.pem", clients.pem()).start(), authority, clients)
}

/// Whether a request that comes this way, on a connection of its own, is answered.
fn is_answered(way: &TlsClient) -> bool {
    let mut client = Client::connect(way.address());
    let _ = client.try_send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    client.try_response_to("GET").ok().flatten().is_some()
}

#[test]
fn clients_have_a_certificate_of_an_authority_where_that_is_asked() {
    let upstream = Upstream::ok("hello");
    let (proxy, authority, clients) = asking_for_certificates(&upstream);
    let options = || TlsOptions::new(&authority, "a.test");
    let way = TlsClient::to(proxy.address("in"), &options().identity(clients.issue(&["client.test"])));
    assert_eq!(Client::connect(way.address()).get("/").text(), "hello");
    let strangers = [options(), options().identity(Authority::new("other").issue(&["client.test"]))];
    for (stranger, count) in strangers.iter().zip([1.0, 2.0]) {
        let way = TlsClient::to(proxy.address("in"), stranger);
        assert!(!is_answered(&way));
        wait_for_error(&proxy, "tls_client_not_trusted", count);
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_session_lasts_no_longer_than_its_clients_certificate() {
    let upstream = Upstream::ok("hello");
    let (proxy, authority, clients) = asking_for_certificates(&upstream);
    let end = SystemTime::now() + Duration::from_secs(3);
    let identity = clients.issue_until(&["client.test"], end);
    let options = TlsOptions::new(&authority, "a.test").identity(identity);
    let way = TlsClient::to(proxy.address("in"), &options);
    assert!(is_answered(&way));
    eventually("the end of the certificate", || (!is_answered(&way)).then_some(()));
    let resumed: Vec<bool> = way.shaken().iter().map(|shaken| shaken.as_ref().unwrap().resumed).collect();
    assert!(resumed.len() > 2 && !resumed[0] && resumed[1..].iter().all(|&resumed| resumed), "{resumed:?}");
    wait_for_error(&proxy, "tls_client_not_trusted", 1.0);
}

#[test]
fn filters_see_the_handshake() {
    let (authority, issued) = certified();
    let clients = Authority::new("clients");
    let upstream = Upstream::ok("hello");
    let paths = [
        "connection.mtls",
        "connection.tls_version",
        "connection.requested_server_name",
        "connection.subject_local_certificate",
        "connection.dns_san_local_certificate",
        "connection.subject_peer_certificate",
        "request.scheme",
    ];
    let guest = Guest::new().on(On::RequestHeaders, paths.map(Step::property));
    let fields = [&*tls(&["a"], "client_ca: clients.pem"), "filters: [see]"];
    let mut start =
        prepared(upstream.address(), &fields, &[("a", &issued)]).file("clients.pem", clients.pem());
    start = start.file("see.wasm", guest.build()).log_guests_fully();
    let proxy = start.and("filters:\n  see: {module: ./see.wasm}\n").start();
    let options = TlsOptions::new(&authority, "a.test").identity(clients.issue(&["client.test"]));
    let way = TlsClient::to(proxy.address("in"), &options);
    assert_eq!(Client::connect(way.address()).get("/").text(), "hello");
    let log = proxy.guest_log();
    for (path, value) in
        paths.iter().zip(["\\01", "TLSv1.3", "a.test", "CN=a.test", "a.test", "CN=client.test", "https"])
    {
        let line = log.iter().find(|(_, line)| line.contains(path));
        assert!(line.is_some_and(|(_, line)| line.contains(value)), "{path}: {line:?}");
    }
}

#[test]
fn filters_see_the_certificate_that_the_client_is_shown() {
    let authority = Authority::new("tide");
    let (new, old) =
        (authority.issue_ed25519(&["new.test", "a.test"]), authority.issue(&["old.test", "a.test"]));
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().on(On::RequestHeaders, [Step::property("connection.subject_local_certificate")]);
    let fields = [&*tls(&["new", "old"], ""), "filters: [see]"];
    let start = prepared(upstream.address(), &fields, &[("new", &new), ("old", &old)]);
    let start = start.file("see.wasm", guest.build()).log_guests_fully();
    let proxy = start.and("filters:\n  see: {module: ./see.wasm}\n").start();
    for (at, (schemes, shown)) in
        [("ed25519:ECDSA+SHA256", "CN=new.test"), ("ECDSA+SHA256", "CN=old.test")].into_iter().enumerate()
    {
        let address = proxy.address("in").to_string();
        let arguments =
            ["s_client", "-connect", &address, "-servername", "a.test", "-quiet", "-sigalgs", schemes];
        let mut client = std::process::Command::new("openssl")
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut asks = client.stdin.take().expect("it is piped");
        asks.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").expect("it reads");
        let output = client.wait_with_output().expect("it ends when the connection does");
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("hello"), "{output:?}");
        let log = proxy.guest_log();
        let mut seen = log.iter().filter(|(_, line)| line.contains("property"));
        assert!(seen.nth(at).is_some_and(|(_, line)| line.contains(shown)), "{shown}: {log:?}");
        drop(asks);
    }
}
