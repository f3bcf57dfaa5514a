//! HTTP callouts: what comes out, what goes in.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate::wasm::stream::Direction;
use tidegate::wasm::{CalloutResponse, CalloutResult, Effect, HeadersStatus, HttpCall, Vm};

use crate::bench::{Bench, ROOT, get};
use crate::guest::{Dump, Guest, OUT, write_pairs};

const ASKS: &str = "proxy_on_request_headers";
const HEARS: &str = "proxy_on_http_call_response";

fn ask(guest: &mut Guest, cluster: &str, head: &[(&str, &str)], timeout: i64, token: i64) -> usize {
    let (cluster, head, body) = (guest.text(cluster), guest.text(write_pairs(head)), guest.text("body"));
    let trailers = guest.text(write_pairs(&[("x-t", "1")]));
    guest.call(
        ASKS,
        "proxy_http_call",
        &[cluster.0, cluster.1, head.0, head.1, body.0, body.1, trailers.0, trailers.1, timeout, token],
    )
}

const HEAD: [(&str, &str); 3] = [(":method", "POST"), (":path", "/check"), ("x-h", "1")];

fn calls(vm: &mut Vm) -> Vec<HttpCall> {
    let call = |(_, effect)| match effect {
        Effect::HttpCall(call, _) => Some(*call),
        Effect::Grpc(_) | Effect::SetTick(_) | Effect::WatchQueues(_) => None,
    };
    vm.take_effects().into_iter().filter_map(call).collect()
}

fn response() -> CalloutResult {
    let mut headers = HeaderMap::new();
    headers.insert("x-r", HeaderValue::from_static("v"));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("t"));
    let body = Bytes::from_static(b"answer");
    CalloutResult::Response(CalloutResponse {
        status: StatusCode::ACCEPTED,
        headers,
        body,
        trailers: Some(trailers),
    })
}

#[test]
fn a_callout_of_an_exchange_that_was_left_is_answered_and_can_do_nothing_to_it() {
    const LEAVES: &str = "tidegate_on_request_headers";
    let mut guest = Guest::new();
    let (cluster, head) = (guest.text("api"), guest.text(write_pairs(&HEAD)));
    let call = [cluster.0, cluster.1, head.0, head.1, 0, 0, 0, 0, 250, OUT];
    guest.call(LEAVES, "proxy_http_call", &call);
    guest.answer(LEAVES, 0x100);
    let chosen = guest.call(HEARS, "proxy_set_effective_context", &[2]);
    guest.call(HEARS, "proxy_continue_stream", &[0]);
    guest.call(HEARS, "proxy_close_stream", &[0]);
    let chosen_by_other = guest.call("proxy_on_tick", "proxy_set_effective_context", &[3]);
    let [left, other] = [get("/"), get("/")];
    let mut vm = Bench::new().start(&guest);
    let context = vm.open(ROOT, &left, 0).expect("nothing fails");
    let status = vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(status, HeadersStatus::Leave);
    let [call] = calls(&mut vm).try_into().expect("one call");
    vm.on_http_call_response(call.token, response()).expect("nothing fails");
    assert!(left.borrow().actions.is_empty());

    vm.open(ROOT, &other, 0).expect("nothing fails");
    vm.on_tick(ROOT).expect("nothing fails");
    let dump = Dump::of(&other);
    assert_eq!((dump.status(chosen), dump.status(chosen_by_other)), (2, 0));
}

#[test]
fn a_callout_comes_out_as_a_checked_request() {
    let mut guest = Guest::new();
    let slot = ask(&mut guest, "api", &HEAD, 250, OUT);
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    let [call] = calls(&mut vm).try_into().expect("one call");
    assert_eq!((dump.status(slot), dump.word(OUT)), (0, call.token));
    assert_eq!((call.cluster.as_str(), call.method.as_str(), call.uri.path()), ("api", "POST", "/check"));
    assert_eq!((call.authority.as_bytes(), call.scheme.as_bytes()), (&b"api"[..], &b"http"[..]));
    assert_eq!((call.headers.len(), &call.body[..]), (1, &b"body"[..]));
    assert_eq!(call.trailers.expect("there are some")["x-t"], "1");
    assert_eq!(call.timeout, Some(Duration::from_millis(250)));
}

#[test]
fn a_callout_that_cannot_be_made_is_refused_and_takes_no_token() {
    let mut guest = Guest::new();
    let slots = [
        ask(&mut guest, "unknown", &HEAD, 0, OUT),
        ask(&mut guest, "api", &HEAD[1..], 0, OUT),
        ask(&mut guest, "api", &HEAD[..1], 0, OUT),
        ask(&mut guest, "api", &HEAD, -1, OUT),
        ask(&mut guest, "api", &[(":method", "GET"), (":path", "/"), ("a b", "")], 0, OUT),
        ask(&mut guest, "the api", &HEAD, 0, OUT), // whose name is no authority
        ask(&mut guest, "api", &HEAD, 0, 0xffff_fff0),
    ];
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [2, 2, 2, 2, 2, 2, 6]);
    assert!(calls(&mut vm).is_empty());
}

