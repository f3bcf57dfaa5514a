//! Header maps through every hostcall.

use http::HeaderMap;
use tidegate::wasm::Vm;
use tidegate::wasm::stream::{Direction, Progress, StreamRef};

use crate::bench::{Bench, ROOT, get, respond};
use crate::guest::{Allocator, Dump, Guest, OUT, Text, write_pairs};

const REQUEST: i64 = 0;
const REQUEST_TRAILERS: i64 = 1;
const RESPONSE: i64 = 2;
const RESPONSE_TRAILERS: i64 = 3;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const INVALID_MEMORY: u32 = 6;

const ON: &str = "proxy_on_request_headers";
const FAR: i64 = 0xffff_fff0;

fn read(guest: &mut Guest, callback: &'static str, map: i64, name: &str, out: i64) -> usize {
    let name = guest.text(name);
    guest.call(callback, "proxy_get_header_map_value", &[map, name.0, name.1, out, out + 4])
}

fn write(
    guest: &mut Guest,
    callback: &'static str,
    how: &'static str,
    map: i64,
    name: &str,
    value: &str,
) -> usize {
    let (name, value) = (guest.text(name), guest.text(value));
    guest.call(callback, how, &[map, name.0, name.1, value.0, value.1])
}

fn add(guest: &mut Guest, callback: &'static str, map: i64, name: &str, value: &str) -> usize {
    write(guest, callback, "proxy_add_header_map_value", map, name, value)
}

fn replace(guest: &mut Guest, callback: &'static str, map: i64, name: &str, value: &str) -> usize {
    write(guest, callback, "proxy_replace_header_map_value", map, name, value)
}

fn remove(guest: &mut Guest, callback: &'static str, map: i64, name: &str) -> usize {
    let name = guest.text(name);
    guest.call(callback, "proxy_remove_header_map_value", &[map, name.0, name.1])
}

fn set_pairs(guest: &mut Guest, callback: &'static str, map: i64, pairs: &[u8]) -> usize {
    let pairs: Text = guest.text(pairs);
    guest.call(callback, "proxy_set_header_map_pairs", &[map, pairs.0, pairs.1])
}

fn get_pairs(guest: &mut Guest, callback: &'static str, map: i64, out: i64) -> usize {
    guest.call(callback, "proxy_get_header_map_pairs", &[map, out, out + 4])
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tests use text");
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Runs request headers and then response headers on one stream.
fn both_ways(guest: &Guest) -> (Vm, StreamRef, u32) {
    let mut vm = Bench::new().start(guest);
    let stream = get("/path");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    stream.borrow_mut().request_progress = Progress::Done;
    respond(&stream, 200, &[("content-type", "text/plain")]);
    vm.on_headers(context, Direction::Response, true).expect("nothing fails");
    (vm, stream, context)
}

#[test]
fn a_value_is_found_by_name_in_any_case_and_the_first_one_counts() {
    let mut guest = Guest::new();
    let names = [":method", ":path", ":authority", ":scheme", "host", "X-Twice", "Host"];
    let slots: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(i, name)| read(&mut guest, ON, REQUEST, name, OUT + 8 * i as i64))
        .collect();
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    let values: Vec<&[u8]> = (0..names.len()).map(|i| dump.value(OUT + 8 * i as i64)).collect();
    assert!(slots.iter().all(|slot| dump.status(*slot) == OK));
    let expected = ["GET", "/path?query", "example.com", "http", "example.com", "one", "example.com"];
    assert_eq!(values, expected.map(str::as_bytes));
}

#[test]
fn an_empty_value_is_0_and_0_without_a_block() {
    let mut guest = Guest::new();
    guest.allocator = Allocator::Trapping;
    guest.code(
        ON,
        "(i32.store (i32.const 0x800) (i32.const -1)) (i32.store (i32.const 0x804) (i32.const -1))",
    );
    let slot = read(&mut guest, ON, REQUEST, "x-empty", OUT);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!((dump.status(slot), dump.word(OUT), dump.word(OUT + 4)), (OK, 0, 0));
}

#[test]
fn a_missing_name_is_not_found_except_in_0_1_0_where_it_is_empty() {
    for (marker, expected) in [("proxy_abi_version_0_1_0", OK), ("proxy_abi_version_0_2_0", NOT_FOUND)] {
        let mut guest = Guest::new();
        guest.marker = marker;
        let slots = [
            read(&mut guest, ON, REQUEST, "x-none", OUT),
            read(&mut guest, ON, REQUEST, "\u{fffd} no name", OUT),
            read(&mut guest, ON, REQUEST, ":status", OUT),
            read(&mut guest, ON, RESPONSE, ":status", OUT),
            read(&mut guest, ON, RESPONSE_TRAILERS, "a", OUT),
            read(&mut guest, ON, 4, "a", OUT),
            read(&mut guest, ON, 6, ":status", OUT),
        ];
        let (_, _, dump) = Bench::new().on_request_headers(&guest);
        assert_eq!(dump.statuses(slots), [expected; 7], "{marker}");
        assert_eq!(dump.word(OUT + 4), 0);
    }
}

