//! A new configuration while traffic flows: nothing is lost, nothing is half changed, and what cannot be served changes
//! nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Answer, Client, Gate, GrpcAct, GrpcService, Guest, On, Proxy, Start, Step, Upstream, When, eventually,
    forwarding, in_listener,
};

/// Marks requests and responses with its version, and logs what it is called for.
pub(super) fn marking(version: &str) -> Guest {
    Guest::logger()
        .on(On::RequestHeaders, [Step::add(RequestHeaders, "x-version", version)])
        .on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-version", version)])
}

/// The same with so many steps more, in callbacks that nobody calls: code as large as a real filter's, that does not
/// compress. About seven bytes each.
pub(super) fn filled(guest: Guest, seed: u32, steps: u32) -> Guest {
    let places = [On::GrpcInitial, On::GrpcReceive, On::GrpcTrailing, On::GrpcClose];
    let mut state = seed;
    (0..steps).fold(guest, |guest, step| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        guest.on(places[step as usize % places.len()], [Step::Spin(state)])
    })
}

/// What a listener answers by itself.
pub(super) fn answering(text: &str) -> String {
    format!(
        "listeners:\n- {{name: in, address: 127.0.0.1:0, routes: [{{match: {{path: {{prefix: /}}}}, respond: {{status: 200, body: {text}}}}}]}}\n"
    )
}

/// Everything through these filters to this upstream.
pub(super) fn filtering(upstream: &Upstream, filters: &[&str]) -> String {
    let chain = format!("filters: [{}]", filters.join(", "));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &[&chain]);
    let filters = filters.iter().map(|name| format!("  {name}: {{module: ./{name}.wasm}}\n"));
    filters.fold(config + "filters:\n", |config, filter| config + &filter)
}

pub(super) fn with_modules(config: &str, modules: &[(&str, &Guest)]) -> Start {
    let start = Proxy::with(config);
    modules.iter().fold(start, |start, (name, guest)| start.file(&format!("{name}.wasm"), guest.build()))
}

/// Answers `/held` when the gate opens, and everything else at once.
pub(super) fn holding(gate: &Gate) -> Upstream {
    let held = gate.clone();
    Upstream::start(move |head| match head.target() {
        "/held" => Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    })
}

/// How often a filter logged a line that begins so.
pub(super) fn count(proxy: &Proxy, filter: &str, begin: &str) -> usize {
    proxy.guest_log().iter().filter(|(name, line)| name == filter && line.starts_with(begin)).count()
}

#[test]
fn a_connection_gets_the_new_configuration_with_its_next_request() {
    let mut proxy = Proxy::start(&answering("one"));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one");
    assert!(proxy.change(&answering("two")));
    assert_eq!(client.get("/").text(), "two");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_config_generation", &[]), 2.0);
    assert_eq!(metrics.sum("tidegate_config_reloads_total", &[("result", "success")]), 1.0);
    assert!(proxy.admin("/config").text().contains("two"));
}

#[test]
fn a_configuration_that_cannot_be_served_changes_nothing_and_is_explained() {
    let upstream = Upstream::ok("hello");
    let config = filtering(&upstream, &["mark"]);
    let mut proxy = with_modules(&config, &[("mark", &marking("1"))]).start();
    let mut client = proxy.client();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let taken = taken.local_addr().expect("it is bound");
    let refusing = Guest::logger().on(On::Configure, [Step::Return(0)]);
    proxy.put("refusing.wasm", refusing.build());
    proxy.put("broken.wasm", "this is no module");
    let bad = [
        ("listeners: [".to_owned(), "error"),
        (config.replace("cluster: up", "cluster: down"), "down"),
        (config.replace("./mark.wasm", "./broken.wasm"), "broken.wasm"),
        (config.replace("./mark.wasm", "./refusing.wasm"), "refuses its `config`"),
        (config.replace("./mark.wasm", "./missing.wasm"), "missing.wasm"),
        (config.replace("127.0.0.1:0\n", &format!("{taken}\n")), "cannot listen"),
    ];
    for (at, (config, why)) in bad.iter().enumerate() {
        assert!(!proxy.change(config), "{config}");
        proxy.wait_for_log("why it is not served", |event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.starts_with("the configuration is not taken over") && message.contains(why)
        });
        let metrics = proxy.metrics();
        assert_eq!(metrics.sum("tidegate_config_reloads_total", &[("result", "failure")]), (at + 1) as f64);
        assert_eq!(metrics.sum("tidegate_config_last_reload_successful", &[]), 0.0);
        assert_eq!(metrics.sum("tidegate_config_generation", &[]), 1.0);
        assert_eq!(client.get("/").field("x-version"), Some("1"));
    }
    assert!(proxy.change(&config));
    assert_eq!(proxy.metrics().sum("tidegate_config_last_reload_successful", &[]), 1.0);
    assert_eq!(upstream.connections(), 1, "nothing was restarted");
}

