//! What the proxy refuses when it has more to do than it can, so that what it has gets on.

use std::net::SocketAddr;

use crate::equipment::{
    Act, Answer, Client, Gate, Guest, Http2Client, On, Proxy, Response, Step, Upstream, eventually,
    forwarding, in_listener,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n";

/// A listener whose `/health` is never refused, with these terms.
fn config(endpoints: &[SocketAddr], terms: &str) -> String {
    let health = "  - {match: {path: {exact: /health}}, respond: {status: 200, body: well}, shed: false}\n  - {match: {path: {prefix: /}}";
    let config = forwarding(endpoints, "timeout: 0s, retries: {on: [connect-failure], buffer: 64MiB}");
    let config = config.replace("  - {match: {path: {prefix: /}}", health);
    format!("overload: {{{terms}}}\n{}", in_listener(&config, &["access_log: true"]))
}

/// Terms by which any process is between the two: its memory is more than one share of a GiB and less than the other.
fn at(begins: &str, later: &str) -> String {
    let shares = match begins {
        "relieve" => "relieve: 1%, shed: 100%, refuse: 100%",
        "shed" => "relieve: 1%, shed: 1%, refuse: 100%",
        _ => "relieve: 1%, shed: 1%, refuse: 1%",
    };
    format!("memory: {{limit: 1GiB, {shares}}}{later}")
}

fn is_refused(response: &Response, excess: &str, proxy: &Proxy) {
    assert_eq!(response.status(), 503, "{response:?}");
    let fields = ["x-envoy-local-overloaded", "retry-after"].map(|name| response.field(name));
    assert_eq!(fields, [Some("true"), Some("1")]);
    let refused = [("work", "request"), ("excess", excess)];
    assert!(proxy.metrics().sum("tidegate_overload_refused_total", &refused) > 0.0);
}

/// An upstream that reads a request whole and answers when the gate is open.
fn holding() -> (Upstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start_forgetful(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    (upstream, gate)
}

fn wait_for_stage(proxy: &Proxy, stage: f64) {
    proxy.wait_for_metric("tidegate_overload_stage", &[], stage);
}

#[test]
fn more_requests_than_may_be_under_way_are_refused_on_all_workers_and_those_of_health_are_not() {
    let (upstream, gate) = holding();
    let proxy = Proxy::with(&config(&[upstream.address()], "requests: 2")).workers(2).start();
    let mut clients = [proxy.client(), proxy.client()];
    clients.iter_mut().for_each(|client| client.send(GET));
    upstream.wait_for(2);
    for _ in 0..4 {
        let mut client = proxy.client();
        is_refused(&client.get("/"), "requests", &proxy);
        assert_eq!(client.get("/health").text(), "well", "the connection is kept: memory is not short");
    }
    let mut http2 = Http2Client::connect(proxy.address("in"));
    let call = http2.request("POST", "/", &[("content-type", "application/grpc")], b"");
    let call = call.expect("it is answered");
    assert_eq!((call.status, call.field("grpc-status")), (200, Some("14")), "a gRPC client is told so too");
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!(proxy.client().get("/").status(), 200, "what has ended does not count");
    let log = proxy.wait_for_access_log(12);
    let line = log.iter().find(|line| line["status"] == 503).expect("it is logged");
    assert_eq!((&line["outcome"], &line["details"]), (&"overloaded".into(), &"overloaded: requests".into()));
}

#[test]
fn more_connections_than_may_be_open_are_closed_at_once_on_all_listeners_together() {
    let upstream = Upstream::ok("ok");
    let config = config(&[upstream.address()], "connections: 2");
    let other = "- name: other\n  address: 127.0.0.1:0\n  protocol: tcp\n  cluster: up\nclusters:";
    let proxy = Proxy::start(&config.replace("clusters:", other));
    let mut clients = [proxy.client(), Client::connect(proxy.address("other"))];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "ok"));
    for listener in ["in", "other"] {
        Client::connect(proxy.address(listener)).expect_end();
    }
    let refused = [("work", "connection"), ("excess", "connections")];
    proxy.wait_for_metric("tidegate_overload_refused_total", &refused, 2.0);
    let [_kept, left] = clients;
    left.leave();
    eventually("one that has ended not to count", || {
        let mut client = Client::try_connect(proxy.address("in")).ok()?;
        client.try_send(GET.as_bytes()).ok()?;
        client.try_response_to("GET").ok()?
    });
}