#[test]
fn a_pointer_out_of_the_memory_is_told_apart_and_changes_nothing() {
    let mut guest = Guest::new();
    let name = guest.text("x-twice");
    let missing = guest.text("x-none");
    let get = "proxy_get_header_map_value";
    let slots = [
        guest.call(ON, get, &[REQUEST, FAR, 32, OUT, OUT + 4]),
        guest.call(ON, get, &[REQUEST, name.0, FAR, OUT, OUT + 4]),
        guest.call(ON, get, &[REQUEST, name.0, name.1, FAR, OUT + 4]),
        guest.call(ON, get, &[REQUEST, name.0, name.1, OUT, 0x1_fffd]),
        guest.call(ON, get, &[REQUEST, missing.0, missing.1, FAR, OUT]),
        guest.call(ON, "proxy_get_header_map_pairs", &[REQUEST, FAR, OUT]),
        guest.call(ON, "proxy_get_header_map_size", &[REQUEST, FAR]),
        guest.call(ON, "proxy_set_header_map_pairs", &[REQUEST, FAR, 9]),
        guest.call(ON, "proxy_add_header_map_value", &[REQUEST, FAR, 9, name.0, name.1]),
        guest.call(ON, "proxy_add_header_map_value", &[REQUEST, name.0, name.1, FAR, 9]),
        guest.call(ON, "proxy_replace_header_map_value", &[REQUEST, name.0, name.1, FAR, 9]),
        guest.call(ON, "proxy_remove_header_map_value", &[REQUEST, FAR, 9]),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [INVALID_MEMORY; 12]);
    assert_eq!(stream.borrow().request.headers.len(), 4);
    assert!(!stream.borrow().route_stale);
}

#[test]
fn an_allocator_that_fails_is_a_status_and_not_the_hosts_end() {
    for block in [0, 0x1_fffe, 0xffff_ffff] {
        let mut guest = Guest::new();
        guest.allocator = Allocator::Fixed(block);
        let slots = [read(&mut guest, ON, REQUEST, "x-twice", OUT), get_pairs(&mut guest, ON, REQUEST, OUT)];
        let (_, _, dump) = Bench::new().on_request_headers(&guest);
        assert_eq!(dump.statuses(slots), [INVALID_MEMORY; 2], "a block at {block:#x}");
    }
}

