//! Envoy's foreign functions, and the call in the other direction.

use std::sync::Arc;

use bytes::Bytes;
use tidegate::wasm::hostcalls::FOREIGN_FUNCTIONS;
use tidegate::wasm::properties::ConnectionProperties;
use tidegate::wasm::stream::Direction;

use crate::bench::{Bench, ROOT, get, logged};
use crate::guest::{Allocator, Dump, Guest, OUT};

const ON: &str = "proxy_on_request_headers";
const CALL: &str = "proxy_call_foreign_function";

/// Calls a foreign function in a callback; where its answer goes, unless it is not wanted.
fn foreign(guest: &mut Guest, callback: &'static str, name: &str, arguments: &[u8], out: i64) -> usize {
    let (name, arguments) = (guest.text(name), guest.text(arguments));
    let len = if out == 0 { 0 } else { out + 4 };
    guest.call(callback, CALL, &[name.0, name.1, arguments.0, arguments.1, out, len])
}

/// A text, as a field of a message.
fn text(number: u8, text: &str) -> Vec<u8> {
    [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat()
}

#[test]
fn a_name_is_one_functions_and_envoys_others_are_not_found() {
    let mut names: Vec<&str> = FOREIGN_FUNCTIONS.iter().map(|function| function.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    let missing = ["verify_signature", "sign", "expr_create", "expr_evaluate", "expr_delete", "compres", ""];
    let mut guest = Guest::new();
    let slots = missing.map(|name| foreign(&mut guest, ON, name, b"x", OUT));
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [1; 7]);
}

/// A zlib stream of so many zeros, as short as can be: stored in blocks with one byte that is repeated.
fn zeros(count: usize) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; count]).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

#[test]
fn a_stream_is_uncompressed_up_to_a_limit() {
    let hello = b"x\x9c\xcbH\xcd\xc9\xc9\x07\x00\x06,\x02\x15";
    let mut guest = Guest::new();
    guest.allocator = Allocator::Bump;
    let mut call = |name: &str, arguments: &[u8], out| foreign(&mut guest, ON, name, arguments, out);
    let slots = [
        call("uncompress", hello, OUT),
        call("uncompress", &[&hello[..], b"behind it"].concat(), OUT + 8),
        call("uncompress", &hello[..hello.len() - 1], OUT + 16),
        call("uncompress", b"hello", OUT + 16),
        call("uncompress", hello, 0xffff_fff0),
        call("uncompress", &zeros(4 << 20), 0),
        call("uncompress", &zeros((4 << 20) + 1), 0),
        call("compress", b"hello", OUT + 24),
    ];
    let mut bench = Bench::new();
    bench.filter.limits.instructions = 4_000_000; // megabytes count
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 3, 3, 6, 0, 10, 0]);
    assert_eq!((dump.value(OUT), dump.value(OUT + 8)), (&b"hello"[..], &b"hello"[..]));
    let mut read = String::new();
    let mut decoder = flate2::read::ZlibDecoder::new(dump.value(OUT + 24));
    std::io::Read::read_to_string(&mut decoder, &mut read).expect("it is a stream");
    assert_eq!(read, "hello");
}

#[test]
fn what_is_declared_of_a_name_holds_from_then_on() {
    let mut guest = Guest::new();
    let configure = "proxy_on_configure";
    let fixed = [text(1, "fixed"), vec![0x10, 1]].concat();
    foreign(&mut guest, configure, "declare_property", &fixed, 0);
    let name = guest.text("fixed");
    let mut set = |value: &str| {
        let value = guest.text(value);
        guest.call(ON, "proxy_set_property", &[name.0, name.1, value.0, value.1])
    };
    let slots = [set("one"), set("two")];
    let by_a_stream = foreign(&mut guest, ON, "declare_property", &fixed, 0);
    let not_text = foreign(&mut guest, ON, "declare_property", b"\x0a\x01\xff", 0);
    let cut_off = foreign(&mut guest, ON, "declare_property", b"\x0a\x05ab", 0);
    let mut long = [text(1, "many"), vec![0x22, 0x80, 0x80, 0x01]].concat();
    long.resize(long.len() + (16 << 10), 0);
    let schema = foreign(&mut guest, ON, "declare_property", &long, 0);
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 2]);
    assert_eq!(stream.borrow().properties[&b"fixed"[..]], "one");
    assert_eq!(dump.statuses([by_a_stream, not_text, cut_off, schema]), [0, 2, 2, 0]);
}

