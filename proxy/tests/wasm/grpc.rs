//! gRPC callouts: what comes out, what goes in, and what tokens are good for.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate::wasm::grpc::{GRPC_MESSAGE_LIMIT, Outgoing, Sent};
use tidegate::wasm::{Effect, GrpcCallout, GrpcEvent, GrpcKind, Vm};

use crate::bench::{Bench, ROOT};
use crate::guest::{Dump, Guest, OUT, write_pairs};

const ASKS: &str = "proxy_on_request_headers";
const TICK: &str = "proxy_on_tick";
const INITIAL: &str = "proxy_on_grpc_receive_initial_metadata";
const RECEIVES: &str = "proxy_on_grpc_receive";
const TRAILING: &str = "proxy_on_grpc_receive_trailing_metadata";
const CLOSES: &str = "proxy_on_grpc_close";

fn open(
    guest: &mut Guest,
    callback: &'static str,
    upstream: impl AsRef<[u8]>,
    call: Option<i64>,
    token: i64,
) -> usize {
    let (upstream, service, method) = (guest.text(upstream), guest.text("a.Service"), guest.text("Do"));
    let metadata = guest.text(write_pairs(&[("x-key", "k")]));
    let mut args =
        vec![upstream.0, upstream.1, service.0, service.1, method.0, method.1, metadata.0, metadata.1];
    let name = match call {
        Some(timeout) => {
            let message = guest.text("a question");
            args.extend([message.0, message.1, timeout]);
            "proxy_grpc_call"
        }
        None => "proxy_grpc_stream",
    };
    args.push(token);
    guest.call(callback, name, &args)
}

fn call(guest: &mut Guest, upstream: &str, token: i64) -> usize {
    open(guest, ASKS, upstream, Some(0), token)
}

fn stream(guest: &mut Guest, token: i64) -> usize {
    open(guest, ASKS, "api", None, token)
}

fn send(guest: &mut Guest, callback: &'static str, token: i64, message: &str, end: bool) -> usize {
    let message = guest.text(message);
    guest.call(callback, "proxy_grpc_send", &[token, message.0, message.1, i64::from(end)])
}

fn callouts(vm: &mut Vm) -> Vec<GrpcCallout> {
    let callout = |(_, effect)| match effect {
        Effect::Grpc(callout) => Some(*callout),
        Effect::HttpCall(..) | Effect::SetTick(_) | Effect::WatchQueues(_) => None,
    };
    vm.take_effects().into_iter().filter_map(callout).collect()
}

fn sent(outgoing: &Outgoing) -> Vec<Poll<Sent>> {
    let mut seen = Vec::new();
    loop {
        let next = outgoing.poll_next(&Context::from_waker(Waker::noop()));
        let is_last = !matches!(next, Poll::Ready(Sent::Message(_)));
        seen.push(next);
        if is_last {
            return seen;
        }
    }
}

fn message(text: &'static str) -> GrpcEvent {
    GrpcEvent::Message(Bytes::from_static(text.as_bytes()))
}

fn close(status: u32, message: &str) -> GrpcEvent {
    GrpcEvent::Close { status, message: message.to_owned() }
}

fn metadata(name: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static("v"))])
}

#[test]
fn a_call_comes_out_whole() {
    let mut guest = Guest::new();
    let slot = open(&mut guest, ASKS, "api", Some(250), OUT);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    let [call] = callouts(&mut vm).try_into().expect("one call");
    assert_eq!((dump.status(slot), dump.word(OUT)), (0, call.token));
    assert_eq!(
        (call.kind, call.cluster.as_str(), call.path.as_str()),
        (GrpcKind::Call, "api", "/a.Service/Do")
    );
    assert_eq!(call.authority.as_ref().map(|authority| authority.as_str()), Some("api"));
    assert_eq!((call.metadata.len(), &call.metadata["x-key"]), (1, &HeaderValue::from_static("k")));
    assert_eq!(call.timeout, Some(Duration::from_millis(250)));
    let message = Poll::Ready(Sent::Message(Bytes::from_static(b"a question")));
    assert_eq!(sent(&call.outgoing), [message, Poll::Ready(Sent::End)]);
}

#[test]
fn a_token_says_its_kind_and_is_nobody_elses() {
    let mut guest = Guest::new();
    let (api, head) = (guest.text("api"), guest.text(write_pairs(&[(":method", "GET"), (":path", "/")])));
    guest.call(ASKS, "proxy_http_call", &[api.0, api.1, head.0, head.1, 0, 0, 0, 0, 0, OUT]);
    call(&mut guest, "api", OUT + 4);
    stream(&mut guest, OUT + 8);
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    let tokens = [0, 4, 8].map(|at| dump.word(OUT + at));
    assert_eq!(tokens, [4, 5, 6], "as in Envoy: the low two bits say which kind");
}