#[test]
fn an_allocator_may_make_the_memory_grow_and_be_called_malloc() {
    let mut guest = Guest::new();
    guest.allocator = Allocator::Growing;
    guest.allocator_name = "malloc";
    let slot = read(&mut guest, ON, REQUEST, "x-twice", OUT);
    let (vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!((dump.status(slot), dump.value(OUT)), (OK, &b"one"[..]));
    assert_eq!(vm.memory_bytes(), (2 + 64) << 16);
}

#[test]
fn pairs_begin_with_the_pseudo_headers_and_their_size_is_that_of_names_and_values() {
    let mut guest = Guest::new();
    get_pairs(&mut guest, ON, REQUEST, OUT);
    guest.call(ON, "proxy_get_header_map_size", &[REQUEST, OUT + 8]);
    get_pairs(&mut guest, ON, RESPONSE_TRAILERS, OUT + 16);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    let expected = [
        (":authority", "example.com"),
        (":path", "/path?query"),
        (":method", "GET"),
        (":scheme", "http"),
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("x-empty", ""),
    ];
    assert_eq!(dump.pairs(OUT), owned(&expected));
    let size: usize = expected.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(dump.word(OUT + 8) as usize, size);
    assert_eq!((dump.word(OUT + 16), dump.word(OUT + 20)), (0, 0), "an absent map is nothing at all");
}

#[test]
fn a_request_is_changed_field_by_field() {
    let mut guest = Guest::new();
    let slots = [
        add(&mut guest, ON, REQUEST, "X-Added", "1"),
        add(&mut guest, ON, REQUEST, "x-added", "2"),
        replace(&mut guest, ON, REQUEST, "x-twice", "once"),
        replace(&mut guest, ON, REQUEST, "x-new", ""),
        remove(&mut guest, ON, REQUEST, "X-EMPTY"),
        remove(&mut guest, ON, REQUEST, "x-none"),
        remove(&mut guest, ON, REQUEST, "no name"),
        replace(&mut guest, ON, REQUEST, ":path", "/new?x"),
        replace(&mut guest, ON, REQUEST, ":method", "POST"),
        replace(&mut guest, ON, REQUEST, ":authority", "other"),
        replace(&mut guest, ON, REQUEST, ":scheme", "https"),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [OK; 11]);
    let stream = stream.borrow();
    assert_eq!(stream.request.uri, "/new?x");
    assert_eq!(stream.request.method, "POST");
    assert_eq!(stream.request.scheme, "https");
    let mut left = fields(&stream.request.headers);
    left.sort();
    let expected =
        [("host", "other"), ("x-added", "1"), ("x-added", "2"), ("x-new", ""), ("x-twice", "once")];
    assert_eq!(left, owned(&expected));
    assert!(stream.route_stale);
}

#[test]
fn what_cannot_be_a_header_is_refused() {
    let mut guest = Guest::new();
    let slots = [
        add(&mut guest, ON, REQUEST, "no name", "1"),
        add(&mut guest, ON, REQUEST, "", "1"),
        add(&mut guest, ON, REQUEST, "x-a", "line\r\nbreak"),
        replace(&mut guest, ON, REQUEST, ":path", "no-slash"),
        replace(&mut guest, ON, REQUEST, ":path", ""),
        replace(&mut guest, ON, REQUEST, ":method", "a b"),
        replace(&mut guest, ON, REQUEST, ":status", "200"),
        replace(&mut guest, ON, REQUEST, ":what", "1"),
        remove(&mut guest, ON, REQUEST, ":path"),
        add(&mut guest, ON, 8, "a", "b"),
        add(&mut guest, ON, 4, "a", "b"),
        add(&mut guest, ON, 7, "a", "b"),
        get_pairs(&mut guest, ON, 8, OUT),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [BAD_ARGUMENT; 13]);
    assert_eq!(stream.borrow().request.headers.len(), 4);
}

#[test]
fn a_request_keeps_its_line_when_all_its_headers_are_replaced() {
    let mut guest = Guest::new();
    let pairs = write_pairs(&[("x-a", "1"), ("x-a", "2"), (":path", "/set")]);
    let slot = set_pairs(&mut guest, ON, REQUEST, &pairs);
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.status(slot), OK);
    let stream = stream.borrow();
    assert_eq!((stream.request.method.as_str(), stream.request.uri.path()), ("GET", "/set"));
    let expected = [("x-a", "1"), ("x-a", "2"), ("host", "example.com")];
    assert_eq!(fields(&stream.request.headers), owned(&expected));
}

#[test]
fn a_malformed_map_leaves_everything_as_it_was() {
    let good = write_pairs(&[("x-a", "1")]);
    let broken: [&[u8]; 4] = [
        &good[..good.len() - 1],
        &write_pairs(&[("x-ok", "1"), ("not ok", "2")]),
        &write_pairs(&[(":path", "/gone"), ("x-a", "\n")]),
        b"\xff\xff\xff\xff",
    ];
    for broken in broken {
        let mut guest = Guest::new();
        let slot = set_pairs(&mut guest, ON, REQUEST, broken);
        let (_, stream, dump) = Bench::new().on_request_headers(&guest);
        assert_eq!(dump.status(slot), BAD_ARGUMENT);
        assert_eq!((stream.borrow().request.uri.path(), stream.borrow().request.headers.len()), ("/path", 4));
        assert!(!stream.borrow().route_stale);
    }
}

#[test]
fn a_map_can_be_emptied_in_each_form_that_sdks_send() {
    for empty in [&b""[..], b"\0", b"\0\0\0\0"] {
        let mut guest = Guest::new();
        set_pairs(&mut guest, "proxy_on_response_headers", RESPONSE, empty);
        let (_, stream, _) = both_ways(&guest);
        let response = stream.borrow_mut().response.take().expect("it was given one");
        assert_eq!((response.status.as_u16(), response.headers.len()), (200, 0));
    }
}

#[test]
fn a_request_can_be_read_but_not_changed_once_it_is_sent() {
    let mut guest = Guest::new();
    let late = "proxy_on_response_headers";
    let slots = [
        read(&mut guest, late, REQUEST, ":path", OUT),
        add(&mut guest, late, REQUEST, "x-late", "1"),
        replace(&mut guest, late, REQUEST, ":path", "/late"),
        set_pairs(&mut guest, late, REQUEST, b""),
        remove(&mut guest, late, REQUEST, "x-twice"),
        add(&mut guest, late, REQUEST_TRAILERS, "x-late", "1"),
        replace(&mut guest, late, RESPONSE, ":status", "418"),
        replace(&mut guest, late, RESPONSE, ":status", "9"),
        read(&mut guest, late, RESPONSE, ":status", OUT + 8),
    ];
    let (_, stream, _) = both_ways(&guest);
    let dump = Dump::of(&stream);
    assert_eq!(dump.statuses(slots), [OK, 2, 2, 2, 2, 2, OK, BAD_ARGUMENT, OK]);
    assert_eq!((dump.value(OUT), dump.value(OUT + 8)), (&b"/path"[..], &b"418"[..]));
    assert_eq!(stream.borrow().response.as_ref().map(|head| head.status.as_u16()), Some(418));
}

