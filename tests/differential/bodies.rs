//! Bodies: pieces, pauses, edits. Scripts wait for the guest's own words between pieces, so that the network cannot
//! join or split them.

use crate::equipment::Buffer::{RequestBody, ResponseBody};
use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{Answer, Flow, Gate, Guest, Head, On, Step, When, request_text};

use super::{Case, Stage, with_held_headers};

/// Return codes of body callbacks.
const CONTINUE: i32 = 0;
const STOP_AND_BUFFER: i32 = 1;
const STOP_AND_WATERMARK: i32 = 2;
const STOP_NO_BUFFER: i32 = 3;

/// Sends a chunked request; each chunk after the first waits until the guest has seen the one before.
fn send_in_pieces(stage: &Stage, pieces: &[&str]) {
    send_pieces(stage, pieces, |seen| stage.wait_for_guest_times("request_body", seen));
}

/// The same, where `wait` says what each chunk waits for that comes after so many.
fn send_pieces(stage: &Stage, pieces: &[&str], wait: impl Fn(usize)) {
    let mut client = stage.client();
    client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n");
    stage.wait_for_guest("request_headers");
    for (at, piece) in pieces.iter().enumerate() {
        client.send(&format!("{:x}\r\n{piece}\r\n", piece.len()));
        wait(at + 1);
    }
    client.send("0\r\n\r\n");
    stage.record(&client.response());
}

/// Gets a chunked response; each chunk after the first, and the end, waits until the guest has seen the one before.
fn receive_in_pieces(stage: &Stage, gates: &[Gate]) {
    let mut client = stage.client();
    client.send("GET / HTTP/1.1\r\nhost: tide.test\r\n\r\n");
    for (at, gate) in gates.iter().enumerate() {
        stage.wait_for_guest_times("response_body", at + 1);
        gate.open();
    }
    stage.record(&client.response());
}

/// What a guest that handles the body does first: without this a stale length would cut the edited body short.
fn forget_lengths(guest: Guest) -> Guest {
    guest
        .on(On::RequestHeaders, [Step::remove(RequestHeaders, "content-length")])
        .on(On::ResponseHeaders, [Step::remove(ResponseHeaders, "content-length")])
}

#[test]
fn a_streamed_request_body_comes_piece_by_piece() {
    let guest = Guest::logger().on(On::RequestBody, [Step::buffer(RequestBody)]);
    Case::new("streamed request")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two", "three"]));
}

#[test]
fn a_streamed_response_body_comes_piece_by_piece() {
    let guest = Guest::logger().on(On::ResponseBody, [Step::buffer(ResponseBody)]);
    let gates: [Gate; 2] = Default::default();
    let held = gates.clone();
    let upstream = move |head: &Head| {
        let answer =
            Answer::default().read_body().head(200, &[("transfer-encoding", "chunked")]).chunk("one");
        match head.target() {
            "/held" => answer.wait(&held[0]).chunk("two").wait(&held[1]).last_chunk(&[]),
            _ => answer.last_chunk(&[]),
        }
    };
    Case::new("streamed response").gates(&gates).upstream(upstream).filter("body", &guest).run(|stage| {
        let mut client = stage.client();
        client.send("GET /held HTTP/1.1\r\nhost: tide.test\r\n\r\n");
        stage.wait_for_guest("response_body ctx=2 size=3 eos=0");
        gates[0].open();
        stage.wait_for_guest_times("response_body", 2);
        gates[1].open();
        stage.record(&client.response());
    });
}

#[test]
fn a_sized_body_ends_with_its_last_byte() {
    let guest = Guest::logger()
        .on(On::RequestBody, [Step::buffer(RequestBody)])
        .on(On::ResponseBody, [Step::buffer(ResponseBody)]);
    let upstream = |_: &_| Answer::ok("hello");
    Case::new("sized body").upstream(upstream).filter("body", &guest).run(|stage| {
        stage.send(&request_text("POST", "/", &[], "all of it"));
    });
}

#[test]
fn a_paused_body_accumulates_until_it_is_let_go() {
    let guest = Guest::logger().on(
        On::RequestBody,
        [
            Step::buffer(RequestBody),
            Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)]),
            Step::say("let go"),
        ],
    );
    Case::new("buffered request")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two", "three"]));
}

#[test]
fn one_continue_in_the_middle_flushes_what_is_held() {
    let guest = Guest::logger().on(
        On::RequestBody,
        [
            Step::buffer(RequestBody),
            Step::If(When::Call(1), vec![Step::Return(STOP_AND_BUFFER)]),
            Step::If(When::Call(2), vec![Step::Return(CONTINUE)]),
            Step::If(When::Call(3), vec![Step::Return(STOP_AND_BUFFER)]),
        ],
    );
    Case::new("flushed request")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two", "three"]));
}

#[test]
fn a_watermarked_pause_shows_only_new_pieces() {
    let guest = Guest::logger().on(
        On::RequestBody,
        [Step::buffer(RequestBody), Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_WATERMARK)])],
    );
    Case::new("watermarked request")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two"]));
}

