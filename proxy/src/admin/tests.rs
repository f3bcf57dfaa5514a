//! The admin listener as its clients see it: bytes over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{AdminState, Readiness, Reloaded, Stage, Steered, bind, serve, serve_connection};
use crate::telemetry::metrics::{Format, Registry};

fn state() -> (AdminState, Arc<Readiness>) {
    let metrics = Registry::new();
    metrics.cluster(0, "api").connections.increment();
    let readiness = Arc::new(Readiness::default());
    let state = AdminState {
        metrics: Box::new(move |format| metrics.render(format)),
        readiness: Arc::clone(&readiness),
        troubles: Box::new(Vec::new),
        filters: Box::new(|| "{\"filters\":{}}".to_owned()),
        clusters: Box::new(|| "{\"clusters\":{}}".to_owned()),
        config: Box::new(|| "{\"listeners\":[]}".to_owned()),
        canaries: Box::new(|| "{\"canaries\":[]}".to_owned()),
        steer: Box::new(|_, _| Steered::NoSuch),
        status: Box::new(|| "{\"generation\":1}".to_owned()),
        record: Box::new(|_, _| Err(crate::admin::NoRecording::NoSuch)),
        reload: Box::new(|| Box::pin(async { Reloaded::Ending })),
    };
    (state, readiness)
}

struct Admin {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Admin {
    /// An admin listener on a port of its own, served by the test's runtime.
    fn start() -> Admin {
        let (state, readiness) = state();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, state, async {
            // Dropping the sender stops it as well.
            let _ = stopped.await;
        }));
        Admin { address, readiness, stop, served }
    }

    /// Sends `request` as it is and reads until the listener closes.
    async fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut response = Vec::new();
        // A connection that is reset after its answer has answered.
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8(response).expect("pages are text")
    }

    async fn get(&self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await
    }
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

#[tokio::test]
async fn the_index_lists_every_page_and_every_page_is_there() {
    let admin = Admin::start();
    admin.readiness.enter(Stage::Ready);
    let index = admin.get("/").await;
    let pages: Vec<_> = index
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let all = [
        "metrics",
        "ready",
        "live",
        "filters",
        "canaries",
        "clusters",
        "config",
        "recordings/FILTER",
        "reload",
    ];
    assert_eq!(pages, all);
    for page in pages {
        let response = admin.get(&format!("/{page}")).await;
        // A recording is begun, not read.
        let expected = if page.starts_with("recordings") { "405" } else { "200" };
        assert_eq!(status(&response), expected, "{response}");
        assert!(response.contains("connection: close\r\n"), "{response}");
        assert!(response.contains("cache-control: no-store\r\n"), "{response}");
    }
}

#[tokio::test]
async fn it_is_ready_only_while_the_workers_serve() {
    let admin = Admin::start();
    let starting = admin.get("/ready").await;
    assert_eq!(status(&starting), "503");
    assert!(starting.ends_with("\r\n\r\nstarting\n"), "{starting}");
    assert_eq!(status(&admin.get("/live").await), "200");
    admin.readiness.enter(Stage::Ready);
    assert_eq!(status(&admin.get("/ready").await), "200");
    admin.readiness.enter(Stage::Draining);
    admin.readiness.enter(Stage::Ready);
    let draining = admin.get("/ready").await;
    assert_eq!(status(&draining), "503");
    assert!(draining.ends_with("\r\n\r\ndraining\n"), "{draining}");
}

