//! Filters that share one instance: each has a root, a configuration, a budget and callouts of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate::config::model::Filter;
use tidegate::wasm::stream::Direction;
use tidegate::wasm::{
    Callback, CalloutResult, ContextId, Effect, FaultKind, FilterUsage, Module, Plugin, Services, Vm,
};

use crate::bench::{Bench, ENGINE, ROOT, get};
use crate::guest::{Dump, Guest, OUT, write_pairs};

const ON: &str = "proxy_on_request_headers";

/// Two filters of one module, `one` and `two`, that differ in name and configuration.
struct Pair {
    bench: Bench,
    module: Module,
    usages: [Arc<FilterUsage>; 2],
}

impl Pair {
    fn of(guest: &Guest) -> Pair {
        let module = ENGINE.compile(&guest.build()).unwrap_or_else(|error| panic!("{error}"));
        Pair { bench: Bench::new(), module, usages: Default::default() }
    }

    fn plugin(&self, name: &str, more: impl FnOnce(&mut Filter)) -> Plugin {
        let mut filter = Filter { name: name.to_owned(), ..self.bench.filter.clone() };
        filter.config = Bytes::copy_from_slice(name.as_bytes());
        more(&mut filter);
        Plugin::new(Arc::new(filter), self.module.clone())
    }

    fn services(&self, which: usize) -> Services {
        Services { usage: self.usages[which].clone(), ..self.bench.services.clone() }
    }

    /// Both in one instance, and the root of the second.
    fn start_with(&self, more: impl FnOnce(&mut Filter)) -> (Vm, ContextId) {
        let (one, two) = (self.plugin("one", |_| {}), self.plugin("two", more));
        let mut vm = one.start(self.services(0)).unwrap_or_else(|fault| panic!("{fault}"));
        let second = vm.add(&two, &self.services(1)).unwrap_or_else(|fault| panic!("{fault}"));
        (vm, second)
    }

    fn start(&self) -> (Vm, ContextId) {
        self.start_with(|_| {})
    }
}

#[test]
fn roots_are_numbered_from_1_and_streams_belong_to_theirs() {
    let mut guest = Guest::new();
    guest.code("proxy_on_context_create", "(i32.store (i32.const 0x800) (local.get 1))");
    let pair = Pair::of(&guest);
    let (mut vm, second) = pair.start();
    assert_eq!((vm.first_root(), second), (ROOT, 2));
    let (one, two) = (get("/"), get("/"));
    assert_eq!(vm.open(second, &two, 1).expect("nothing fails"), 3);
    assert_eq!(vm.open(ROOT, &one, 0).expect("nothing fails"), 4);
    assert_eq!((Dump::of(&one).word(OUT), Dump::of(&two).word(OUT)), (ROOT, second));
    for usage in &pair.usages {
        let calls = |callback| usage.calls(callback);
        let started = [Callback::ContextCreate, Callback::VmStart, Callback::Configure].map(calls);
        assert_eq!(started, [2, 0, 0], "a root and a stream each, counted for the filter that they are of");
    }
}

