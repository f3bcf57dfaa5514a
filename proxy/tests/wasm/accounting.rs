//! What a filter's calls are counted as: for each callback, to the byte.

use tidegate::wasm::stream::Direction;
use tidegate::wasm::{Callback, CallbackCost};

use crate::bench::{Bench, ROOT, get};
use crate::guest::{Guest, OUT};

const ON: &str = "proxy_on_request_headers";

/// What is counted the same in every run: calls, hostcalls, bytes in, bytes out.
fn counts(bench: &Bench, callback: Callback) -> (u64, u64, u64, u64) {
    let CallbackCost { calls, hostcalls, bytes_in, bytes_out, .. } = bench.services.usage.cost(callback);
    (calls, hostcalls, bytes_in, bytes_out)
}

/// What [`Guest`] itself does at the end of each callback: a hostcall that stores a part of its memory as the property
/// `dump`.
const DUMP: (u64, u64) = (1, 0x10000 + 4);

#[test]
fn hostcalls_and_the_bytes_of_keys_and_values_are_counted_in_their_callback() {
    let mut guest = Guest::new();
    let (host, name, value) = (guest.text("host"), guest.text("x-new"), guest.text("a value"));
    guest.call(ON, "proxy_get_header_map_value", &[0, host.0, host.1, OUT, OUT + 4]);
    guest.call(ON, "proxy_add_header_map_value", &[0, name.0, name.1, value.0, value.1]);
    guest.call(ON, "proxy_get_current_time_nanoseconds", &[OUT + 8]);
    let bench = Bench::new();
    bench.on_request_headers(&guest);
    let given = "example.com".len() as u64;
    let taken = ("host".len() + "x-new".len() + "a value".len()) as u64;
    assert_eq!(counts(&bench, Callback::RequestHeaders), (1, 3 + DUMP.0, given, taken + DUMP.1));
}

#[test]
fn each_callback_is_counted_by_itself_and_one_that_was_not_called_costs_nothing() {
    let mut guest = Guest::new();
    guest.code("proxy_on_tick", "nop");
    let bench = Bench::new();
    let mut vm = bench.start(&guest);
    vm.on_tick(ROOT).expect("it does nothing");
    assert_eq!(counts(&bench, Callback::Tick), (1, DUMP.0, 0, DUMP.1));
    assert_eq!(bench.services.usage.cost(Callback::RequestHeaders), CallbackCost::default());
}

#[test]
fn a_start_section_is_not_counted_with_the_callback_after_it() {
    let mut guest = Guest::new();
    let line = guest.text("hello from the beginning");
    guest.call(ON, "proxy_log", &[2, line.0, line.1]);
    let said = format!("(call $proxy_log (i32.const 2) (i32.const {}) (i32.const {}))", line.0, line.1);
    guest.field(&format!("(func $begin (drop {said})) (start $begin)"));
    guest.code("proxy_on_vm_start", "nop");
    let bench = Bench::new();
    bench.start(&guest);
    assert_eq!(counts(&bench, Callback::VmStart), (1, DUMP.0, 0, DUMP.1));
}

#[test]
fn a_hostcall_that_is_refused_is_counted_and_what_points_nowhere_is_not_copied() {
    let mut guest = Guest::new();
    guest.call(ON, "proxy_get_header_map_value", &[0, 0xffff_fff0, 8, OUT, OUT + 4]);
    let bench = Bench::new();
    bench.on_request_headers(&guest);
    assert_eq!(counts(&bench, Callback::RequestHeaders), (1, 1 + DUMP.0, 0, DUMP.1));
}

#[test]
fn the_sum_of_all_callbacks_is_what_the_filter_ran() {
    let mut guest = Guest::new();
    guest.code(ON, "nop").code("proxy_on_log", "nop").code("proxy_on_configure", "nop");
    let bench = Bench::new();
    let mut vm = bench.start(&guest);
    let context = vm.open(ROOT, &get("/"), 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    vm.close(context).expect("nothing fails");
    let usage = &bench.services.usage;
    let sum: u64 = Callback::ALL.iter().map(|callback| usage.cost(*callback).instructions).sum();
    assert!(sum > 0 && usage.instructions() == sum, "{} is not {sum}", usage.instructions());
    assert!(usage.cost(Callback::Log).nanoseconds > 0);
}
