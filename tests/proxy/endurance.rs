//! What must hold for as long as it goes on: swaps under load, the worst filters that there are, everything at once.
//!
//! In short each time; `TIDEGATE_TEST_SECONDS` makes each part take that long, and has latencies compared, which says
//! something only where nothing else runs: `make soak`.

mod villains;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use self::villains::{Villain, hostile, smithed, villains};
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

/// That memory is as much as before: a tenth more at most. In short that is no more than what parts of the process come
/// and go with at any time, so that a little is allowed for them.
fn is_flat(what: &str, before: u64, after: u64) {
    let allowance = if in_full().is_some() { 0 } else { 16 << 20 };
    let most = before / 10 * 11 + allowance;
    assert!(after <= most, "{what}: it grew from {} to {} KiB", before >> 10, after >> 10);
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
                after_ten = proxy.allocated_bytes();
            }
        }
    });
    let at_the_end = proxy.allocated_bytes();
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
    is_flat("swaps", after_ten, at_the_end);
    if in_full().is_some() {
        assert!(swapped.p99() <= quiet.p99() * 2, "{:?} after {:?}", swapped.p99(), quiet.p99());
    }
    eventually("one guest a worker is left", || {
        (proxy.metrics().sum("tidegate_filter_instances", &[("filter", "mark")]) == 2.0).then_some(())
    });
    settles(&proxy);
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

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
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
            let before = proxy.allocated_bytes();
            let (mut ratios, mut seen, mut hurt) = (Vec::new(), Seen::default(), 0);
            for _ in 0..turns {
                let calm = beside_the_other(&quiet, turn).0.p99();
                let (good, bad) = beside_the_other(&proxy, turn);
                ratios.push(good.p99().as_secs_f64() / calm.as_secs_f64());
                seen.add(good);
                hurt += bad.answers();
            }
            let ratio = median(ratios);
            println!(
                "{name}, isolation {isolation}: {} good answers, p99 {:?}, {ratio:.2} times that beside a harmless filter; {hurt} of the other",
                seen.answers(),
                seen.p99(),
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
            let grown = proxy.allocated_bytes().saturating_sub(before);
            assert!(grown < 64 << 20, "{name}, {isolation}: it grew by {} KiB", grown >> 10);
            if in_full().is_some() {
                assert!(
                    ratio <= 2.0,
                    "{name}, {isolation}: {ratio:.2} times the p99 beside a harmless filter"
                );
            }
        }
    }
}

/// Modules that somebody's dice wrote, one after the other. Many of them do not start, and the one before goes on.
#[test]
fn no_module_costs_anybody_but_its_own() {
    let modules = if in_full().is_some() { 500 } else { 40 };
    let first = fastrand::u64(..1 << 32);
    println!("modules {first} to {}", first + modules - 1);
    for isolation in ["worker", "exchange"] {
        let upstream = telling();
        let mut proxy = Proxy::with(&beside(&upstream, isolation))
            .file("good.wasm", marking("good"))
            .file("bad.wasm", Guest::new().quiet().build())
            .workers(2)
            .start();
        let (good, bad) = (proxy.address("in"), proxy.address("bad"));
        let mut served = 0;
        let (before, seen) = load::during(good, 1, is_of_one_version, || {
            let mut before = 0;
            for seed in first..first + modules {
                proxy.put("bad.wasm", smithed(seed, isolation == "worker"));
                served += usize::from(proxy.reload());
                load::during(bad, 2, |_| Ok(()), || for_a_while(SHORT / 40));
                if seed == first + modules / 4 {
                    before = proxy.allocated_bytes();
                }
            }
            before
        });
        let grown = proxy.allocated_bytes().saturating_sub(before);
        println!(
            "isolation {isolation}: {served} served, {} good answers, {} KiB more",
            seen.answers(),
            grown >> 10
        );
        assert!(seen.failures.is_empty() && seen.answers() > 0, "{:?}", seen.failures);
        assert!(served > 0, "some of them start");
        assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[("filter", "good")]), 0.0);
        assert!(grown < 64 << 20, "it grew by {} KiB", grown >> 10);
        settles(&proxy);
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
        let before = proxy.allocated_bytes();
        let ((), seen) = load::during(address, 4, is_of_one_version, || for_a_while(length()));
        let after = proxy.allocated_bytes();
        println!("{more}: {} answers, {} KiB after {} KiB", seen.answers(), after >> 10, before >> 10);
        assert!(first.failures.is_empty() && seen.failures.is_empty(), "{:?}", seen.failures);
        is_flat(more, before, after);
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
    let before = proxy.allocated_bytes();
    round(&mut proxy, length());
    let after = proxy.allocated_bytes();
    println!("{} KiB after {} KiB", after >> 10, before >> 10);
    is_flat("everything", before, after);
    settles(&proxy);
    let metrics = proxy.metrics();
    assert!(metrics.sum("tidegate_filter_faults_total", &[("filter", "bad")]) > 0.0, "there were faults");
    assert_eq!(metrics.sum("tidegate_config_reloads_total", &[("result", "failure")]), 0.0);
}
