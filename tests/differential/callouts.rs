//! Callouts, ticks, and what they do to streams that wait for them.

use crate::equipment::Buffer::CalloutBody;
use crate::equipment::Map::{CalloutHeaders, CalloutTrailers, RequestHeaders, ResponseHeaders};
use crate::equipment::{Act, Answer, Flow, Gate, Guest, Head, On, Step, When, eventually, request_text};

use super::Case;

/// A guest that holds each request until its callout is answered, then does these steps on the stream.
fn asking(callout: Step, then: Vec<Step>) -> Guest {
    Guest::logger().on(On::RequestHeaders, [callout, Step::Return(1)]).on(On::CalloutResponse, then)
}

fn show_answer() -> Vec<Step> {
    vec![
        Step::Pairs(CalloutHeaders),
        Step::buffer(CalloutBody),
        Step::get(CalloutHeaders, ":status"),
        Step::EffectiveStream,
    ]
}

fn auth(head: &Head) -> Answer {
    match head.target() {
        "/allow" => Answer::sized(200, &[("x-user", "ann")], "yes"),
        "/deny" => Answer::sized(403, &[], "no"),
        _ => Answer::default().read_body().act(Act::AwaitEnd),
    }
}

#[test]
fn a_request_waits_for_a_callout_and_goes_on() {
    let mut then = show_answer();
    then.extend([Step::add(RequestHeaders, "x-user", "ann"), Step::Resume(Flow::Request)]);
    let guest = asking(Step::callout("auth", "/allow", 5000), then);
    Case::new("callout").cluster("auth", auth).filter("authz", &guest).run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn a_callout_can_lead_to_a_reply() {
    let mut then = show_answer();
    then.push(Step::reply(403, "denied", &[]));
    let guest = asking(Step::callout("auth", "/deny", 5000), then);
    Case::new("callout denies").cluster("auth", auth).filter("authz", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_callout_carries_its_headers_body_and_trailers() {
    let fields = [(":method", "POST"), (":path", "/allow?x=1"), (":authority", "auth.test"), ("x-key", "k")];
    let guest = asking(
        Step::callout_with("auth", &fields, "the question", 5000),
        vec![Step::EffectiveStream, Step::Resume(Flow::Request)],
    );
    Case::new("callout with a body").cluster("auth", |_| Answer::ok("yes")).filter("authz", &guest).run(
        |stage| {
            stage.get("/");
        },
    );
}

#[test]
fn the_answer_to_a_callout_has_its_trailers() {
    let guest = asking(
        Step::callout("auth", "/", 5000),
        vec![
            Step::Pairs(CalloutTrailers),
            Step::buffer(CalloutBody),
            Step::EffectiveStream,
            Step::Resume(Flow::Request),
        ],
    );
    let answer = |_: &_| Answer::chunked(200, &[], &["a", "b"], &[("x-sum", "1")]);
    Case::new("callout with trailers").cluster("auth", answer).filter("authz", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_callout_that_is_refused_is_answered_503() {
    let guest = asking(
        Step::callout("down", "/", 5000),
        vec![
            Step::get(CalloutHeaders, ":status"),
            Step::CalloutStatus,
            Step::EffectiveStream,
            Step::Resume(Flow::Request),
        ],
    );
    Case::new("callout refused").refusing("down").filter("authz", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_callout_that_takes_too_long_is_answered_504() {
    let guest = asking(
        Step::callout("auth", "/never", 100),
        vec![Step::get(CalloutHeaders, ":status"), Step::EffectiveStream, Step::Resume(Flow::Request)],
    );
    Case::new("callout timeout").cluster("auth", auth).filter("authz", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn callouts_that_cannot_be_made_say_so_at_once() {
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::callout("nowhere", "/", 1000),
            Step::callout_with("up", &[(":path", "/"), (":authority", "a")], "", 1000),
            Step::callout_with("up", &[(":method", "GET"), (":authority", "a")], "", 1000),
        ],
    );
    Case::new("impossible callouts").filter("authz", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_callout_without_authority_takes_the_clusters() {
    let guest = asking(
        Step::callout_with("auth", &[(":method", "GET"), (":path", "/allow")], "", 1000),
        vec![Step::EffectiveStream, Step::Resume(Flow::Request)],
    );
    let guest = guest.on(On::RequestHeaders, []);
    Case::new("callout without authority").cluster("auth", auth).filter("authz", &guest).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        stage.wait_for_guest("callout auth ->");
        // Envoy refuses the callout, so its request waits for ever.
        if !stage.is_envoy() {
            assert_eq!(client.response().status(), 200);
        }
        client.leave();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn an_answer_to_a_stream_that_is_gone_reaches_the_root() {
    let gate = Gate::new();
    let held = gate.clone();
    let guest =
        asking(Step::callout("auth", "/", 5000), vec![Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let answer = move |_: &_| Answer::default().read_body().wait(&held).head(200, &[("content-length", "0")]);
    Case::new("callout outlives its stream")
        .gates(std::slice::from_ref(&gate))
        .cluster("auth", answer)
        .filter("authz", &guest)
        .run(|stage| {
            let mut client = stage.client();
            client.send(&request_text("GET", "/", &[], ""));
            stage.upstream("auth").wait_for(1);
            client.reset();
            stage.wait_for_guest("delete ctx=2");
            gate.open();
            stage.wait_for_guest("http_call_response");
        });
}

#[test]
fn a_response_waits_for_a_callout_as_well() {
    let guest =
        Guest::logger().on(On::ResponseHeaders, [Step::callout("auth", "/allow", 5000), Step::Return(1)]).on(
            On::CalloutResponse,
            [
                Step::EffectiveStream,
                Step::add(ResponseHeaders, "x-checked", "1"),
                Step::Resume(Flow::Response),
            ],
        );
    Case::new("callout in the response").cluster("auth", auth).filter("check", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_tick_lets_a_waiting_request_go() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::TickPeriod(50), Step::Return(1)])
        .on(On::Tick, [Step::TickPeriod(0), Step::EffectiveStream, Step::Resume(Flow::Request)]);
    Case::new("tick resumes").filter("delay", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_tick_can_answer_a_waiting_request() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::TickPeriod(50), Step::Return(1)])
        .on(On::Tick, [Step::TickPeriod(0), Step::EffectiveStream, Step::reply(503, "later", &[])]);
    Case::new("tick replies").filter("delay", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_client_that_asks_before_it_sends_its_body_is_refused_first() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::TickPeriod(50), Step::Return(1)])
        .on(On::Tick, [Step::TickPeriod(0), Step::EffectiveStream, Step::reply(403, "no", &[])]);
    Case::new("expectation").filter("asking", &guest).run(|stage| {
        stage.send("POST / HTTP/1.1\r\nhost: tide.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    });
}

#[test]
fn ticks_repeat_until_they_are_stopped() {
    let third = When::Call(3);
    let guest = Guest::logger().on(On::RequestHeaders, [Step::TickPeriod(20), Step::Return(1)]).on(
        On::Tick,
        [Step::If(third, vec![Step::TickPeriod(0), Step::EffectiveStream, Step::Resume(Flow::Request)])],
    );
    Case::new("ticks").filter("ticking", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn two_callouts_of_one_request_are_both_answered() {
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [Step::callout("a", "/", 5000), Step::callout("b", "/", 5000), Step::Return(1)],
        )
        .on(
            On::CalloutResponse,
            [
                Step::get(CalloutHeaders, "x-who"),
                Step::If(When::Call(2), vec![Step::EffectiveStream, Step::Resume(Flow::Request)]),
            ],
        );
    let second = Gate::new();
    let (opens, waits) = (second.clone(), second.clone());
    Case::new("two callouts")
        .gates(&[second])
        .cluster("a", move |_| Answer::sized(200, &[("x-who", "a")], "").reached(&opens))
        .cluster("b", move |_| {
            Answer::default().read_body().wait(&waits).head(200, &[("x-who", "b"), ("content-length", "0")])
        })
        .filter("asking", &guest)
        .run(|stage| {
            stage.get("/");
            eventually("both to be asked", || {
                (["a", "b"].iter().all(|name| stage.upstream(name).requests().len() == 1)).then_some(())
            });
        });
}
