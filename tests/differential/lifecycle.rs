//! Which callbacks come in which order, whatever happens to the exchange.

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{Act, Answer, Buffer, Gate, Guest, Head, On, Step, When, request_text};

use super::{Action, Case, Route};

fn two_loggers(name: &'static str) -> Case {
    Case::new(name).filter("first", &Guest::logger()).filter("second", &Guest::logger())
}

#[test]
fn an_ordinary_exchange() {
    two_loggers("ordinary").run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn an_exchange_without_any_body() {
    let upstream = |_: &_| Answer::default().read_body().head(204, &[]);
    two_loggers("bodiless").upstream(upstream).run(|stage| {
        stage.get("/");
        stage.request("HEAD", "/", &[], "");
    });
}

#[test]
fn an_exchange_with_trailers_both_ways() {
    let upstream = |_: &_| Answer::chunked(200, &[("trailer", "x-t")], &["down"], &[("x-t", "1")]);
    two_loggers("with trailers").upstream(upstream).run(|stage| {
        stage.send(
            "POST / HTTP/1.1\r\nhost: tide.test\r\nte: trailers\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n0\r\nx-t: 1\r\n\r\n",
        );
    });
}

#[test]
fn several_exchanges_on_a_connection_have_contexts_of_their_own() {
    two_loggers("several exchanges").run(|stage| {
        let mut client = stage.client();
        for path in ["/a", "/b", "/c"] {
            let response = client.get(path);
            stage.record(&response);
            stage.wait_for_guest_times("delete ctx", 2 * (1 + "abc".find(&path[1..]).unwrap_or_default()));
        }
    });
}

#[test]
fn a_request_that_no_route_takes() {
    let only = Route { path: super::Path::Prefix("/only".to_owned()), ..Route::default() };
    two_loggers("no route").route(only).run(|stage| {
        stage.get("/other");
    });
}

#[test]
fn a_route_that_answers_by_itself() {
    let respond = Action::Respond { status: 200, body: "direct".to_owned(), fields: Vec::new() };
    two_loggers("direct response").route(Route { action: Some(respond), ..Route::default() }).run(|stage| {
        stage.get("/");
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn an_upstream_that_refuses() {
    let route = Route { action: Some(Action::Cluster("down".to_owned())), ..Route::default() };
    two_loggers("refused").refusing("down").route(route).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn an_upstream_that_closes_before_its_answer() {
    let upstream = |_: &_| Answer::default().read_body().act(Act::Close);
    two_loggers("closed early").upstream(upstream).run(|stage| {
        stage.request("POST", "/", &[], "body");
    });
}

#[test]
fn an_upstream_that_answers_before_the_request_has_ended() {
    let fields = [("content-length", "5"), ("connection", "close")];
    let upstream = move |_: &_| Answer::default().head(403, &fields).send("early").act(Act::AwaitEnd);
    two_loggers("early answer").upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
        stage.record(&client.response());
        client.expect_end();
    });
}

#[test]
fn an_upstream_that_resets_in_the_middle_of_its_head() {
    let upstream = |_: &_| Answer::default().read_body().send("HTTP/1.1 200 OK\r\nx-half").act(Act::Reset);
    two_loggers("reset in the head").upstream(upstream).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn an_upstream_that_does_not_speak_http() {
    let upstream = |_: &_| Answer::default().read_body().send("nonsense\r\n\r\n").act(Act::Close);
    two_loggers("malformed answer").upstream(upstream).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn an_upstream_that_takes_too_long() {
    let route = Route { timeout_ms: Some(100), ..Route::default() };
    let upstream = |_: &_| Answer::default().read_body().act(Act::AwaitEnd);
    two_loggers("timeout").upstream(upstream).route(route).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn an_upstream_that_cuts_its_body() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = move |_: &_| {
        let answer = Answer::default().read_body().head(200, &[("content-length", "100")]).send("half");
        answer.wait(&held).act(Act::Close)
    };
    two_loggers("cut body").gates(std::slice::from_ref(&gate)).upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        let head = client.head();
        assert_eq!(client.exactly(4), "half");
        gate.open();
        stage.note(&format!("<- {}, then {:?}", head.status(), client.rest()));
    });
}

#[test]
fn a_client_that_leaves_while_it_waits() {
    let upstream = |_: &_| Answer::default().read_body().act(Act::AwaitEnd);
    two_loggers("client leaves").upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        stage.upstream("up").wait_for(1);
        client.reset();
        stage.wait_for_guest_times("delete ctx=2", 2);
    });
    two_loggers("client ends its side").upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        stage.upstream("up").wait_for(1);
        client.half_close();
        stage.wait_for_guest_times("delete ctx=2", 2);
        stage.note(&format!("<- {:?}", client.rest()));
    });
}

#[test]
fn a_client_that_leaves_after_its_body() {
    let upstream = |_: &_| Answer::default().read_body().act(Act::AwaitEnd);
    two_loggers("client leaves after its body").upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client.send(
            "POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
        );
        stage.wait_for_guest_times("request_body ctx=2 size=0 eos=1", 2);
        stage.upstream("up").wait_for(1);
        client.reset();
        stage.wait_for_guest_times("delete ctx=2", 2);
    });
}