#[test]
fn response_headers_before_a_response_are_staged() {
    let mut guest = Guest::new();
    let slots = [
        read(&mut guest, ON, RESPONSE, "x-staged", OUT),
        remove(&mut guest, ON, RESPONSE, "x-staged"),
        add(&mut guest, ON, RESPONSE, "X-Staged", "1"),
        add(&mut guest, ON, RESPONSE, ":status", "200"),
        read(&mut guest, ON, RESPONSE, "x-staged", OUT),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [NOT_FOUND, OK, OK, BAD_ARGUMENT, OK]);
    let staged = stream.borrow_mut().staged_response_headers.take().expect("one was added");
    assert_eq!(fields(&staged), owned(&[("x-staged", "1")]));
}

#[test]
fn in_on_log_everything_can_be_read_and_nothing_changed() {
    let mut guest = Guest::new();
    let late = "proxy_on_log";
    let slots = [
        read(&mut guest, late, REQUEST, ":path", OUT),
        read(&mut guest, late, RESPONSE, ":status", OUT),
        add(&mut guest, late, REQUEST, "x-late", "1"),
        add(&mut guest, late, RESPONSE, "x-late", "1"),
    ];
    let (mut vm, stream, context) = both_ways(&guest);
    vm.close(context).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses(slots), [OK, OK, BAD_ARGUMENT, BAD_ARGUMENT]);
}

#[test]
fn trailers_are_made_by_the_body_callback_that_sees_the_end() {
    let mut guest = Guest::new();
    let body = "proxy_on_response_body";
    let early = add(&mut guest, "proxy_on_response_headers", RESPONSE_TRAILERS, "x-sum", "0");
    let wrong = add(&mut guest, body, RESPONSE_TRAILERS, "no name", "1");
    let added = add(&mut guest, body, RESPONSE_TRAILERS, "X-Sum", "1");
    let (mut vm, stream, context) = both_ways(&guest);
    vm.on_body(context, Direction::Response, false).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([early, wrong, added]), [BAD_ARGUMENT; 3]);
    assert_eq!(stream.borrow().response_trailers, None);
    vm.on_body(context, Direction::Response, true).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([early, wrong, added]), [BAD_ARGUMENT, BAD_ARGUMENT, OK]);
    let trailers = stream.borrow().response_trailers.clone().expect("they were made");
    assert_eq!(fields(&trailers), owned(&[("x-sum", "1")]));
}

#[test]
fn trailers_that_are_there_are_counted_read_and_changed() {
    let mut guest = Guest::new();
    let on = "proxy_on_request_trailers";
    guest.code(on, "(i32.store (i32.const 0x810) (local.get 1))");
    get_pairs(&mut guest, on, REQUEST_TRAILERS, OUT);
    let slot = replace(&mut guest, on, REQUEST_TRAILERS, "x-t", "new");
    guest.answer(on, 1);
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-t", http::HeaderValue::from_static("old"));
    stream.borrow_mut().request_trailers = Some(Box::new(trailers));
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let status = vm.on_trailers(context, Direction::Request).expect("nothing fails");
    assert_eq!(status, tidegate::wasm::TrailersStatus::StopIteration);
    let dump = Dump::of(&stream);
    assert_eq!((dump.status(slot), dump.word(OUT + 16)), (OK, 1));
    assert_eq!(dump.pairs(OUT), owned(&[("x-t", "old")]));
    assert_eq!(stream.borrow().request_trailers.as_ref().expect("they are there")["x-t"], "new");
}

#[test]
fn a_guest_cannot_make_a_map_grow_without_end() {
    let mut guest = Guest::new();
    let name = guest.text("x-many");
    guest.code(
        ON,
        &format!(
            "(local $i i32) (loop $l
               (i32.store (i32.const 0x800) (call $proxy_add_header_map_value
                 (i32.const 0) (i32.const {0}) (i32.const {1}) (i32.const {0}) (i32.const {1})))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $l (i32.lt_u (local.get $i) (i32.const 3000))))",
            name.0, name.1
        ),
    );
    add(&mut guest, ON, REQUEST, "x-one", "1");
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.word(OUT), BAD_ARGUMENT);
    assert_eq!(stream.borrow().request.headers.len(), 1024);
}
