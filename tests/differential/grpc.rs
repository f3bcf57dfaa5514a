//! gRPC callouts: calls and streams, how they end, and what a guest may do with their tokens.

use crate::equipment::Buffer::GrpcMessage;
use crate::equipment::Map::{GrpcInitial, GrpcTrailing};
use crate::equipment::{Flow, GrpcAct, GrpcRequest, Guest, On, Step, Token, When};

use super::{Case, Stage};

const OK: &[(&str, &str)] = &[("grpc-status", "0")];

/// What most methods of the service do.
fn service(method: &str) -> Vec<GrpcAct> {
    use GrpcAct::{
        AwaitReset, Echo, Finish, Head, Message, Raw, Read, ReadToEnd, Reset, Status, Trailers, TrailersOnly,
    };
    let text = |text: &str| Message(text.to_owned());
    let ok = || Trailers(OK.to_vec());
    match method {
        "Say" => vec![ReadToEnd, Head(vec![("x-first", "1")]), text("an answer"), ok()],
        "Empty" => vec![ReadToEnd, text(""), ok()],
        "Twice" => vec![ReadToEnd, text("one"), text("two"), ok()],
        "Nothing" => vec![ReadToEnd, Head(vec![]), ok()],
        "Fail" => vec![
            ReadToEnd,
            text("in vain"),
            Trailers(vec![("grpc-status", "9"), ("grpc-message", "not%20now"), ("x-last", "1")]),
        ],
        "TrailersOnly" => {
            vec![
                ReadToEnd,
                TrailersOnly(vec![("grpc-status", "5"), ("grpc-message", "none"), ("x-last", "1")]),
            ]
        }
        "Unavailable" => vec![ReadToEnd, Status(503, true)],
        "Forbidden" => vec![ReadToEnd, Status(403, false), Finish],
        "NoStatus" => vec![ReadToEnd, text("an answer"), Finish],
        "NoTrailers" => vec![ReadToEnd, text("an answer"), Trailers(vec![("x-last", "1")])],
        "Strange" => vec![ReadToEnd, text("an answer"), Trailers(vec![("grpc-status", "odd")])],
        "Beyond" => vec![ReadToEnd, text("an answer"), Trailers(vec![("grpc-status", "99")])],
        "Compressed" => vec![ReadToEnd, Raw(b"\x01\0\0\0\x01x".to_vec()), ok()],
        "Cut" => vec![ReadToEnd, Raw(b"\0\0\0\0\x09half".to_vec()), ok()],
        "ResetFirst" => vec![ReadToEnd, Reset(8)],
        "ResetLater" => vec![text("first"), Read(1), Reset(8)],
        "Never" => vec![AwaitReset],
        "Count" => vec![ReadToEnd, Head(vec![("x-first", "1")]), text("1"), text("2"), text("3"), ok()],
        "Echo" => vec![Head(vec![("x-first", "1")]), Echo, ok()],
        other => panic!("no method {other}"),
    }
}

/// A guest that holds each request while these steps are under way, and shows all that comes of callouts. At a call's
/// message and at every close it lets the request go.
fn asking(steps: impl IntoIterator<Item = Step>) -> Guest {
    let steps: Vec<Step> = steps.into_iter().chain([Step::Return(1)]).collect();
    Guest::logger()
        .on(On::RequestHeaders, steps)
        .on(On::GrpcInitial, [Step::Pairs(GrpcInitial), Step::Pairs(GrpcTrailing)])
        .on(On::GrpcReceive, [Step::buffer(GrpcMessage)])
        .on(On::GrpcTrailing, [Step::Pairs(GrpcTrailing)])
}

fn go_on() -> [Step; 2] {
    [Step::EffectiveStream, Step::Resume(Flow::Request)]
}

fn one_get(stage: &Stage) {
    stage.get("/");
}

/// A call of this method, whose request goes on at its end.
fn calling(name: &'static str, method: &str) {
    let guest = asking([Step::grpc_call("svc", method, "a question", 5000)]);
    let guest = guest.on(On::GrpcReceive, go_on()).on(On::GrpcClose, go_on());
    Case::new(name).grpc("svc", service).filter("grpc", &guest).run(one_get);
}

