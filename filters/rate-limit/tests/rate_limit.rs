//! The built filter on the real host: whom it lets through, what it says, and what it costs.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Callback, Kit, Module, Outcome, Request, Response, Seen, Setup};

fn filter(config: Value) -> Setup {
    Kit::of(&Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter")).config(config)
}

fn by(user: &str) -> Request {
    Request::get("/").header("x-user", user)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How many of so many requests are let through, at one moment.
fn admitted(kit: &Kit, count: usize, request: impl Fn(usize) -> Request) -> usize {
    (0..count).filter(|index| kit.send(request(*index)).status() == 200).count()
}

fn outcomes(kit: &Kit, rule: &str) -> [u64; 4] {
    ["allowed", "limited", "would_limit", "error"]
        .map(|outcome| kit.counter(&format!("rate_limit_requests{{rule=\"{rule}\",outcome=\"{outcome}\"}}")))
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate_on_whatever_worker() {
    let kit = filter(json!({"key": ["header:x-user"], "rate": "10/s", "burst": 4})).workers(2).start();
    let ann = |index: usize| by("ann").on_worker(index % 2);
    assert_eq!(admitted(&kit, 10, ann), 4);
    assert_eq!(admitted(&kit, 10, |index| by("bob").on_worker(index % 2)), 4, "another's are another's");
    kit.advance(Duration::from_millis(100));
    assert_eq!(admitted(&kit, 10, ann), 1);
    kit.advance(seconds(60));
    assert_eq!(admitted(&kit, 10, ann), 4, "it never holds more than its burst");
    assert_eq!(outcomes(&kit, "header:x-user"), [13, 27, 0, 0]);
}

#[test]
fn a_window_slides() {
    let config = json!({"name": "w", "rate": "6/m", "algorithm": "sliding_window"});
    let kit = filter(config).workers(2).start(); // time begins on a full minute
    let request = |index: usize| Request::get("/").on_worker(index % 2);
    kit.advance(seconds(30));
    assert_eq!(admitted(&kit, 9, request), 6);
    kit.advance(seconds(30));
    assert_eq!(admitted(&kit, 9, request), 0, "all six were less than a minute ago");
    kit.advance(seconds(30));
    assert_eq!(admitted(&kit, 9, request), 3, "half of the interval before counts");
    kit.advance(seconds(120));
    assert_eq!(admitted(&kit, 9, request), 6);
}

#[test]
fn who_waits_for_as_long_as_told_is_let_through() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let kit = filter(json!({"rate": "7/m", "algorithm": algorithm})).start();
        kit.advance(seconds(13));
        assert_eq!(admitted(&kit, 8, |_| Request::get("/")), 7);
        for _ in 0..5 {
            let refused = kit.send(Request::get("/"));
            assert_eq!((refused.outcome(), refused.status()), (Outcome::Replied, 429));
            let wait = refused.header("retry-after").expect("it says when").parse().expect("seconds");
            kit.advance(seconds(wait));
            assert_eq!(kit.send(Request::get("/")).status(), 200, "{algorithm} after {wait} s");
        }
    }
}

#[test]
fn every_part_of_a_key_tells_requests_apart() {
    let request = || {
        Request::get("/items?user=ann&x=1")
            .header("x-user", "ann")
            .header("cookie", "session=1; id=7")
            .client("10.0.0.1:1000")
            .route("items")
    };
    let other_header = request().header("x-user", "bob");
    let cases = [
        ("header:X-User", Request::get("/").header("x-user", "bob"), request()),
        ("cookie:id", Request::get("/").header("cookie", "id=8"), request().client("10.0.0.2:1")),
        ("query:user", Request::get("/items?user=bob"), Request::get("/other?x=2&user=%61nn")),
        ("client_address", request().client("10.0.0.2:1000"), request().client("10.0.0.1:2000")),
        ("route", request().route("other"), Request::get("/other").route("items")),
        ("method", Request::post("/items"), Request::get("/other")),
        ("path", Request::get("/other"), Request::get("/items?x=2")),
        ("host", Request::get("/").header("host", "b.test"), request()),
        ("property:request.protocol", other_header.clone(), other_header),
    ];
    for (part, other, same) in cases {
        let kit = filter(json!({"key": [part], "rate": "1/h"})).start();
        assert_eq!(kit.send(request()).status(), 200, "{part}");
        assert_eq!(kit.send(same).status(), 429, "{part}: the same");
        let expected = if part.starts_with("property") { 429 } else { 200 };
        assert_eq!(kit.send(other).status(), expected, "{part}: another");
    }
}

#[test]
fn a_request_that_lacks_a_part_of_the_key_is_not_limited_unless_the_operator_wants_it() {
    for (missing, statuses) in [("skip", [200, 200]), ("empty", [200, 429]), ("refuse", [429, 429])] {
        let kit = filter(json!({"key": ["header:x-user"], "rate": "1/h", "missing": missing})).start();
        let seen = [(); 2].map(|()| kit.send(Request::get("/")).status());
        assert_eq!(seen, statuses, "{missing}");
        assert_eq!(kit.send(by("ann")).status(), 200);
    }
}

#[test]
fn a_rule_is_only_for_requests_like_those_it_names() {
    let bots = json!({"x-user": {"glob": "bot-*", "ignore_case": true}});
    let matches = json!({"method": "POST", "path": "/login", "headers": bots});
    let kit = filter(json!({"rate": "1/h", "match": matches})).start();
    let by = |user, request: Request| admitted(&kit, 3, |_| request.clone().header("x-user", user));
    assert_eq!(by("Bot-7", Request::post("/login?next=/")), 1);
    assert_eq!(by("ann", Request::post("/login")), 3);
    assert_eq!(by("bot-7", Request::get("/login")), 3);
    assert_eq!(by("bot-7", Request::post("/logout")), 3);
    assert!(kit.send(Request::get("/")).header("ratelimit").is_none(), "no rule applies");
}

#[test]
fn a_host_is_the_same_however_it_is_written() {
    let kit = filter(json!({"key": ["host"], "rate": "1/h"})).start();
    let hosts = ["a.test", "A.Test", "a.test:80", "a.TEST:8080"];
    assert_eq!(admitted(&kit, hosts.len(), |index| Request::get("/").header("host", hosts[index])), 1);
    let hosts = ["[::A]", "[::a]:80"];
    assert_eq!(admitted(&kit, hosts.len(), |index| Request::get("/").header("host", hosts[index])), 1);
}

#[test]
fn long_values_tell_requests_apart_to_their_last_byte() {
    let kit = filter(json!({"key": ["header:x-user"], "rate": "1/h"})).start();
    let users = ["", "a", "b"].map(|end| "x".repeat(10_000) + end);
    assert_eq!(admitted(&kit, 9, |index| by(&users[index % 3])), 3);
}

#[test]
fn a_second_cookie_field_does_not_hide_a_cookie() {
    let config =
        json!({"key": ["cookie:id"], "match": {"cookies": {"id": {"present": true}}}, "rate": "1/h"});
    let kit = filter(config).start();
    let request = |_| Request::get("/").header("cookie", "a=b").header("cookie", "id=7");
    assert_eq!(admitted(&kit, 3, request), 1);
}

#[test]
fn what_one_rule_refuses_is_not_charged_to_the_others() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let all = json!({"name": "all", "rate": "4/h", "algorithm": algorithm});
        let user = json!({"name": "user", "key": ["header:x-user"], "rate": "1/h", "algorithm": algorithm});
        let kit = filter(json!({"rules": [all, user]})).start();
        assert_eq!(admitted(&kit, 10, |_| by("ann")), 1);
        assert_eq!(admitted(&kit, 10, |_| by("bob")), 1);
        let refused = kit.send(by("ann"));
        let told = refused.header("ratelimit").expect("it says where it stands");
        assert!(told.starts_with("\"all\";r=2;") && told.contains(", \"user\";r=0;"), "{told}");
        let left = kit.send(by("eve"));
        assert_eq!(left.status(), 200);
        assert!(left.header("ratelimit").is_some_and(|field| field.starts_with("\"all\";r=1;")), "{left:?}");
    }
}

