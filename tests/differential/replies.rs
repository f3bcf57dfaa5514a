//! Local replies: from where they may come, what they look like, and what guests see of them.

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{Guest, On, Step, When, request_text};

use super::{Case, with_held_headers};

fn replying(on: On) -> Guest {
    Guest::logger()
        .on(on, [Step::reply(403, "denied", &[("x-why", "no key"), ("X-Twice", "a"), ("x-twice", "b")])])
}

#[test]
fn a_reply_from_the_request_headers_never_reaches_the_upstream() {
    Case::new("reply from request headers").filter("deny", &replying(On::RequestHeaders)).run(|stage| {
        stage.get("/");
        stage.note(&format!("{} requests at the upstream", stage.upstream("up").requests().len()));
    });
}

#[test]
fn a_reply_from_the_request_body_never_reaches_the_upstream() {
    let guest = replying(On::RequestBody).on(On::RequestHeaders, [Step::Return(1)]);
    Case::new("reply from request body").filter_with("deny", &guest, with_held_headers).run(|stage| {
        stage.request("POST", "/", &[], "body");
        stage.note(&format!("{} requests at the upstream", stage.upstream("up").requests().len()));
    });
}

#[test]
fn a_reply_from_the_response_headers_replaces_the_response() {
    Case::new("reply from response headers").filter("deny", &replying(On::ResponseHeaders)).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_reply_without_a_body_is_empty() {
    let guest =
        Guest::logger().on(On::RequestHeaders, [Step::reply(401, "", &[("www-authenticate", "Basic")])]);
    Case::new("empty reply").filter("deny", &guest).run(|stage| {
        stage.get("/");
        stage.request("HEAD", "/", &[], "");
    });
}

#[test]
fn a_reply_may_say_its_own_content_type() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::reply(200, "{}", &[("content-type", "application/json")])]);
    Case::new("typed reply").filter("answer", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_reply_to_head_has_no_body() {
    Case::new("reply to head").filter("deny", &replying(On::RequestHeaders)).run(|stage| {
        stage.request("HEAD", "/", &[], "");
    });
}

#[test]
fn the_first_of_two_replies_wins() {
    let guest = Guest::logger()
        .on(On::RequestHeaders, [Step::reply(403, "first", &[]), Step::reply(404, "second", &[])]);
    Case::new("two replies").filter("deny", &guest).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn whatever_a_callback_returns_after_a_reply_it_stops() {
    let guest = Guest::logger().on(On::RequestHeaders, [Step::reply(403, "denied", &[]), Step::Return(0)]);
    Case::new("return after reply").filter("deny", &guest).filter("next", &Guest::logger()).run(|stage| {
        stage.get("/");
    });
}

#[test]
fn a_reply_by_an_earlier_filter_is_seen_by_the_later_ones_as_here() {
    Case::new("reply by the first of two")
        .filter("deny", &replying(On::RequestHeaders))
        .filter("later", &Guest::logger())
        .run(|stage| {
            stage.get("/");
        });
}

#[test]
fn a_reply_by_a_later_filter_passes_the_earlier_ones_on_its_way() {
    let marking = Guest::logger().on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-marked", "1")]);
    Case::new("reply by the second of two")
        .filter("mark", &marking)
        .filter("deny", &replying(On::RequestHeaders))
        .run(|stage| {
            stage.get("/");
        });
}

#[test]
fn a_client_is_told_that_the_rest_of_its_body_is_not_read() {
    Case::new("reply before the body").filter("deny", &replying(On::RequestHeaders)).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("POST", "/", &[], "the body"));
        stage.record(&client.response());
    });
}

#[test]
fn a_reply_with_a_grpc_status_to_a_grpc_request_is_in_its_trailers_form() {
    let reply = Step::Reply {
        status: 403,
        details: "denied here".to_owned(),
        body: "text".to_owned(),
        fields: Vec::new(),
        grpc: 7,
    };
    let guest = Guest::logger().on(On::RequestHeaders, [reply]);
    Case::new("grpc reply").filter("deny", &guest).run(|stage| {
        stage.request("POST", "/svc/Method", &[("content-type", "application/grpc"), ("te", "trailers")], "");
        stage.get("/");
    });
}

#[test]
fn only_those_who_lack_the_key_are_denied() {
    let allowed = When::Header(RequestHeaders, "x-key", "good");
    let guest = Guest::logger().on(
        On::RequestHeaders,
        [Step::If(allowed, vec![Step::Return(0)]), Step::reply(403, "denied", &[]), Step::Return(1)],
    );
    Case::new("authorization").filter("authz", &guest).run(|stage| {
        stage.get("/");
        stage.request("GET", "/", &[("x-key", "good")], "");
        stage.request("GET", "/", &[("x-key", "bad")], "");
    });
}

#[test]
fn a_reply_from_the_response_body_is_too_late_for_a_head_that_was_sent() {
    let guest = Guest::logger()
        .on(On::ResponseBody, [Step::If(When::Call(1), vec![Step::reply(403, "denied", &[])])]);
    Case::new("reply from response body").filter("deny", &guest).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("GET", "/", &[], ""));
        match client.try_response_to("GET") {
            Ok(Some(response)) if crate::equipment::is_whole(&response.body) => stage.record(&response),
            _ => stage.note("no whole answer"),
        }
    });
}
