//! A trap in each callback, under the policies that both proxies have.

use crate::equipment::{Answer, Guest, Head, On, Step, request_text};

use super::Case;

fn trapping(name: &'static str, on: On, open: bool) {
    let guest = [On::RequestHeaders, On::RequestBody, On::ResponseHeaders, On::ResponseBody]
        .into_iter()
        .fold(Guest::new(), |guest, callback| guest.on(callback, []))
        .on(on, [Step::Trap]);
    let with_policy = |mut filter: super::Filter| {
        filter.fail_open = open;
        filter
    };
    let upstream = |_: &Head| Answer::chunked(200, &[], &["hello"], &[]);
    let case = Case::new(name).upstream(upstream).filter_with("trap", &guest, with_policy);
    case.filter("other", &Guest::logger()).run(|stage| {
        let mut client = stage.client();
        client.send(&request_text("POST", "/", &[("transfer-encoding", "chunked")], "body"));
        match client.try_response_to("POST") {
            Ok(Some(response)) => stage.record(&response),
            _ => stage.note("no response"),
        }
    });
}

#[test]
fn a_trap_in_request_headers_ends_the_exchange() {
    trapping("trap in request headers", On::RequestHeaders, false);
}

#[test]
fn a_trap_in_request_body_ends_the_exchange() {
    trapping("trap in request body", On::RequestBody, false);
}

#[test]
fn a_trap_in_response_headers_ends_the_exchange() {
    trapping("trap in response headers", On::ResponseHeaders, false);
}

#[test]
fn a_trap_in_response_body_ends_the_exchange() {
    trapping("trap in response body", On::ResponseBody, false);
}

#[test]
fn a_trap_in_done_changes_nothing_any_more() {
    trapping("trap in done", On::Done, false);
}

#[test]
fn a_trap_in_request_headers_is_passed_over() {
    trapping("open trap in request headers", On::RequestHeaders, true);
}

#[test]
fn a_trap_in_request_body_is_passed_over() {
    trapping("open trap in request body", On::RequestBody, true);
}

#[test]
fn a_trap_in_response_headers_is_passed_over() {
    trapping("open trap in response headers", On::ResponseHeaders, true);
}

#[test]
fn a_trap_in_response_body_is_passed_over() {
    trapping("open trap in response body", On::ResponseBody, true);
}