#[test]
fn callouts_in_flight_have_a_limit_and_each_has_a_token_of_its_own() {
    let mut guest = Guest::new();
    let slots = [0, 1, 2, 3, 4].map(|i| ask(&mut guest, "api", &HEAD, 0, OUT + 4 * i));
    let (mut vm, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 0, 0, 10]);
    let tokens: Vec<u32> = calls(&mut vm).iter().map(|call| call.token).collect();
    assert_eq!(tokens, [4, 8, 12, 16]);
}

/// What the guest hears of its callout: the callback's numbers, the maps, the body, the status.
fn heard(result: CalloutResult) -> (Vm, Dump) {
    let mut guest = Guest::new();
    ask(&mut guest, "api", &HEAD, 0, OUT);
    guest.call(HEARS, "proxy_get_header_map_pairs", &[6, OUT + 8, OUT + 12]);
    guest.call(HEARS, "proxy_get_header_map_pairs", &[7, OUT + 16, OUT + 20]);
    guest.call(HEARS, "proxy_get_buffer_bytes", &[4, 0, 100, OUT + 24, OUT + 28]);
    guest.call(HEARS, "proxy_get_status", &[OUT + 32, OUT + 36, OUT + 40]);
    let name = guest.text(":status");
    guest.call(HEARS, "proxy_add_header_map_value", &[6, name.0, name.1, name.0, name.1]);
    guest.call(HEARS, "proxy_set_effective_context", &[2]);
    for (i, at) in (0..5).zip((0x900..).step_by(4)) {
        guest.code(HEARS, &format!("(i32.store (i32.const {at}) (local.get {i}))"));
    }
    let (mut vm, stream, dump) = Bench::new().on_request_headers(&guest);
    let token = dump.word(OUT);
    vm.on_http_call_response(token, result).expect("nothing fails");
    vm.on_http_call_response(token, response()).expect("a second end is not told");
    let dump = Dump::of(&stream);
    (vm, dump)
}

fn numbers(dump: &Dump) -> [u32; 5] {
    [0x900, 0x904, 0x908, 0x90c, 0x910].map(|at| dump.word(at))
}

#[test]
fn a_response_is_shown_to_the_root_and_only_while_it_hears_of_it() {
    let (_, dump) = heard(response());
    assert_eq!(numbers(&dump), [1, 4, 2, 6, 1]);
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(dump.pairs(OUT + 8), [owned(":status", "202"), owned("x-r", "v")]);
    assert_eq!(dump.pairs(OUT + 16), [owned("x-end", "t")]);
    assert_eq!(dump.value(OUT + 24), b"answer");
    assert_eq!((dump.word(OUT + 32), dump.value(OUT + 36)), (0, &b""[..]));
    assert_eq!(dump.status(5), 2, "it cannot be changed");

    let mut guest = Guest::new();
    ask(&mut guest, "api", &HEAD, 0, OUT);
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    let body = guest.call("proxy_on_tick", "proxy_get_buffer_bytes", &[4, 0, 100, OUT + 8, OUT + 12]);
    let name = guest.text(":status");
    let map =
        guest.call("proxy_on_tick", "proxy_get_header_map_value", &[6, name.0, name.1, OUT + 16, OUT + 20]);
    guest.code(HEARS, "");
    let (mut vm, stream, _) = Bench::new().on_request_headers(&guest);
    vm.on_http_call_response(4, response()).expect("nothing fails");
    vm.on_tick(ROOT).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses([body, map]), [1, 1]);
}

#[test]
fn failures_look_as_in_envoy_and_get_status_says_why() {
    let (_, dump) = heard(CalloutResult::Unavailable("connection refused".to_owned()));
    assert_eq!(dump.pairs(OUT + 8)[0].1, "503");
    assert_eq!(dump.value(OUT + 24), b"no healthy upstream");
    assert_eq!((dump.word(OUT + 32), dump.value(OUT + 36)), (11, &b"connection refused"[..]));

    let (_, dump) = heard(CalloutResult::TimedOut);
    assert_eq!((dump.pairs(OUT + 8)[0].1.as_str(), dump.value(OUT + 36)), ("504", &b"timeout"[..]));

    let (_, dump) = heard(CalloutResult::Reset("reset".to_owned()));
    assert_eq!(numbers(&dump), [1, 4, 0, 0, 0]);
    assert_eq!((dump.word(OUT + 32), dump.value(OUT + 36)), (11, &b"reset"[..]));
}

#[test]
fn an_answer_outlives_its_stream_and_an_unknown_token_is_not_told() {
    let mut guest = Guest::new();
    ask(&mut guest, "api", &HEAD, 0, OUT);
    guest.code(HEARS, "(if (i32.ne (local.get 1) (i32.const 4)) (then unreachable))");
    let (mut vm, _, _) = Bench::new().on_request_headers(&guest);
    vm.close(2).expect("nothing fails");
    vm.on_http_call_response(8, response()).expect("nobody asked for it");
    vm.on_http_call_response(4, response()).expect("nothing fails");
    let mut vm = Bench::new().start(&guest);
    vm.open(ROOT, &get("/"), 0).expect("nothing fails");
    vm.on_http_call_response(4, response()).expect("a new instance did not ask");
}
