//! The probe, a guest that does what a script says (`tests/guests/probe.rs`): its language works, and a host bears what can
//! be said in it.

use crate::equipment::{Exit, Proxy, Start, Upstream, forwarding, in_listener};

fn with_script(upstream: &Upstream, script: &str) -> Start {
    let module = std::fs::read(guests::module("probe")).expect("a module that was built can be read");
    let config = serde_json::Value::from(script);
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [probe]"]);
    let text = format!("{text}filters:\n  probe: {{module: ./probe.wasm, config: {config}}}\n");
    Proxy::with(&text).file("probe.wasm", module).log_guests_fully()
}

/// What the probe logged of its calls, in callbacks of exchanges.
fn played(script: &str, requests: &[&[(&str, &str)]]) -> Vec<String> {
    let upstream = Upstream::ok("hello");
    let proxy = with_script(&upstream, script).start();
    for fields in requests {
        proxy.client().request("GET", "/path", fields, "");
    }
    proxy.settle();
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
    proxy.guest_log().into_iter().map(|(_, line)| line).collect()
}

#[test]
fn what_is_called_and_what_came_of_it_is_logged() {
    let log = played(
        r#"
        # Comments, "also; such", and empty lines are left out.

        on request_headers: proxy_get_header_map_value 0 ":path" &bytes; on request_headers: say a
        on request_headers: proxy_add_header_map_value 0 "x-own" "a\"\\\x07;"
        on request_headers: proxy_add_header_map_value 0 "x-own" "a\"\\;"
        on request_headers: proxy_get_header_map_value 0 "x-own" &bytes
        on request_headers: proxy_set_header_map_pairs 2 {"x-a": "1", "x-b" : "2"}
        on request_headers: proxy_get_header_map_pairs 2 &pairs
        on request_headers: proxy_define_metric 0 "counted" &u32:id
        on request_headers: proxy_increment_metric $id 3
        on request_headers: proxy_get_metric $id &u64
        on request_headers: fd_write 1 *"out" 1 &u32
        "#,
        &[&[]],
    );
    assert_eq!(
        log,
        [
            "request_headers: proxy_get_header_map_value 0 \":path\" &bytes -> 0 \"/path\"",
            "request_headers: a",
            "request_headers: proxy_add_header_map_value 0 \"x-own\" \"a\\\"\\\\\\x07;\" -> 2",
            "request_headers: proxy_add_header_map_value 0 \"x-own\" \"a\\\"\\\\;\" -> 0",
            "request_headers: proxy_get_header_map_value 0 \"x-own\" &bytes -> 0 \"a\\\"\\\\;\"",
            "request_headers: proxy_set_header_map_pairs 2 {\"x-a\": \"1\", \"x-b\" : \"2\"} -> 0",
            "request_headers: proxy_get_header_map_pairs 2 &pairs -> 0 {\"x-a\": \"1\", \"x-b\": \"2\"}",
            "request_headers: proxy_define_metric 0 \"counted\" &u32:id -> 0 4",
            "request_headers: proxy_increment_metric $id 3 -> 0",
            "request_headers: proxy_get_metric $id &u64 -> 0 3",
            "out",
            "request_headers: fd_write 1 *\"out\" 1 &u32 -> 0 3",
        ]
    );
}

#[test]
fn conditions_say_when_a_line_is_played() {
    let log = played(
        "on request_headers if x-probe=yes #1: say asked
         on request_headers if #2: say twice
         on response_headers if more: say more
         on response_headers if end: say end
         on context_create if root: say root
         on context_create if stream: say stream",
        &[&[("x-probe", "no")], &[("x-probe", "yes")]],
    );
    let of_requests: Vec<&str> =
        log.iter().map(String::as_str).skip_while(|line| *line == "context_create: root").collect();
    assert_eq!(
        of_requests,
        [
            "context_create: stream",
            "response_headers: more",
            "context_create: stream",
            "request_headers: asked",
            "response_headers: more"
        ]
    );
}

#[test]
fn a_request_may_bring_a_script_of_its_own() {
    let script = "on request_headers: say here; on context_create: say next; on log: proxy_done";
    let log = played("", &[&[("x-probe-script", script)], &[]]);
    assert_eq!(log, ["request_headers: here", "log: proxy_done -> 1", "context_create: next"]);
}

#[test]
fn a_return_ends_the_lines_of_its_callback() {
    let upstream = Upstream::ok("hello");
    let proxy = with_script(
        &upstream,
        "on configure: say read
         on request_headers: proxy_send_local_response 403 \"\" \"\" {} -1
         on request_headers: return 1
         on request_headers: say never",
    );
    let proxy = proxy.start();
    assert_eq!(proxy.client().get("/").status(), 403);
    proxy.settle();
    assert!(proxy.guest_log().iter().all(|(_, line)| line != "request_headers: never"));
}

#[test]
fn pointers_that_lead_nowhere_are_a_status() {
    let log = played(
        "on request_headers: proxy_get_header_map_value 0 \":path\" 0xfffffff0 0xfffffff0
         on request_headers: proxy_get_header_map_value 0 0xfffffff0 0xffffffff &bytes
         on request_headers: proxy_log 2 -1 -1
         on request_headers: proxy_get_property 0x7fffffff 10 &bytes
         on request_headers: proxy_set_header_map_pairs 0 -4 8
         on request_headers: proxy_get_current_time_nanoseconds -1",
        &[&[]],
    );
    assert_eq!(log.len(), 6);
    assert!(log.iter().all(|line| line.ends_with(" -> 6")), "{log:#?}");
}

#[test]
fn a_script_that_cannot_be_read_is_refused_with_its_line() {
    let upstream = Upstream::ok("hello");
    for (line, problem) in [
        ("on nothing: trap", "there is no callback"),
        ("on tick: proxy_nothing", "there is no hostcall"),
        ("on tick: proxy_log 2", "proxy_log has 3 parameters, not 1"),
        ("on tick if often: trap", "there is no condition"),
        ("on tick: proxy_log 2 \"a", "a text has no end"),
        ("tick: trap", "begins with"),
    ] {
        let Exit { code, stderr, .. } = with_script(&upstream, line).run("run");
        assert_ne!(code, Some(0), "{line}");
        assert!(stderr.contains(problem), "{line}: {stderr}");
    }
}
