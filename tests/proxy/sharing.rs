//! Filters that share one guest on each worker.

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{Guest, On, Proxy, Step, Upstream, When, forwarding, in_listener};

/// Two filters, `one` and `two`, that run this guest in one VM.
fn sharing(upstream: &Upstream, guest: &Guest, one: &str, two: &str) -> Proxy {
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [one, two]"]);
    let filters = [("one", one), ("two", two)].map(|(name, more)| {
        format!("  {name}: {{module: ./shared.wasm, vm_id: shared, config: {name}{more}}}\n")
    });
    Proxy::with(&format!("{config}filters:\n{}", filters.concat())).file("shared.wasm", guest.build()).start()
}

fn trapping() -> Guest {
    Guest::new().on(
        On::RequestHeaders,
        [
            Step::If(When::Header(RequestHeaders, "x-trap", "yes"), vec![Step::Trap]),
            Step::add(RequestHeaders, "x-seen", "1"),
        ],
    )
}

#[test]
fn a_fault_of_one_filter_restarts_both_together() {
    let upstream = Upstream::ok("hello");
    let proxy = sharing(&upstream, &trapping(), "", "");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.request("GET", "/", &[("x-trap", "yes")], "").status(), 503);
    assert_eq!(proxy.client().get("/").status(), 200, "the first restart is at once");
    let seen: Vec<usize> =
        upstream.requests().iter().map(|request| request.head.all("x-seen").len()).collect();
    assert_eq!(seen, [2, 2], "both filters take part again");
    let metrics = proxy.metrics();
    for (filter, faults) in [("one", 1.0), ("two", 0.0)] {
        let labels = [("filter", filter)];
        assert_eq!(metrics.sum("tidegate_filter_faults_total", &labels), faults, "{filter}");
        assert_eq!(metrics.sum("tidegate_filter_rebuilds_total", &labels), 1.0, "{filter}");
        assert_eq!(metrics.sum("tidegate_filter_instances", &labels), 1.0, "{filter} runs in one");
    }
}

#[test]
fn each_filter_keeps_its_own_policy() {
    let upstream = Upstream::ok("hello");
    let proxy = sharing(&upstream, &trapping(), ", on_fault: open", ", on_fault: open");
    assert_eq!(proxy.client().request("GET", "/", &[("x-trap", "yes")], "").status(), 200);
    let proxy = sharing(&upstream, &trapping(), ", on_fault: open", "");
    // The first filter's fault takes the guest of the second, which is made anew for it and fails as well.
    assert_eq!(proxy.client().request("GET", "/", &[("x-trap", "yes")], "").status(), 503);
}

#[test]
fn a_filter_that_is_not_done_goes_on_until_it_says_so() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::logger()
        .on(On::Configure, [Step::TickPeriod(5)])
        .on(On::Tick, [Step::ProxyDone])
        .on(On::Done, [Step::Return(0)]);
    let mut proxy = sharing(&upstream, &guest, "", "");
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    let (_, after) = exit.stderr.split_once("\"draining\"").expect("the drain is logged");
    for end in ["done ctx=1", "delete ctx=1", "done ctx=2", "delete ctx=2"] {
        assert!(after.contains(end), "{end} in {after}");
    }
}

#[test]
fn an_end_that_comes_in_a_call_for_another_filter_is_not_waited_for() {
    let upstream = Upstream::ok("hello");
    // The second filter's tick ends the first one's root, which no call of its own follows.
    let guest = Guest::logger()
        .on(On::Configure, [Step::If(When::Call(2), vec![Step::TickPeriod(5)])])
        .on(On::Tick, [1, 2].map(|root| [Step::EffectiveContext(root), Step::ProxyDone]).concat())
        .on(On::Done, [Step::Return(0)]);
    let mut proxy = sharing(&upstream, &guest, "", "");
    proxy.terminate();
    let exit = proxy.wait();
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("delete ctx=1"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("did not call proxy_done in time"), "{}", exit.stderr);
}