#[tokio::test]
async fn metrics_come_in_the_format_that_the_client_reads() {
    let admin = Admin::start();
    let plain = admin.get("/metrics").await;
    assert!(plain.contains(&format!("content-type: {}\r\n", Format::Prometheus.content_type())), "{plain}");
    assert!(plain.contains("\ntidegate_upstream_connections_total{cluster=\"api\"} 1\n"), "{plain}");
    assert!(!plain.contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let open = admin
        .send(format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n").as_bytes())
        .await;
    assert!(open.contains(&format!("content-type: {}\r\n", Format::OpenMetrics.content_type())), "{open}");
    assert!(open.ends_with("# EOF\n"), "{open}");
}

#[tokio::test]
async fn the_configuration_comes_as_json() {
    let response = Admin::start().get("/config").await;
    assert!(response.contains("content-type: application/json\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n{\"listeners\":[]}"), "{response}");
}

#[tokio::test]
async fn a_reload_that_the_end_overtakes_is_answered() {
    let admin = Admin::start();
    let response = admin.send(b"POST /reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status(&response), "503");
}

#[tokio::test]
async fn a_reload_is_waited_for_longer_than_a_client() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client = TcpStream::connect(socket.local_addr().expect("it is bound")).await.expect("it listens");
    client.write_all(b"POST /reload HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it is buffered");
    let (stream, _) = socket.accept().await.expect("a client");
    let reload = || -> super::Reloading {
        Box::pin(async {
            // The reload takes that long: ten times what a client has.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Reloaded::Served("{}".to_owned())
        })
    };
    let state = AdminState { reload: Box::new(reload), ..state().0 };
    serve_connection(stream, Arc::new(state), Duration::from_millis(20)).await;
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("it is answered");
    assert_eq!(status(&response), "200");
}

#[tokio::test]
async fn the_pages_can_only_be_read() {
    let admin = Admin::start();
    let response = admin.send(b"POST /config HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status(&response), "405");
    assert!(response.contains("allow: GET, HEAD\r\n"), "{response}");
    let head = admin.send(b"HEAD /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(status(&head), "200");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(status(&admin.get("/quitquitquit").await), "404");
}

#[tokio::test]
async fn nothing_is_said_to_a_web_page_nor_under_a_name_of_another_machine() {
    let admin = Admin::start();
    let ask = async |method: &str, path: &str, fields: &str| {
        admin.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n").as_bytes()).await
    };
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/config"),
        ("GET", "/metrics"),
        ("GET", "/filters"),
        ("GET", "/canaries"),
        ("GET", "/clusters"),
        ("GET", "/reload"),
        ("HEAD", "/config"),
        ("POST", "/reload"),
        ("POST", "/canaries/f?promote"),
    ] {
        for (fields, why) in [
            ("host: localhost\r\norigin: http://evil\r\n", "web page"),
            ("host: localhost\r\nsec-fetch-site: cross-site\r\n", "web page"),
            ("host: evil.com\r\n", "another host"),
            ("host: localhost\r\nhost: evil.com\r\n", "another host"),
        ] {
            let response = ask(method, path, fields).await;
            assert_eq!(status(&response), "403", "{method} {path} {fields}: {response}");
            assert_eq!(response.contains(why), method != "HEAD", "{response}");
        }
    }
    let absolute = ask("GET", "http://evil.com/config", "host: localhost\r\n").await;
    assert_eq!(status(&absolute), "403", "{absolute}");
    for fields in ["host: 127.0.0.1:9901\r\n", "host: [::1]\r\nsec-fetch-site: none\r\n", "host:\r\n"] {
        assert_eq!(status(&ask("GET", "/config", fields).await), "200", "{fields}");
    }
    let nameless = admin.send(b"GET /config HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&nameless), "200", "{nameless}");
}

#[tokio::test]
async fn a_command_asks_under_the_address_that_a_name_led_to() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("it is bound");
    let asking = tokio::spawn(async move {
        let client = super::client::Client::new(&format!("localhost:{}", address.port()));
        client.ask(http::Method::GET, "/live").await.map(|(status, _)| status.as_u16())
    });
    let (mut stream, _) = socket.accept().await.expect("it asks");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("it says all of its request"));
    }
    let head = String::from_utf8(head).expect("it is text");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it reads");
    assert!(matches!(asking.await.expect("no panic"), Ok(204)));
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused() {
    let admin = Admin::start();
    let many = "x: y\r\n".repeat(65);
    let response =
        admin.send(format!("GET /live HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert_eq!(status(&response), "431");
    let long = "y".repeat(17 * 1024);
    let response =
        admin.send(format!("GET /live HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&response), "431");
}

#[tokio::test]
async fn it_answers_the_request_under_way_and_stops() {
    let admin = Admin::start();
    let mut under_way = TcpStream::connect(admin.address).await.expect("it listens");
    under_way.write_all(b"GET /live HTTP/1.1\r\n").await.expect("it reads");
    // Once a later connection was served, the earlier one was accepted.
    admin.get("/live").await;
    admin.stop.send(()).expect("it serves");
    under_way.write_all(b"host: localhost\r\n\r\n").await.expect("it reads");
    let mut response = String::new();
    under_way.read_to_string(&mut response).await.expect("it answers");
    assert_eq!(status(&response), "200");
    admin.served.await.expect("no panic").expect("no error");
    TcpStream::connect(admin.address).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_client_that_does_not_finish_is_cut() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client = TcpStream::connect(socket.local_addr().expect("it is bound")).await.expect("it listens");
    client.write_all(b"GET /live").await.expect("it is buffered");
    let (stream, _) = socket.accept().await.expect("a client");
    let serving = serve_connection(stream, Arc::new(state().0), Duration::from_millis(1));
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it is given up long before");
    let mut response = Vec::new();
    // Closed with its bytes unread, a connection may be reset.
    let _ = client.read_to_end(&mut response).await;
    assert!(response.is_empty());
}

#[tokio::test]
async fn a_port_in_use_is_known_before_anything_is_served() {
    let admin = Admin::start();
    let error = bind(admin.address).expect_err("it is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_another_to_end() {
    let admin = Admin::start();
    let mut silent = Vec::new();
    for _ in 0..super::MAX_CONNECTIONS {
        silent.push(TcpStream::connect(admin.address).await.expect("it listens"));
    }
    let mut next = TcpStream::connect(admin.address).await.expect("the kernel takes it");
    next.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it is buffered");
    let mut response = String::new();
    let early = tokio::time::timeout(Duration::from_millis(200), next.read_to_string(&mut response)).await;
    assert!(early.is_err(), "{response}");
    silent.pop();
    next.read_to_string(&mut response).await.expect("it answers");
    assert_eq!(status(&response), "200");
}
