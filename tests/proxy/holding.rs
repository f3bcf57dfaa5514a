//! What a filter holds back: nothing of it is lost, shown too early, or read without end.

use super::filters::{with_filters, with_filters_in};
use crate::equipment::Map::RequestHeaders;
use crate::equipment::{
    Answer, Buffer, Flow, Gate, Guest, On, Proxy, Step, Upstream, When, eventually, request_text,
};

const STOP_ALL_AND_BUFFER: i32 = 3;
const STOP_AND_WATERMARK: i32 = 2;
const STOP_AND_BUFFER: i32 = 1;

/// Answers `/callout` when the gate opens, and everything else at once.
fn asked_at(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |head| match head.target() {
        "/callout" => Answer::default().read_body().wait(&gate).head(200, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    })
}

/// Answers with half of its body, and with the other half when the gate opens.
fn in_two_pieces() -> (Upstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", "10")]);
        answer.send("hello").wait(&held).send("world")
    });
    (upstream, gate)
}

/// Lets its request go on when its callout is answered.
fn asking(answer: i32) -> Guest {
    Guest::logger()
        .on(On::RequestHeaders, [Step::callout("up", "/callout", 60_000), Step::Return(answer)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)])
}

/// Where the first of a filter's lines that begins so stands.
fn position(proxy: &Proxy, filter: &str, begin: &str) -> Option<usize> {
    proxy.guest_log().iter().position(|(name, line)| name == filter && line.starts_with(begin))
}

#[test]
fn what_comes_while_everything_is_stopped_is_shown_after_the_resume() {
    let gate = Gate::new();
    let upstream = asked_at(&gate);
    let proxy = with_filters(&upstream, &[("asking", &asking(STOP_ALL_AND_BUFFER), "")]);
    let mut client = proxy.client();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n";
    client.send(&format!("{head}4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n"));
    upstream.wait_for(1);
    gate.open();
    assert_eq!(client.response().text(), "hello");
    let body = upstream.requests()[1].body.clone().unwrap();
    assert_eq!((body.text().as_str(), &body.trailers[..]), ("body", &[("x-end".into(), "1".into())][..]));
    let [answered, body, trailers] = ["http_call_response", "request_body", "request_trailers"]
        .map(|begin| position(&proxy, "asking", begin).expect(begin));
    assert!(answered < body && body < trailers, "{:#?}", proxy.guest_log());
}

#[test]
fn what_came_before_the_resume_goes_before_what_comes_after() {
    let gate = Gate::new();
    let upstream = asked_at(&gate);
    let proxy = with_filters(&upstream, &[("asking", &asking(STOP_ALL_AND_BUFFER), "")]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n");
    upstream.wait_for(1);
    gate.open();
    upstream.wait_for_heads(2);
    client.send("9\r\n and more\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    assert_eq!(upstream.requests()[1].body.clone().unwrap().text(), "body and more");
}

#[test]
fn a_resume_from_before_a_pause_does_not_end_it() {
    let gate = Gate::new();
    let upstream = asked_at(&gate);
    let holding = Guest::logger()
        .on(On::RequestHeaders, [Step::Resume(Flow::Request)])
        .on(On::RequestBody, [Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)])]);
    let asking = asking(STOP_ALL_AND_BUFFER);
    let proxy = with_filters(&upstream, &[("asking", &asking, ""), ("holding", &holding, "")]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n");
    upstream.wait_for(1);
    gate.open();
    eventually("the first piece", || position(&proxy, "holding", "request_body"));
    client.send("4\r\nmore\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    position(&proxy, "holding", "request_body ctx=2 size=8").expect("both pieces are held together");
}

#[test]
fn a_client_is_held_back_while_a_filter_holds_its_request() {
    const SIZE: u64 = 64 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start_forgetful(move |head| match head.target() {
        "/callout" => Answer::default().wait(&held).head(200, &[("content-length", "0")]),
        _ => Answer::ok("hello"),
    });
    let proxy = with_filters(&upstream, &[("asking", &asking(1).quiet(), "")]);
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
    upstream.wait_for_heads(1);
    let taken = client.send_until_stopped(SIZE / 2);
    gate.open();
    client.send_filler(SIZE - taken);
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_client_is_held_back_while_a_filter_holds_its_body() {
    const SIZE: u64 = 64 << 20;
    let upstream = Upstream::ok("hello");
    let holding = Guest::new().quiet().on(On::RequestBody, [Step::Return(STOP_AND_WATERMARK)]);
    // Nobody resumes it: the idle timeout ends it.
    let limits = ["limits: {stream_idle_timeout: 2s}"];
    let proxy = with_filters_in(&upstream, &limits, &[("holding", &holding, "")]);
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
    client.send_until_stopped(SIZE / 2);
}

#[test]
fn a_held_body_may_be_as_large_as_the_limit_and_no_larger() {
    let upstream = Upstream::ok("hello");
    let held = [Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)])];
    let guest = Guest::new().on(On::RequestBody, held);
    let proxy = with_filters_in(&upstream, &["buffer_limit: 1000B"], &[("held", &guest, "")]);
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (size, status) in [(1000, 200), (1001, 413)] {
        let mut client = proxy.client();
        client.send(&format!("{head}{size:x}\r\n{}\r\n", "x".repeat(size)));
        eventually("the piece to be held", || {
            let held = |context: &i32| format!("request_body ctx={context} size={size}");
            [2, 3].iter().find_map(|context| position(&proxy, "held", &held(context)))
        });
        let _ = client.try_send(b"0\r\n\r\n");
        assert_eq!(client.response().status(), status, "{size} bytes");
    }
}