#[test]
fn each_filter_sees_its_own_configuration_and_name() {
    let mut guest = Guest::new();
    let name = guest.text("plugin_name");
    let answer = guest.call(ON, "proxy_get_property", &[name.0, name.1, OUT, OUT + 4]);
    let config = guest.call(ON, "proxy_get_buffer_bytes", &[7, 0, 100, OUT + 8, OUT + 12]);
    let (mut vm, second) = Pair::of(&guest).start();
    for (root, expected) in [(ROOT, "one"), (second, "two")] {
        let stream = get("/");
        let context = vm.open(root, &stream, 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        let dump = Dump::of(&stream);
        assert_eq!(dump.statuses([answer, config]), [0, 0]);
        assert_eq!([dump.value(OUT), dump.value(OUT + 8)], [expected.as_bytes(); 2]);
    }
}

#[test]
fn what_a_guest_asks_for_is_of_the_root_that_asks() {
    let mut guest = Guest::new();
    guest.call(ON, "proxy_set_tick_period_milliseconds", &[5]);
    let (api, head) = (guest.text("api"), guest.text(write_pairs(&[(":method", "GET"), (":path", "/")])));
    let call = [api.0, api.1, head.0, head.1, 0, 0, 0, 0, 0, OUT];
    let begun = guest.call(ON, "proxy_http_call", &call);
    guest.call("proxy_on_http_call_response", "proxy_set_effective_context", &[3]);
    guest.call("proxy_on_http_call_response", "proxy_get_status", &[OUT, OUT + 4, OUT + 8]);
    guest.code("proxy_on_http_call_response", "(i32.store (i32.const 0x820) (local.get 0))");
    let (mut vm, second) = Pair::of(&guest).start();
    let stream = get("/");
    let context = vm.open(second, &stream, 0).expect("nothing fails");
    assert_eq!(context, 3);
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(Dump::of(&stream).status(begun), 0);
    let effects = vm.take_effects();
    let [(tick_of, Effect::SetTick(Some(period))), (call_of, Effect::HttpCall(call, _))] = &effects[..]
    else {
        panic!("a tick and a callout, not {effects:?}")
    };
    assert_eq!((*tick_of, *call_of, *period), (second, second, Duration::from_millis(5)));

    vm.on_http_call_response(call.token, CalloutResult::TimedOut).expect("nothing fails");
    let dump = Dump::of(&stream);
    assert_eq!(dump.word(0x820), second, "the callback is of the root that called");
    assert_eq!(dump.word(OUT), 11, "and so is its status");
    vm.on_http_call_response(call.token, CalloutResult::TimedOut).expect("a second time it is nobody's");
}

#[test]
fn a_filter_has_its_own_budget_and_the_fault_is_everyones() {
    let mut guest = Guest::new();
    guest.code(
        ON,
        "(local $n i32) (local.set $n (i32.const 5000))
         (loop $l (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $l (local.get $n)))",
    );
    let pair = Pair::of(&guest);
    let (mut vm, second) = pair.start_with(|filter| filter.limits.instructions = 10_000);
    let (one, two) = (get("/"), get("/"));
    let of_one = vm.open(ROOT, &one, 0).expect("nothing fails");
    let of_two = vm.open(second, &two, 1).expect("nothing fails");
    vm.on_headers(of_one, Direction::Request, true).expect("it has a million instructions");
    let fault = vm.on_headers(of_two, Direction::Request, true).expect_err("it has ten thousand");
    assert_eq!(fault.kind, FaultKind::Instructions);
    let faults = pair.usages.each_ref().map(|usage| usage.faults(FaultKind::Instructions));
    assert_eq!(faults, [0, 1], "it is counted for the filter that failed");
    let after = vm.on_headers(of_one, Direction::Request, true).expect_err("the guest is dead for both");
    assert_eq!(after.kind, FaultKind::Dead);
    assert_eq!(vm.streams().count(), 2);
}

#[test]
fn callouts_in_flight_are_limited_for_each_filter() {
    let mut guest = Guest::new();
    let (api, head) = (guest.text("api"), guest.text(write_pairs(&[(":method", "GET"), (":path", "/")])));
    let call = [api.0, api.1, head.0, head.1, 0, 0, 0, 0, 0, OUT];
    let statuses = [(); 5].map(|()| guest.call(ON, "proxy_http_call", &call));
    let (mut vm, second) = Pair::of(&guest).start();
    for root in [ROOT, second] {
        let stream = get("/");
        let context = vm.open(root, &stream, 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        assert_eq!(Dump::of(&stream).statuses(statuses), [0, 0, 0, 0, 10], "four each");
    }
    assert_eq!(vm.take_effects().len(), 8);
}

#[test]
fn a_filter_goes_and_the_others_stay() {
    let mut guest = Guest::new();
    guest.answer("proxy_on_done", 1);
    guest.call("proxy_on_tick", "proxy_set_tick_period_milliseconds", &[7]);
    let other = guest.call("proxy_on_request_headers", "proxy_set_effective_context", &[1]);
    let (mut vm, second) = Pair::of(&guest).start();
    vm.shutdown(ROOT).expect("nothing fails");
    assert!(vm.has_gone(ROOT) && !vm.has_gone(second));
    vm.on_tick(ROOT).expect("a root that has gone ticks no more");
    assert!(vm.take_effects().is_empty());
    vm.on_tick(second).expect("nothing fails");
    assert_eq!(vm.take_effects().len(), 1);
    let stream = get("/");
    let context = vm.open(second, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(Dump::of(&stream).status(other), 2, "nobody acts on a root that has gone");
}

#[test]
fn what_a_root_asks_for_as_it_is_deleted_is_nobodys() {
    let mut guest = Guest::new();
    guest.call("proxy_on_delete", "proxy_set_tick_period_milliseconds", &[5]);
    let (mut vm, second) = Pair::of(&guest).start();
    vm.shutdown(second).expect("nothing fails");
    assert!(vm.take_effects().is_empty());
}

#[test]
fn a_refused_configuration_names_the_reason_of_its_own_filter() {
    let mut guest = Guest::new();
    let complaint = guest.text("the second is one too many");
    guest.call("proxy_on_configure", "proxy_log", &[4, complaint.0, complaint.1]);
    guest.code(
        "proxy_on_configure",
        "(if (i32.eq (local.get 0) (i32.const 2)) (then (return (i32.const 0))))",
    );
    let pair = Pair::of(&guest);
    let (one, two) = (pair.plugin("one", |_| {}), pair.plugin("two", |_| {}));
    let mut vm = one.start(pair.services(0)).unwrap_or_else(|fault| panic!("{fault}"));
    let fault = vm.add(&two, &pair.services(1)).expect_err("it is refused");
    assert_eq!((fault.kind, &fault.message[..]), (FaultKind::Configure, "the second is one too many"));
    assert!(vm.has_gone(ROOT), "the guest may have been left in any state");
}

#[test]
fn only_what_is_the_same_but_for_its_configuration_shares() {
    let pair = Pair::of(&Guest::new());
    let one = pair.plugin("one", |_| {});
    let shares = |more: fn(&mut Filter)| one.shares(&pair.plugin("two", more));
    assert!(shares(|_| {}));
    assert!(shares(|filter| filter.root_id = "another".to_owned()));
    assert!(!shares(|filter| filter.vm_id = "another".to_owned()));
    assert!(!shares(|filter| filter.vm_config = Bytes::from_static(b"another")));
    assert!(!shares(|filter| filter.env = Vec::new()));
    let unnamed = |name| pair.plugin(name, |filter| filter.vm_id = String::new());
    assert!(!unnamed("one").shares(&unnamed("two")), "nothing is shared unasked");
    let same_bytes = Pair::of(&Guest::new());
    assert!(!one.shares(&same_bytes.plugin("two", |_| {})), "compiled twice is two modules");
}

#[test]
fn for_a_root_that_has_gone_nothing_is_begun() {
    // The VM's own context acts for the first root, and a stream for its own, though they have gone.
    for acting in [0, 3] {
        let mut guest = Guest::new();
        let (api, head) = (guest.text("api"), guest.text(write_pairs(&[(":method", "GET"), (":path", "/")])));
        let other = guest.call(ON, "proxy_set_effective_context", &[acting]);
        let call = [api.0, api.1, head.0, head.1, 0, 0, 0, 0, 0, OUT];
        let callout = guest.call(ON, "proxy_http_call", &call);
        let stream_call = [api.0, api.1, api.0, api.1, api.0, api.1, 0, 0, OUT];
        let grpc = guest.call(ON, "proxy_grpc_stream", &stream_call);
        let queue = guest.call(ON, "proxy_register_shared_queue", &[api.0, api.1, OUT]);
        let tick = guest.call(ON, "proxy_set_tick_period_milliseconds", &[5]);
        guest.call(ON, "proxy_set_effective_context", &[4]);
        let (mut vm, second) = Pair::of(&guest).start();
        let (one, two) = (get("/"), get("/"));
        vm.open(ROOT, &one, 0).expect("nothing fails");
        let of_two = vm.open(second, &two, 1).expect("nothing fails");
        vm.shutdown(ROOT).expect("nothing fails");
        vm.on_headers(of_two, Direction::Request, true).expect("nothing fails");
        let statuses = Dump::of(&two).statuses([other, callout, grpc, queue, tick]);
        assert_eq!(statuses, [0, 10, 10, 10, 0], "acting on {acting}");
        assert!(vm.take_effects().is_empty());
    }
}
