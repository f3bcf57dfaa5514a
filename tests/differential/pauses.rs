//! What each answer to headers does to a message whose body is in flight, in both directions.

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{Answer, Buffer, Flow, Guest, On, Step, When, request_text};

use super::Case;

/// A guest that answers this to the headers of a direction, and resumes when a callout that it made there is answered.
fn pausing(flow: Flow, answer: i32) -> Guest {
    let (headers, body, buffer) = match flow {
        Flow::Request => (On::RequestHeaders, On::RequestBody, Buffer::RequestBody),
        Flow::Response => (On::ResponseHeaders, On::ResponseBody, Buffer::ResponseBody),
    };
    Guest::logger()
        .on(headers, [Step::callout("side", "/", 5000), Step::Return(answer)])
        .on(body, [Step::buffer(buffer)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(flow)])
}

/// Only the message that is stopped says its length: how the other shows its end is not the matter here.
fn run(name: &'static str, flow: Flow, answer: i32) {
    let upstream = move |_: &_| match flow {
        Flow::Request => Answer::chunked(200, &[], &["down"], &[]),
        Flow::Response => Answer::sized(200, &[], "down"),
    };
    let case = Case::new(name).cluster("side", |_| Answer::ok("side")).upstream(upstream);
    case.filter("pause", &pausing(flow, answer)).run(|stage| match flow {
        Flow::Request => {
            stage.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 4\r\n\r\nbody");
        }
        Flow::Response => {
            stage.request("POST", "/", &[], "body");
        }
    });
}

#[test]
fn continue_and_end_stream_is_continue() {
    let guest =
        Guest::logger().on(On::RequestHeaders, [Step::Return(2)]).on(On::ResponseHeaders, [Step::Return(2)]);
    let upstream = |_: &_| Answer::chunked(200, &[], &["down"], &[]);
    Case::new("continue and end").upstream(upstream).filter("pause", &guest).run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn stop_all_and_buffer_shows_a_request_body_once_it_is_resumed() {
    run("request headers 3", Flow::Request, 3);
}

#[test]
fn stop_all_and_buffer_shows_a_response_body_once_it_is_resumed() {
    run("response headers 3", Flow::Response, 3);
}

#[test]
fn stop_all_and_watermark_shows_a_request_body_once_it_is_resumed() {
    run("request headers 4", Flow::Request, 4);
}

#[test]
fn stop_all_and_watermark_shows_a_response_body_once_it_is_resumed() {
    run("response headers 4", Flow::Response, 4);
}

#[test]
fn an_answer_that_is_none_stops_a_request() {
    run("request headers 99", Flow::Request, 99);
}

#[test]
fn an_answer_that_is_none_stops_a_response() {
    run("response headers 99", Flow::Response, 99);
}

#[test]
fn a_request_body_beyond_the_limit_ends_what_stop_all_and_buffer_holds() {
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::Return(3)]);
    Case::new("413 of a stopped head").filter("pause", &guest).buffer_limit(16 << 10).run(|stage| {
        let mut client = stage.client();
        let _ = client.try_send(request_text("POST", "/", &[], &"x".repeat(200_000)).as_bytes());
        stage.record(&client.response());
    });
}

#[test]
fn a_response_body_beyond_the_limit_ends_what_stop_all_and_buffer_holds() {
    let guest = Guest::new().quiet().on(On::ResponseHeaders, [Step::Return(3)]);
    let large = |_: &_| Answer::chunked(200, &[], &["x".repeat(40_000).as_str()], &[]);
    let case = Case::new("500 of a stopped head").upstream(large).filter("pause", &guest);
    case.buffer_limit(16 << 10).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn headers_are_changed_while_the_body_is_read_and_after() {
    let guest = Guest::logger()
        .on(On::ResponseHeaders, [Step::Return(1)])
        .on(
            On::ResponseBody,
            [
                Step::If(When::MoreToCome, vec![Step::Return(1)]),
                Step::buffer(Buffer::ResponseBody),
                Step::replace(ResponseHeaders, "x-size", "known"),
                Step::get(RequestHeaders, ":method"),
            ],
        )
        .on(On::ResponseTrailers, [Step::add(ResponseHeaders, "x-late", "with the trailers")]);
    let upstream = |_: &_| Answer::chunked(200, &[], &["one", "two"], &[]);
    Case::new("held response headers")
        .upstream(upstream)
        .filter_with("pause", &guest, super::with_held_headers)
        .run(|stage| {
            stage.get("/");
        });
}
