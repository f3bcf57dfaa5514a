//! The built filter on the real host: what it finds, where it is cut, and what reading costs.

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Outcome, Request, Response, Seen, Setup};

fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    Kit::of(&module).config(config).as_its_manifest_asks().limits(|limits| limits.instructions = 10_000_000)
}

#[track_caller]
fn assert_blocked(seen: &Seen, rule: &str) {
    let details = format!("waf:{rule}");
    assert_eq!(
        (seen.outcome(), seen.status(), seen.details()),
        (Outcome::Replied, 403, details.as_str()),
        "{seen}"
    );
}

#[test]
fn an_attack_in_path_query_or_header_never_reaches_the_service() {
    let kit = filter(json!({})).start();
    for (request, rule) in [
        (Request::get("/items/%2e%2e/%2e%2e/secret"), "traversal"),
        (Request::get("/items?q=1'+UNION%20%0a+Select+1"), "sql_injection"),
        (Request::get("/items?q=%253Cscript%253E"), "cross_site_scripting"),
        (Request::get("/").header("user-agent", "${jndi:ldap://x}"), "log4shell"),
        (Request::get("/").header("cookie", "a=() { :; }; /bin/id"), "shell_injection"),
    ] {
        let seen = kit.send(request);
        assert_blocked(&seen, rule);
        assert!(!seen.was_forwarded());
        assert!(seen.logged("looks like an attack") && seen.logged(&format!("rules={rule}")));
    }
    assert_eq!(kit.counter(r#"waf_matches{rule="sql_injection",part="query"}"#), 1);
    assert_eq!(kit.counter(r#"waf_matches{rule="log4shell",part="headers"}"#), 1);
    assert_eq!(kit.counter(r#"waf_requests{outcome="blocked"}"#), 5);
}

#[test]
fn what_only_looks_a_little_like_it_passes() {
    let kit = filter(json!({})).start();
    for request in [
        Request::get("/union/select?q=script&p=100%&r=%zz"),
        Request::get("/").header("x-first", "union").header("x-second", "select"),
        Request::get("/").header("user-agent", "nikto"), // suspicious, and not enough
        Request::post("/").body("the union of selected etc/passwords; cats nap"),
    ] {
        assert_eq!(kit.send(request).status(), 200);
    }
    assert_eq!(kit.counter(r#"waf_matches{rule="scanner",part="headers"}"#), 1);
    assert_eq!(kit.counter(r#"waf_requests{outcome="passed"}"#), 4);
}

#[test]
fn scores_of_several_rules_add_up_and_each_counts_once() {
    let rules = json!([{"name": "odd", "score": 2, "patterns": ["x-odd"]}]);
    let kit = filter(json!({"rules": rules})).start();
    let seen = kit.send(Request::get("/?x-odd&x-odd&x-odd"));
    assert_eq!(seen.status(), 200, "one rule is one rule");
    let everywhere = Request::post("/?x-odd").header("x-a", "x-odd").chunks(["x-odd", "x-odd"]);
    for request in [Request::get("/").header("x-a", "x-odd"), Request::post("/").body("x-odd"), everywhere] {
        assert_eq!(kit.send(request).status(), 200);
    }
    let matches = |part: &str| kit.counter(&format!(r#"waf_matches{{rule="odd",part="{part}"}}"#));
    assert_eq!((matches("query"), matches("headers"), matches("body")), (2, 1, 1), "where it was first");
    assert_blocked(&kit.send(Request::get("/?x-odd").header("user-agent", "Nikto/2")), "scanner,odd");
}

#[test]
fn an_attack_in_a_body_is_found_wherever_the_body_is_cut() {
    let body = "name=ann&comment=%3cScRiPt%3ealert(1)&more=of+it";
    filter(json!({})).assert_chunking_is_invisible_to_the_client(body);
}

/// Of a body that is refused the service has seen more or less, but never its end.
trait Chunking {
    fn assert_chunking_is_invisible_to_the_client(self, body: &'static str);
}

impl Chunking for Setup {
    #[track_caller]
    fn assert_chunking_is_invisible_to_the_client(self, body: &'static str) {
        let kit = self.start();
        for cut in 1..body.len() {
            let seen = kit.send(Request::post("/").chunks([&body[..cut], &body[cut..]]));
            assert_blocked(&seen, "cross_site_scripting");
            assert!(!seen.was_forwarded() || !seen.forwarded().is_complete(), "cut at {cut}");
        }
        let bytes: Vec<String> = body.chars().map(String::from).collect();
        assert_blocked(&kit.send(Request::post("/").chunks(bytes)), "cross_site_scripting");
    }
}

#[test]
fn a_body_that_is_clean_passes_as_it_came() {
    let request = Request::post("/").body("50% of <scr ipt> & %3 %");
    filter(json!({})).assert_chunking_is_invisible(&request, &Response::new(200).body("ok"));
}

#[test]
fn nothing_of_a_body_is_held() {
    let kit = filter(json!({})).start();
    let mut exchange = kit.open(Request::post("/").open_ended());
    exchange.request_body("one and ${jn");
    assert_eq!(exchange.forwarded().expect("it goes on").body(), "one and ${jn");
    exchange.request_body("di:ldap://x}");
    let seen = exchange.finish();
    assert_blocked(&seen, "log4shell");
    assert_eq!(seen.forwarded().body(), "one and ${jn");
    assert!(!seen.forwarded().is_complete());
}

#[test]
fn a_report_lets_everything_pass_and_says_it_once() {
    let kit = filter(json!({"mode": "report"})).start();
    let seen = kit.send(
        Request::post("/?q=%3cscript").chunks(["${jndi:", "${jndi:"]).header("content-encoding", "gzip"),
    );
    assert_eq!(seen.status(), 200);
    let seen = kit.send(Request::post("/?q=%3cscript").chunks(["${jndi:", "${jndi:"]));
    assert_eq!(seen.status(), 200);
    assert_eq!(seen.logs().iter().filter(|line| line.text.contains("looks like an attack")).count(), 1);
    assert_eq!(kit.counter(r#"waf_requests{outcome="reported"}"#), 2);
    assert_eq!(kit.counter(r#"waf_requests{outcome="blocked"}"#), 0);
}

#[test]
fn a_body_that_cannot_be_read_is_refused_unless_the_configuration_says_otherwise() {
    let gzip = || Request::post("/").header("content-encoding", "gzip").body("\x1f");
    let kit = filter(json!({})).start();
    let seen = kit.send(gzip());
    assert_eq!((seen.status(), seen.details(), seen.was_forwarded()), (415, "waf_unreadable", false));
    assert_eq!(kit.send(Request::post("/").header("content-encoding", "identity").body("a")).status(), 200);
    let kit = filter(json!({"unreadable": "report"})).start();
    assert_eq!(kit.send(gzip()).status(), 200);
    assert_eq!(kit.counter(r#"waf_requests{outcome="unreadable"}"#), 1);
}

#[test]
fn what_is_beyond_the_limit_of_a_body_is_not_read() {
    let kit = filter(json!({"body_limit": 8})).start();
    assert_eq!(kit.send(Request::post("/").chunks(["1234", "5<script"])).status(), 200);
    assert_blocked(&kit.send(Request::post("/").chunks(["1", "<script"])), "cross_site_scripting");
}

#[test]
fn a_configuration_that_could_not_work_is_refused() {
    for (config, why) in [
        (json!({"without": ["sql"]}), "without[0]: there is no rule `sql`; there are sql_injection,"),
        (
            json!({"rules": [{"name": "a", "score": 1, "patterns": ["ok!", "Never"]}]}),
            "rules[0].patterns[1]: `Never` is never found",
        ),
        (json!({"rules": [{"name": "a", "score": 1, "patterns": ["ab"]}]}), "`ab` is too short"),
        (json!({"rules": [{"name": "scanner", "score": 1, "patterns": []}]}), "rules[0].name: `scanner` is"),
        (json!({"mode": "blok"}), "mode: unknown variant `blok`, expected `block` or `report`"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
    }
}

#[test]
fn what_reading_costs() {
    let kit = filter(json!({})).start();
    let get = || Request::get("/items?page=2").header("user-agent", "curl/8.5.0").header("accept", "*/*");
    kit.send(get());
    let request = kit.send(get()).instructions();
    let long = |len: usize| kit.send(Request::post("/").chunks([vec![b'x'; len]])).instructions();
    let (small, large) = (long(1 << 10), long(65 << 10));
    let byte = (large - small) / (64 << 10);
    println!("a request: {request}; a byte of body: {byte}");
    assert!(request < 6_000, "a request without a body costs {request} instructions");
    assert!(byte < 60, "a byte of a body costs {byte} instructions");
}