#[test]
fn memory_that_runs_out_ends_connections_that_nobody_uses_and_none_that_somebody_does() {
    let (upstream, gate) = holding();
    let mut proxy = Proxy::start(&config(&[upstream.address()], "requests: 100"));
    let (mut idle, mut busy) = (proxy.client(), proxy.client());
    assert_eq!(idle.get("/health").status(), 200);
    let mut http2 = Http2Client::connect(proxy.address("in"));
    assert_eq!(http2.get("/health").status, 200);
    busy.send(GET);
    upstream.wait_for(1);
    assert!(proxy.change(&config(&[upstream.address()], &at("relieve", ""))));
    wait_for_stage(&proxy, 1.0);
    idle.expect_end();
    http2.wait_for_end();
    gate.open();
    let response = busy.response();
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    busy.expect_end();
    assert_eq!(proxy.client().get("/").status(), 200, "requests are served");
    assert!(proxy.change(&config(&[upstream.address()], "requests: 100")));
    wait_for_stage(&proxy, 0.0);
    assert_eq!(proxy.client().get("/").field("connection"), None);
}

#[test]
fn requests_that_are_shed_reach_no_filter_and_connections_of_tcp_are_closed() {
    let upstream = Upstream::ok("ok");
    let config = config(&[upstream.address()], &at("shed", ", retry_after: 7s"));
    let config = in_listener(&config, &["filters: [seeing]"]);
    let other = "- name: other\n  address: 127.0.0.1:0\n  protocol: tcp\n  cluster: up\n\
                 filters: {seeing: {module: ./seeing.wasm}}\nclusters:";
    let guest = Guest::logger().on(On::RequestHeaders, []).on(On::ResponseHeaders, []);
    let start = Proxy::with(&config.replace("clusters:", other)).file("seeing.wasm", guest.build());
    let proxy = start.log_guests_fully().start();
    wait_for_stage(&proxy, 2.0);
    let response = proxy.client().get("/");
    let fields = ["x-envoy-local-overloaded", "retry-after", "connection"].map(|name| response.field(name));
    assert_eq!((response.status(), fields), (503, [Some("true"), Some("7"), Some("close")]));
    let calls = proxy.metrics().sum("tidegate_filter_calls_total", &[("callback", "on_request_headers")]);
    assert!(calls == 0.0, "a request that is refused costs no filter's work");
    assert_eq!(proxy.client().get("/health").status(), 200);
    Client::connect(proxy.address("other")).expect_end();
    let ready = proxy.admin("/ready");
    assert_eq!(ready.status(), 200, "the endpoint is still to be had: what it has to do ends soon");
    assert!(ready.text().contains("the memory runs out: the proxy is shedding"), "{}", ready.text());
    assert!(upstream.requests().is_empty());
}

