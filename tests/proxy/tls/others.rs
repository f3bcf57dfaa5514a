//! The same with the programs of others: OpenSSL, curl and nginx on either side, and Envoy as the arbiter.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{prepared, tls};
use crate::equipment::process::Process;
use crate::equipment::tool;
use crate::equipment::{Authority, Client, Envoy, Issued, Proxy, Upstream, eventually};

/// What OpenSSL came to as a client.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The subject of the certificate that it was shown; nothing where there was no handshake.
    subject: Option<String>,
    version: Option<String>,
    alpn: Option<String>,
}

/// A handshake by OpenSSL, with these arguments.
fn openssl(address: SocketAddr, arguments: &[&str]) -> Outcome {
    let address = address.to_string();
    let mut command = Command::new("openssl");
    // The level of security at which it would not even offer old versions.
    command.args(["s_client", "-connect", &address, "-cipher", "DEFAULT@SECLEVEL=0"]).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let behind = |mark: &str| {
        said.lines().find_map(|line| line.trim().strip_prefix(mark)).map(|rest| rest.trim().to_owned())
    };
    let is_agreed = !said.contains("Cipher is (NONE)");
    Outcome {
        subject: behind("subject=").filter(|_| is_agreed).map(|subject| subject.replace(' ', "")),
        version: behind("New, ").filter(|_| is_agreed).and_then(|it| Some(it.split_once(',')?.0.to_owned())),
        alpn: behind("ALPN protocol: ").filter(|_| is_agreed),
    }
}

/// Certificates for a default, a host and a wildcard.
struct Certificates {
    authority: Authority,
    first: Issued,
    exact: Issued,
    wild: Issued,
}

impl Certificates {
    fn new() -> Certificates {
        let authority = Authority::new("tide");
        let [first, exact, wild] =
            ["first.test", "a.example.com", "*.example.com"].map(|host| authority.issue(&[host]));
        Certificates { authority, first, exact, wild }
    }

    fn tidegate(&self, upstream: SocketAddr) -> Proxy {
        let named = [("first", &self.first), ("exact", &self.exact), ("wild", &self.wild)];
        prepared(upstream, &[&tls(&["first", "exact", "wild"], "")], &named).start()
    }

    fn envoy(&self, upstream: SocketAddr) -> Envoy {
        let certificate = |issued: &Issued| {
            json!({
                "certificate_chain": {"inline_string": issued.certificate},
                "private_key": {"inline_string": issued.key},
            })
        };
        let context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [certificate(&self.first), certificate(&self.exact), certificate(&self.wild)],
            },
        });
        start_envoy(&[listener(context)], &[cluster("up", upstream)])
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, at: SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": socket(at)}});
    json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}})
}

fn manager() -> Value {
    json!({"name": "manager", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "up"}},
        ]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    }})
}

/// A listener whose TLS is as `context` says.
fn listener(context: Value) -> Value {
    json!({
        "name": "in",
        "address": socket(loopback()),
        "filter_chains": [{
            "filters": [manager()],
            "transport_socket": {"name": "tls", "typed_config": context},
        }],
    })
}

fn start_envoy(listeners: &[Value], clusters: &[Value]) -> Envoy {
    let bootstrap = json!({
        "admin": {"address": socket(loopback())},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    });
    Envoy::start(tempfile::tempdir().expect("a temporary folder can be made"), &bootstrap)
}

#[test]
fn openssl_is_shown_and_agrees_on_the_same_as_with_envoy() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = Upstream::ok("hello");
    let certificates = Certificates::new();
    let (ours, theirs) = (certificates.tidegate(upstream.address()), certificates.envoy(upstream.address()));
    let both = |arguments: &[&str]| {
        let [ours, theirs] = [ours.address("in"), theirs.address("in")].map(|at| openssl(at, arguments));
        assert_eq!(ours, theirs, "{arguments:?}");
        ours
    };
    for (name, subject) in [
        ("first.test", "first.test"),
        ("a.example.com", "a.example.com"),
        ("b.example.com", "*.example.com"),
        ("a.b.example.com", "first.test"),
        ("example.com", "first.test"),
        ("else.test", "first.test"),
    ] {
        let outcome = both(&["-servername", name]);
        assert_eq!(outcome.subject, Some(format!("CN={subject}")), "for {name}");
    }
    // Hosts are compared without regard to case (RFC 6066, 3), which Envoy does not do here.
    let shouted = openssl(ours.address("in"), &["-servername", "A.EXAMPLE.com"]);
    assert_eq!(shouted.subject.as_deref(), Some("CN=a.example.com"));
    assert_eq!(both(&["-noservername"]).subject.as_deref(), Some("CN=first.test"));
    for (offered, agreed) in [
        ("h2,http/1.1", "h2"),
        ("http/1.1,h2", "h2"),
        ("http/1.1", "http/1.1"),
        ("spdy/1,http/1.1", "http/1.1"),
    ] {
        assert_eq!(both(&["-alpn", offered]).alpn.as_deref(), Some(agreed), "{offered}");
    }
    assert_eq!(both(&[]).alpn, None);
    assert_eq!(both(&["-tls1_2"]).version.as_deref(), Some("TLSv1.2"));
    assert_eq!(both(&["-tls1_3"]).version.as_deref(), Some("TLSv1.3"));
    for old in ["-tls1", "-tls1_1"] {
        assert_eq!(both(&[old]).subject, None, "{old} is refused");
    }
}

