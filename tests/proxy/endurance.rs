//! What must hold for as long as it goes on: swaps under load, the worst filters that there are, everything at once.
//!
//! In short each time; `TIDEGATE_TEST_SECONDS` makes each part take that long, and has latencies compared, which says
//! something only where nothing else runs: `make soak`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::load::Seen;
use crate::equipment::{
    Answer, Guest, On, Proxy, Response, Step, Upstream, eventually, forwarding, in_listener, load,
    refusing_address,
};

/// How long a part takes where nobody says.
const SHORT: Duration = Duration::from_secs(2);

/// How long each part is to take, if it is to be done in full.
fn in_full() -> Option<Duration> {
    let seconds = std::env::var("TIDEGATE_TEST_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

fn length() -> Duration {
    in_full().unwrap_or(SHORT)
}

/// Lets time pass while others work.
fn for_a_while(time: Duration) {
    let until = Instant::now() + time;
    while let left = until.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        std::thread::park_timeout(left);
    }
}

/// A filter that marks both directions with its version.
fn marking(version: &str) -> Vec<u8> {
    Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::add(RequestHeaders, "x-version", version)])
        .on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-version", version)])
        .build()
}

/// Says which version marked the request.
fn telling() -> Upstream {
    Upstream::start_forgetful(|head| Answer::ok(head.field("x-version").unwrap_or("none")))
}

fn is_of_one_version(response: &Response) -> Result<(), String> {
    let (status, request, answer) = (response.status(), response.text(), response.field("x-version"));
    match status == 200 && Some(request.as_str()) == answer && response.head.all("x-version").len() == 1 {
        true => Ok(()),
        false => Err(format!("{status}: the request was marked {request:?}, the response {answer:?}")),
    }
}

fn is_served(response: &Response) -> Result<(), String> {
    if response.status() == 200 { Ok(()) } else { Err(format!("{} {}", response.status(), response.text())) }
}

/// Nothing is under way any more.
fn settles(proxy: &Proxy) {
    for gauge in [
        "tidegate_active_requests",
        "tidegate_upstream_active_requests",
        "tidegate_downstream_active_connections",
    ] {
        proxy.wait_for_metric(gauge, &[], 0.0);
    }
}

#[test]
fn modules_and_configurations_are_swapped_under_load_and_no_request_is_lost() {
    const SWAPS: u32 = 100;
    let upstream = telling();
    let config = |number: u32| {
        let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [mark]"]);
        let config = config
            .replace("clusters:\n", &format!("clusters:\n  unused-{}: {{endpoints: []}}\n", number % 2));
        config + &format!("filters:\n  mark: {{module: ./mark.wasm, config: \"{}\"}}\n", number % 2)
    };
    let modules = [marking("one"), marking("two")];
    let mut proxy = Proxy::with(&config(0)).file("mark.wasm", modules[0].clone()).workers(2).start();
    let address = proxy.address("in");
    let ((), quiet) = load::during(address, 4, is_of_one_version, || for_a_while(length() / 4));
    let swaps = if in_full().is_some() { SWAPS } else { SWAPS / 5 };
    let pause = in_full().unwrap_or_default() / (2 * SWAPS);
    let mut after_ten = 0;
    let ((), swapped) = load::during(address, 4, is_of_one_version, || {
        for number in 1..=swaps {
            proxy.put("mark.wasm", modules[number as usize % 2].clone());
            assert!(proxy.reload(), "the module is served");
            for_a_while(pause);
            assert!(proxy.change(&config(number)), "the configuration is served");
            for_a_while(pause);
            if number == 10 {
                after_ten = proxy.resident_bytes();
            }
        }
    });
    let at_the_end = proxy.resident_bytes();
    println!(
        "{swaps} modules and as many configurations: {} answers, p99 {:?} after {:?}, {} KiB after {} KiB",
        swapped.answers(),
        swapped.p99(),
        quiet.p99(),
        at_the_end >> 10,
        after_ten >> 10
    );
    assert!(quiet.failures.is_empty(), "{:?}", quiet.failures);
    assert!(swapped.failures.is_empty(), "{:?}", swapped.failures);
    assert!(swapped.answers() > swaps as usize, "there was load");
    assert!(at_the_end * 10 <= after_ten * 11, "it grew from {after_ten} to {at_the_end} bytes");
    if in_full().is_some() {
        assert!(swapped.p99() <= quiet.p99() * 2, "{:?} after {:?}", swapped.p99(), quiet.p99());
    }
    eventually("one guest a worker is left", || {
        (proxy.metrics().sum("tidegate_filter_instances", &[("filter", "mark")]) == 2.0).then_some(())
    });
    settles(&proxy);
}

