//! Guests that trap, loop, eat memory or dig too deep: each a fault of its own kind, and the host goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate::wasm::stream::Direction;
use tidegate::wasm::{Callback, EPOCH_PERIOD, Fault, FaultKind};

use crate::bench::{Bench, ENGINE, ROOT, get, logged};
use crate::guest::{Allocator, Guest, OUT};

const ON: &str = "proxy_on_request_headers";

fn fault_of(bench: &Bench, guest: &Guest) -> Fault {
    let mut vm = bench.start(guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("only headers fail");
    let fault = vm.on_headers(context, Direction::Request, true).expect_err("it fails");
    assert_eq!(bench.services.usage.faults(fault.kind), 1);
    let next = vm.on_headers(context, Direction::Request, true).expect_err("it is dead");
    assert_eq!(next.kind, FaultKind::Dead);
    assert!(vm.has_gone(ROOT));
    assert_eq!(vm.streams().count(), 1, "its streams are still known, to be told");
    fault
}

fn doing(code: &str) -> Guest {
    let mut guest = Guest::new();
    guest.code(ON, code);
    guest
}

#[test]
fn a_trap_names_its_cause_and_where_the_guest_was() {
    let mut guest = Guest::new();
    guest.field("(func $outer call $inner) (func $inner unreachable)");
    guest.code(ON, "call $outer");
    let fault = fault_of(&Bench::new(), &guest);
    assert_eq!((fault.kind, fault.callback), (FaultKind::Trap, ON));
    assert!(
        fault.message.starts_with("wasm trap: wasm `unreachable` instruction executed\n"),
        "{}",
        fault.message
    );
    let (inner, outer) = (fault.message.find("!inner"), fault.message.find("!outer"));
    assert!(inner.is_some() && inner < outer, "{}", fault.message);
}

#[test]
fn a_loop_uses_up_its_instructions_and_always_as_many() {
    let guest = doing("(loop $l (br $l))");
    let used: Vec<u64> = (0..2)
        .map(|_| {
            let bench = Bench::new();
            assert_eq!(fault_of(&bench, &guest).kind, FaultKind::Instructions);
            bench.services.usage.instructions()
        })
        .collect();
    assert_eq!(used[0], used[1]);
    assert_eq!(used[0] / 1_000_000, 1);
}

#[test]
fn the_same_work_costs_the_same_instructions_in_each_call() {
    let bench = Bench::new();
    let guest = doing(
        "(local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))",
    );
    let mut vm = bench.start(&guest);
    let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
    let mut costs = Vec::new();
    for _ in 0..3 {
        let before = bench.services.usage.instructions();
        vm.on_headers(context, Direction::Request, true).expect("it is within the budget");
        costs.push(bench.services.usage.instructions() - before);
    }
    assert_eq!(costs, [costs[0]; 3]);
    assert!((4000..10_000).contains(&costs[0]), "{costs:?}");
    assert_eq!(bench.services.usage.calls(Callback::RequestHeaders), 3);
    assert!(bench.services.usage.cost(Callback::RequestHeaders).nanoseconds > 0);
}

#[test]
fn a_guest_that_gives_up_after_it_was_refused_memory_has_a_memory_fault() {
    let guest = doing("(if (i32.eq (memory.grow (i32.const 10000)) (i32.const -1)) (then unreachable))");
    assert_eq!(fault_of(&Bench::new(), &guest).kind, FaultKind::Memory);

    let mut goes_on = doing("(drop (memory.grow (i32.const 10000)))");
    goes_on.code("proxy_on_tick", "unreachable");
    let (mut vm, _, _) = Bench::new().on_request_headers(&goes_on);
    assert_eq!(vm.memory_bytes(), 2 << 16);
    let later = vm.on_tick(ROOT).expect_err("it traps");
    assert_eq!(later.kind, FaultKind::Trap, "what an earlier callback was refused does not explain it");
}

#[test]
fn a_module_that_begins_with_more_memory_than_it_may_have_does_not_start() {
    let mut bench = Bench::new();
    bench.filter.limits.memory = 1 << 16;
    let fault = bench.try_start(&Guest::new()).expect_err("it needs two pages");
    assert_eq!((fault.kind, fault.callback), (FaultKind::Memory, "instantiate"));
    assert_eq!(bench.services.usage.faults(FaultKind::Memory), 1);
}

#[test]
fn a_fault_names_the_limit_that_was_met_and_its_value() {
    let endless = "(loop $l (br $l))";
    let mut bench = Bench::new();
    bench.filter.limits.instructions = 20_000;
    let met = fault_of(&bench, &doing(endless)).message;
    let expected = "it took more instructions than a callback may (`limits.instructions: 20k`)\n";
    assert!(met.starts_with(expected), "{met}");

    let mut guest = Guest::new();
    guest.code("proxy_on_configure", endless);
    let met = bench.try_start(&guest).expect_err("it never ends").message;
    let expected =
        "it took more instructions than a step of a start may (50 times `limits.instructions: 20k`)\n";
    assert!(met.starts_with(expected), "{met}");

    let met = fault_of(&Bench::new(), &doing("(drop (memory.grow (i32.const 255))) unreachable")).message;
    let expected =
        "it asked for 16448KiB of memory, more than it may have (`limits.memory: 16MiB`): wasm trap: ";
    assert!(met.starts_with(expected), "{met}");
    let met = fault_of(&Bench::new(), &doing("(drop (memory.grow (i32.const 254))) unreachable")).message;
    assert!(met.starts_with("wasm trap: "), "it had what it asked for: {met}");

    let mut bench = Bench::new();
    bench.filter.limits.memory = 1 << 16;
    let met = bench.try_start(&Guest::new()).expect_err("it needs two pages").message;
    assert!(
        met.starts_with("it asked for 128KiB of memory, more than it may have (`limits.memory: 64KiB`): "),
        "{met}"
    );
}

#[test]
fn deep_recursion_is_a_stack_fault() {
    let mut bench = Bench::new();
    bench.filter.limits.instructions = u64::MAX / 1000;
    let mut guest = Guest::new();
    guest.field("(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))");
    guest.code(ON, "(drop (call $deep (i32.const 0)))");
    assert_eq!(fault_of(&bench, &guest).kind, FaultKind::Stack);
}

#[test]
fn time_in_hostcalls_counts_too() {
    let mut bench = Bench::new();
    bench.filter.limits.instructions = u64::MAX / 1000;
    bench.filter.limits.wall_clock = EPOCH_PERIOD * 2;
    let mut guest = Guest::new();
    guest.code(
        ON,
        &format!("(loop $l (drop (call $proxy_get_current_time_nanoseconds (i32.const {OUT}))) (br $l))"),
    );
    guest.call(ON, "proxy_get_current_time_nanoseconds", &[OUT]);
    let done = AtomicBool::new(false);
    let fault = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                ENGINE.advance_epoch();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let fault = fault_of(&bench, &guest);
        done.store(true, Ordering::Relaxed);
        fault
    });
    assert_eq!(fault.kind, FaultKind::WallClock);
    let expected = "it took longer than a callback may (`limits.wall_clock: 20ms`)\n";
    assert!(fault.message.starts_with(expected), "{}", fault.message);
}

