//! The built filter on the real host: what it signs it verifies, what RFC 9421 signs too, and nothing that was changed.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Outcome, Request, Response, Seen, Setup};

/// 32 bytes.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    let setup = Kit::of(&module).config(config).as_its_manifest_asks().allow_on_headers_stop_iteration();
    setup.limits(|limits| limits.instructions = 20_000_000)
}

fn signer() -> Setup {
    filter(
        json!({"mode": "sign", "keys": {"orders": SECRET}, "key": "orders", "components": ["@method", "@authority", "@path", "@query", "x-date"]}),
    )
}

fn verifier() -> Setup {
    filter(json!({"mode": "verify", "keys": {"orders": SECRET}, "components": ["@method", "@path"]}))
}

/// What a signer made of a request, as it comes to the verifier.
fn signed(request: Request) -> Request {
    again(&signer().start().send(request), |_| true)
}

fn again(seen: &Seen, keep: impl Fn(&str) -> bool) -> Request {
    let forwarded = seen.forwarded();
    let mut request = Request::new(forwarded.method().as_str(), forwarded.target());
    for (name, value) in forwarded.headers() {
        if keep(name.as_str()) && name != "content-length" {
            request = request.header(name.as_str(), value.as_bytes());
        }
    }
    if forwarded.body().is_empty() { request } else { request.body(forwarded.body()) }
}

fn get() -> Request {
    Request::get("/orders/7?full=1&x").header("x-date", " today")
}

fn post() -> Request {
    Request::post("/orders").header("x-date", "today").body("two apples")
}

#[track_caller]
fn assert_refused(seen: &Seen, why: &str) {
    let details = format!("signing:{why}");
    assert_eq!(
        (seen.outcome(), seen.status(), seen.details()),
        (Outcome::Replied, 401, details.as_str()),
        "{seen}"
    );
    assert!(!seen.was_forwarded() || !seen.forwarded().is_complete());
}

#[test]
fn what_is_signed_is_verified_with_a_body_and_without() {
    let kit = verifier().workers(2).start();
    let signer = signer().start();
    let chunked = Request::post("/orders").header("x-date", "a").chunks(["a", "b"]);
    for (worker, request) in [get(), post(), chunked].into_iter().enumerate() {
        let request = again(&signer.send(request), |_| true).header("x-signed-by", "me");
        let seen = kit.send(request.on_worker(worker % 2));
        assert_eq!((seen.status(), seen.forwarded().header("x-signed-by")), (200, Some("orders")));
    }
    assert_eq!(kit.counter(r#"signing_requests{outcome="verified"}"#), 3);
    let seen = signer.send(post());
    assert_eq!(seen.forwarded().body(), "two apples");
    assert_eq!(
        seen.forwarded().header("content-digest"),
        Some("sha-256=:fFpNk85HE/jFCiJ/JVLDTXhB3mPEWmwRlsISaUcByJA=:")
    );
}

#[test]
fn the_example_of_rfc_9421_is_verified() {
    let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    let config = json!({"mode": "verify", "keys": {"test-shared-secret": secret}, "once": false,
        "components": ["date", "@authority", "content-type"]});
    let kit = filter(config).start_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_618_884_475)).start();
    let request = Request::get("/foo?param=Value&Pet=dog")
        .header("host", "example.com")
        .header("date", "Tue, 20 Apr 2021 02:07:55 GMT")
        .header("content-type", "application/json")
        .header(
            "signature-input",
            r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
        )
        .header("signature", "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:");
    assert_eq!(kit.send(request.clone()).status(), 200);
    assert_refused(&kit.send(request.header("date", "today")), "wrong");
}

#[test]
fn what_was_changed_on_its_way_is_refused() {
    let seen = signer().start().send(post());
    let kit = verifier().start();
    let changed = |change: fn(Request) -> Request| kit.send(change(again(&seen, |_| true)));
    assert_refused(&changed(|request| request.header("x-date", "tomorrow")), "wrong");
    assert_refused(&changed(|request| request.header("host", "other.test")), "wrong");
    assert_refused(&changed(|request| request.body("two pears!")), "wrong_digest");
    let headers = seen.forwarded().headers().iter().filter(|(name, _)| *name != "content-length");
    let without = headers.fold(Request::post("/orders"), |request, (name, value)| {
        request.header(name.as_str(), value.as_bytes())
    });
    assert_refused(&verifier().start().send(without), "wrong_digest");
    assert_refused(&kit.send(again(&seen, |name| name != "x-date")), "incomplete");
    assert_refused(&kit.send(again(&seen, |name| name != "signature")), "missing");
    assert_refused(&kit.send(again(&seen, |name| name != "signature-input")), "missing");
    assert_refused(&kit.send(Request::get("/")), "missing");
    let other = Request::get("/orders/8?full=1&x");
    let seen = signer().start().send(get());
    let headers = seen.forwarded().headers().iter();
    let other = headers.fold(other, |other, (name, value)| other.header(name.as_str(), value.as_bytes()));
    assert_refused(&kit.send(other), "wrong");
}