#[test]
fn without_memory_for_a_connection_none_is_taken_but_the_operators_and_a_drain_goes_on() {
    let upstream = Upstream::ok("ok");
    let mut proxy = Proxy::start(&config(&[upstream.address()], "connections: 100"));
    assert!(proxy.change(&config(&[upstream.address()], &at("refuse", ""))));
    wait_for_stage(&proxy, 3.0);
    proxy.client().expect_end();
    let ready = proxy.admin("/ready");
    assert_eq!(ready.status(), 503, "{}", ready.text());
    let (used, limit) = ("tidegate_overload_memory_used_bytes", "tidegate_overload_memory_limit_bytes");
    assert!(proxy.metrics().sum(used, &[]) > 1e6);
    proxy.wait_for_metric(limit, &[], f64::from(1 << 30));
    proxy.wait_for_metric("tidegate_overload_stages_total", &[("stage", "refusing")], 1.0);
    proxy.wait_for_log("the stage", |event| event["stage"] == "refusing" && event["before"] == "normal");
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn bodies_that_fill_the_memory_have_others_refused_at_once_until_they_are_gone() {
    const PIECE: usize = 32 << 20;
    let (upstream, gate) = holding();
    let mut proxy = Proxy::start(&config(&[upstream.address()], "requests: 100"));
    let before = proxy.resident_bytes();
    // Five bodies are below where the stage begins, and nine beyond where the next would.
    let limit = before + (8 * PIECE) as u64;
    let share = |bodies: usize| (before + (bodies * PIECE) as u64) * 100 / limit;
    let (relieve, shed) = (share(4), share(6));
    let terms = format!("memory: {{limit: {limit}, relieve: {relieve}%, shed: {shed}%, refuse: 100%}}");
    assert!(proxy.change(&config(&[upstream.address()], &terms)));
    let mut holders = Vec::new();
    while proxy.metrics().sum("tidegate_overload_stage", &[]) < 2.0 {
        assert!(holders.len() < 16, "{} bodies of 32 MiB and nothing is refused", holders.len());
        let mut client = proxy.client();
        client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {PIECE}\r\n\r\n"));
        client.send_filler(PIECE as u64);
        holders.push(client);
        upstream.wait_for(holders.len());
        // A look is done ten times a second: what it finds now is what there is.
        let noted = proxy.metrics().sum("tidegate_overload_memory_used_bytes", &[]);
        eventually("the memory to be looked at", || {
            let used = proxy.metrics().sum("tidegate_overload_memory_used_bytes", &[]);
            (used != noted || used + 4e6 > proxy.resident_bytes() as f64).then_some(())
        });
    }
    is_refused(&proxy.client().get("/"), "memory", &proxy);
    assert_eq!(proxy.client().get("/health").text(), "well");
    assert!(proxy.admin("/metrics").status() == 200);
    gate.open();
    holders.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200, "what it has gets on"));
    drop(holders);
    wait_for_stage(&proxy, 0.0);
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_worker_that_cannot_keep_up_refuses_requests_until_it_can() {
    let upstream = Upstream::ok("ok");
    let config = config(&[upstream.address()], "lag: 50ms");
    let slow = "{match: {path: {prefix: /slow}}, cluster: up, filters: [slow]}\n  - {match: {path: {exact: /health}}";
    let config = config.replace("{match: {path: {exact: /health}}", slow);
    let config = format!(
        "{config}filters: {{slow: {{module: ./slow.wasm, limits: {{instructions: 10000M, wall_clock: 10s}}}}}}\n"
    );
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::Spin(50_000_000)]);
    let proxy = Proxy::with(&config).file("slow.wasm", guest.build()).start();
    let address = proxy.address("in");
    let refused = std::thread::scope(|scope| {
        let floods: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    eventually("a request to be refused", || {
                        let response = client.get("/slow");
                        (response.status() == 503).then_some(response)
                    })
                })
            })
            .collect();
        floods.into_iter().map(|flood| flood.join().expect("it ends")).collect::<Vec<_>>()
    });
    is_refused(&refused[0], "lag", &proxy);
    eventually("the worker to be on time", || (proxy.client().get("/").status() == 200).then_some(()));
}

#[test]
fn a_request_whose_client_leaves_no_longer_counts() {
    let upstream = Upstream::start(|_| Answer::default().read_body().act(Act::AwaitEnd));
    let proxy = Proxy::start(&config(&[upstream.address()], "requests: 1"));
    let mut client = proxy.client();
    client.send(GET);
    upstream.wait_for(1);
    is_refused(&proxy.client().get("/"), "requests", &proxy);
    client.reset();
    proxy.wait_for_metric("tidegate_active_requests", &[], 0.0);
    let mut client = proxy.client();
    client.send(GET);
    upstream.wait_for(2);
    client.reset();
}