#[test]
fn a_guest_that_gives_up_over_its_allocator_has_an_allocator_fault() {
    let mut guest = Guest::new();
    guest.allocator = Allocator::Fixed(0);
    let name = guest.text("x-twice");
    guest.call(ON, "proxy_get_header_map_value", &[0, name.0, name.1, OUT, OUT + 4]);
    guest.code(ON, "unreachable");
    assert_eq!(fault_of(&Bench::new(), &guest).kind, FaultKind::Allocator);
}

#[test]
fn an_allocator_may_not_call_what_acts_on_a_context() {
    for (allocator, cause) in [
        (Allocator::Forbidden, "proxy_set_property may not be called by the allocator"),
        (Allocator::Trapping, "wasm trap: wasm `unreachable` instruction executed"),
    ] {
        let mut guest = Guest::new();
        guest.allocator = allocator;
        guest.call(ON, "proxy_get_header_map_pairs", &[0, OUT, OUT + 4]);
        let fault = fault_of(&Bench::new(), &guest);
        assert_eq!(fault.kind, FaultKind::Trap);
        assert!(fault.message.starts_with(cause), "{}", fault.message);
    }
}

#[test]
fn exit_and_abort_stop_the_guest_and_say_so() {
    let mut guest = Guest::new();
    guest.call(ON, "proc_exit", &[3]);
    let fault = fault_of(&Bench::new(), &guest);
    assert!(fault.message.starts_with("the guest exited with code 3 (proc_exit)"), "{}", fault.message);

    let mut guest = Guest::new();
    let utf16 = |text: &str| {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        [&(units.len() as u32).to_le_bytes()[..], &units].concat()
    };
    let (message, file) = (guest.text(utf16("bad")), guest.text(utf16("index.ts")));
    guest.call(ON, "abort", &[message.0 + 4, file.0 + 4, 12, 3]);
    let mut fault = None;
    let lines = logged(|| fault = Some(fault_of(&Bench::new(), &guest)));
    let fault = fault.expect("it was set");
    assert!(fault.message.starts_with("the guest aborted: bad in index.ts(12:3)"), "{}", fault.message);
    assert!(lines[0].contains("abort: bad in index.ts(12:3)"), "{lines:?}");
}

#[test]
fn a_loop_at_the_start_ends_and_a_start_may_cost_more_than_a_request() {
    let mut guest = Guest::new();
    guest.code("proxy_on_configure", "(loop $l (br $l))");
    let fault = Bench::new().try_start(&guest).expect_err("it never ends");
    assert_eq!((fault.kind, fault.callback), (FaultKind::Instructions, "proxy_on_configure"));

    let mut guest = Guest::new();
    guest.code("proxy_on_configure", "(local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 1000000))))");
    Bench::new().start(&guest);
}

#[test]
fn how_much_memory_a_guest_has_is_counted_while_it_lives() {
    let bench = Bench::new();
    let usage = bench.services.usage.clone();
    let guest = doing("(drop (memory.grow (i32.const 3))) (drop (memory.grow (i32.const 10000)))");
    let mut vm = bench.start(&guest);
    assert_eq!(usage.memory_bytes(), 2 << 16);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(usage.memory_bytes(), 5 << 16);
    assert_eq!(usage.memory_bytes(), vm.memory_bytes() as u64);
    drop(vm);
    assert_eq!(usage.memory_bytes(), 0);
}