#[test]
fn curl_speaks_both_versions_of_http_and_notices_a_wrong_host() {
    let upstream = Upstream::ok("hello");
    let certificates = Certificates::new();
    let proxy = certificates.tidegate(upstream.address());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificates.authority.pem()).expect("a temporary file can be written");
    let at = proxy.address("in");
    let curl = |version: &str, host: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "30", version, "--cacert"]).arg(&ca);
        command.args(["--resolve", &format!("{host}:{}:127.0.0.1", at.port())]);
        command.args(["--write-out", " %{http_version}", &format!("https://{host}:{}/", at.port())]);
        let output = command.output().expect("curl is installed");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(curl("--http2", "a.example.com"), (Some(0), "hello 2".to_owned()));
    assert_eq!(curl("--http1.1", "b.example.com"), (Some(0), "hello 1.1".to_owned()));
    assert_eq!(curl("--http2", "else.test").0, Some(60), "the certificate is not for it");
}

/// nginx before an upstream, with TLS and what else its server block has.
struct Nginx {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    fn start(issued: &Issued, listen: &str, more: &str) -> Option<Nginx> {
        if !tool::is_installed("nginx", Path::new("/usr/sbin/nginx"), "peers.sh") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = |name: &str| folder.path().join(name).to_str().expect("it has a plain name").to_owned();
        std::fs::write(path("cert.pem"), &issued.certificate).expect("a temporary file can be written");
        std::fs::write(path("key.pem"), &issued.key).expect("a temporary file can be written");
        // nginx takes no port of the system's choice: one that was free just now.
        let free = TcpListener::bind(loopback()).expect("loopback has a free port");
        let address = free.local_addr().expect("a bound socket has an address");
        let config = format!(
            "daemon off; pid {}; error_log stderr; worker_processes 1;\nevents {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path {0}.body; proxy_temp_path {0}.proxy; fastcgi_temp_path {0}.f; uwsgi_temp_path {0}.u; \
             scgi_temp_path {0}.s;\nserver {{ listen {address} ssl {listen}; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {};\n\
             {more} }} }}\n",
            path("pid"),
            path("cert.pem"),
            path("key.pem"),
        );
        std::fs::write(path("nginx.conf"), config).expect("a temporary file can be written");
        drop(free);
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-c", &path("nginx.conf"), "-e", "stderr"]);
        let process = Process::start("nginx", &mut command);
        eventually("nginx to listen", || {
            assert!(process.is_running(), "nginx refused its configuration:\n{}", process.stderr.text());
            std::net::TcpStream::connect(address).ok()
        });
        Some(Nginx { _process: process, address, _folder: folder })
    }
}

#[test]
fn nginx_is_an_endpoint_of_whichever_version() {
    let authority = Authority::new("tide");
    let issued = authority.issue(&["up.test"]);
    let says =
        "location / { return 200 \"$server_protocol $ssl_protocol $ssl_server_name $ssl_session_reused\"; }";
    for (listen, protocol, expected) in [
        ("http2", "auto", "HTTP/2.0 TLSv1.3 up.test"),
        ("http2", "http2", "HTTP/2.0 TLSv1.3 up.test"),
        ("http2", "http1", "HTTP/1.1 TLSv1.3 up.test"),
        ("", "auto", "HTTP/1.1 TLSv1.3 up.test"),
    ] {
        let Some(nginx) = Nginx::start(&issued, listen, says) else { return };
        let proxy = Proxy::with(&format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", routes: [{{match: {{}}, cluster: up}}]}}\n\
             clusters:\n  up:\n    endpoints: [\"{}\"]\n    protocol: {protocol}\n    idle_connections: 0\n    \
             tls: {{ca: ca.pem, server_name: up.test}}\n",
            nginx.address
        ));
        let proxy = proxy.file("ca.pem", authority.pem()).start();
        let mut client = proxy.client();
        let first = client.get("/").text();
        assert!(first.starts_with(expected), "{listen:?} and {protocol}: {first}");
        if protocol != "http2" && !first.starts_with("HTTP/2") {
            assert!(client.get("/").text().ends_with(" r"), "nginx resumes the session");
        }
    }
}

