//! The built filter on the real host: what it does to exchanges, what it costs, and that divisions of bodies are not seen.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Callback, Failure, Kit, Module, Outcome, Request, Response, Setup};

fn filter(config: Value) -> Setup {
    Kit::of(&Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter")).config(config)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn an_abort_answers_in_the_upstreams_place() {
    let kit = filter(json!({"abort": {"status": 503, "body": "go away"}})).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.outcome(), seen.status(), seen.text().as_str()), (Outcome::Replied, 503, "go away"));
    assert_eq!(seen.details(), "fault_filter_abort");
    assert!(!seen.was_forwarded());
    assert_eq!(kit.counter("fault_aborts"), 1);
    assert_eq!(kit.gauge("fault_active"), 0, "the exchange is over");
}

#[test]
fn a_reset_cuts_the_connection() {
    let kit = filter(json!({"abort": {"reset": true}})).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!(seen.outcome(), Outcome::Failed(Failure::FilterClosed));
    assert!(seen.was_cut() && !seen.was_forwarded());
}

#[test]
fn a_delay_holds_the_request_for_as_long_as_it_says() {
    let kit = filter(json!({"delay": {"fixed": "250ms"}})).start();
    let exchange = kit.open(Request::post("/").body("hello"));
    assert_eq!(kit.gauge("fault_active"), 1);
    kit.advance(ms(249));
    assert_eq!(exchange.forwarded(), None);
    kit.advance(ms(1));
    assert_eq!(exchange.forwarded().expect("its time is over").body(), "hello");
    let seen = exchange.finish();
    assert_eq!((seen.status(), seen.duration()), (200, ms(250)));
    assert_eq!((kit.counter("fault_delays"), kit.gauge("fault_active")), (1, 0));
}

#[test]
fn a_delayed_abort_comes_after_the_delay() {
    let kit = filter(json!({"delay": {"fixed": "2s"}, "abort": {"status": 500}})).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.status(), seen.duration()), (500, ms(2000)));
}

#[test]
fn a_client_that_leaves_in_its_delay_is_not_counted_any_more() {
    let kit = filter(json!({"delay": {"fixed": "1m"}})).start();
    let exchange = kit.open(Request::get("/"));
    kit.advance(ms(100));
    assert_eq!(exchange.cut().outcome(), Outcome::Left);
    assert_eq!(kit.gauge("fault_active"), 0);
    kit.advance(Duration::from_secs(120));
    assert_eq!(kit.faults().len(), 0, "its timer finds nothing to do");
}

#[test]
fn a_slow_response_ends_no_sooner_than_its_size_over_its_rate() {
    let kit = filter(json!({"rate_limit": {"limit_kbps": 1}})).start(); // 1024 bytes a second
    kit.upstream(|_| Response::new(200).chunks(vec![vec![b'x'; 512]; 4]));
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.status(), seen.body().len()), (200, 2048));
    assert_eq!(seen.duration(), ms(2000));
}

#[test]
fn at_most_so_many_exchanges_have_a_fault_at_once_over_all_workers() {
    let kit = filter(json!({"delay": {"fixed": "1s"}, "max_active": 2})).workers(2).start();
    let first = kit.open(Request::get("/").on_worker(0));
    let second = kit.open(Request::get("/").on_worker(1));
    let third = kit.send(Request::get("/").on_worker(0));
    assert_eq!(third.duration(), ms(0));
    assert_eq!((kit.counter("fault_delays"), kit.counter("fault_overflows")), (2, 1));
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.duration(), second.duration()), (ms(1000), ms(1000)));
    assert_eq!(kit.send(Request::get("/")).duration(), ms(1000), "there is room again");
}

#[test]
fn a_percentage_is_that_of_the_requests_on_every_worker() {
    let kit = filter(json!({"abort": {"status": 503, "percent": 25}})).workers(2).start();
    for worker in [0, 1] {
        kit.advance(ms(1)); // the dice of workers that start at one moment are alike
        let sent = (0..2000).map(|_| kit.send(Request::get("/").on_worker(worker)));
        let aborted = sent.filter(|seen| seen.outcome() == Outcome::Replied).count();
        assert!((420..580).contains(&aborted), "worker {worker}: {aborted} of 2000");
    }
}

#[test]
fn clients_ask_for_faults_only_where_that_is_allowed() {
    let ask = || Request::get("/").header("x-envoy-fault-abort-request", "418");
    assert_eq!(filter(json!({})).start().send(ask()).status(), 200);
    assert_eq!(filter(json!({"allow_headers": true})).start().send(ask()).status(), 418);
}