#[test]
fn a_dry_run_refuses_nothing_and_shows_what_it_would_have() {
    let kit = filter(json!({"rate": "2/h", "dry_run": true})).start();
    let seen: Vec<Seen> = (0..5).map(|_| kit.send(Request::get("/"))).collect();
    assert!(seen.iter().all(|seen| seen.status() == 200 && seen.header("ratelimit").is_none()));
    assert_eq!(outcomes(&kit, "all"), [2, 0, 3, 0]);
}

#[test]
fn a_dry_run_is_not_charged_for_what_another_rule_refused() {
    let all = json!({"name": "all", "rate": "3/h", "dry_run": true});
    let user = json!({"name": "user", "key": ["header:x-user"], "rate": "1/h"});
    let kit = filter(json!({"rules": [all, user]})).start();
    assert_eq!(admitted(&kit, 9, |_| by("ann")), 1);
    assert_eq!(admitted(&kit, 2, |index| by(&index.to_string())), 2);
    assert_eq!(outcomes(&kit, "all"), [11, 0, 0, 0]);
}

#[test]
fn a_refused_client_is_told_of_the_rule_that_refused_it() {
    let day = json!({"name": "day", "rate": "1/d", "key": ["header:x-other"]});
    let hour = json!({"name": "hour", "rate": "1/h"});
    let kit = filter(json!({"rules": [day, hour], "headers": "x_ratelimit"})).start();
    kit.send(Request::get("/"));
    let refused = kit.send(Request::get("/").header("x-other", "1"));
    assert_eq!((refused.status(), refused.header("x-ratelimit-reset")), (429, Some("3600")));
}