#[test]
fn when_a_filter_has_closed_the_stream_the_next_ones_see_no_more() {
    let text = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n\
                4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n";
    for (callback, line) in [
        (On::RequestHeaders, "request_headers"),
        (On::RequestBody, "request_body"),
        (On::RequestTrailers, "request_trailers"),
    ] {
        let upstream = Upstream::ok("hello");
        let closing = Guest::logger().on(callback, [Step::Close(Flow::Request)]);
        let proxy = with_filters(&upstream, &[("closing", &closing, ""), ("next", &Guest::logger(), "")]);
        let mut client = proxy.client();
        client.send(text);
        assert!(client.try_response_to("POST").is_ok_and(|response| response.is_none()), "{callback:?}");
        proxy.settle();
        assert!(position(&proxy, "closing", line).is_some(), "{callback:?}");
        assert_eq!(position(&proxy, "next", line), None, "{callback:?}: {:#?}", proxy.guest_log());
    }
}

#[test]
fn a_body_whose_first_piece_a_filter_changed_goes_on_without_a_length() {
    let (upstream, gate) = in_two_pieces();
    let longer = Step::set_buffer(Buffer::ResponseBody, u32::MAX, 0, ", ");
    let guest = Guest::new().on(On::ResponseBody, [Step::If(When::Call(1), vec![longer])]);
    let proxy = with_filters(&upstream, &[("longer", &guest, "")]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    eventually("the first piece", || position(&proxy, "longer", "response_body"));
    gate.open();
    let response = client.response();
    assert_eq!(response.field("content-length"), None);
    assert_eq!(response.text(), "hello, world");
}

#[test]
fn a_length_that_was_sent_and_is_then_broken_cuts_the_message() {
    for replacement in ["much longer", ""] {
        let (upstream, gate) = in_two_pieces();
        let change = Step::set_buffer(Buffer::ResponseBody, 0, u32::MAX, replacement);
        let guest = Guest::new().quiet().on(On::ResponseBody, [Step::If(When::Call(2), vec![change])]);
        let proxy = with_filters(&upstream, &[("late", &guest, "")]);
        let mut client = proxy.client();
        client.send(&request_text("GET", "/", &[], ""));
        assert_eq!(client.head().field("content-length"), Some("10"));
        assert_eq!(client.exactly(5), "hello");
        gate.open();
        assert_eq!(client.rest(), "", "{replacement:?}");
        proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "unframable")], 1.0);
    }
}

#[test]
fn a_reply_takes_the_place_of_all_that_was_held() {
    let (upstream, gate) = in_two_pieces();
    let hold =
        [Step::If(When::Call(2), vec![Step::reply(403, "denied", &[])]), Step::Return(STOP_AND_BUFFER)];
    let guest = Guest::new().on(On::ResponseHeaders, [Step::Return(1)]).on(On::ResponseBody, hold);
    let proxy = with_filters(&upstream, &[("denying", &guest, ", allow_on_headers_stop_iteration: true")]);
    let mut client = proxy.client();
    client.send(&request_text("GET", "/", &[], ""));
    eventually("the first piece", || position(&proxy, "denying", "response_body"));
    gate.open();
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (403, "denied"));
}

#[test]
fn an_exchange_that_waits_for_a_filter_is_told_when_that_filter_is_lost() {
    let fails = When::Header(RequestHeaders, "x-fail", "yes");
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::If(fails, vec![Step::Trap]), Step::Return(STOP_ALL_AND_BUFFER)]);
    for (more, status) in [(", on_fault: open", 200), ("", 503)] {
        let upstream = Upstream::ok("hello");
        let proxy = with_filters(&upstream, &[("holding", &guest, more)]);
        let mut waiting = proxy.client();
        waiting.send(&request_text("POST", "/", &[], "body"));
        eventually("the request to be held", || position(&proxy, "holding", "request_headers ctx=2"));
        assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), status);
        assert_eq!(waiting.response().status(), status, "{more}");
    }
}

#[test]
fn an_answer_to_a_filter_that_was_lost_does_not_reach_its_successor() {
    let (old, new) = (Gate::new(), Gate::new());
    let (wait_old, wait_new) = (old.clone(), new.clone());
    let callouts = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::start(move |head| {
        if head.target() != "/callout" {
            return Answer::ok("hello");
        }
        let first = callouts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let (gate, body) = if first { (&wait_old, "old") } else { (&wait_new, "new") };
        Answer::default().read_body().wait(gate).head(200, &[("content-length", "3")]).send(body)
    });
    let fails = When::Header(RequestHeaders, "x-fail", "yes");
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [
                Step::If(fails, vec![Step::Trap]),
                Step::callout("up", "/callout", 60_000),
                Step::Return(STOP_ALL_AND_BUFFER),
            ],
        )
        .on(
            On::CalloutResponse,
            [Step::buffer(Buffer::CalloutBody), Step::EffectiveStream, Step::Resume(Flow::Request)],
        );
    let proxy = with_filters(&upstream, &[("asking", &guest, "")]);
    let mut first = proxy.client();
    first.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(1);
    assert_eq!(proxy.client().request("GET", "/", &[("x-fail", "yes")], "").status(), 503);
    assert_eq!(first.response().status(), 503);
    let mut second = proxy.client();
    second.send(&request_text("GET", "/", &[], ""));
    upstream.wait_for(2);
    old.open();
    proxy.wait_for_metric("tidegate_upstream_active_requests", &[], 1.0);
    new.open();
    assert_eq!(second.response().text(), "hello");
    let answers: Vec<String> = proxy
        .guest_log()
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line.contains("CalloutBody"))
        .collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].ends_with("new"), "{answers:?}");
}