/// A module whose request callback does this. `$buffer` of 64 KiB is at 0; nothing of what it asks has a use.
fn hostile(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        {imports}
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 65536))
        (data (i32.const 0) "a-name-of-some-length")
        (data (i32.const 64) "up")
        ;; four pairs: the counts, the lengths, and the texts, each with a NUL
        (data (i32.const 128) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 65536))
        (func $deeper (param i32) (result i32)
          (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
          (local $i i32)
          {body}
          (i32.const 0)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A filter that means harm: its name, its module, and the kind of fault that it comes to, if it comes to one.
struct Villain(&'static str, Vec<u8>, Option<&'static str>);

fn villains() -> Vec<Villain> {
    let again = |call: &str| format!("(loop $again {call} (br $again))");
    let log = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let get = r#"(import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))"#;
    let share =
        r#"(import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))"#;
    let call = r#"(import "env" "proxy_http_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let grow =
        "(loop $again (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) (unreachable)";
    let many = "(loop $again
        (drop (call $call (i32.const 64) (i32.const 2) (i32.const 128) (i32.const 60) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 512)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))";
    let keys = "(i32.store (i32.const 0) (local.get $context))
        (loop $again
        (i32.store (i32.const 4) (local.get $i))
        (drop (call $share (i32.const 0) (i32.const 21) (i32.const 0) (i32.const 4096) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))";
    vec![
        Villain("loops", hostile("", &again("")), Some("instructions")),
        Villain("recurses", hostile("", "(drop (call $deeper (i32.const 0)))"), None),
        Villain("eats-memory", hostile("", grow), Some("memory")),
        Villain("traps", hostile("", "(unreachable)"), Some("trap")),
        Villain(
            "asks-for-ever",
            hostile(get, &again("(drop (call $get (i32.const 0) (i32.const 512) (i32.const 516)))")),
            Some("instructions"),
        ),
        Villain(
            "logs-for-ever",
            hostile(log, &again("(drop (call $log (i32.const 4) (i32.const 0) (i32.const 4096)))")),
            Some("instructions"),
        ),
        Villain("calls-out", hostile(call, many), None),
        Villain("shares", hostile(share, keys), None),
        Villain("never-resumes", hostile("", "(return (i32.const 1))"), None),
        Villain("poisoned-allocator", poisoned(), Some("allocator")),
        Villain("ticks", ticking(), None),
        Villain("traps-everywhere", Guest::new().quiet().on(On::Log, [Step::Trap]).build(), Some("trap")),
    ]
}

/// Its allocator points outside of its memory, and it cannot do without.
fn poisoned() -> Vec<u8> {
    let module = r#"(module
        (import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const -16))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (if (call $get (i32.const 0) (i32.const 512) (i32.const 516)) (then (unreachable)))
          (i32.const 0)))"#;
    wat::parse_str(module).expect("it is a module")
}

/// A storm of ticks, each of which works.
fn ticking() -> Vec<u8> {
    let guest = Guest::new().quiet().on(On::Configure, [Step::TickPeriod(1)]);
    guest.on(On::Tick, [Step::Spin(100_000)]).build()
}