#[test]
fn a_client_that_speaks_grpc_is_told_in_grpc_and_others_in_http() {
    let kit = filter(json!({"abort": {"grpc_status": 14, "body": "try again"}})).start();
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let seen = kit.send(Request::post("/pkg.Service/Call").header("content-type", content_type));
        assert_eq!((seen.status(), seen.header("grpc-status")), (200, Some("14")), "{content_type}");
        assert_eq!((seen.header("grpc-message"), seen.text().as_str()), (Some("try again"), ""));
    }
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.status(), seen.header("grpc-status"), seen.text().as_str()), (503, None, "try again"));
    let both = filter(json!({"abort": {"grpc_status": 5, "status": 410}})).start();
    assert_eq!(both.send(Request::get("/")).status(), 410);
}

#[test]
fn a_client_asks_for_a_grpc_status_where_that_is_allowed() {
    let kit = filter(json!({"allow_headers": true})).start();
    let ask = Request::post("/").header("content-type", "application/grpc");
    let seen = kit.send(ask.header("x-envoy-fault-abort-grpc-request", "8"));
    assert_eq!(seen.header("grpc-status"), Some("8"));
}

#[test]
fn an_expression_decides_which_requests() {
    let when = "request.method == 'POST' && source.address.startsWith('10.') && 'x-user' in request.headers";
    let kit = filter(json!({"abort": {"status": 503}, "when": when})).start();
    let post = || Request::post("/").client("10.1.2.3:1").header("x-user", "ann");
    assert_eq!(kit.send(post()).status(), 503);
    assert_eq!(kit.send(post().client("192.0.2.1:1")).status(), 200);
    assert_eq!(kit.send(Request::post("/").client("10.1.2.3:1")).status(), 200);
}

#[test]
fn requests_are_matched_by_what_the_proxy_knows_of_them_too() {
    let matches = json!({"cluster": {"exact": "api"}, "client": ["10.0.0.0/8"], "path": {"glob": "/shop/*", "ignore_case": true}});
    let kit = filter(json!({"abort": {"status": 503}, "match": matches})).start();
    let request = |cluster, target| Request::get(target).client("10.1.2.3:1").cluster(cluster);
    assert_eq!(kit.send(request("api", "/shop/1")).status(), 503);
    assert_eq!(kit.send(request("api", "/Shop/1")).status(), 503);
    assert_eq!(kit.send(request("web", "/shop/1")).status(), 200);
    assert_eq!(kit.send(request("api", "/")).status(), 200);
}

#[test]
fn a_truncated_response_ends_early_and_does_not_say_its_length() {
    let kit = filter(json!({"truncate": {"after": 5}})).start();
    for response in
        [Response::new(200).body("hello world"), Response::new(200).chunks(["he", "llo wor", "ld"])]
    {
        kit.upstream(move |_| response.clone());
        let seen = kit.send(Request::get("/"));
        assert_eq!((seen.text().as_str(), seen.was_cut()), ("hello", false));
        assert!(seen.header("content-length").is_none_or(|length| length == "5"));
    }
    kit.upstream(|_| Response::new(200).body("hello"));
    assert_eq!(kit.send(Request::get("/")).text(), "hello");
    assert_eq!(kit.counter("fault_truncations"), 3);
    assert_eq!(kit.gauge("fault_active"), 0);
}

#[test]
fn a_response_is_cut_after_no_more_than_it_may_have() {
    let kit = filter(json!({"truncate": {"after": 5, "then": "cut"}})).start();
    kit.upstream(|_| Response::new(200).chunks(["he", "llo wor", "ld"]));
    let seen = kit.send(Request::get("/"));
    assert_eq!(seen.outcome(), Outcome::Failed(Failure::FilterClosed));
    assert_eq!((seen.text().as_str(), seen.was_cut()), ("hello", true));
    kit.upstream(|_| Response::new(200).body("hello world"));
    assert!(kit.send(Request::get("/")).was_cut(), "a body in one piece");
    kit.upstream(|_| Response::new(200).chunks(["hello wor"]).trailer("x-end", "1"));
    assert!(kit.send(Request::get("/")).was_cut(), "trailers follow");
    kit.upstream(|_| Response::new(200).chunks(["he", "llo"]));
    assert_eq!(kit.send(Request::get("/")).text(), "hello");
    assert_eq!(kit.gauge("fault_active"), 0);
}

/// How many bits differ.
fn difference(one: &[u8], other: &[u8]) -> u32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
}

