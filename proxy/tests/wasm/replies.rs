//! What guests do to a stream: reply, resume, close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use tidegate::wasm::stream::{Direction, LocalReply, StreamAction, StreamRef};
use tidegate::wasm::{DataStatus, HeadersStatus};

use crate::bench::{Bench, ROOT, get};
use crate::guest::{Dump, Guest, write_pairs};

const ON: &str = "proxy_on_request_headers";

fn reply(guest: &mut Guest, callback: &'static str, status: i64, headers: &[u8]) -> usize {
    let (details, body, headers) = (guest.text("not allowed"), guest.text("no"), guest.text(headers));
    guest.call(
        callback,
        "proxy_send_local_response",
        &[status, details.0, details.1, body.0, body.1, headers.0, headers.1, 7],
    )
}

fn only_reply(stream: &StreamRef) -> LocalReply {
    let stream = stream.borrow();
    match stream.actions.iter().collect::<Vec<_>>()[..] {
        [(0, StreamAction::Reply(reply))] => LocalReply::clone(reply),
        ref other => panic!("not one reply: {other:?}"),
    }
}

#[test]
fn a_local_reply_stops_the_stream_and_the_first_one_wins() {
    let mut guest = Guest::new();
    let first = reply(&mut guest, ON, 403, &write_pairs(&[("X-A", "1"), ("x-a", "2")]));
    let second = reply(&mut guest, ON, 404, b"");
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let status = vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(status, HeadersStatus::StopAllIterationAndWatermark, "whatever the guest answers");
    assert_eq!(Dump::of(&stream).statuses([first, second]), [0, 0]);
    let reply = only_reply(&stream);
    assert_eq!(
        (reply.status.as_u16(), reply.details.as_str(), &reply.body[..]),
        (403, "not_allowed", &b"no"[..])
    );
    assert_eq!(reply.grpc_status, Some(7));
    let values: Vec<_> = reply.headers.get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
}

#[test]
fn a_reply_from_a_body_stops_too() {
    let mut guest = Guest::new();
    reply(&mut guest, "proxy_on_request_body", 413, b"");
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let status = vm.on_body(context, Direction::Request, true).expect("nothing fails");
    assert_eq!(status, DataStatus::StopIterationNoBuffer);
    assert_eq!(only_reply(&stream).status.as_u16(), 413);
}

#[test]
fn what_cannot_be_a_reply_is_refused() {
    let mut guest = Guest::new();
    let slots = [
        reply(&mut guest, ON, 100, b""),
        reply(&mut guest, ON, 600, b""),
        reply(&mut guest, ON, 200, b"\x01\0\0\0"),
        reply(&mut guest, ON, 200, &write_pairs(&[("no name", "1")])),
        reply(&mut guest, ON, 200, &write_pairs(&[(":status", "201")])),
        guest.call(ON, "proxy_continue_stream", &[4]),
        guest.call(ON, "proxy_close_stream", &[4]),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [2; 7]);
    assert!(stream.borrow().actions.is_empty());
}

#[test]
fn without_a_stream_or_after_its_end_a_reply_has_no_effect_and_is_no_error() {
    let mut guest = Guest::new();
    let ticked = [
        reply(&mut guest, "proxy_on_tick", 403, b""),
        guest.call("proxy_on_tick", "proxy_continue_stream", &[0]),
        guest.call("proxy_on_tick", "proxy_continue_stream", &[3]),
        guest.call("proxy_on_tick", "proxy_close_stream", &[1]),
    ];
    let logged = reply(&mut guest, "proxy_on_log", 403, b"");
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_tick(ROOT).expect("nothing fails");
    vm.close(context).expect("nothing fails");
    assert_eq!(Dump::of(&stream).statuses(ticked), [0; 4]);
    assert_eq!(Dump::of(&stream).status(logged), 0);
    assert!(stream.borrow().actions.is_empty());
}

#[test]
fn actions_keep_their_order_and_wake_who_waits() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut guest = Guest::new();
    guest.call("proxy_on_tick", "proxy_set_effective_context", &[2]);
    guest.call("proxy_on_tick", "proxy_continue_stream", &[1]);
    guest.call("proxy_on_tick", "proxy_continue_response", &[]);
    guest.call("proxy_on_tick", "proxy_continue_request", &[]);
    guest.call("proxy_on_tick", "proxy_close_stream", &[0]);
    guest.call("proxy_on_tick", "proxy_clear_route_cache", &[]);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let mut vm = Bench::new().start(&guest);
    let stream = get("/");
    vm.open(ROOT, &stream, 0).expect("nothing fails");
    stream.borrow_mut().wait(Direction::Request, &Waker::from(count.clone()));
    vm.on_tick(ROOT).expect("nothing fails");
    let stream = stream.borrow();
    let actions: Vec<_> = stream.actions.iter().map(|(_, action)| action).collect();
    assert!(matches!(
        actions[..],
        [
            StreamAction::Resume(Direction::Response),
            StreamAction::Resume(Direction::Request),
            StreamAction::Close
        ]
    ));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(stream.route_stale);
}

#[test]
fn the_calls_of_0_1_0_link_with_and_without_a_result() {
    let mut guest = Guest::new();
    guest.marker = "proxy_abi_version_0_1_0";
    // The guest's own imports have a result; these have none.
    let text = r#"(module (import "env" "proxy_continue_request" (func))
        (import "env" "proxy_continue_response" (func)) (import "env" "proxy_clear_route_cache" (func))
        (memory (export "memory") 1) (func (export "proxy_abi_version_0_1_0"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#;
    let bytes = wat::parse_str(text).expect("it is a module");
    crate::bench::ENGINE.compile(&bytes).expect("it links");
    guest.call(ON, "proxy_continue_request", &[]);
    let (_, stream, _) = Bench::new().on_request_headers(&guest);
    assert_eq!(stream.borrow().actions.len(), 1);
}