#[test]
fn an_exchange_ends_with_the_version_that_it_began_with() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let mut proxy = with_modules(&filtering(&upstream, &["mark"]), &[("mark", &marking("1"))]).start();
    let mut waiting = proxy.client();
    waiting.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_for(1);
    proxy.put("mark.wasm", marking("2").build());
    assert!(proxy.reload());
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("x-version"), Some("2"));
    assert_eq!(count(&proxy, "mark", "done ctx=1"), 0, "the first guest is needed still");
    gate.open();
    assert_eq!(waiting.response().field("x-version"), Some("1"));
    let versions: Vec<_> =
        upstream.requests().iter().map(|request| request.head.all("x-version").join(",")).collect();
    assert_eq!(versions, ["1", "2"]);
    eventually("the first guest has ended", || (count(&proxy, "mark", "delete ctx=1") == 1).then_some(()));
    assert_eq!(waiting.get("/").field("x-version"), Some("2"), "its connection lives on");
}

#[test]
fn what_has_not_changed_goes_on_as_it_was() {
    let upstream = Upstream::ok("hello");
    let config = filtering(&upstream, &["kept", "other"]);
    let modules = [("kept", &marking("k")), ("other", &marking("1"))];
    let mut proxy = with_modules(&config, &modules).start();
    let mut client = proxy.client();
    client.get("/");
    let starts = count(&proxy, "kept", "vm_start");
    proxy.put("other.wasm", marking("2").build());
    assert!(proxy.reload());
    assert_eq!(client.get("/").head.all("x-version"), ["2", "k"]);
    // Another order, one cluster more: none of it is about the filter.
    let moved = config.replace("[kept, other]", "[other, kept]");
    let moved = moved.replace("clusters:\n", "clusters:\n  more: {endpoints: []}\n");
    assert!(proxy.change(&moved));
    assert_eq!(client.get("/").head.all("x-version"), ["k", "2"]);
    proxy.settle();
    assert_eq!(count(&proxy, "kept", "vm_start"), starts, "neither proved nor started again");
    assert_eq!(count(&proxy, "kept", "done ctx=1"), 0);
    assert_eq!(upstream.connections(), 1, "an unchanged cluster keeps its connections");
}

#[test]
fn a_changed_cluster_is_used_from_the_next_request_on() {
    let (one, two) = (Upstream::ok("one"), Upstream::ok("two"));
    let mut proxy = Proxy::start(&forwarding(&[one.address()], ""));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one");
    assert!(proxy.change(&forwarding(&[two.address()], "")));
    assert_eq!(client.get("/").text(), "two");
    one.pardon();
    eventually("the former endpoint's connections are closed", || {
        (one.open_connections() == 0).then_some(())
    });
}