#[test]
fn envoy_is_an_endpoint_and_believes_the_proxy_where_it_has_to() {
    if !Envoy::is_installed() {
        return;
    }
    let upstream = Upstream::ok("hello");
    let (authority, clients) = (Authority::new("tide"), Authority::new("clients"));
    let (issued, own) = (authority.issue(&["up.test"]), clients.issue(&["tidegate.test"]));
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [{
                "certificate_chain": {"inline_string": issued.certificate},
                "private_key": {"inline_string": issued.key},
            }],
            "validation_context": {"trusted_ca": {"inline_string": clients.pem()}},
        },
    });
    let envoy = start_envoy(&[listener(context)], &[cluster("up", upstream.address())]);
    let to_envoy = |identity: &str| {
        let config = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", access_log: true, routes: [{{match: {{}}, cluster: up}}]}}\n\
             clusters:\n  up:\n    endpoints: [\"{}\"]\n    protocol: auto\n    tls: {{ca: ca.pem, server_name: up.test{identity}}}\n",
            envoy.address("in")
        );
        let start = Proxy::with(&config).file("ca.pem", authority.pem());
        start.file("own.pem", own.certificate.clone()).file("own.key", own.key.clone()).start()
    };
    let known = to_envoy(", certificate: own.pem, private_key: own.key");
    assert_eq!(known.client().get("/").text(), "hello");
    let stranger = to_envoy("");
    let status = stranger.client().get("/").status();
    assert!(matches!(status, 502 | 503), "it is {status}: in TLS 1.3 it is told after its own handshake");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn connections_are_passed_on_by_their_hosts_as_through_envoy() {
    if !Envoy::is_installed() {
        return;
    }
    let authority = Authority::new("tide");
    // Each endpoint is known by its certificate.
    let plain = Upstream::ok("hello");
    let hosts = ["one.test", "below.two.test", "below.test", "rest.test"];
    let servers = hosts
        .map(|host| crate::equipment::TlsServer::before(plain.address(), &authority.issue(&[host]), &[]));
    let named = [("one.test", 0), ("*.two.test", 1), ("*.test", 2)];
    let chain = |names: &[&str], at: usize| {
        let mut chain = json!({"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": format!("c{at}"), "cluster": format!("c{at}"),
        }}]});
        if !names.is_empty() {
            chain["filter_chain_match"] = json!({"server_names": names});
        }
        chain
    };
    let mut chains: Vec<Value> = named.iter().map(|(name, at)| chain(&[name], *at)).collect();
    chains.push(chain(&[], 3));
    let listener = json!({
        "name": "in",
        "address": socket(loopback()),
        "listener_filters": [{"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        }}],
        "filter_chains": chains,
    });
    let clusters: Vec<Value> =
        servers.iter().enumerate().map(|(at, server)| cluster(&format!("c{at}"), server.address())).collect();
    let theirs = start_envoy(&[listener], &clusters);
    let lines: String = servers
        .iter()
        .enumerate()
        .map(|(at, server)| format!("  c{at}: {{endpoints: [\"{}\"]}}\n", server.address()))
        .collect();
    let ours = Proxy::start(&format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  protocol: tcp\n  cluster: c3\n  \
         server_names: {{one.test: c0, \"*.two.test\": c1, \"*.test\": c2}}\nclusters:\n{lines}"
    ));
    for (arguments, expected) in [
        (&["-servername", "one.test"][..], "one.test"),
        (&["-servername", "ONE.test"], "one.test"),
        (&["-servername", "a.two.test"], "below.two.test"),
        (&["-servername", "a.b.two.test"], "below.two.test"),
        (&["-servername", "two.test"], "below.test"),
        (&["-servername", "x.one.test"], "below.test"),
        (&["-servername", "test"], "rest.test"),
        (&["-servername", "example.com"], "rest.test"),
        (&["-noservername"], "rest.test"),
    ] {
        let outcomes = [ours.address("in"), theirs.address("in")].map(|at| openssl(at, arguments));
        assert_eq!(outcomes[0], outcomes[1], "{arguments:?}");
        assert_eq!(outcomes[0].subject, Some(format!("CN={expected}")), "{arguments:?}");
    }
}

#[test]
fn a_thousand_handshakes_leave_nothing_behind() {
    let upstream = Upstream::ok("hello");
    let certificates = Certificates::new();
    let named = [("first", &certificates.first)];
    let proxy = prepared(upstream.address(), &[&tls(&["first"], "")], &named).workers(2).start();
    let options = crate::equipment::TlsOptions::new(&certificates.authority, "first.test");
    let at = proxy.address("in");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            let options = &options;
            scope.spawn(move || {
                for _ in 0..50 {
                    // Each way has sessions of its own: one handshake is full, and one is resumed.
                    let way = crate::equipment::TlsClient::to(at, options);
                    for _ in 0..2 {
                        let fields = [("connection", "close")];
                        let answer = Client::connect(way.address()).request("GET", "/", &fields, "");
                        assert_eq!(answer.text(), "hello");
                    }
                }
            });
        }
    });
    let count = |resumed| {
        let labels = [("listener", "in"), ("resumed", resumed)];
        proxy.metrics().sum("tidegate_downstream_tls_handshakes_total", &labels)
    };
    assert_eq!((count("false"), count("true")), (500.0, 500.0));
    proxy.wait_for_metric("tidegate_downstream_active_connections", &[("listener", "in")], 0.0);
}