#[test]
fn a_callout_that_cannot_be_made_is_refused_and_takes_no_token() {
    let mut guest = Guest::new();
    let google = b"\x12\x03\x0a\x01a";
    let unknown = b"\x0a\x06\x0a\x04nope";
    let slots = [
        call(&mut guest, "unknown", OUT),
        open(&mut guest, ASKS, google, Some(0), OUT),
        open(&mut guest, ASKS, unknown, None, OUT),
        call(&mut guest, "api", 0xffff_fff0),
        open(&mut guest, ASKS, "api", None, 0xffff_fff0),
    ];
    let (api, bad) = (guest.text("api"), guest.text(write_pairs(&[("a b", "")])));
    let malformed = guest.text(b"\x01\0\0\0");
    let spaced = guest.text("a b");
    let metadata = [bad, malformed].map(|(at, len)| {
        guest.call(ASKS, "proxy_grpc_stream", &[api.0, api.1, api.0, api.1, api.0, api.1, at, len, OUT])
    });
    let path =
        guest.call(ASKS, "proxy_grpc_stream", &[api.0, api.1, spaced.0, spaced.1, api.0, api.1, 0, 0, OUT]);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [4, 4, 4, 6, 6]);
    assert_eq!((dump.statuses(metadata), dump.status(path), dump.word(OUT)), ([2, 2], 4, 0));
    assert!(callouts(&mut vm).is_empty());
}

#[test]
fn an_upstream_may_be_a_grpc_service() {
    let mut guest = Guest::new();
    let described = b"\x0a\x0d\x0a\x03api\x12\x06a.test\x2a\x06\x0a\x01k\x12\x01v";
    let slot = open(&mut guest, ASKS, described, Some(0), OUT);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    let [call] = callouts(&mut vm).try_into().expect("one call");
    assert_eq!(dump.status(slot), 0);
    assert_eq!((call.cluster.as_str(), call.authority.expect("it has one").as_str()), ("api", "a.test"));
    assert_eq!(
        (&call.metadata["k"], &call.metadata["x-key"]),
        (&HeaderValue::from_static("v"), &HeaderValue::from_static("k"))
    );
}

#[test]
fn callouts_of_all_kinds_share_a_limit_and_give_room_back() {
    let mut guest = Guest::new();
    let slots = [0, 1, 2, 3, 4].map(|i| stream(&mut guest, OUT + 4 * i));
    guest.call(ASKS, "proxy_grpc_cancel", &[6]);
    let again = call(&mut guest, "api", OUT + 0x20);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!((dump.statuses(slots), dump.status(again)), ([0, 0, 0, 0, 10], 0));
    assert_eq!(callouts(&mut vm).len(), 4, "what was cancelled at once never began");
}

#[test]
fn opening_and_cancelling_for_ever_keeps_nothing() {
    let mut guest = Guest::new();
    let (api, message) = (guest.text("api"), guest.text(vec![b'x'; 4096]));
    let args = [api.0, api.1, api.0, api.1, api.0, api.1, 0, 0, message.0, message.1, 0, OUT];
    let args: String = args.map(|arg| format!("(i32.const {arg})")).concat();
    guest.field("(global $rounds (mut i32) (i32.const 1000))");
    call(&mut guest, "unknown", OUT);
    guest.call(ASKS, "proxy_grpc_cancel", &[5]);
    guest.code(
        ASKS,
        &format!(
            "(loop $again (drop (call $proxy_grpc_call {args})) \
             (drop (call $proxy_grpc_cancel (i32.load (i32.const {OUT})))) \
             (global.set $rounds (i32.sub (global.get $rounds) (i32.const 1))) \
             (br_if $again (global.get $rounds)))"
        ),
    );
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.word(OUT), 4001, "the thousandth call");
    assert!(vm.take_effects().is_empty());
}

/// What the guest hears of: the callback's numbers, the maps, the buffer, the status. Two callouts are open: 5 is a
/// call, 6 a stream.
fn listening(callback: &'static str) -> (Vm, impl Fn() -> Dump) {
    let mut guest = Guest::new();
    call(&mut guest, "api", OUT);
    stream(&mut guest, OUT);
    guest.call(callback, "proxy_get_header_map_pairs", &[4, OUT + 8, OUT + 12]);
    guest.call(callback, "proxy_get_header_map_pairs", &[5, OUT + 16, OUT + 20]);
    guest.call(callback, "proxy_get_buffer_bytes", &[5, 0, 100, OUT + 24, OUT + 28]);
    guest.call(callback, "proxy_get_status", &[OUT + 32, OUT + 36, OUT + 40]);
    let name = guest.text("x");
    for map in [4, 5] {
        guest.call(callback, "proxy_add_header_map_value", &[map, name.0, name.1, name.0, name.1]);
    }
    guest.call(callback, "proxy_set_effective_context", &[2]);
    for (i, at) in (0..3).zip((0x900..).step_by(4)) {
        guest.code(callback, &format!("(i32.store (i32.const {at}) (local.get {i}))"));
    }
    let (vm, stream, _) = Bench::new().on_request_headers(&guest);
    (vm, move || Dump::of(&stream))
}