#[test]
fn listeners_come_and_go() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let first = forwarding(&[upstream.address()], "");
    let added = first
        .replace("clusters:\n", "- {name: new, address: 127.0.0.1:0, routes: [{match: {path: {prefix: /}}, cluster: up}]}\nclusters:\n");
    let mut proxy = Proxy::start(&first);
    let mut kept = proxy.client();
    kept.get("/");
    assert!(proxy.change(&added));
    let address = proxy.address("new");
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/").text(), "hello");
    let mut waiting = Client::connect(address);
    waiting.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("it waits", |seen| seen.iter().any(|request| request.head.target() == "/held"));
    assert!(proxy.change(&first));
    idle.expect_end();
    gate.open();
    let last = waiting.response();
    assert_eq!((last.status(), last.field("connection")), (200, Some("close")));
    waiting.expect_end();
    let refused = || Client::try_connect(address).is_err();
    eventually("nobody listens there", || refused().then_some(()));
    assert_eq!(kept.get("/").text(), "hello", "the other listener noticed nothing");
}

#[test]
fn a_drain_waits_for_what_began_under_a_former_configuration() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")])
    });
    let mut proxy = with_modules(&filtering(&upstream, &["mark"]), &[("mark", &marking("1"))]).start();
    let mut waiting = proxy.client();
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_for(1);
    proxy.put("mark.wasm", marking("2").build());
    assert!(proxy.reload());
    proxy.terminate();
    proxy.wait_for_log("the drain", |event| event["message"] == "draining");
    gate.open();
    assert_eq!(waiting.response().field("x-version"), Some("1"));
    drop(waiting);
    assert_eq!(proxy.wait().code, Some(0));
}

#[test]
fn a_stream_of_a_filter_that_was_taken_over_holds_up_no_drain() {
    let upstream = Upstream::ok("hello");
    let service = GrpcService::start(|_| vec![GrpcAct::ReadToEnd]);
    let guest = Guest::logger().on(On::RequestHeaders, [Step::grpc_stream("svc", "Do")]);
    let config = filtering(&upstream, &["stream"]);
    let service_cluster = format!("clusters:\n  svc: {{endpoints: [\"{}\"]}}\n", service.address());
    let config = config.replacen("clusters:\n", &service_cluster, 1);
    let mut proxy = with_modules(&config, &[("stream", &guest)]).start();
    assert_eq!(proxy.client().get("/").text(), "hello");
    service.wait_until("the stream", |rpcs| rpcs.len() == 1);
    assert!(proxy.change(&config.replacen("cluster: up", "cluster: up, name: renamed", 1)));
    assert_eq!(count(&proxy, "stream", "grpc_close"), 0, "it goes on");
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    assert!(!exit.stderr.contains("the drain's time is over"), "{}", exit.stderr);
}

#[test]
fn under_load_no_request_fails_and_each_is_answered_by_one_version() {
    const CLIENTS: usize = 4;
    const SWAPS: usize = 20;
    let upstream = Upstream::ok("hello");
    let config = filtering(&upstream, &["mark"]);
    let mark = |version: usize| marking(&version.to_string()).quiet();
    let mut proxy = with_modules(&config, &[("mark", &mark(0))]).workers(2).start();
    let done = AtomicBool::new(false);
    let address = proxy.address("in");
    let answered = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(address);
                    let (mut last, mut count) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        let response = client.get("/");
                        let version = response.field("x-version").expect("the filter marks it");
                        let version: usize = version.parse().expect("one version");
                        assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
                        assert!(version >= last, "version {version} after {last}");
                        (last, count) = (version, count + 1);
                    }
                    (last, count)
                })
            })
            .collect();
        for version in 1..=SWAPS {
            proxy.put("mark.wasm", mark(version).build());
            assert!(proxy.reload());
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("it met no failure")).collect::<Vec<_>>()
    });
    println!("requests by each client, and the last version: {answered:?}");
    assert_eq!(proxy.client().get("/").field("x-version"), Some(SWAPS.to_string().as_str()));
    for request in upstream.requests() {
        assert_eq!(request.head.all("x-version").len(), 1);
    }
    eventually("the former guests are gone", || {
        (proxy.metrics().sum("tidegate_filter_instances", &[]) == 2.0).then_some(())
    });
}

