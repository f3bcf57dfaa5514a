//! The built filter on the real host: who is admitted, who is charged how much in the end, and what it costs itself.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Outcome, Request, Response, Seen, Setup};

fn filter(more: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    let mut config = json!({
        "client": "header:X-Client", "budget": {"burst": 100, "refill": 10}, "in_flight": 150,
        "costs": [{"path": "/reports", "cost": 50}, {"path": "/search/", "method": "POST", "cost": 5}],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Kit::of(&module).config(config).workers(2).as_its_manifest_asks()
}

fn by(client: &str, path: &str) -> Request {
    Request::get(path).header("x-client", client)
}

#[track_caller]
fn assert_refused(seen: &Seen, status: u16, retry_after: &str) {
    assert_eq!(
        (seen.outcome(), seen.status(), seen.header("retry-after")),
        (Outcome::Replied, status, Some(retry_after))
    );
    assert!(!seen.was_forwarded());
}

/// How much a client has left: so many requests that cost one are admitted.
fn left(kit: &Kit, client: &str) -> usize {
    let admitted = |worker: &usize| kit.send(by(client, "/").on_worker(worker % 2)).status() == 200;
    (0..200).take_while(admitted).count()
}

#[test]
fn a_client_may_spend_its_budget_on_few_things_or_on_many() {
    let kit = filter(json!({})).start();
    assert_eq!(kit.send(by("ann", "/reports/7?full=1")).status(), 200);
    assert_eq!(kit.send(by("ann", "/reports").on_worker(1)).status(), 200);
    assert_refused(&kit.send(by("ann", "/reports")), 429, "5");
    assert_refused(&kit.send(by("ann", "/")), 429, "1");
    assert_eq!(left(&kit, "bob"), 100, "another's are another's");
    kit.advance(Duration::from_secs(5));
    assert_eq!(kit.send(by("ann", "/reports")).status(), 200);
    assert_eq!(kit.counter(r#"cost_requests{outcome="over_budget"}"#), 3);
    assert_eq!(kit.counter("cost_charged"), 250);
}

#[test]
fn what_a_request_is_thought_to_cost_is_by_path_method_and_length() {
    let kit = filter(json!({"default_cost": 2, "per_kib": 3})).start();
    let post = |path: &str, body: usize| Request::post(path).body(vec![b'x'; body]);
    for (request, cost) in [
        (Request::get("/"), 2),
        (Request::get("/reportsx"), 2),
        (Request::get("/search"), 2),
        (post("/search", 0), 5),
        (post("/search/a", 1), 8),
        (post("/", 2049), 11),
        (post("/", 1 << 20), 100), // never more than there is
    ] {
        let before = kit.counter("cost_charged");
        let client = format!("of {before}");
        assert_eq!(kit.send(request.header("x-client", client)).status(), 200);
        assert_eq!(kit.counter("cost_charged") - before, cost);
    }
}

#[test]
fn a_client_is_charged_in_the_end_what_the_service_says() {
    for (said, charged) in [("3", 3), ("80", 80), ("500", 100), ("nonsense", 50)] {
        let kit = filter(json!({})).start();
        kit.upstream(move |_| Response::new(200).header("x-cost", said));
        let seen = kit.send(by("ann", "/reports"));
        assert_eq!(seen.header("x-cost"), None, "it is between the service and the proxy");
        kit.upstream(|_| Response::new(200));
        assert_eq!(left(&kit, "ann"), 100 - charged, "{said}");
    }
}

#[test]
fn a_client_is_charged_by_time_where_that_is_asked_for() {
    let kit = filter(json!({"per_second": 20})).start();
    kit.upstream(|_| Response::new(200).after(Duration::from_millis(2500)));
    kit.send(by("ann", "/"));
    kit.upstream(|_| Response::new(200).header("x-cost", "1"));
    assert_eq!(left(&kit, "ann"), 51, "the bucket was full again when it was over, but for the 49 more");
}

#[test]
fn what_the_service_failed_at_costs_nothing() {
    let kit = filter(json!({})).start();
    kit.upstream(|_| Response::new(502).header("x-cost", "7"));
    kit.send(by("ann", "/reports"));
    kit.upstream(|_| Response::new(200));
    assert_eq!(left(&kit, "ann"), 100);
    assert_eq!(kit.counter(r#"cost_requests{outcome="refunded"}"#), 1);
}

#[test]
fn all_clients_together_have_so_much_in_flight_and_who_is_refused_for_that_is_not_charged() {
    let kit = filter(json!({})).start();
    let open: Vec<_> = ["a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(at, client)| kit.open(by(client, "/reports").on_worker(at % 2)))
        .collect();
    assert_eq!(kit.gauge("cost_in_flight"), 150);
    assert_refused(&kit.send(by("d", "/")), 503, "1");
    let mut open = open.into_iter();
    open.next().map(|exchange| exchange.finish().status());
    open.next().map(|exchange| exchange.cut());
    assert_eq!(kit.gauge("cost_in_flight"), 50, "one was answered, and one has left");
    assert_eq!(left(&kit, "d"), 100);
    open.next().map(|exchange| exchange.finish().status());
    assert_eq!(kit.gauge("cost_in_flight"), 0);
}

#[test]
fn what_is_in_flight_is_counted_across_periods() {
    let kit = filter(json!({})).start();
    kit.advance(Duration::from_secs(299));
    let first = kit.open(by("a", "/reports"));
    kit.advance(Duration::from_secs(2));
    let second = kit.open(by("b", "/reports"));
    let third = kit.open(by("c", "/reports"));
    assert_refused(&kit.send(by("d", "/")), 503, "1");
    for exchange in [first, second, third] {
        exchange.finish();
    }
    assert_eq!(kit.send(by("d", "/")).status(), 200);
}

#[test]
fn a_host_without_cells_counts_in_shared_data() {
    let kit = filter(json!({})).limits(|limits| limits.cells = 0).start();
    assert_eq!(left(&kit, "ann"), 100);
    assert_refused(&kit.send(by("ann", "/")), 429, "1");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_fields_name() {
    for (config, why) in [
        (json!({"client": "cookie:a"}), "client: `cookie:a` is neither"),
        (json!({"budget": {"burst": 1, "refill": 0}}), "budget: `refill` and `every`"),
        (json!({"costs": [{"path": "/", "cost": 101}]}), "costs[0].cost: 101 is more than there ever is"),
        (json!({"costs": [{"path": "a", "cost": 1}]}), "costs[0].path: `a` does not begin"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
    }
}

#[test]
fn what_it_costs_itself() {
    let kit = filter(json!({})).start();
    kit.send(by("ann", "/reports"));
    let seen = kit.send(by("bob", "/reports"));
    println!("an exchange: {}", seen.instructions());
    assert!(seen.instructions() < 15_000, "an exchange costs {} instructions", seen.instructions());
}
