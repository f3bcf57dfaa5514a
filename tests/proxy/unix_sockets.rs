//! UNIX sockets on either side.

use std::fs::{Permissions, hard_link};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::equipment::{Backend, GrpcAct, GrpcService, Guest, On, Proxy, Start, Step, Upstream, eventually};

/// A proxy that listens at `address`, with more fields of its listener, and sends everything to `endpoint`.
fn prepared(address: &str, fields: &[&str], endpoint: &str) -> Start {
    let lines: String = fields.iter().map(|field| format!("  {field}\n")).collect();
    Proxy::with(&format!(
        "listeners:\n- name: in\n  address: \"{address}\"\n  access_log: true\n{lines}  routes: [{{match: {{}}, cluster: up}}]\n\
         clusters:\n  up: {{endpoints: [\"{endpoint}\"]}}\n"
    ))
}

const GET: &str = "GET / HTTP/1.1\r\nhost: tide.test\r\nconnection: close\r\n\r\n";

/// What comes back for this, to its end.
fn say(mut stream: UnixStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends in order");
    answer
}

fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Carries what comes in by a UNIX socket to a server, until the test ends.
fn before(listener: UnixListener, server: SocketAddr) {
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            std::thread::spawn(move || {
                let server = TcpStream::connect(server).expect("the server listens");
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let forth = std::thread::spawn(move || {
                    let _ = std::io::copy(&mut &from, &mut &to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let _ = std::io::copy(&mut &server, &mut &client);
                let _ = client.shutdown(Shutdown::Write);
                let _ = forth.join();
            });
        }
    });
}

#[test]
fn a_listener_is_a_file_for_as_long_as_it_listens() {
    let upstream = Upstream::ok("hello");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("in.sock");
    let address = format!("unix:{}", path.display());
    let start = prepared(&address, &["socket_mode: \"0620\""], &upstream.address().to_string());
    let mut proxy = start.workers(4).start();
    let metadata = std::fs::metadata(&path).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o620);
    for _ in 0..20 {
        assert!(say(connect(&path), GET).ends_with("hello"));
    }
    let request = upstream.requests().remove(0);
    assert_eq!(request.head.field("x-forwarded-for"), None, "the client has no address");
    let line = proxy.wait_for_access_log(20).remove(0);
    assert_eq!((&line["client"], &line["status"]), (&serde_json::Value::Null, &200.into()), "{line}");
    assert!(proxy.reload(), "it goes on as it is");
    assert!(say(connect(&path), GET).ends_with("hello"));
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
    assert!(!path.exists(), "it goes with the proxy");
}

#[test]
fn a_file_that_nobody_listens_on_is_taken_over_and_no_other() {
    let upstream = Upstream::ok("hello");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("in.sock");
    let address = format!("unix:{}", path.display());
    let endpoint = upstream.address().to_string();
    drop(UnixListener::bind(&path).expect("it is free"));
    assert!(path.exists(), "closing leaves the file");
    let proxy = prepared(&address, &[], &endpoint).start();
    assert!(say(connect(&path), GET).ends_with("hello"));
    let second = prepared(&address, &[], &endpoint).run("run --workers 1");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("cannot listen on unix:"), "{second:?}");
    assert!(say(connect(&path), GET).ends_with("hello"), "the first one is not harmed");
    drop(proxy);
    // What is no socket is nobody's to remove.
    std::fs::remove_file(&path).expect("it was ended too hard to do that itself");
    std::fs::write(&path, "precious").expect("a temporary file can be written");
    let third = prepared(&address, &[], &endpoint).run("run --workers 1");
    assert_eq!(third.code, Some(1), "{third:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "precious");
    let missing = prepared(&format!("unix:{}/none/in.sock", folder.path().display()), &[], &endpoint);
    let missing = missing.run("run --workers 1");
    assert!(missing.stderr.contains("the folder of the socket is to be there"), "{missing:?}");
}

#[test]
fn a_reload_opens_and_closes_sockets() {
    let upstream = Upstream::ok("hello");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let [one, two] = ["one.sock", "two.sock"].map(|name| folder.path().join(name));
    let config = |path: &Path, mode: &str| {
        format!(
            "listeners:\n- {{name: in, address: \"unix:{}\", socket_mode: \"{mode}\", routes: [{{match: {{}}, cluster: up}}]}}\n\
             clusters:\n  up: {{endpoints: [\"{}\"]}}\n",
            path.display(),
            upstream.address()
        )
    };
    let mut proxy = Proxy::start(&config(&one, "0600"));
    assert!(say(connect(&one), GET).ends_with("hello"));
    assert!(proxy.change(&config(&one, "0660")));
    assert_eq!(std::fs::metadata(&one).expect("it is there").permissions().mode() & 0o777, 0o660);
    assert!(proxy.change(&config(&two, "0600")));
    assert!(say(connect(&two), GET).ends_with("hello"));
    eventually("the first one to be gone", || (!one.exists()).then_some(()));
}