/// A port that is free now.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    socket.local_addr().expect("it is bound").port()
}

#[test]
fn an_address_gives_way_to_one_that_includes_it_and_back() {
    let port = free_port();
    let on = |host: &str, text: &str| answering(text).replace("127.0.0.1:0", &format!("\"{host}:{port}\""));
    let ask = || Client::connect(([127, 0, 0, 1], port).into()).get("/").text();
    let mut proxy = Proxy::start(&on("0.0.0.0", "all"));
    assert_eq!(ask(), "all");
    for (host, text) in [("127.0.0.1", "one"), ("0.0.0.0", "all"), ("[::]", "six"), ("127.0.0.1", "one")] {
        assert!(proxy.change(&on(host, text)), "{host}");
        eventually("the former listener to be gone", || (ask() == text).then_some(()));
        (0..50).for_each(|_| assert_eq!(ask(), text, "{host}"));
    }
}

#[test]
fn listeners_whose_addresses_overlap_are_refused_as_when_starting() {
    let port = free_port();
    let one = |name: &str, host: &str| {
        format!(
            "- {{name: {name}, address: {host}:{port}, routes: [{{match: {{}}, respond: {{status: 200}}}}]}}\n"
        )
    };
    let both = format!("listeners:\n{}{}", one("all", "0.0.0.0"), one("in", "127.0.0.1"));
    let exit = Proxy::with(&both).run("run");
    assert!(exit.stderr.contains("cannot listen"), "{}", exit.stderr);
    let mut proxy = Proxy::start(&answering("one"));
    assert!(!proxy.change(&both));
    let mut proxy_of_all = Proxy::start(&format!("listeners:\n{}", one("all", "0.0.0.0")));
    assert!(!proxy_of_all.change(&both), "the one that stays has it");
}

/// Says in `on_done` that it is not done, and is once it was called for something of its own.
fn finishing_late(asks: Step, answer: On) -> Guest {
    let finish = vec![Step::say("farewell"), Step::ProxyDone];
    Guest::logger().on(On::Done, [Step::If(When::Call(1), vec![asks, Step::Return(0)])]).on(answer, finish)
}

#[test]
fn a_filter_that_is_not_done_when_it_is_replaced_goes_on_until_it_is() {
    let upstream = Upstream::ok("hello");
    let by_tick = finishing_late(Step::TickPeriod(5), On::Tick);
    let by_callout = finishing_late(Step::callout("up", "/farewell", 5000), On::CalloutResponse);
    let config = filtering(&upstream, &["tick", "ask"]);
    let mut proxy = with_modules(&config, &[("tick", &by_tick), ("ask", &by_callout)]).start();
    proxy.put("tick.wasm", marking("1").build());
    proxy.put("ask.wasm", marking("2").build());
    let proved = proxy.guest_log().len();
    assert!(proxy.reload());
    for filter in ["tick", "ask"] {
        let order = eventually("its end", || {
            let log = proxy.guest_log();
            let lines: Vec<String> = log
                .into_iter()
                .skip(proved)
                .filter(|(name, _)| name == filter)
                .map(|(_, line)| line)
                .collect();
            let begun = lines.iter().position(|line| line.starts_with("done ctx=1"))?;
            lines.iter().any(|line| line == "farewell").then(|| lines[begun..].to_vec())
        });
        let at = |what: &str| order.iter().position(|line| line.starts_with(what));
        assert!(at("delete ctx=1") > at("farewell") || at("delete ctx=1").is_none(), "{order:?}");
    }
    eventually("both to be gone", || {
        (proxy.metrics().sum("tidegate_filter_instances", &[]) == 2.0).then_some(())
    });
    assert!(upstream.requests().iter().any(|request| request.head.target() == "/farewell"));
    assert!(!proxy.log().iter().any(|event| {
        event["message"].as_str().is_some_and(|message| message.contains("did not call proxy_done in time"))
    }));
}
