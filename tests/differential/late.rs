//! What a guest does outside an exchange's own callbacks: callouts that break or lead to others, ticks, roots.

use crate::equipment::Buffer::CalloutBody;
use crate::equipment::Map::{CalloutHeaders, RequestHeaders};
use crate::equipment::{Act, Answer, Flow, Guest, Head, On, Received, Step, When};

use super::Case;

#[test]
fn a_callout_whose_answer_breaks_off_has_neither_headers_nor_body() {
    let guest =
        Guest::logger().on(On::RequestHeaders, [Step::callout("side", "/", 5000), Step::Return(1)]).on(
            On::CalloutResponse,
            [
                Step::get(CalloutHeaders, ":status"),
                Step::Pairs(CalloutHeaders),
                Step::buffer(CalloutBody),
                Step::EffectiveStream,
                Step::Resume(Flow::Request),
            ],
        );
    let side = |_: &Head| {
        Answer::default().read_body().head(200, &[("content-length", "10")]).send("half").act(Act::Close)
    };
    Case::new("callout cut").cluster("side", side).filter("asking", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn the_answer_to_a_callout_leads_to_another() {
    let guest =
        Guest::logger().on(On::RequestHeaders, [Step::callout("side", "/first", 5000), Step::Return(1)]).on(
            On::CalloutResponse,
            [
                Step::buffer(CalloutBody),
                Step::If(When::Call(1), vec![Step::callout("side", "/second", 5000)]),
                Step::If(When::Call(2), vec![Step::EffectiveStream, Step::Resume(Flow::Request)]),
            ],
        );
    let side = |head: &Head| Answer::ok(head.target());
    Case::new("callout after callout").cluster("side", side).filter("asking", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn ten_callouts_at_once_have_tokens_of_their_own() {
    let mut ask: Vec<Step> = (0..10).map(|_| Step::callout("side", "/", 5000)).collect();
    ask.push(Step::Return(1));
    // Which is answered first is up to the network: they are counted, and the last lets the request go.
    let guest = Guest::new().on(On::RequestHeaders, ask).on(On::CalloutResponse, []).on(
        On::CalloutResponse,
        [Step::If(When::Call(10), vec![Step::EffectiveStream, Step::Resume(Flow::Request)])],
    );
    let guest = guest.quiet();
    Case::new("ten callouts").cluster("side", |_| Answer::ok("side")).filter("asking", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_root_that_replies_without_a_stream_does_nothing() {
    let guest = Guest::logger().on(On::RequestHeaders, [Step::TickPeriod(20), Step::Return(1)]).on(
        On::Tick,
        [
            Step::TickPeriod(0),
            Step::reply(503, "nobody", &[]),
            Step::Resume(Flow::Request),
            Step::get(RequestHeaders, ":path"),
            Step::EffectiveStream,
            Step::get(RequestHeaders, ":path"),
            Step::Resume(Flow::Request),
        ],
    );
    Case::new("reply of a root").filter("root", &guest).run(|stage| {
        stage.get("/path");
    });
}

#[test]
fn a_tick_changes_its_own_period() {
    let guest = Guest::logger().on(On::RequestHeaders, [Step::TickPeriod(20), Step::Return(1)]).on(
        On::Tick,
        [
            Step::If(When::Call(1), vec![Step::TickPeriod(40)]),
            Step::If(When::Call(2), vec![Step::TickPeriod(10)]),
            Step::If(
                When::Call(3),
                vec![Step::TickPeriod(0), Step::EffectiveStream, Step::Resume(Flow::Request)],
            ),
        ],
    );
    Case::new("tick changes its period").filter("ticking", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_callout_of_a_root_is_answered_when_no_exchange_is_left() {
    let guest = Guest::logger()
        .on(On::Log, [Step::TickPeriod(20)])
        .on(On::Tick, [Step::TickPeriod(0), Step::callout("side", "/from-root", 5000)])
        .on(On::CalloutResponse, [Step::get(CalloutHeaders, ":status"), Step::say("answered")]);
    let case = Case::new("callout of a root").cluster("side", |_| Answer::ok("side"));
    case.filter("root", &guest).run(|stage| {
        stage.get("/");
        stage.wait_for_guest("answered");
    });
}

#[test]
fn a_module_of_version_0_1_0_finds_what_is_missing_empty() {
    let guest = Guest::logger()
        .abi("0_1_0")
        .on(On::VmStart, [Step::Configuration])
        .on(On::Configure, [Step::Configuration])
        .on(
            On::RequestHeaders,
            [
                Step::get(RequestHeaders, "missing"),
                Step::get(RequestHeaders, ":path"),
                Step::Configuration,
                Step::TickPeriod(20),
                Step::Return(1),
            ],
        )
        .on(On::Tick, [Step::TickPeriod(0), Step::EffectiveStream, Step::Continue(Flow::Request)]);
    let configured = |mut filter: super::Filter| {
        filter.config = "of the plugin".to_owned();
        filter.vm_config = "of the VM".to_owned();
        filter
    };
    Case::new("0.1.0").filter_with("old", &guest, configured).run(|stage| {
        stage.get("/path");
    });
}

#[test]
fn a_module_of_version_0_2_0_is_what_it_was() {
    let guest = Guest::logger()
        .abi("0_2_0")
        .on(On::RequestHeaders, [Step::get(RequestHeaders, "missing"), Step::get(RequestHeaders, ":path")]);
    Case::new("0.2.0").filter("old", &guest).run(|stage| {
        stage.get("/path");
    });
}

#[test]
fn a_request_whose_trailers_a_filter_answers_never_ends_for_the_upstream() {
    let guest = Guest::logger().on(On::RequestTrailers, [Step::reply(403, "no", &[])]);
    let upstream = |_: &Head| Answer::default().read_body().act(Act::AwaitEnd);
    Case::new("reply in request trailers").upstream(upstream).filter("late", &guest).run(|stage| {
        let mut client = stage.client();
        client.send(
            "POST / HTTP/1.1\r\nhost: tide.test\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n",
        );
        stage.wait_for_guest("request_body");
        // What a proxy has not sent when it resets the request is lost.
        let has_arrived = |requests: &[Received]| requests.first().is_some_and(|request| request.arrived == 2);
        stage.upstream("up").wait_until("the beginning of the body", has_arrived);
        client.send("0\r\nx-t: 1\r\n\r\n");
        stage.record(&client.response());
        // The client has its answer before the upstream sees its request cut.
        let is_cut = |requests: &[Received]| requests.first().is_some_and(|request| request.body.is_some());
        stage.upstream("up").wait_until("the end of the body", is_cut);
    });
}