#[test]
fn a_configuration_that_is_not_served_lets_nobody_else_connect() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("in.sock");
    let respond = "routes: [{match: {}, respond: {status: 200}}]";
    let config = |mode: &str, other: &str| {
        let listener = |name: &str, address: &str| {
            format!("- {{name: {name}, address: \"{address}\", socket_mode: \"{mode}\", {respond}}}\n")
        };
        let first = listener("in", &format!("unix:{}", path.display()));
        format!("listeners:\n{first}{}", listener("other", other))
    };
    let mode = || std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    let other = folder.path().join("other.sock");
    let unix = |path: &Path| format!("unix:{}", path.display());
    let mut proxy = Proxy::start(&config("0600", &unix(&other)));
    let elsewhere = unix(&folder.path().join("none/in.sock"));
    assert!(!proxy.change(&config("0666", &elsewhere)), "its other address cannot be had");
    assert_eq!(mode(), 0o600);
    std::fs::remove_file(&other).expect("it is there");
    assert!(!proxy.change(&config("0666", &unix(&other))), "that has no permissions");
    assert_eq!(mode(), 0o600);
    assert!(say(connect(&path), GET).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_file_in_the_place_of_a_socket_is_not_opened_to_anybody() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (path, other) = (folder.path().join("in.sock"), folder.path().join("other.sock"));
    let config = |mode: &str| {
        format!(
            "listeners:\n- {{name: in, address: \"unix:{}\", socket_mode: \"{mode}\", routes: [{{match: {{}}, respond: {{status: 200}}}}]}}\n",
            path.display()
        )
    };
    let mut proxy = Proxy::start(&config("0600"));
    let _listening = UnixListener::bind(&other).expect("it is free");
    let permissions = || std::fs::metadata(&other).expect("it is there").permissions();
    std::fs::set_permissions(&other, Permissions::from_mode(0o700)).expect("it is there");
    let moved = folder.path().join("moved.sock");
    std::fs::rename(&path, &moved).expect("it is there");
    for replace in [|from: &Path, to: &Path| symlink(from, to), |from: &Path, to: &Path| hard_link(from, to)]
    {
        replace(&other, &path).expect("nothing is there");
        assert!(!proxy.change(&config("0666")), "it is another's");
        assert_eq!(permissions().mode() & 0o777, 0o700);
        std::fs::remove_file(&path).expect("it is there");
    }
    std::fs::rename(&moved, &path).expect("nothing is there");
    assert!(proxy.change(&config("0666")));
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o666);
}

#[test]
fn a_name_without_a_file_will_do() {
    use std::os::linux::net::SocketAddrExt;
    let upstream = Upstream::ok("hello");
    let name = format!("tidegate-test-{}-{}", std::process::id(), line!());
    let _proxy = prepared(&format!("unix:@{name}"), &[], &upstream.address().to_string()).start();
    let address = UnixAddr::from_abstract_name(name.as_bytes()).expect("it is a name");
    let stream = UnixStream::connect_addr(&address).expect("it listens");
    assert!(say(stream, GET).ends_with("hello"));
}

#[test]
fn endpoints_are_unix_sockets() {
    use std::os::linux::net::SocketAddrExt;
    let upstream = Upstream::ok("hello");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("up.sock");
    before(UnixListener::bind(&path).expect("it is free"), upstream.address());
    let name = format!("tidegate-test-{}-{}", std::process::id(), line!());
    let address = UnixAddr::from_abstract_name(name.as_bytes()).expect("it is a name");
    before(UnixListener::bind_addr(&address).expect("it is free"), upstream.address());
    let check = "health_check: {path: /healthz, interval: 1h}";
    for endpoint in [format!("unix:{}", path.display()), format!("unix:@{name}")] {
        let start = prepared("127.0.0.1:0", &[], &endpoint);
        let proxy = start.replace("]}\n", &format!("], {check}}}\n")).start();
        let labels = [("cluster", "up"), ("result", "success")];
        proxy.wait_for_metric("tidegate_upstream_health_checks_total", &labels, 1.0);
        let mut client = proxy.client();
        assert_eq!(client.get("/one").text(), "hello");
        assert_eq!(client.get("/two").text(), "hello");
        proxy.wait_for_metric("tidegate_upstream_connections_total", &[("cluster", "up")], 1.0);
        assert_eq!(proxy.wait_for_access_log(1)[0]["upstream"], *endpoint);
        assert!(proxy.admin("/clusters").text().contains(&endpoint));
    }
    drop(folder);
    let proxy = prepared("127.0.0.1:0", &[], &format!("unix:{}", path.display())).start();
    assert_eq!(proxy.client().get("/").status(), 503);
    assert_eq!(proxy.wait_for_access_log(1)[0]["outcome"], "connect_failed");
}