#[test]
fn a_corrupt_response_has_its_length_and_some_other_bits() {
    let whole = vec![b'x'; 20_000];
    let kit = filter(json!({"corrupt": {"bytes": 1}})).start();
    let (body, pieces) = (whole.clone(), vec![vec![b'x'; 1000]; 20]);
    for response in [Response::new(200).body(body), Response::new(200).chunks(pieces)] {
        kit.upstream(move |_| response.clone());
        let seen = kit.send(Request::get("/"));
        let changed = difference(&seen.body(), &whole);
        assert!((120..=280).contains(&changed), "{changed} bits of 20,000 bytes, of which 1 % was wanted");
    }
    let least = filter(json!({"corrupt": {"bytes": 0}})).start();
    least.upstream(|_| Response::new(200).body("hello"));
    assert_eq!(difference(&least.send(Request::get("/")).body(), b"hello"), 1);
    assert_eq!(least.counter("fault_corruptions"), 1);
}

#[test]
fn a_response_may_be_slow_and_short() {
    let kit = filter(json!({"truncate": {"after": 1024}, "rate_limit": {"limit_kbps": 1}})).start();
    kit.upstream(|_| Response::new(200).chunks(vec![vec![b'x'; 512]; 4]));
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.body().len(), seen.duration()), (1024, ms(1000)));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_field_and_what_was_expected() {
    for (config, said) in [
        (json!({"abort": {"status": 99}}), "abort.status"),
        (json!({"abort": {}}), "expected `status` (200 to 599), `grpc_status` (1 to 16) or `reset: true`"),
        (json!({"delays": {}}), "unknown field `delays`"),
    ] {
        let refused = filter(config).try_start().expect_err("it is wrong");
        assert!(refused.logged(said), "{said}: {refused}");
    }
}

#[test]
fn how_bodies_are_divided_is_not_seen() {
    let (request, response) = (Request::post("/").body("to the service"), Response::new(200).body("answer"));
    for config in [
        json!({}),
        json!({"delay": {"fixed": "3s"}}),
        json!({"delay": {"fixed": "3s"}, "rate_limit": {"limit_kbps": 1}}),
        json!({"delay": {"fixed": "3s"}, "abort": {"status": 503}}),
        json!({"truncate": {"after": 3}}),
        json!({"truncate": {"after": 3}, "rate_limit": {"limit_kbps": 1}}),
    ] {
        filter(config).assert_chunking_is_invisible(&request, &response);
    }
}

#[test]
fn a_request_without_a_fault_costs_next_to_nothing() {
    let rules = json!({
        "abort": {"status": 503, "percent": 0},
        "delay": {"fixed": "1s", "percent": 0},
        "match": {"headers": {"x-user": {"exact": "ann"}}},
    });
    let kit = filter(rules).start();
    kit.send(Request::get("/")); // whatever the first one sets up
    let seen = kit.send(Request::get("/").header("x-user", "ann"));
    let (all, headers) = (seen.instructions(), seen.instructions_in(Callback::RequestHeaders));
    assert!(all <= 750, "{all} instructions for an exchange, {headers} of them in its request's headers");
}

#[test]
fn an_expression_costs_only_those_requests_that_get_as_far() {
    let rules = json!({
        "abort": {"status": 503},
        "match": {"headers": {"x-user": {"exact": "ann"}}},
        "when": "request.path == '/never'",
    });
    let kit = filter(rules).start();
    let cost = |user: &str| {
        kit.send(Request::get("/").header("x-user", user)); // whatever the first one sets up
        let seen = kit.send(Request::get("/").header("x-user", user));
        (seen.instructions(), seen.instructions_in(Callback::RequestHeaders))
    };
    let (all, headers) = cost("bob");
    assert!(all <= 2_500, "{all} instructions without the expression, {headers} in the request's headers");
    let (all, headers) = cost("ann");
    assert!(all <= 60_000, "{all} instructions with the expression, {headers} in the request's headers");
}

#[test]
fn the_longest_expression_compiles_within_the_usual_limits() {
    let when =
        ["request.headers['x-user'].startsWith('ann') && source.address != '10.0.0.1'"; 51].join(" || ");
    assert!((4000..4096).contains(&when.len()), "{} bytes", when.len());
    let kit = filter(json!({"abort": {"status": 503}, "when": when})).start();
    assert_eq!(kit.send(Request::get("/").header("x-user", "ann")).status(), 503);
    let memory = kit.memory(0);
    assert!(memory <= 4 << 20, "{memory} bytes of memory");
}