/// A stream of this method, ended at once on this side, whose request goes on at its end.
fn streaming(name: &'static str, method: &str) {
    let guest = asking([Step::grpc_stream("svc", method), Step::GrpcClose(Token::Slot(0))]);
    let guest = guest.on(On::GrpcClose, go_on());
    Case::new(name).grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_call_is_answered() {
    calling("gRPC call", "Say");
}

#[test]
fn a_call_without_a_time_limit_tells_the_service_of_none() {
    let guest = asking([Step::grpc_call("svc", "Say", "a question", 0)]).on(On::GrpcReceive, go_on());
    Case::new("gRPC call without a limit").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn what_the_service_says_of_a_failure_can_be_asked_for() {
    let guest = asking([Step::grpc_call("svc", "Fail", "a question", 5000)]);
    let guest = guest.on(On::GrpcClose, [Step::CalloutStatus]).on(On::GrpcClose, go_on());
    Case::new("gRPC get_status").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn an_empty_message_is_an_answer() {
    calling("gRPC call answered with nothing", "Empty");
}

#[test]
fn of_two_messages_a_call_takes_the_last() {
    calling("gRPC call answered twice", "Twice");
}

#[test]
fn a_call_without_a_message_has_failed() {
    calling("gRPC call without a message", "Nothing");
}

#[test]
fn a_call_fails_with_the_services_status_and_message() {
    calling("gRPC call refused", "Fail");
}

#[test]
fn a_call_fails_with_trailers_only() {
    calling("gRPC trailers only", "TrailersOnly");
}

#[test]
fn a_call_of_a_service_that_is_no_grpc_one_fails_with_the_status_that_http_means() {
    calling("gRPC HTTP 503", "Unavailable");
    calling("gRPC HTTP 403", "Forbidden");
}

#[test]
fn a_response_without_a_status_is_unknown() {
    calling("gRPC no status", "NoStatus");
    calling("gRPC no trailers", "NoTrailers");
    calling("gRPC strange status", "Strange");
    calling("gRPC status beyond", "Beyond");
}

#[test]
fn a_message_that_cannot_be_read_fails_its_call() {
    calling("gRPC compressed", "Compressed");
    calling("gRPC cut message", "Cut");
}

#[test]
fn a_call_that_the_service_resets_fails() {
    calling("gRPC reset at first", "ResetFirst");
}

#[test]
fn a_call_that_is_refused_is_unavailable() {
    let guest = asking([Step::grpc_call("down", "Say", "a question", 5000)]).on(On::GrpcClose, go_on());
    Case::new("gRPC call unavailable").refusing_grpc("down").filter("grpc", &guest).run(one_get);
}

#[test]
fn a_call_that_takes_too_long_ends() {
    let guest = asking([Step::grpc_call("svc", "Never", "a question", 100)]).on(On::GrpcClose, go_on());
    Case::new("gRPC call timeout").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_call_carries_its_metadata() {
    let call = GrpcRequest::new("svc", "Say").with(&[("x-key", "k"), ("x-key", "l"), ("X-Bin-bin", "AAEC")]);
    let call = Step::GrpcCall { call, message: "a question".to_owned(), timeout_ms: 5000, slot: 0 };
    let guest = asking([call]).on(On::GrpcReceive, go_on());
    Case::new("gRPC metadata").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_grpc_service_of_envoys_api_names_a_cluster() {
    let upstream = "\x0a\x05\x0a\x03svc";
    let guest = asking([Step::grpc_call(upstream, "Say", "a question", 5000)]).on(On::GrpcReceive, go_on());
    Case::new("gRPC GrpcService").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_grpc_service_can_say_more() {
    // envoy_grpc {cluster_name: "svc" authority: "a.test"} initial_metadata {key: "k" value: "v"}
    let upstream = "\x0a\x0d\x0a\x03svc\x12\x06a.test\x2a\x06\x0a\x01k\x12\x01v";
    let guest = asking([Step::grpc_call(upstream, "Say", "a question", 5000)]).on(On::GrpcReceive, go_on());
    Case::new("gRPC GrpcService in full").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn callouts_that_cannot_be_made_say_so_at_once() {
    let steps = [Step::grpc_call("nowhere", "Say", "", 0), Step::grpc_stream("nowhere", "Echo")];
    let guest = Guest::logger().on(On::RequestHeaders, steps);
    Case::new("impossible gRPC callouts").filter("grpc", &guest).run(one_get);
}

#[test]
fn a_grpc_service_of_a_cluster_that_there_is_not_is_refused() {
    // envoy_grpc {cluster_name: "none"}
    let steps = [Step::grpc_call("\x0a\x06\x0a\x04none", "Say", "", 5000)];
    let guest = Guest::logger().on(On::RequestHeaders, steps);
    Case::new("unusable GrpcService").filter("grpc", &guest).run(one_get);
}

#[test]
fn a_stream_shows_all_that_comes() {
    streaming("gRPC stream", "Count");
}

#[test]
fn a_stream_ends_with_the_services_status_and_message() {
    streaming("gRPC stream refused", "Fail");
    streaming("gRPC stream trailers only", "TrailersOnly");
}

#[test]
fn a_stream_of_a_service_that_is_no_grpc_one_ends_with_the_status_that_http_means() {
    streaming("gRPC stream HTTP 503", "Unavailable");
    streaming("gRPC stream HTTP 403", "Forbidden");
}

#[test]
fn a_stream_without_a_status_is_unknown() {
    streaming("gRPC stream no status", "NoStatus");
    streaming("gRPC stream no trailers", "NoTrailers");
}

#[test]
fn a_message_that_cannot_be_read_ends_its_stream() {
    streaming("gRPC stream compressed", "Compressed");
}

#[test]
fn a_stream_that_the_service_resets_ends() {
    streaming("gRPC stream reset at first", "ResetFirst");
}

#[test]
fn a_stream_that_the_service_resets_later_ends_as_well() {
    let guest = asking([Step::grpc_stream("svc", "ResetLater")]);
    let guest = guest.on(On::GrpcReceive, [Step::grpc_send(Token::Own, "go", false)]);
    let guest = guest.on(On::GrpcClose, go_on());
    Case::new("gRPC stream reset later").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_stream_that_is_refused_is_unavailable() {
    let guest = asking([Step::grpc_stream("down", "Count")]).on(On::GrpcClose, go_on());
    Case::new("gRPC stream unavailable").refusing_grpc("down").filter("grpc", &guest).run(one_get);
}

#[test]
fn messages_go_both_ways_until_the_last() {
    let guest = asking([
        Step::grpc_stream("svc", "Echo"),
        Step::grpc_send(Token::Slot(0), "one", false),
        Step::grpc_send(Token::Slot(0), "", false),
    ]);
    let second = Step::If(When::Call(2), vec![Step::grpc_send(Token::Own, "last", true)]);
    let guest = guest.on(On::GrpcReceive, [second]).on(On::GrpcClose, go_on());
    Case::new("gRPC echo").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn a_half_closed_stream_still_receives() {
    let guest = asking([
        Step::grpc_stream("svc", "Echo"),
        Step::grpc_send(Token::Slot(0), "one", false),
        Step::GrpcClose(Token::Slot(0)),
    ]);
    let guest = guest.on(On::GrpcClose, go_on());
    Case::new("gRPC half-close").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn what_was_cancelled_is_not_heard_of() {
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [
                Step::grpc_call("svc", "Never", "a question", 0),
                Step::GrpcCancel(Token::Slot(0)),
                Step::GrpcCancel(Token::Slot(0)),
                Step::grpc_call("svc", "Never", "a question", 0),
                Step::GrpcClose(Token::Slot(0)),
                Step::grpc_stream("svc", "Echo"),
                Step::grpc_send(Token::Slot(0), "one", false),
                Step::Return(1),
            ],
        )
        .on(On::GrpcReceive, [Step::buffer(GrpcMessage), Step::GrpcCancel(Token::Own)])
        .on(On::GrpcReceive, go_on());
    Case::new("gRPC cancel").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn tokens_that_are_none_are_not_found() {
    let tokens =
        [Token::Number(0), Token::Number(4), Token::Number(1001), Token::Number(1002), Token::Number(1003)];
    let steps = tokens.into_iter().flat_map(|token| {
        [Step::grpc_send(token, "x", false), Step::GrpcClose(token), Step::GrpcCancel(token)]
    });
    let guest = Guest::logger().on(On::RequestHeaders, steps);
    Case::new("stale gRPC tokens").filter("grpc", &guest).run(one_get);
}

#[test]
fn a_call_takes_no_more_messages_and_ends_with_its_answer() {
    let guest = asking([
        Step::grpc_call("svc", "Say", "a question", 5000),
        Step::grpc_send(Token::Slot(0), "x", false),
    ]);
    let guest = guest.on(On::GrpcReceive, [Step::GrpcCancel(Token::Own)]).on(On::GrpcReceive, go_on());
    Case::new("gRPC token of a call").grpc("svc", service).filter("grpc", &guest).run(one_get);
}

#[test]
fn maps_and_the_message_are_there_in_their_own_callbacks_only() {
    let show = || [Step::Pairs(GrpcInitial), Step::Pairs(GrpcTrailing)];
    let guest = Guest::logger()
        .on(On::RequestHeaders, show())
        .on(On::RequestHeaders, [Step::buffer(GrpcMessage)])
        .on(
            On::RequestHeaders,
            [Step::grpc_stream("svc", "Count"), Step::GrpcClose(Token::Slot(0)), Step::Return(1)],
        )
        .on(On::GrpcInitial, [Step::get(GrpcInitial, "x-first"), Step::add(GrpcInitial, "a", "b")])
        .on(
            On::GrpcReceive,
            [
                Step::GetBuffer(GrpcMessage, 0, 1),
                Step::If(When::Call(3), vec![Step::set_buffer(GrpcMessage, 0, 0, "x")]),
            ],
        )
        .on(On::GrpcTrailing, [Step::get(GrpcTrailing, "grpc-status")])
        .on(On::GrpcClose, show())
        .on(On::GrpcClose, go_on());
    Case::new("gRPC maps").grpc("svc", service).filter("grpc", &guest).run(one_get);
}