#[test]
fn overrides_are_limits_of_their_own() {
    let overrides = json!([{"key": ["robot"], "rate": "1/h"}, {"key": ["boss"], "unlimited": true}]);
    let kit = filter(json!({"key": ["header:x-user"], "rate": "3/h", "overrides": overrides})).start();
    let admitted = ["ann", "robot", "boss"].map(|user| admitted(&kit, 9, |_| by(user)));
    assert_eq!(admitted, [3, 1, 9]);
}

#[test]
fn the_operator_chooses_the_answer_and_the_fields() {
    let response = json!({"status": 503, "body": "slow down", "headers": {"x-why": "limits"}});
    let config = json!({"rate": "1/h", "headers": "x_ratelimit", "response": response});
    let kit = filter(config).start();
    let first = kit.send(Request::get("/"));
    assert_eq!(
        (first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")),
        (Some("1"), Some("0"))
    );
    let refused = kit.send(Request::get("/"));
    assert_eq!((refused.status(), refused.text().as_str()), (503, "slow down"));
    assert_eq!((refused.header("x-why"), refused.header("retry-after")), (Some("limits"), Some("3600")));
    assert_eq!(refused.details(), "rate_limited:all");

    let kit = filter(json!({"rate": "1/h", "headers": "none"})).start();
    let seen = kit.send(Request::get("/"));
    assert!(seen.response().headers().keys().all(|name| !name.as_str().contains("ratelimit")));
}

#[test]
fn a_service_that_says_its_own_fields_is_not_doubled() {
    let kit = filter(json!({"rate": "9/h"})).start();
    kit.upstream(|_| Response::new(200).header("ratelimit", "theirs"));
    assert_eq!(kit.send(Request::get("/")).response().headers().get_all("ratelimit").iter().count(), 1);
}

#[test]
fn a_host_without_cells_counts_in_shared_data_and_says_so_once() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let config = json!({"key": ["header:x-user"], "rate": "3/m", "algorithm": algorithm});
        let kit = filter(config).workers(2).limits(|limits| limits.cells = 0).start();
        assert_eq!(admitted(&kit, 9, |index| by("ann").on_worker(index % 2)), 3, "{algorithm}");
        kit.advance(seconds(300));
        assert_eq!(admitted(&kit, 9, |index| by("ann").on_worker(index % 2)), 3, "{algorithm}");
        let said = kit.logs().iter().filter(|line| line.text.contains("counting in shared data")).count();
        assert_eq!(said, 2, "each worker says so once");
    }
}

#[test]
fn what_cannot_be_counted_goes_on_or_not_as_the_operator_says() {
    for (on_error, status) in [("open", 200), ("closed", 503)] {
        let config = json!({"key": ["header:x-user"], "rate": "1/h", "on_error": on_error});
        let kit = filter(config).limits(|limits| limits.cells = 64).start();
        let seen = kit.send(by(&"x".repeat(4000)));
        assert_eq!(seen.status(), status);
        assert_eq!(outcomes(&kit, "header:x-user"), [0, 0, 0, 1]);
        assert!(kit.logged("was not counted"));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_field_and_what_was_expected() {
    let refused = filter(json!({"rate": "fast"})).try_start().expect_err("that is no rate");
    assert!(refused.to_string().contains("rate: invalid value: string \"fast\", expected a rate such as"));
}

#[test]
fn how_bodies_are_divided_is_not_seen() {
    let (request, response) = (Request::post("/").body("to the service"), Response::new(200).body("answer"));
    filter(json!({"rate": "1000000/s"})).assert_chunking_is_invisible(&request, &response);
    let nothing = json!({"key": ["header:x-user"], "rate": "1/h", "missing": "refuse"});
    filter(nothing).assert_chunking_is_invisible(&request, &response);
}

#[test]
fn a_decision_by_a_header_costs_a_few_thousand_instructions() {
    let config = json!({"key": ["header:x-user"], "rate": "1000/s", "headers": "none"});
    let kit = filter(config).start();
    kit.send(by("ann")); // whatever the first one sets up
    let seen = kit.send(by("ann"));
    let (all, headers) = (seen.instructions(), seen.instructions_in(Callback::RequestHeaders));
    assert!(all <= 2_400, "{all} instructions for an exchange, {headers} of them in its request's headers");
}

#[test]
fn the_schema_is_that_of_the_configuration() {
    let schema = serde_json::to_string_pretty(&rate_limit::schema()).expect("a schema is JSON") + "\n";
    expect_test::expect_file!["../config.schema.json"].assert_eq(&schema);
}
