//! The built filter on the real host: what is stored, for whom, how long, and what it costs.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Outcome, Request, Response, Seen, Setup};

fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    Kit::of(&module).config(config).workers(2).as_its_manifest_asks()
}

fn text(control: &str) -> Response {
    Response::new(200).header("content-type", "text/plain").header("cache-control", control)
}

/// A service that counts its answers in their bodies, and says this of caching.
fn counting(kit: &Kit, control: &'static str) {
    let mut count = 0;
    kit.upstream(move |_| {
        count += 1;
        text(control).body(format!("answer {count}"))
    });
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn assert_hit(seen: &Seen, body: &str) {
    assert_eq!(
        (seen.outcome(), seen.status(), seen.text().as_str()),
        (Outcome::Replied, 200, body),
        "{seen}"
    );
    assert!(!seen.was_forwarded());
}

#[test]
fn a_response_is_used_again_on_every_worker_while_it_is_fresh() {
    let kit = filter(json!({})).start();
    counting(&kit, "max-age=60");
    let first = kit.send(Request::get("/a?b=1"));
    assert_eq!(first.header("cache-status"), Some("tidegate; fwd=uri-miss; fwd-status=200"));
    kit.advance(seconds(20));
    let second = kit.send(Request::get("/a?b=1").on_worker(1));
    assert_hit(&second, "answer 1");
    assert_eq!(
        (second.header("age"), second.header("cache-status")),
        (Some("20"), Some("tidegate; hit; ttl=40"))
    );
    assert_eq!((second.header("content-type"), second.details()), (Some("text/plain"), "cache_hit"));
    assert_eq!(kit.send(Request::get("/a?b=2")).text(), "answer 2", "another address");
    assert_eq!(
        kit.send(Request::get("/a?b=1").header("host", "other.test")).text(),
        "answer 3",
        "another host"
    );
    kit.advance(seconds(40));
    assert_eq!(kit.send(Request::get("/a?b=1")).text(), "answer 4", "it has no validator");
    assert_eq!(
        (kit.counter(r#"cache_requests{outcome="hit"}"#), kit.counter(r#"cache_requests{outcome="miss"}"#)),
        (1, 4)
    );
}

#[test]
fn a_stale_response_is_renewed_when_the_service_says_that_it_is_still_right() {
    let kit = filter(json!({})).start();
    kit.upstream(|request| match request.header("if-none-match") {
        Some(r#""v1""#) => Response::new(304)
            .header("etag", r#""v1""#)
            .header("cache-control", "max-age=30")
            .header("x-new", "1"),
        _ => text("max-age=10").header("etag", r#""v1""#).header("x-new", "0").body("hello"),
    });
    kit.send(Request::get("/"));
    kit.advance(seconds(15));
    let seen = kit.send(Request::get("/").header("if-none-match", r#""other""#));
    assert_eq!((seen.status(), seen.text().as_str(), seen.header("x-new")), (200, "hello", Some("1")));
    assert_eq!(seen.header("cache-status"), Some("tidegate; fwd=stale; fwd-status=304; ttl=30"));
    kit.advance(seconds(20));
    let seen = kit.send(Request::get("/").on_worker(1));
    assert_hit(&seen, "hello");
    assert_eq!((seen.header("age"), seen.header("x-new")), (Some("20"), Some("1")));
}

#[test]
fn a_client_that_has_the_response_gets_304_by_either_condition() {
    let kit = filter(json!({})).start();
    let modified = "Thu, 01 Jan 2026 00:00:00 GMT";
    kit.upstream(move |_| {
        text("max-age=60").header("etag", r#"W/"v1""#).header("last-modified", modified).body("hello")
    });
    kit.send(Request::get("/"));
    for (name, value) in
        [("if-none-match", r#""v0", "v1""#), ("if-none-match", "*"), ("if-modified-since", modified)]
    {
        let seen = kit.send(Request::get("/").header(name, value));
        assert_eq!((seen.status(), seen.body().len()), (304, 0), "{name}: {value}");
        assert_eq!(seen.header("etag"), Some(r#"W/"v1""#));
    }
    for (name, value) in
        [("if-none-match", r#""v2""#), ("if-modified-since", "Wed, 31 Dec 2025 00:00:00 GMT")]
    {
        assert_hit(&kit.send(Request::get("/").header(name, value)), "hello");
    }
    let head = kit.send(Request::head("/"));
    assert_eq!((head.status(), head.body().len(), head.outcome()), (200, 0, Outcome::Replied));
}

#[test]
fn what_a_response_varies_by_is_told_apart() {
    let kit = filter(json!({})).start();
    kit.upstream(|request| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        text("max-age=60").header("vary", "Accept-Language").header("vary", "x-b").body(language)
    });
    let get = |language: &str| Request::get("/").header("accept-language", language);
    for language in ["de", "fr"] {
        assert_eq!(kit.send(get(language)).text(), language);
    }
    assert_hit(&kit.send(get("de").header("x-c", "1")), "de");
    assert_hit(&kit.send(get("fr").on_worker(1)), "fr");
    let seen = kit.send(get("de").header("x-b", "1"));
    assert_eq!(seen.header("cache-status"), Some("tidegate; fwd=vary-miss; fwd-status=200"));
    assert!(kit.send(Request::get("/")).was_forwarded());
    kit.upstream(|_| text("max-age=60").header("vary", "*").body("any"));
    for _ in 0..2 {
        assert!(kit.send(Request::get("/any")).was_forwarded(), "nothing is known of what it varies by");
    }
}

#[test]
fn what_is_for_one_client_is_not_stored() {
    for control in
        ["private, max-age=60", "no-store", "max-age=0", "", "max-age=60x", "max-age=60, private=\"a, b\""]
    {
        let kit = filter(json!({})).start();
        kit.upstream(move |_| text(control).body("mine"));
        kit.send(Request::get("/"));
        assert!(kit.send(Request::get("/")).was_forwarded(), "{control}");
    }
    let kit = filter(json!({})).start();
    kit.upstream(|_| text("max-age=60").header("set-cookie", "a=1").body("mine"));
    kit.send(Request::get("/"));
    assert!(kit.send(Request::get("/")).was_forwarded(), "a cookie");
    for status in [206, 302, 500] {
        let kit = filter(json!({})).start();
        kit.upstream(move |_| {
            Response::new(status)
                .header("cache-control", "max-age=60")
                .header("content-type", "a/b")
                .body("x")
        });
        kit.send(Request::get("/"));
        assert!(kit.send(Request::get("/")).was_forwarded(), "{status}");
    }
}

#[test]
fn a_request_with_authorization_shares_only_what_is_public() {
    let authorized = || Request::get("/").header("authorization", "Bearer x");
    for (control, shared) in [("max-age=60", false), ("public, max-age=60", true), ("s-maxage=60", true)] {
        let kit = filter(json!({})).start();
        kit.upstream(move |_| text(control).body("hello"));
        kit.send(authorized());
        assert_eq!(
            !kit.send(Request::get("/")).was_forwarded(),
            shared,
            "{control}, stored for one with authorization"
        );
        assert_eq!(!kit.send(authorized()).was_forwarded(), shared, "{control}");
    }
}

#[test]
fn a_client_may_ask_for_a_new_answer_for_none_and_for_a_stored_one_only() {
    let kit = filter(json!({})).start();
    counting(&kit, "max-age=60");
    let asking = |control: &str| Request::get("/").header("cache-control", control);
    let seen = kit.send(asking("only-if-cached"));
    assert_eq!((seen.status(), seen.was_forwarded()), (504, false));
    kit.send(Request::get("/"));
    kit.advance(seconds(10));
    assert_hit(&kit.send(asking("only-if-cached, max-age=10")), "answer 1");
    let seen = kit.send(asking("no-cache"));
    assert_eq!(
        (seen.text().as_str(), seen.header("cache-status")),
        ("answer 2", Some("tidegate; fwd=request; fwd-status=200"))
    );
    assert_hit(&kit.send(Request::get("/")), "answer 2");
    kit.advance(seconds(10));
    assert_eq!(kit.send(asking("max-age=9")).text(), "answer 3");
    assert_eq!(kit.send(Request::get("/").header("pragma", "no-cache")).text(), "answer 4");
    assert_eq!(kit.send(asking("no-store")).text(), "answer 5");
    assert_eq!(kit.send(Request::get("/").header("range", "bytes=0-1")).text(), "answer 6");
    assert_hit(&kit.send(Request::get("/")), "answer 4");
}

#[test]
fn a_change_makes_what_is_stored_of_its_address_wrong_if_it_succeeds() {
    let kit = filter(json!({})).start();
    let mut count = 0;
    kit.upstream(move |request| match request.header("x-fail") {
        Some(_) => Response::new(409),
        None => {
            count += 1;
            text("max-age=60").body(format!("answer {count}"))
        }
    });
    kit.send(Request::get("/"));
    kit.send(Request::post("/").body("x").header("x-fail", "1"));
    assert_hit(&kit.send(Request::get("/")), "answer 1");
    kit.send(Request::delete("/").on_worker(1));
    assert_eq!(kit.send(Request::get("/")).text(), "answer 3");
}

#[test]
fn a_response_that_breaks_off_or_is_too_large_or_has_trailers_is_not_stored() {
    let kit = filter(json!({"max_object": 8})).start();
    kit.upstream(|request| match request.target() {
        "/cut" => text("max-age=60").chunks(["he", "llo"]).cut(),
        "/trailers" => text("max-age=60").chunks(["hello"]).trailer("x-sum", "1"),
        "/large" => text("max-age=60").chunks(["12345", "6789"]),
        _ => text("max-age=60").chunks(["1234", "5678"]),
    });
    assert!(kit.send(Request::get("/cut")).was_cut());
    for path in ["/cut", "/trailers", "/trailers", "/large", "/large"] {
        assert!(kit.send(Request::get(path)).was_forwarded(), "{path}");
    }
    assert_eq!(kit.counter(r#"cache_requests{outcome="too_large"}"#), 2);
    kit.send(Request::get("/exact"));
    assert_hit(&kit.send(Request::get("/exact")), "12345678");
}

#[test]
fn a_stale_response_is_used_while_it_is_renewed_by_one() {
    let kit = filter(json!({})).cluster("api", |call| {
        assert_eq!(
            (call.target.as_str(), call.header("if-none-match"), call.header("x-a")),
            ("/", Some("\"1\""), Some("b"))
        );
        text("max-age=10").header("etag", "\"2\"").body("new").after(Duration::from_millis(50))
    });
    let kit = kit.start();
    kit.upstream(|_| text("max-age=10, stale-while-revalidate=30").header("etag", "\"1\"").body("old"));
    let get = || Request::get("/").header("x-a", "b").cluster("api");
    kit.send(get());
    kit.advance(seconds(20));
    let seen = kit.send(get());
    assert_hit(&seen, "old");
    assert_eq!(seen.header("cache-status"), Some("tidegate; hit; ttl=-10"));
    assert_hit(&kit.send(get().on_worker(1)), "old");
    kit.advance(Duration::from_millis(10));
    assert_eq!(kit.callouts().len(), 1, "one asks for all");
    kit.advance(seconds(1));
    assert_hit(&kit.send(get().on_worker(1)), "new");
}

#[test]
fn a_stale_response_is_used_when_the_service_fails_if_it_allows_that() {
    for (control, status) in
        [("max-age=10, stale-if-error=60", 200), ("max-age=10, stale-if-error=60, must-revalidate", 503)]
    {
        let kit = filter(json!({})).start();
        kit.upstream(move |_| text(control).header("etag", "\"1\"").body("old"));
        kit.send(Request::get("/"));
        kit.advance(seconds(20));
        kit.upstream(|_| Response::new(503));
        assert_eq!(kit.send(Request::get("/")).status(), status, "{control}");
    }
}

#[test]
fn expires_date_and_age_count_and_a_default_does_where_nothing_is_said() {
    let kit = filter(json!({"default_lifetime": 5})).start();
    kit.upstream(|request| match request.target() {
        "/expires" => Response::new(200)
            .header("content-type", "a/b")
            .header("date", "Thu, 01 Jan 2026 00:00:00 GMT")
            .header("expires", "Thu, 01 Jan 2026 00:01:00 GMT")
            .body("x"),
        "/aged" => text("max-age=60").header("age", "50").body("x"),
        _ => Response::new(200).header("content-type", "a/b").body("x"),
    });
    for (path, lifetime) in [("/expires", 60), ("/aged", 10), ("/nothing", 5)] {
        kit.send(Request::get(path));
        let before = kit.elapsed();
        assert!(!kit.send(Request::get(path)).was_forwarded(), "{path}");
        kit.advance(seconds(lifetime) - (kit.elapsed() - before) - Duration::from_millis(1));
        assert!(!kit.send(Request::get(path)).was_forwarded() || lifetime > 60, "{path}");
        kit.advance(seconds(1));
        assert!(kit.send(Request::get(path)).was_forwarded(), "{path}");
        kit.set_clock(std::time::SystemTime::UNIX_EPOCH + seconds(1_767_225_600));
    }
}

#[test]
fn how_bodies_are_divided_makes_no_difference_and_what_is_stored_is_whole() {
    let response = text("max-age=60").body("a body of some length");
    filter(json!({})).assert_chunking_is_invisible(&Request::get("/"), &response);
}

#[test]
fn what_a_hit_costs() {
    let kit = filter(json!({})).start();
    kit.upstream(|_| text("max-age=60").header("etag", "\"1\"").body("x".repeat(1024)));
    let miss = kit.send(Request::get("/")).instructions();
    kit.send(Request::get("/"));
    let hit = kit.send(Request::get("/")).instructions();
    println!("a miss: {miss}; a hit: {hit}");
    assert!(hit < 60_000 && miss < 60_000, "a hit costs {hit} instructions, a miss {miss}");
}