#[test]
fn a_property_of_a_connection_is_seen_by_its_next_exchange_and_by_no_others() {
    let mut guest = Guest::new();
    let kept = [text(1, "kept"), vec![0x28, 2]].concat();
    foreign(&mut guest, "proxy_on_configure", "declare_property", &kept, 0);
    let (name, value) = (guest.text("kept"), guest.text("value"));
    let read = guest.call(ON, "proxy_get_property", &[name.0, name.1, OUT, OUT + 4]);
    let set = guest.call(ON, "proxy_set_property", &[name.0, name.1, value.0, value.1]);
    let mut vm = Bench::new().start(&guest);
    let connection = Arc::new(ConnectionProperties::default());
    let mut exchange = |connection: Option<&Arc<ConnectionProperties>>| {
        let stream = get("/");
        stream.borrow_mut().connection = connection.cloned();
        let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
        vm.on_headers(context, Direction::Request, true).expect("nothing fails");
        Dump::of(&stream).statuses([read, set])
    };
    assert_eq!(exchange(Some(&connection)), [1, 0]);
    assert_eq!(exchange(Some(&connection)), [0, 0]);
    assert_eq!(exchange(Some(&Arc::default())), [1, 0]);
    assert_eq!(exchange(None), [1, 0], "without a connection it is kept for the exchange");
}

#[test]
fn envoys_names_of_filter_state_are_those_that_mean_nothing_more() {
    let mut guest = Guest::new();
    let set = |guest: &mut Guest, on, name, value| {
        let message = [text(1, name), text(2, value)].concat();
        foreign(guest, on, "set_envoy_filter_state", &message, 0)
    };
    set(&mut guest, "proxy_on_configure", "envoy.string", "to nobody");
    let slots = [
        set(&mut guest, ON, "envoy.string", "value"),
        set(&mut guest, ON, "envoy.network.upstream_server_name", "value"),
        set(&mut guest, ON, "", ""),
    ];
    let path = guest.text("filter_state\0envoy.string");
    let read = guest.call(ON, "proxy_get_property", &[path.0, path.1, OUT, OUT + 4]);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 1, 1]);
    assert_eq!((dump.status(read), dump.value(OUT)), (0, &b"value"[..]));
}

#[test]
fn an_embedder_calls_a_guest_by_number_and_its_arguments_are_there_for_the_call() {
    const ON_FOREIGN: &str = "proxy_on_foreign_function";
    let call_data = |out: i64| [8, 0, 0xffff_ffff, out, out + 4];
    let mut guest = Guest::new();
    let before = guest.call(ON, "proxy_get_buffer_bytes", &call_data(OUT));
    guest.call(ON_FOREIGN, "proxy_get_buffer_bytes", &call_data(OUT + 8));
    guest.code(
        ON_FOREIGN,
        "(i32.store (i32.const 0x820) (local.get 0)) (i32.store (i32.const 0x824) (local.get 1))
         (i32.store (i32.const 0x828) (local.get 2))",
    );
    let (mut vm, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.status(before), 1);
    vm.on_foreign_function(2, 77, Bytes::from_static(b"arguments")).expect("nothing fails");
    let dump = Dump::of(&stream);
    assert_eq!(dump.value(OUT + 8), b"arguments");
    assert_eq!([0x820, 0x824, 0x828].map(|at| dump.word(at)), [2, 77, 9]);
    let lines = logged(|| {
        vm.on_foreign_function(99, 1, Bytes::new()).expect("it is nobody's");
    });
    assert_eq!(lines, [""; 0]);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(Dump::of(&stream).status(before), 1, "and gone afterwards");
}
