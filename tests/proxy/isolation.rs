//! An instance for each exchange: what fails in one is that exchange's alone, and each begins as the filter was configured.

use std::time::Instant;

use super::filters::with_filters;
use crate::equipment::Buffer::PluginConfig;
use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Answer, Flow, Gate, Guest, On, Proxy, Step, Upstream, When, eventually, forwarding, in_listener, message,
};

const ALONE: &str = ", isolation: exchange";
const FAILS: When = When::Header(RequestHeaders, "x-fail", "yes");

fn failing() -> Guest {
    Guest::new().quiet().on(On::RequestHeaders, [Step::If(FAILS, vec![Step::Trap])])
}

/// Answers `/held` when the gate opens, and everything else at once.
fn holding(gate: &Gate) -> Upstream {
    let held = gate.clone();
    Upstream::start(move |head| match head.target() {
        "/held" => Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    })
}

fn of(proxy: &Proxy, metric: &str, filter: &str) -> f64 {
    proxy.metrics().sum(metric, &[("filter", filter)])
}

#[test]
fn a_trap_costs_the_exchange_that_caused_it_and_no_other() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let marking = failing().on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-seen", "1")]);
    let proxy = with_filters(&upstream, &[("bad", &marking, ALONE)]);
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_for(1);
    assert_eq!(of(&proxy, "tidegate_filter_instances", "bad"), 2.0, "the worker's, and the exchange's own");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
        let next = client.get("/");
        assert_eq!(
            (next.status(), next.field("x-seen")),
            (200, Some("1")),
            "there is no wait for a successor"
        );
    }
    gate.open();
    let held = held.response();
    assert_eq!((held.status(), held.field("x-seen")), (200, Some("1")), "it began before the faults");
    assert_eq!(
        proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "bad"), ("kind", "trap")]),
        3.0
    );
    assert_eq!(of(&proxy, "tidegate_filter_rebuilds_total", "bad"), 0.0);
    assert_eq!(of(&proxy, "tidegate_filter_on_fault_total", "bad"), 3.0);
    proxy.wait_for_metric("tidegate_filter_instances", &[("filter", "bad")], 1.0);
}

#[test]
fn traps_are_told_once_in_a_while_and_never_take_the_filter_from_the_next() {
    const TRAPS: usize = 50;
    let upstream = Upstream::ok("hello");
    let proxy =
        with_filters(&upstream, &[("bad", &failing(), ", isolation: exchange, breaker: {faults: 2}")]);
    let started = Instant::now();
    let mut client = proxy.client();
    for _ in 0..TRAPS {
        assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    }
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(of(&proxy, "tidegate_filter_faults_total", "bad"), TRAPS as f64, "each is counted");
    assert_eq!(of(&proxy, "tidegate_filter_breaker_trips_total", "bad"), 0.0);
    eventually("a line that says how many had none", || {
        client.request("GET", "/", &[("x-fail", "yes")], "");
        proxy.log().iter().any(|event| message(event).contains("more faults since")).then_some(())
    });
    let lines = proxy.log().iter().filter(|event| event["fault"] == "trap").count();
    let most = 1 + started.elapsed().as_secs() as usize;
    assert!((2..=most.max(2)).contains(&lines), "{lines} lines in {:?}", started.elapsed());
}

#[test]
fn every_exchange_begins_with_the_filter_as_it_was_configured() {
    // The first call of each instance is the first there is; the metric and the queue were made while it was configured.
    let guest = Guest::logger()
        .on(
            On::Configure,
            [Step::DefineMetric(0, "served".to_owned(), 0), Step::RegisterQueue("jobs".to_owned(), 1)],
        )
        .on(
            On::RequestHeaders,
            [
                Step::If(When::Call(1), vec![Step::add(RequestHeaders, "x-first", "1")]),
                Step::GetBuffer(PluginConfig, 0, 100),
                Step::IncrementMetric(0, 1),
                Step::Enqueue(1, "a job".to_owned()),
            ],
        )
        .on(On::QueueReady, [Step::Dequeue(1)]);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("fresh", &guest, ", isolation: exchange, config: of-all")]);
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(upstream.requests().iter().all(|request| request.head.field("x-first") == Some("1")));
    proxy.wait_for_metric("wasmcustom_served_total", &[], 5.0);
    let lines = || proxy.guest_log().into_iter().map(|(_, line)| line);
    eventually("the other guest has taken all jobs", || {
        (lines().filter(|line| line.contains("dequeue") && line.ends_with("-> 0 a job")).count() == 5)
            .then_some(())
    });
    assert_eq!(
        lines().filter(|line| line.contains("buffer PluginConfig") && line.contains("of-all")).count(),
        5
    );
    assert_eq!(
        lines().filter(|line| line.starts_with("configure")).count(),
        2,
        "once for the proof, once on the worker"
    );
}