#[test]
fn a_pause_without_a_buffer_drops_the_piece() {
    let guest = Guest::logger().on(
        On::RequestBody,
        [Step::buffer(RequestBody), Step::If(When::Call(2), vec![Step::Return(STOP_NO_BUFFER)])],
    );
    Case::new("dropped piece")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two", "three"]));
}

#[test]
fn a_code_that_is_none_stops_like_the_last_one() {
    let guest = Guest::logger()
        .on(On::RequestBody, [Step::buffer(RequestBody), Step::If(When::Call(2), vec![Step::Return(99)])]);
    Case::new("unknown code")
        .filter("body", &guest)
        .run(|stage| send_in_pieces(stage, &["one", "two", "three"]));
}

/// Answers the pieces of a body with these codes, in turn, and those after them with 0. Where `resumed`, it lets go at
/// the end what it then still holds, from the answer to a callout.
fn answering(flow: Flow, codes: &[i32], resumed: bool) -> Guest {
    let (callback, buffer) = match flow {
        Flow::Request => (On::RequestBody, RequestBody),
        _ => (On::ResponseBody, ResponseBody),
    };
    let answers = (1..).zip(codes).map(|(call, code)| Step::If(When::Call(call), vec![Step::Return(*code)]));
    let asks = vec![Step::callout("side", "/", 5000), Step::Return(STOP_AND_BUFFER)];
    let asks = resumed.then_some(Step::If(When::EndOfStream, asks));
    Guest::logger()
        .on(callback, [Step::buffer(buffer)].into_iter().chain(asks).chain(answers))
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::buffer(buffer), Step::Resume(flow)])
}

/// What becomes of three pieces, in both directions.
fn pieces_are_answered(names: [&'static str; 2], codes: &[i32], resumed: bool) {
    let [request, response] = names;
    let case = |name| Case::new(name).cluster("side", |_| Answer::ok("side"));
    let pieces = ["one", "two", "three"];
    case(request)
        .filter("body", &answering(Flow::Request, codes, resumed))
        .run(|stage| send_in_pieces(stage, &pieces));
    let gates: [Gate; 3] = Default::default();
    let held = gates.clone();
    let upstream = move |_: &Head| {
        let answer = Answer::default().read_body().head(200, &[("transfer-encoding", "chunked")]);
        let pieces = pieces.iter().zip(&held);
        pieces.fold(answer, |answer, (piece, gate)| answer.chunk(piece).wait(gate)).last_chunk(&[])
    };
    case(response)
        .gates(&gates)
        .upstream(upstream)
        .filter("body", &answering(Flow::Response, codes, resumed))
        .run(|stage| receive_in_pieces(stage, &gates));
}

#[test]
fn a_pause_without_a_buffer_keeps_what_was_held_before_and_shown_with_the_piece() {
    let codes = [STOP_AND_BUFFER, STOP_NO_BUFFER, CONTINUE];
    pieces_are_answered(["request body 1 3 0", "response body 1 3 0"], &codes, false);
}

#[test]
fn a_pause_without_a_buffer_keeps_a_piece_that_comes_when_what_was_held_has_gone_on() {
    let asks = vec![Step::callout("side", "/", 5000), Step::Return(STOP_AND_BUFFER)];
    let guest = Guest::logger()
        .on(
            On::RequestBody,
            [
                Step::buffer(RequestBody),
                Step::If(When::Call(1), asks),
                Step::If(When::Call(2), vec![Step::Return(STOP_NO_BUFFER)]),
            ],
        )
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let case = Case::new("request body 1 resumed 3 0").cluster("side", |_| Answer::ok("side"));
    case.filter("body", &guest).run(|stage| {
        send_pieces(stage, &["one", "two", "three"], |seen| match seen {
            1 => stage.wait_for_guest("resume Request"),
            seen => stage.wait_for_guest_times("request_body", seen),
        });
    });
}

#[test]
fn what_a_pause_without_a_buffer_kept_is_shown_again_by_one_that_buffers() {
    let codes = [STOP_AND_BUFFER, STOP_NO_BUFFER, STOP_AND_BUFFER];
    pieces_are_answered(["request body 1 3 1", "response body 1 3 1"], &codes, true);
}

#[test]
fn a_pause_without_a_buffer_drops_a_first_piece() {
    let codes = [STOP_NO_BUFFER, CONTINUE];
    pieces_are_answered(["request body 3 0", "response body 3 0"], &codes, false);
}

#[test]
fn a_pause_without_a_buffer_drops_only_the_piece_that_it_was_shown() {
    let codes = [STOP_AND_BUFFER, STOP_AND_WATERMARK, STOP_NO_BUFFER];
    pieces_are_answered(["request body 1 2 3", "response body 1 2 3"], &codes, false);
}

#[test]
fn what_a_watermarked_pause_retained_is_shown_again_by_one_that_buffers() {
    let codes = [STOP_AND_WATERMARK, STOP_AND_BUFFER, STOP_AND_BUFFER];
    pieces_are_answered(["request body 2 1 1", "response body 2 1 1"], &codes, true);
}

#[test]
fn a_body_is_prepended_to_appended_to_and_replaced() {
    for (name, start, length) in [
        ("prepend", 0, 0),
        ("replace all", 0, u32::MAX),
        ("replace a prefix", 0, 2),
        ("append", u32::MAX, 0),
        ("append at the end", 4, 0),
    ] {
        let edit = |buffer| {
            let change = vec![Step::set_buffer(buffer, start, length, "<new>"), Step::buffer(buffer)];
            [Step::If(When::Content, change)]
        };
        let guest = forget_lengths(Guest::logger())
            .on(On::RequestBody, edit(RequestBody))
            .on(On::ResponseBody, edit(ResponseBody));
        let upstream = |_: &_| Answer::chunked(200, &[], &["down"], &[]);
        Case::new(name).upstream(upstream).filter("body", &guest).run(|stage| {
            stage.request("POST", "/", &[], "body");
        });
    }
}

#[test]
fn a_splice_in_the_middle_is_asked_for() {
    let guest = forget_lengths(Guest::logger()).on(
        On::RequestBody,
        [Step::If(
            When::Content,
            vec![Step::set_buffer(RequestBody, 1, 2, "-spliced-"), Step::buffer(RequestBody)],
        )],
    );
    Case::new("splice").filter("body", &guest).run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn edits_of_a_held_body_stay_in_it() {
    let guest = forget_lengths(Guest::logger()).on(
        On::RequestBody,
        [
            Step::set_buffer(RequestBody, 0, 0, "<"),
            Step::buffer(RequestBody),
            Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)]),
        ],
    );
    Case::new("edits accumulate").filter("body", &guest).run(|stage| send_in_pieces(stage, &["one", "two"]));
}