/// `good` serves both listeners, and behind it on one of them the other filter works.
fn beside(upstream: &Upstream, isolation: &str) -> String {
    let mut config = String::from(
        "listeners:\n- {name: in, address: 127.0.0.1:0, filters: [good], routes: [{match: {path: {prefix: /}}, cluster: up}]}\n\
         - {name: bad, address: 127.0.0.1:0, filters: [good, bad], routes: [{match: {path: {prefix: /}}, cluster: up, timeout: 1s}]}\n",
    );
    let _ = write!(
        config,
        "clusters:\n  up: {{endpoints: [{}]}}\nfilters:\n  good: {{module: ./good.wasm}}\n  bad: {{module: ./bad.wasm, isolation: {isolation}, on_fault: open}}\n",
        upstream.address()
    );
    config
}

/// What clients of the good filter see, and those of both, for a turn.
fn beside_the_other(proxy: &Proxy, turn: Duration) -> (Seen, Seen) {
    let (good, bad) = (proxy.address("in"), proxy.address("bad"));
    let (((), bad), good) =
        load::during(good, 2, is_of_one_version, || load::during(bad, 2, |_| Ok(()), || for_a_while(turn)));
    (good, bad)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn the_worst_filter_costs_nobody_but_its_own() {
    let (turns, turn) = if in_full().is_some() { (7, Duration::from_secs(1)) } else { (1, SHORT / 8) };
    for isolation in ["worker", "exchange"] {
        for Villain(name, module, fault) in villains() {
            let upstream = telling();
            let start = |module: Vec<u8>| {
                let proxy = Proxy::with(&beside(&upstream, isolation));
                proxy.file("good.wasm", marking("good")).file("bad.wasm", module).workers(2).start()
            };
            // As much load beside a filter that does nothing, in turns: what else the machine does meets both.
            let (quiet, proxy) = (start(Guest::new().quiet().build()), start(module));
            let before = proxy.resident_bytes();
            let (mut calm, mut seen, mut hurt) = (Vec::new(), Seen::default(), 0);
            let mut slow = Vec::new();
            for _ in 0..turns {
                calm.push(beside_the_other(&quiet, turn).0.p99());
                let (good, bad) = beside_the_other(&proxy, turn);
                slow.push(good.p99());
                seen.add(good);
                hurt += bad.answers();
            }
            let (calm, slow) = (median(calm), median(slow));
            println!(
                "{name}, isolation {isolation}: {} good answers, p99 {slow:?}, {calm:?} beside a harmless filter; {hurt} of the other",
                seen.answers(),
            );
            assert!(seen.failures.is_empty(), "{name}, {isolation}: {:?}", seen.failures);
            assert!(seen.answers() > 0 && (hurt > 0 || name == "never-resumes"), "{name}");
            let metrics = proxy.metrics();
            assert_eq!(metrics.sum("tidegate_filter_faults_total", &[("filter", "good")]), 0.0, "{name}");
            if let Some(kind) = fault {
                let labels = [("filter", "bad"), ("kind", kind)];
                assert!(
                    metrics.sum("tidegate_filter_faults_total", &labels) > 0.0,
                    "{name}, {isolation}: {kind}"
                );
            }
            settles(&proxy);
            let grown = proxy.resident_bytes().saturating_sub(before);
            assert!(grown < 64 << 20, "{name}, {isolation}: it grew by {} KiB", grown >> 10);
            if in_full().is_some() {
                assert!(
                    slow <= calm * 2,
                    "{name}, {isolation}: {slow:?}, and {calm:?} beside a harmless filter"
                );
            }
        }
    }
}

#[test]
fn guests_that_are_replaced_all_the_time_leave_nothing_behind() {
    let upstream = telling();
    for more in [", recycle: {requests: 1}", ", isolation: exchange"] {
        let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [mark]"]);
        let config = config + &format!("filters:\n  mark: {{module: ./mark.wasm{more}}}\n");
        let proxy = Proxy::with(&config).file("mark.wasm", marking("one")).workers(2).start();
        let address = proxy.address("in");
        let ((), first) = load::during(address, 4, is_of_one_version, || for_a_while(length() / 2));
        let before = proxy.resident_bytes();
        let ((), seen) = load::during(address, 4, is_of_one_version, || for_a_while(length()));
        let after = proxy.resident_bytes();
        println!("{more}: {} answers, {} KiB after {} KiB", seen.answers(), after >> 10, before >> 10);
        assert!(first.failures.is_empty() && seen.failures.is_empty(), "{:?}", seen.failures);
        assert!(after * 10 <= before * 11, "{more}: it grew from {before} to {after} bytes");
        eventually("one guest a worker is left", || {
            (proxy.metrics().sum("tidegate_filter_instances", &[]) == 2.0).then_some(())
        });
        settles(&proxy);
    }
}

#[test]
fn everything_at_once_ends_with_nothing_under_way() {
    let upstream = telling();
    let slow = Upstream::start_forgetful(|_| {
        std::thread::park_timeout(Duration::from_millis(50)); // it is slow, no more
        Answer::ok("slow")
    });
    let (dead, _held) = refusing_address();
    let config = |number: u32| {
        let route = |prefix: &str, cluster: &str| {
            format!("{{match: {{path: {{prefix: {prefix}}}}}, cluster: {cluster}, timeout: 500ms}}")
        };
        format!(
            "listeners:\n- {{name: in, address: 127.0.0.1:0, filters: [good, bad, alone], routes: [{}]}}\n\
             - {{name: slow, address: 127.0.0.1:0, filters: [good], routes: [{}]}}\n\
             - {{name: dead, address: 127.0.0.1:0, filters: [good, alone], routes: [{}]}}\n\
             clusters:\n  up: {{endpoints: [{}]}}\n  slow: {{endpoints: [{}]}}\n  dead: {{endpoints: [{dead}]}}\n\
             filters:\n  good: {{module: ./good.wasm, config: \"{}\", recycle: {{requests: 100}}}}\n  \
             bad: {{module: ./bad.wasm, on_fault: open}}\n  \
             alone: {{module: ./bad.wasm, on_fault: open, isolation: exchange, breaker: {{faults: 0}}}}\n",
            route("/", "up"),
            route("/", "slow"),
            route("/", "dead"),
            upstream.address(),
            slow.address(),
            number % 3
        )
    };
    let failing =
        hostile("", "(if (i32.eqz (i32.rem_u (local.get $context) (i32.const 7))) (then (unreachable)))");
    let modules = [marking("one"), marking("two")];
    let mut proxy = Proxy::with(&config(0))
        .file("good.wasm", modules[0].clone())
        .file("bad.wasm", failing)
        .workers(2)
        .start();
    let [all, slowly, deadly] = ["in", "slow", "dead"].map(|name| proxy.address(name));
    let has_answer = |_: &Response| Ok(());
    let round = |proxy: &mut Proxy, time: Duration| {
        let until = Instant::now() + time;
        let mut number = 0;
        let ((((), dead), slow), seen) = load::during(all, 4, is_served, || {
            load::during(slowly, 2, is_served, || {
                load::during(deadly, 2, has_answer, || {
                    while Instant::now() < until {
                        number += 1;
                        proxy.put("good.wasm", modules[fastrand::usize(..2)].clone());
                        assert!(if fastrand::bool() {
                            proxy.change(&config(number))
                        } else {
                            proxy.reload()
                        });
                        for_a_while(Duration::from_millis(fastrand::u64(10..200)));
                    }
                })
            })
        });
        println!(
            "{number} reloads, {} answers, {} slow, {} dead",
            seen.answers(),
            slow.answers(),
            dead.answers()
        );
        for seen in [seen, slow, dead] {
            assert!(seen.failures.is_empty(), "{:?}", seen.failures);
            assert!(seen.answers() > 0);
        }
    };
    round(&mut proxy, length() / 2);
    let before = proxy.resident_bytes();
    round(&mut proxy, length());
    let after = proxy.resident_bytes();
    println!("{} KiB after {} KiB", after >> 10, before >> 10);
    assert!(after * 10 <= before * 11, "it grew from {before} to {after} bytes");
    settles(&proxy);
    let metrics = proxy.metrics();
    assert!(metrics.sum("tidegate_filter_faults_total", &[("filter", "bad")]) > 0.0, "there were faults");
    assert_eq!(metrics.sum("tidegate_config_reloads_total", &[("result", "failure")]), 0.0);
}