#[test]
fn ticks_go_on_in_a_guest_of_their_own() {
    let guest = failing().on(On::Configure, [Step::TickPeriod(10)]).on(On::Tick, []);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("ticking", &guest, ALONE)]);
    let ticks = || {
        let labels = [("filter", "ticking"), ("callback", "on_tick")];
        proxy.metrics().sum("tidegate_filter_calls_total", &labels)
    };
    assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    let before = ticks();
    eventually("ticks after the fault", || (ticks() >= before + 3.0).then_some(()));
}

#[test]
fn an_exchange_that_asks_for_ticks_has_its_own_until_it_ends() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::TickPeriod(10), Step::Return(1)])
        .on(On::Tick, [Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("sleeps", &guest, ALONE)]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "hello", "it was held until a tick");
    }
    let ticks = || proxy.guest_log().iter().filter(|(_, line)| line.starts_with("tick")).count();
    let so_far = ticks();
    assert!(so_far >= 3);
    assert_eq!(proxy.client().get("/").text(), "hello");
    assert!(ticks() > so_far);
    proxy.wait_for_metric("tidegate_active_requests", &[], 0.0);
}

#[test]
fn what_an_exchange_asked_for_when_it_ended_is_done() {
    // The guest of the exchange waits for the answer to a call that it makes as it logs.
    let fields = [(":method", "POST"), (":path", "/seen"), (":authority", "log")];
    let guest = Guest::logger()
        .on(On::Log, [Step::callout_with("up", &fields, "it was", 1000)])
        .on(On::CalloutResponse, []);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters(&upstream, &[("logs", &guest, ALONE)]);
    assert_eq!(proxy.client().get("/").status(), 200);
    eventually("the answer was seen", || {
        proxy.guest_log().iter().any(|(_, line)| line.starts_with("http_call_response")).then_some(())
    });
    assert_eq!(upstream.requests().iter().filter(|request| request.head.target() == "/seen").count(), 1);
    let memory = || of(&proxy, "tidegate_filter_memory_bytes", "logs");
    let others = memory();
    assert_eq!(proxy.client().get("/").status(), 200);
    eventually("the guest has gone", || (memory() == others).then_some(()));
}

#[test]
fn there_are_as_many_instances_as_may_be_and_no_more() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let more = ", isolation: exchange, limits: {instances: 2}";
    let proxy = with_filters(&upstream, &[("few", &failing(), more)]);
    let mut held: Vec<_> = (0..2).map(|_| proxy.client()).collect();
    for (at, client) in held.iter_mut().enumerate() {
        client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
        upstream.wait_for(at + 1);
    }
    assert_eq!(proxy.client().get("/").status(), 503);
    let labels = [("filter", "few"), ("kind", "instances")];
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &labels), 1.0);
    proxy.wait_for_log("the limit", |event| message(event).contains("`limits.instances: 2`"));
    gate.open();
    held.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!(proxy.client().get("/").status(), 200);
}

#[test]
fn a_module_that_cannot_be_kept_as_it_was_configured_is_refused_with_the_reason() {
    let module = r#"(module (memory (export "memory") 1) (table 1 funcref)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0))
        (func $change (table.set (i32.const 0) (ref.null func))))"#;
    let module = wat::parse_str(module).expect("it is a module");
    let config = in_listener(&forwarding(&[Upstream::ok("").address()], ""), &["filters: [changing]"]);
    let config = config + "filters:\n  changing: {module: ./changing.wasm, isolation: exchange}\n";
    let said = Proxy::with(&config).file("changing.wasm", module).run("check").stderr;
    assert!(said.contains("cannot have an instance for each exchange"), "{said}");
    assert!(said.contains("table.set") && said.contains("`isolation: worker` takes any module"), "{said}");
}

#[test]
fn both_ways_answer_alike_with_the_shipped_filters() {
    let limits = "config: {key: [header:x-user], rate: 1/h}";
    let upstream = Upstream::ok("hello");
    for isolation in ["worker", "exchange"] {
        let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [limits]"]);
        let config = format!(
            "{config}filters:\n  limits: {{module: builtin:rate-limit, isolation: {isolation}, {limits}}}\n"
        );
        let proxy = Proxy::start(&config);
        let mut client = proxy.client();
        let answers: Vec<_> = ["a", "a", "b", "b"]
            .map(|user| client.request("GET", "/", &[("x-user", user)], "").status())
            .into();
        assert_eq!(answers, [200, 429, 200, 429], "{isolation}");
    }
}