#[test]
fn a_body_can_be_emptied() {
    let guest = forget_lengths(Guest::logger())
        .on(On::ResponseBody, [Step::set_buffer(ResponseBody, 0, u32::MAX, ""), Step::buffer(ResponseBody)]);
    let upstream = |_: &_| Answer::chunked(200, &[], &["secret"], &[]);
    Case::new("emptied").upstream(upstream).filter("body", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn parts_of_a_buffer_are_read_within_its_bounds() {
    let guest = Guest::logger().on(
        On::RequestBody,
        [Step::If(
            When::Content,
            vec![
                Step::GetBuffer(RequestBody, 0, 2),
                Step::GetBuffer(RequestBody, 2, 100),
                Step::GetBuffer(RequestBody, 4, 1),
                Step::GetBuffer(RequestBody, 99, 1),
                Step::GetBuffer(RequestBody, 1, u32::MAX),
                Step::GetBuffer(RequestBody, u32::MAX, u32::MAX),
                Step::BufferStatus(RequestBody),
                Step::buffer(ResponseBody),
            ],
        )],
    );
    Case::new("reads of a buffer").filter("body", &guest).run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn headers_paused_with_the_flag_let_body_callbacks_go_on() {
    let guest = Guest::logger().on(On::RequestHeaders, [Step::Return(1)]).on(
        On::RequestBody,
        [
            Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)]),
            Step::buffer(RequestBody),
            Step::add(RequestHeaders, "x-late", "known from the body"),
        ],
    );
    Case::new("held headers").filter_with("body", &guest, with_held_headers).run(|stage| {
        let mut client = stage.client();
        client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n");
        stage.wait_for_guest("request_headers");
        client.send("4\r\nbody\r\n");
        stage.wait_for_guest("request_body");
        client.send("0\r\n\r\n");
        stage.record(&client.response());
    });
}

#[test]
fn a_held_request_body_over_the_limit_is_413() {
    let held = [Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)])];
    let guest = Guest::new().quiet().on(On::RequestHeaders, [Step::Return(1)]).on(On::RequestBody, held);
    let case = Case::new("413").filter_with("body", &guest, with_held_headers).buffer_limit(16 << 10);
    case.run(|stage| {
        let mut client = stage.client();
        let _ = client.try_send(request_text("POST", "/", &[], &"x".repeat(200_000)).as_bytes());
        stage.record(&client.response());
    });
}

#[test]
fn a_held_response_body_over_the_limit_is_500() {
    let held = [Step::If(When::MoreToCome, vec![Step::Return(STOP_AND_BUFFER)])];
    let guest = Guest::new().quiet().on(On::ResponseHeaders, [Step::Return(1)]).on(On::ResponseBody, held);
    let upstream = |_: &_| Answer::sized(200, &[], &"x".repeat(200_000));
    let case = Case::new("500").upstream(upstream).filter_with("body", &guest, with_held_headers);
    case.buffer_limit(16 << 10).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        stage.record(&client.response());
    });
}