#[test]
fn a_signature_counts_once_and_for_a_while() {
    let kit = verifier().workers(2).start();
    let request = signed(get());
    assert_eq!(kit.send(request.clone()).status(), 200);
    assert_refused(&kit.send(request.clone().on_worker(1)), "replayed");
    let late = signed(get().header("x-late", "1"));
    kit.advance(Duration::from_secs(66));
    assert_refused(&kit.send(late), "expired");
    kit.set_clock(kit.now() - Duration::from_secs(100));
    assert_refused(&kit.send(signed(get())), "expired");
}

#[test]
fn a_signature_has_to_cover_what_is_asked_for_and_a_body_if_there_is_one() {
    let kit =
        filter(json!({"mode": "verify", "keys": {"orders": SECRET}, "components": ["@method", "cookie"]}))
            .start();
    assert_refused(&kit.send(signed(get())), "covers_too_little");
    let kit = verifier().start();
    assert_refused(&kit.send(signed(get()).body("more")), "covers_too_little");
    let kit = filter(json!({"mode": "verify", "keys": {"others": SECRET}})).start();
    assert_refused(&kit.send(signed(get())), "unknown_key");
}

#[test]
fn what_is_no_signature_is_none() {
    let kit =
        filter(json!({"mode": "verify", "keys": {"a": SECRET}, "components": [], "once": false})).start();
    for input in [
        "",
        "sig",
        "sig=",
        "sig=(",
        "sig=(a)",
        "sig=(\"@method\" \"@method\")",
        "sig=(\"@status\")",
        "sig=(\"a\";sf)",
        "sig=(\"@method\");alg=\"ed25519\"",
        "sig=(\"@method\");created=x",
        "sig=(\"@method\");keyid=\"a",
        "sig=(\"@method\");created",
    ] {
        let request = Request::get("/").header("signature", "sig=:AAAA:").header("signature-input", input);
        assert_refused(&kit.send(request), "missing");
    }
    let request = Request::get("/")
        .header("signature", "sig=:AAAA:")
        .header("signature-input", "sig=(\"@method\");keyid=\"a\"");
    assert_refused(&kit.send(request), "wrong");
}

#[test]
fn how_a_body_is_divided_makes_no_difference() {
    let config = json!({"mode": "verify", "keys": {"orders": SECRET}, "once": false, "max_age": 100_000});
    filter(config).assert_chunking_is_invisible(&signed(post()), &Response::new(200));
    // When it is signed is in a signature: so all at one moment.
    let whole = signer().start().send(post());
    for cut in 1..10 {
        let pieces = || {
            Request::post("/orders")
                .header("x-date", "today")
                .chunks(["two apples"[..cut].to_owned(), "two apples"[cut..].to_owned()])
        };
        for request in [pieces(), pieces().trailer("x-sum", "1")] {
            let seen = signer().start().send(request);
            assert_eq!(seen.forwarded().body(), "two apples");
            for name in ["content-digest", "signature-input", "signature"] {
                assert_eq!(seen.forwarded().header(name), whole.forwarded().header(name), "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_without_the_secret() {
    for (config, why) in [
        (json!({"mode": "verify", "keys": {"a": "s3cret!"}}), "keys.a: it is not base64"),
        (json!({"mode": "verify", "keys": {"a": "czNjcmV0"}}), "keys.a: expected a plain name and 32 bytes"),
        (json!({"mode": "sign", "keys": {"a": SECRET}}), "key: name the one of `keys` that signs"),
        (json!({"mode": "verify", "keys": {}, "components": ["Date"]}), "components[0]: `Date` is no header"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
        assert!(!refused.to_string().contains("s3cret!"));
    }
}

#[test]
fn what_it_costs() {
    let kit = signer().start();
    kit.send(get());
    let sign = kit.send(get()).instructions();
    let long =
        |len: usize| kit.send(Request::post("/").header("x-date", "a").body(vec![b'x'; len])).instructions();
    let byte = (long(65 << 10) - long(1 << 10)) / (64 << 10);
    let pieces = Request::post("/").header("x-date", "a").chunks(vec![vec![b'x'; 1024]; 65]);
    let (in_pieces, whole) = (kit.send(pieces).instructions(), long(65 << 10));
    assert!(in_pieces < whole * 3 / 2, "what is held is read once: {in_pieces} and {whole}");
    let kit = verifier().start();
    kit.send(signed(get().header("x-first", "1")));
    let verify = kit.send(signed(get())).instructions();
    println!("to sign: {sign}; to verify: {verify}; a byte of body: {byte}");
    assert!(sign < 100_000 && verify < 100_000 && byte < 100, "{sign}, {verify}, {byte}");
}