#[test]
fn a_client_that_leaves_while_a_filter_holds_its_body() {
    let guest =
        Guest::logger().on(On::RequestHeaders, [Step::Return(1)]).on(On::RequestBody, [Step::Return(1)]);
    let case = Case::new("client leaves a paused body");
    case.filter_with("hold", &guest, super::with_held_headers).run(|stage| {
        let mut client = stage.client();
        client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nup\r\n");
        stage.wait_for_guest("request_body");
        client.reset();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn a_client_that_leaves_after_its_trailers() {
    let upstream = |_: &_| Answer::default().read_body().act(Act::AwaitEnd);
    two_loggers("client leaves after trailers").upstream(upstream).run(|stage| {
        let mut client = stage.client();
        client
            .send("POST / HTTP/1.1\r\nhost: tide.test\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send("2\r\nup\r\n0\r\nx-t: 1\r\n\r\n");
        stage.wait_for_guest_times("request_trailers", 2);
        stage.upstream("up").wait_for(1);
        client.reset();
        stage.wait_for_guest_times("delete ctx=2", 2);
    });
}

#[test]
fn a_client_that_leaves_while_a_filter_holds_its_request() {
    let guest = Guest::logger().on(On::RequestHeaders, [Step::Return(1)]);
    Case::new("client leaves a paused request").filter("hold", &guest).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        stage.wait_for_guest("request_headers");
        client.reset();
        stage.wait_for_guest("delete ctx=2");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body() {
    two_loggers("client leaves its body").run(|stage| {
        let mut client = stage.client();
        client.send("POST / HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 10\r\n\r\nhalf");
        stage.wait_for_guest_times("request_body", 2);
        client.leave();
        stage.upstream("up").wait_for(1);
        stage.wait_for_guest_times("delete ctx=2", 2);
    });
}

#[test]
fn a_guest_that_closes_the_stream() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::Close(crate::equipment::Flow::Request), Step::Return(1)]);
    Case::new("closed by a guest").filter("close", &guest).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        match client.try_response_to("GET") {
            Ok(Some(response)) => stage.record(&response),
            Ok(None) | Err(_) => stage.note("closed"),
        }
    });
}

#[test]
fn configurations_reach_the_guest_as_they_were_written() {
    let guest = Guest::logger()
        .on(On::VmStart, [Step::buffer(Buffer::VmConfig), Step::buffer(Buffer::PluginConfig)])
        .on(On::Configure, [Step::buffer(Buffer::PluginConfig), Step::buffer(Buffer::VmConfig)])
        .on(On::RequestHeaders, [Step::buffer(Buffer::VmConfig)]);
    let configured = |mut filter: super::Filter| {
        filter.config = "plugin: {\"a\": 1}".to_owned();
        filter.vm_config = "the vm's".to_owned();
        filter.root_id = "root".to_owned();
        filter
    };
    Case::new("configurations").filter_with("conf", &guest, configured).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn the_end_of_an_exchange_can_be_looked_at() {
    let guest = Guest::logger().on(
        On::Log,
        [
            Step::get(RequestHeaders, ":path"),
            Step::get(ResponseHeaders, ":status"),
            Step::property("request.path"),
            Step::property("request.method"),
            Step::property_size("request.duration"),
            Step::property_size("response.code"),
            Step::property_size("response.size"),
            Step::add(ResponseHeaders, "x-late", "1"),
        ],
    );
    Case::new("log").filter("log", &guest).run(|stage| {
        stage.get("/a?b");
    });
}

#[test]
fn every_filter_logs_before_the_first_is_told_that_it_is_over() {
    let key = || "k".to_owned();
    let reading =
        Guest::logger().on(On::Log, [Step::SharedGet(key())]).on(On::Done, [Step::SharedGet(key())]);
    let writing = Guest::logger()
        .on(On::Log, [Step::SharedSet(key(), "logged".to_owned(), None)])
        .on(On::Delete, [Step::SharedSet(key(), "gone".to_owned(), None)]);
    let shared = |mut filter: super::Filter| {
        filter.vm_id = "shared".to_owned();
        filter
    };
    Case::new("three ends")
        .filter_with("first", &reading, shared)
        .filter_with("second", &writing, shared)
        .filter_with("third", &reading, shared)
        .run(|stage| {
            stage.get("/");
        });
}

#[test]
fn a_filter_that_fails_as_it_logs_hears_no_more_and_the_others_all() {
    let failing = Guest::new().on(On::RequestHeaders, []).on(On::Log, [Step::Trap]).on(On::Done, []);
    Case::new("trap in log")
        .filter("first", &Guest::logger())
        .filter("second", &failing)
        .filter("third", &Guest::logger())
        .run(|stage| {
            stage.get("/");
        });
}

#[test]
fn a_trap_under_the_closed_policy_is_503_and_ends_the_vm() {
    let failing = When::Header(RequestHeaders, "x-fail", "yes");
    let guest = Guest::new()
        .on(On::RequestHeaders, [Step::If(failing, vec![Step::Trap])])
        .on(On::ResponseHeaders, []);
    Case::new("trap").filter("trap", &guest).run(|stage| {
        stage.get("/");
        stage.request("GET", "/", &[("x-fail", "yes")], "");
    });
}

#[test]
fn hosts_agree_on_when_the_end_of_the_stream_is() {
    let upstream = |head: &Head| match head.target() {
        "/empty-sized" => Answer::sized(200, &[], ""),
        "/empty-chunked" => Answer::chunked(200, &[], &[], &[]),
        _ => Answer::chunked(200, &[], &["hello"], &[]),
    };
    Case::new("ends").upstream(upstream).filter("log", &Guest::logger()).run(|stage| {
        stage.get("/empty-sized");
        stage.get("/empty-chunked");
        stage.send("POST /a HTTP/1.1\r\nhost: tide.test\r\ncontent-length: 0\r\n\r\n");
        stage.send("POST /b HTTP/1.1\r\nhost: tide.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    });
}