#[test]
fn a_stream_that_is_refused_is_sent_once_more_on_another_connection() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = GrpcService::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        vec![GrpcAct::Reset(7)] // REFUSED_STREAM
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("up.sock");
    before(UnixListener::bind(&path).expect("it is free"), service.address());
    let start = prepared("127.0.0.1:0", &[], &format!("unix:{}", path.display()));
    let proxy = start.replace("]}\n", "], protocol: http2}\n").start();
    assert_eq!(proxy.client().get("/").status(), 502);
    assert_eq!((asked.load(Ordering::Relaxed), service.connections()), (2, 2));
}

#[test]
fn tcp_listeners_carry_bytes_between_unix_sockets() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let [path, up] = ["in.sock", "up.sock"].map(|name| folder.path().join(name));
    before(UnixListener::bind(&up).expect("it is free"), backend.address());
    let proxy = Proxy::start(&format!(
        "listeners:\n- {{name: in, address: \"unix:{}\", protocol: tcp, cluster: up, send_proxy_protocol: v1}}\n\
         clusters:\n  up: {{endpoints: [\"unix:{}\"]}}\n",
        path.display(),
        up.display()
    ));
    let mut client = connect(&path);
    client.write_all(b"ping").expect("it is taken");
    let mut upstream = backend.accept();
    assert_eq!(upstream.exactly(19), "PROXY UNKNOWN\r\nping");
    upstream.send("pong");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"pong");
    client.shutdown(Shutdown::Write).expect("it is open");
    upstream.expect_orderly_end();
    upstream.send("bye");
    upstream.half_close();
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("it ends in order");
    assert_eq!(rest, "bye");
    proxy.wait_for_metric("tidegate_tcp_connections_total", &[("outcome", "ok")], 1.0);
}

#[test]
fn filters_see_the_sockets_name_and_who_introduces_others_is_believed() {
    let upstream = Upstream::ok("hello");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("in.sock");
    let paths = ["source.address", "source.port", "destination.address", "destination.port"];
    let guest = Guest::new().on(On::RequestHeaders, paths.map(Step::property));
    let address = format!("unix:{}", path.display());
    let serve = |fields: &[&str]| {
        let fields = [fields, &["filters: [see]"]].concat();
        let start = prepared(&address, &fields, &upstream.address().to_string());
        start
            .and("filters:\n  see: {module: ./see.wasm}\n")
            .file("see.wasm", guest.build())
            .log_guests_fully()
            .start()
    };
    let proxy = serve(&[]);
    assert!(say(connect(&path), GET).ends_with("hello"));
    let seen = |proxy: &Proxy, property: &str| {
        let log = proxy.guest_log();
        let line = log.iter().find(|(_, line)| line.contains(&format!("property {property} ")));
        line.unwrap_or_else(|| panic!("{property}: {log:?}")).1.trim().to_owned()
    };
    let name = path.to_str().expect("it has a plain name");
    assert!(seen(&proxy, "destination.address").ends_with(name), "{:?}", proxy.guest_log());
    assert_eq!(seen(&proxy, "source.port"), "property source.port -> 1", "it is not found");
    drop(proxy);
    let proxy = serve(&["proxy_protocol: true"]);
    let text = format!("PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n{GET}");
    assert!(say(connect(&path), &text).ends_with("hello"));
    assert!(seen(&proxy, "source.address").ends_with("192.0.2.1:4000"));
    let last = upstream.requests().pop().expect("there is one");
    assert_eq!(last.head.field("x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn curl_and_tls_work_over_unix_sockets() {
    use crate::equipment::Authority;
    let upstream = Upstream::ok("hello");
    let authority = Authority::new("tide");
    let issued = authority.issue(&["a.test"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("in.sock");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("a temporary file can be written");
    let tls = "tls: {certificates: [{certificate: a.pem, private_key: a.key}]}";
    let start = prepared(&format!("unix:{}", path.display()), &[tls], &upstream.address().to_string());
    let _proxy = start.file("a.pem", issued.certificate).file("a.key", issued.key).start();
    let mut command = std::process::Command::new("curl");
    command
        .args(["--silent", "--max-time", "30", "--http2", "--unix-socket"])
        .arg(&path)
        .arg("--cacert")
        .arg(&ca);
    let output = command.args(["--write-out", " %{http_version}", "https://a.test/"]).output();
    let output = output.expect("curl is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello 2");
}
