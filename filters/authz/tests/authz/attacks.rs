//! Attacks on the built module, end to end within it. Each token is as good as it can be but for the attack.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tidegate_test::{Kit, Request};

use super::{JWKS, bearer, filter, token, tokens};

fn kit() -> Kit {
    filter(tokens(json!({"jwks": JWKS}))).start()
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

fn claims() -> Value {
    json!({"iss": "https://idp.test", "aud": "api", "sub": "root", "exp": 4_102_444_800_u64})
}

/// Why a token is refused.
fn refusal(kit: &Kit, token: &str) -> String {
    let seen = kit.send(Request::get("/").header("authorization", format!("Bearer {token}")));
    assert_eq!(seen.status(), 401, "{token}");
    assert!(!seen.was_forwarded());
    seen.details().trim_start_matches("authz_").trim_end_matches(":https://idp.test").to_owned()
}

#[test]
fn forged_tokens_are_refused() {
    let kit = kit();
    let signature = token("RS256").rsplit('.').next().unwrap();
    let with_header = |header: Value| format!("{}.{}.{signature}", encode(&header), encode(&claims()));
    let unsigned = format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&claims()));
    assert_eq!(refusal(&kit, &unsigned), "token_algorithm");
    assert_eq!(refusal(&kit, &with_header(json!({"alg": "RS256", "kid": "rsa-1"}))), "token_signature");
    assert_eq!(refusal(&kit, &with_header(json!({"alg": "RS256", "kid": "../../rsa-1"}))), "token_key");
    assert_eq!(refusal(&kit, &with_header(json!({"alg": "ES256", "kid": "rsa-1"}))), "token_key");
    assert_eq!(
        refusal(&kit, &with_header(json!({"alg": "RS256", "kid": "rsa-1", "crit": ["x"]}))),
        "token_critical"
    );
    assert_eq!(refusal(&kit, &with_header(json!({"alg": "RS256", "b64": false}))), "token_critical");
    assert_eq!(
        refusal(&kit, &with_header(json!({"alg": "RS256", "jku": "http://evil.test"}))),
        "token_signature"
    );
    assert!(kit.callouts().is_empty(), "nothing is fetched because a token says so");
    assert!(kit.faults().is_empty());
}

#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    let kit = kit();
    let jwks: Value = serde_json::from_str(JWKS).unwrap();
    let n = jwks["keys"][0]["n"].as_str().unwrap();
    let signed = format!("{}.{}", encode(&json!({"alg": "HS256", "kid": "rsa-1"})), encode(&claims()));
    for secret in [n.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(n).unwrap(), JWKS.as_bytes().to_vec()] {
        let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(&signed).finalize();
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()));
        assert_eq!(refusal(&kit, &forged), "token_algorithm");
    }
}

#[test]
fn odd_and_huge_tokens_cost_little_and_break_nothing() {
    let kit = kit();
    let deep =
        format!("{}.{}.AA", encode(&json!({"alg": "RS256"})), URL_SAFE_NO_PAD.encode("[".repeat(3000)));
    let odd = ["a", ".", "..", "...", "é.é.é", &"a".repeat(8192), &".".repeat(8192), &deep];
    for token in odd {
        let refused = refusal(&kit, token);
        assert!(["token_malformed", "token_algorithm"].contains(&&*refused), "{refused}");
    }
    let huge = kit.send(Request::get("/").header("authorization", format!("Bearer {}", "a".repeat(60_000))));
    assert_eq!(huge.details(), "authz_token_too_large");
    assert!(kit.faults().is_empty());
}

#[test]
fn no_spelling_of_a_path_gets_past_a_rule() {
    let kit = filter(json!({
        "deny": [{"match": {"path": [{"prefix": "/admin", "ignore_case": true}]}}],
        "allow": [{"match": {"path": [{"prefix": "/public/"}, {"prefix": "/admin"}]}}],
    }))
    .start();
    for path in [
        "/admin",
        "/ADMIN/x",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public/..;/admin",
        "/public/%2e%2e%2fadmin",
        "/public/%252e%252e%252fadmin",
        "//admin",
        "/%61dmin",
        "/admin;x",
        "/;/admin",
        "/public/..%c0%afadmin",
        "/public/..%2f",
        "/admin%00",
        "/public/..%2fpublic2/",
    ] {
        assert_eq!(kit.send(Request::get(path)).status(), 403, "{path}");
    }
    assert_eq!(kit.send(Request::get("/public/a%2Fb")).status(), 200);
}

#[test]
fn a_second_credential_beside_a_good_one_is_refused() {
    let kit = kit();
    let two = Request::get("/").header("authorization", bearer("RS256")).header("authorization", "Bearer x");
    assert_eq!(kit.send(two).details(), "authz_ambiguous_credentials");
}

#[test]
fn more_headers_than_anyone_needs_are_refused() {
    let many = (0..300).fold(Request::get("/"), |request, n| request.header(&format!("x-{n}"), "1"));
    let seen = kit().send(many);
    assert_eq!((seen.status(), seen.details()), (431, "authz_too_many_headers"));
}