fn numbers(dump: &Dump) -> [u32; 3] {
    [0x900, 0x904, 0x908].map(|at| dump.word(at))
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_streams_events_are_shown_to_the_root_each_in_its_own_callback() {
    let (mut vm, dump) = listening(INITIAL);
    let initial = GrpcEvent::InitialMetadata(Some(StatusCode::OK), metadata("x-first"));
    assert!(vm.on_grpc(6, initial).expect("nothing fails"));
    let seen = dump();
    assert_eq!(numbers(&seen), [1, 6, 2]);
    assert_eq!(seen.pairs(OUT + 8), [pair(":status", "200"), pair("x-first", "v")]);
    assert_eq!(
        (seen.value(OUT + 16), seen.statuses([4, 6, 7])),
        (&b""[..], [1, 2, 2]),
        "no trailers, no message, no changes"
    );

    let (mut vm, dump) = listening(RECEIVES);
    assert!(vm.on_grpc(6, message("a message")).expect("nothing fails"));
    let seen = dump();
    assert_eq!((numbers(&seen), seen.value(OUT + 24)), ([1, 6, 9], &b"a message"[..]));
    assert_eq!((seen.value(OUT + 8), seen.value(OUT + 16)), (&b""[..], &b""[..]));

    let (mut vm, dump) = listening(TRAILING);
    assert!(vm.on_grpc(6, GrpcEvent::TrailingMetadata(None, metadata("x-last"))).expect("nothing fails"));
    let seen = dump();
    assert_eq!((numbers(&seen), seen.pairs(OUT + 16)), ([1, 6, 1], vec![pair("x-last", "v")]));

    let (mut vm, dump) = listening(CLOSES);
    assert!(!vm.on_grpc(6, close(7, "because")).expect("nothing fails"));
    let seen = dump();
    assert_eq!((numbers(&seen), seen.word(OUT + 32), seen.value(OUT + 36)), ([1, 6, 7], 7, &b"because"[..]));
    assert!(!vm.on_grpc(6, message("late")).expect("nothing fails"), "it is no more");
}

#[test]
fn of_a_call_the_guest_hears_once() {
    let mut guest = Guest::new();
    call(&mut guest, "api", OUT);
    for callback in [INITIAL, TRAILING, CLOSES] {
        guest.code(callback, "unreachable");
    }
    guest.code(RECEIVES, "(if (i32.ne (local.get 1) (i32.const 5)) (then unreachable))");
    let (mut vm, stream, _) = Bench::new().on_request_headers(&guest);
    assert!(vm.on_grpc(5, GrpcEvent::InitialMetadata(None, metadata("x"))).expect("it is not told"));
    assert!(vm.on_grpc(5, GrpcEvent::TrailingMetadata(None, metadata("x"))).expect("it is not told"));
    assert!(!vm.on_grpc(5, message("a")).expect("nothing fails"));
    assert!(!vm.on_grpc(5, message("b")).expect("it is not told"));
    assert!(!vm.on_grpc(5, close(0, "")).expect("it is not told"));
    assert!(!vm.on_grpc(9, message("c")).expect("nobody asked for it"));
    drop(stream);
}

#[test]
fn an_end_is_heard_of_by_a_guest_that_exports_nothing_for_it_as_well() {
    let mut guest = Guest::new();
    call(&mut guest, "api", OUT);
    let status = guest.call(TICK, "proxy_get_status", &[OUT + 32, OUT + 36, OUT + 40]);
    guest.call(TICK, "proxy_set_effective_context", &[2]);
    let (mut vm, stream, _) = Bench::new().on_request_headers(&guest);
    assert!(!vm.on_grpc(5, close(14, "gone")).expect("nothing fails"));
    vm.on_tick(ROOT).expect("nothing fails");
    let dump = Dump::of(&stream);
    assert_eq!((dump.status(status), dump.word(OUT + 32), dump.value(OUT + 36)), (0, 14, &b"gone"[..]));
}

#[test]
fn what_is_sent_comes_out_in_order_and_nothing_after_the_last() {
    let mut guest = Guest::new();
    stream(&mut guest, OUT);
    let slots = [
        send(&mut guest, ASKS, 6, "one", false),
        send(&mut guest, ASKS, 6, "", true),
        send(&mut guest, ASKS, 6, "late", false),
        guest.call(ASKS, "proxy_grpc_close", &[6]),
    ];
    let wild = guest.call(ASKS, "proxy_grpc_send", &[6, 0x7fff_0000, 9, 0]);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    let [stream] = callouts(&mut vm).try_into().expect("one stream");
    assert_eq!((dump.statuses(slots), dump.status(wild)), ([0, 0, 2, 0], 6));
    let message = |text: &'static str| Poll::Ready(Sent::Message(Bytes::from_static(text.as_bytes())));
    assert_eq!(sent(&stream.outgoing), [message("one"), message(""), Poll::Ready(Sent::End)]);
}

#[test]
fn what_waits_to_be_sent_has_a_limit() {
    let mut guest = Guest::new();
    stream(&mut guest, OUT);
    guest.field("(export \"grown\" (global $grown)) (global $grown i32 (i32.const 0))");
    guest.code(ASKS, "(drop (memory.grow (i32.const 80)))");
    let mib = 1 << 20;
    let mut sends: Vec<usize> =
        (0..4).map(|_| guest.call(ASKS, "proxy_grpc_send", &[6, 0, mib, 0])).collect();
    sends.push(guest.call(ASKS, "proxy_grpc_send", &[6, 0, GRPC_MESSAGE_LIMIT as i64 + 1, 0]));
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    let statuses: Vec<u32> = sends.iter().map(|slot| dump.status(*slot)).collect();
    assert_eq!(statuses, [0, 0, 0, 2, 2], "each counts a little more than it has");
    let [stream] = callouts(&mut vm).try_into().expect("one stream");
    assert_eq!(sent(&stream.outgoing).len(), 4);
}

#[test]
fn tokens_of_the_wrong_kind_and_stale_ones_are_told_from_good_ones() {
    let mut guest = Guest::new();
    let (api, head) = (guest.text("api"), guest.text(write_pairs(&[(":method", "GET"), (":path", "/")])));
    guest.call(ASKS, "proxy_http_call", &[api.0, api.1, head.0, head.1, 0, 0, 0, 0, 0, OUT]);
    call(&mut guest, "api", OUT); // 5
    stream(&mut guest, OUT); // 6
    let sends = [4, 5, 9, 10, 7].map(|token| send(&mut guest, ASKS, token, "x", false));
    let closes = [4, 9, 10, 7].map(|token| guest.call(ASKS, "proxy_grpc_close", &[token]));
    let cancels = [4, 9, 10, 7].map(|token| guest.call(ASKS, "proxy_grpc_cancel", &[token]));
    let ends = [6, 6, 5, 5].map(|token| guest.call(ASKS, "proxy_grpc_close", &[token]));
    let gone = [6, 6].map(|token| guest.call(ASKS, "proxy_grpc_cancel", &[token]));
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(sends), [2, 2, 2, 1, 2]);
    assert_eq!(dump.statuses(closes), [1; 4]);
    assert_eq!(dump.statuses(cancels), [1; 4]);
    assert_eq!(
        dump.statuses(ends),
        [0, 0, 0, 1],
        "half-closing twice is no error, and closes a call for good"
    );
    assert_eq!(dump.statuses(gone), [0, 1]);
}

#[test]
fn what_a_guest_cancelled_in_its_own_callback_is_told_no_more_of() {
    let mut guest = Guest::new();
    stream(&mut guest, OUT);
    guest.call(RECEIVES, "proxy_grpc_cancel", &[6]);
    guest.code(CLOSES, "unreachable");
    let (mut vm, _, _) = Bench::new().on_request_headers(&guest);
    let [stream] = callouts(&mut vm).try_into().expect("one stream");
    assert!(!vm.on_grpc(6, message("a")).expect("nothing fails"));
    assert!(!vm.on_grpc(6, close(0, "")).expect("it is not told"));
    assert_eq!(sent(&stream.outgoing), [Poll::Ready(Sent::Cancelled)]);
}

#[test]
fn the_end_of_an_instance_cancels_what_it_has_open() {
    let mut guest = Guest::new();
    stream(&mut guest, OUT);
    let (mut vm, _, _) = Bench::new().on_request_headers(&guest);
    let [stream] = callouts(&mut vm).try_into().expect("one stream");
    assert_eq!(sent(&stream.outgoing), [Poll::Pending]);
    drop(vm);
    assert_eq!(sent(&stream.outgoing), [Poll::Ready(Sent::Cancelled)]);
}
