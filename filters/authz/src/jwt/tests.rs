//! Tokens that hold, and those that must not: the vectors of the RFCs, one token for each algorithm as OpenSSL signed
//! it, and the known attacks.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::algorithm::Algorithm;
use super::jwks::{Jwks, Source};
use super::*;

const JWKS: &str = include_str!("../../tests/fixtures/jwks.json");
const ROTATED: &str = include_str!("../../tests/fixtures/jwks-rotated.json");
const TOKENS: &str = include_str!("../../tests/fixtures/tokens.txt");

/// RFC 7515, A.1: the secret; A.2: the modulus; A.3: the point.
const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// The moment before the tokens of RFC 7515 expire.
const THEN: Duration = Duration::from_secs(1_300_819_379);
const NOW: Duration = Duration::from_secs(1_800_000_000);
/// RFC 8037, A.1: the private key.
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn jwt(config: Value) -> Jwt {
    Jwt::new(serde_json::from_value(config).unwrap())
}

fn issuer_of(jwks: Value, more: Value) -> Jwt {
    let mut issuer = json!({"issuer": "https://idp.test", "audiences": ["api"], "jwks": jwks});
    issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwt(json!({"issuers": [issuer]}))
}

fn idp() -> Jwt {
    issuer_of(serde_json::from_str(JWKS).unwrap(), json!({}))
}

fn fixture(name: &str) -> &'static str {
    let mut lines = TOKENS.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name).map(|(_, token)| token).unwrap()
}

fn refusal(jwt: &Jwt, token: &str, now: Duration) -> Option<Reason> {
    match jwt.verify(token, now, false) {
        Outcome::Verified(_) => None,
        Outcome::Refused(denial) => Some(denial.reason),
        Outcome::NeedsKeys(_) => panic!("it may not wait"),
    }
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// Signed with the secret of RFC 7515, A.1, whatever the header says.
fn sign_hs256(header: &Value, claims: &Value) -> String {
    sign_with_secret(
        &URL_SAFE_NO_PAD.decode(SECRET).unwrap(),
        &format!("{}.{}", encode(header), encode(claims)),
    )
}

fn sign_with_secret(secret: &[u8], signed: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(signed).finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

/// Signed with the key of RFC 8037, whatever the header says.
fn sign_ed(header: &Value, claims: &str) -> String {
    let seed: [u8; 32] = URL_SAFE_NO_PAD.decode(ED_D).unwrap().try_into().unwrap();
    let signed = format!("{}.{}", encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = ed25519_dalek::SigningKey::from_bytes(&seed).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn ed() -> Jwt {
    issuer_of(json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": ED_X}), json!({}))
}

fn good_claims() -> Value {
    json!({"iss": "https://idp.test", "aud": "api", "sub": "ann", "exp": 1_800_000_100})
}

/// What becomes of a token with this header and good claims, signed well.
fn refusal_of_header(header: Value) -> Option<Reason> {
    refusal(&ed(), &sign_ed(&header, &good_claims().to_string()), NOW)
}

/// The same for the claims.
fn refusal_of_claims(change: &str, value: Value) -> Option<Reason> {
    let mut claims = good_claims();
    claims[change] = value;
    refusal(&ed(), &sign_ed(&json!({"alg": "EdDSA"}), &claims.to_string()), NOW)
}

#[test]
fn the_vectors_of_rfc_7515_hold() {
    let joe = |jwks: Value, algorithm: &str| {
        jwt(
            json!({"issuers": [{"issuer": "joe", "any_audience": true, "leeway": "0s", "jwks": jwks, "algorithms": [algorithm]}]}),
        )
    };
    let vectors = [
        (
            joe(json!({"kty": "oct", "k": SECRET}), "HS256"),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            joe(json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"}), "RS256"),
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            joe(json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y}), "ES256"),
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (jwt, header, signature) in vectors {
        let token = format!("{header}.{PAYLOAD}.{signature}");
        assert_eq!(refusal(&jwt, &token, THEN), None, "{header}");
        assert_eq!(
            refusal(&jwt, &token, THEN + Duration::from_secs(1)),
            Some(Reason::TokenExpired),
            "{header}"
        );
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('d') { "e" } else { "d" };
        let forged = format!("{signed}.{flipped}{}", &signature[1..]);
        assert_eq!(refusal(&jwt, &forged, THEN), Some(Reason::TokenSignature), "{header}");
    }
}

/// RFC 7515, A.5, and RFC 7519, 6.1.
#[test]
fn the_unsecured_tokens_of_the_rfcs_are_refused() {
    let token = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    assert_eq!(refusal(&idp(), &token, THEN), Some(Reason::TokenAlgorithm));
}

/// RFC 8037, A.4 and A.5.
#[test]
fn the_vector_of_rfc_8037_holds() {
    let set = Jwks::read(json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X}), Source::Configuration).unwrap();
    let key = set.candidates(None, Algorithm::EdDsa).next().unwrap();
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(key.verify(Algorithm::EdDsa, signed, &signature));
    assert!(!key.verify(Algorithm::EdDsa, b"another", &signature));
    assert!(!key.verify(Algorithm::EdDsa, signed, &signature[..63]));
}

#[test]
fn a_token_of_every_algorithm_with_a_public_key_holds_and_only_by_its_own() {
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
        assert_eq!(refusal(&idp(), fixture(name), NOW), None, "{name}");
        let others = json!({"algorithms": if name == "RS256" { ["RS512"] } else { ["RS256"] }});
        let narrow = issuer_of(serde_json::from_str(JWKS).unwrap(), others);
        assert_eq!(refusal(&narrow, fixture(name), NOW), Some(Reason::TokenAlgorithm), "{name}");
    }
    assert_eq!(refusal(&idp(), fixture("expired"), NOW), Some(Reason::TokenExpired));
    assert_eq!(refusal(&idp(), fixture("rotated"), NOW), Some(Reason::TokenKey));
}

#[test]
fn a_key_that_says_what_it_is_for_is_for_nothing_else() {
    let mut jwks: Value = serde_json::from_str(JWKS).unwrap();
    jwks["keys"][0]["alg"] = "RS256".into();
    let jwt = issuer_of(jwks, json!({}));
    assert_eq!(refusal(&jwt, fixture("RS256"), NOW), None);
    for other in ["RS512", "PS256"] {
        assert_eq!(refusal(&jwt, fixture(other), NOW), Some(Reason::TokenKey), "{other}");
    }
}

#[test]
fn a_token_of_every_algorithm_with_a_secret_holds_where_it_is_named() {
    let oct = json!({"kty": "oct", "k": SECRET});
    let token = sign_hs256(&json!({"alg": "HS256"}), &good_claims());
    assert_eq!(refusal(&issuer_of(oct.clone(), json!({"algorithms": ["HS256"]})), &token, NOW), None);
    let other = issuer_of(oct.clone(), json!({"algorithms": ["HS512"]}));
    assert_eq!(refusal(&other, &token, NOW), Some(Reason::TokenAlgorithm));
    let unnamed = json!({"issuers": [{"issuer": "a", "any_audience": true, "jwks": oct}]});
    let refused = serde_json::from_value::<JwtConfig>(unnamed).unwrap_err().to_string();
    assert!(refused.contains("jwks: no key goes with `algorithms`"), "{refused}");
}

#[test]
fn alg_none_is_refused_in_every_spelling() {
    for name in ["none", "None", "NONE", "nOnE", "", "rs256", "HS256 "] {
        assert_eq!(refusal_of_header(json!({"alg": name})), Some(Reason::TokenAlgorithm), "{name}");
    }
    assert_eq!(refusal_of_header(json!({})), Some(Reason::TokenAlgorithm));
    assert_eq!(refusal_of_header(json!({"alg": ["EdDSA"]})), Some(Reason::TokenAlgorithm));
    let unsigned = format!("{}.{}.", encode(&json!({"alg": "EdDSA"})), encode(&good_claims()));
    assert_eq!(refusal(&ed(), &unsigned, NOW), Some(Reason::TokenSignature));
}

/// The public key, which everyone has, as the secret of an HMAC.
#[test]
fn a_public_key_is_no_secret() {
    let signed = format!("{}.{}", encode(&json!({"alg": "HS256"})), encode(&good_claims()));
    for secret in [MODULUS.as_bytes(), &URL_SAFE_NO_PAD.decode(MODULUS).unwrap()] {
        let token = sign_with_secret(secret, &signed);
        for algorithms in [json!({}), json!({"algorithms": ["RS256", "HS256"]})] {
            let rsa = issuer_of(json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"}), algorithms.clone());
            let refused = refusal(&rsa, &token, NOW);
            assert!(
                matches!(refused, Some(Reason::TokenAlgorithm | Reason::TokenKey)),
                "{refused:?} {algorithms}"
            );
        }
    }
}

#[test]
fn a_kid_is_compared_and_nothing_else() {
    assert_eq!(refusal_of_header(json!({"alg": "EdDSA", "kid": "a"})), None);
    for kid in ["../../dev/null", "a' OR '1'='1", "/etc/passwd", "a\0", "A", "", "http://evil.test/key"] {
        assert_eq!(refusal_of_header(json!({"alg": "EdDSA", "kid": kid})), Some(Reason::TokenKey), "{kid}");
    }
    for kid in [json!(7), json!(null), json!({"a": 1}), json!("a".repeat(257))] {
        assert_eq!(
            refusal_of_header(json!({"alg": "EdDSA", "kid": kid})),
            Some(Reason::TokenMalformed),
            "{kid}"
        );
    }
}

/// RFC 7515, 4.1.11; RFC 7797.
#[test]
fn what_a_token_demands_and_is_not_known_here_refuses_it() {
    for header in [
        json!({"alg": "EdDSA", "crit": ["exp"], "exp": 1}),
        json!({"alg": "EdDSA", "crit": []}),
        json!({"alg": "EdDSA", "b64": false, "crit": ["b64"]}),
        json!({"alg": "EdDSA", "b64": false}),
        json!({"alg": "EdDSA", "b64": "true"}),
    ] {
        assert_eq!(refusal_of_header(header.clone()), Some(Reason::TokenCritical), "{header}");
    }
    assert_eq!(refusal_of_header(json!({"alg": "EdDSA", "b64": true})), None);
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X});
    let header = json!({"alg": "EdDSA", "jku": "http://evil.test/jwks", "x5u": "http://evil.test", "jwk": own, "x5c": ["AA"]});
    assert_eq!(refusal_of_header(header.clone()), None, "they do not matter to a good token");
    let other = issuer_of(
        json!({"kty": "OKP", "crv": "Ed25519", "x": "G4lYCc11MF1f00V6TqWH1gArfx-d8Go9i4rVRMi3UIc"}),
        json!({}),
    );
    let forged = sign_ed(&header, &good_claims().to_string());
    assert_eq!(refusal(&other, &forged, NOW), Some(Reason::TokenSignature), "nor help a forged one");
}

#[test]
fn claims_have_to_hold() {
    assert_eq!(refusal_of_claims("sub", json!("bob")), None);
    assert_eq!(refusal_of_claims("iss", json!("https://evil.test")), Some(Reason::TokenIssuer));
    assert_eq!(refusal_of_claims("iss", json!(null)), Some(Reason::TokenIssuer));
    assert_eq!(refusal_of_claims("iss", json!(["https://idp.test"])), Some(Reason::TokenIssuer));
    assert_eq!(refusal_of_claims("aud", json!("web")), Some(Reason::TokenAudience));
    assert_eq!(refusal_of_claims("exp", json!(1_799_999_940)), Some(Reason::TokenExpired));
    assert_eq!(refusal_of_claims("exp", json!("4102444800")), Some(Reason::TokenMalformed));
    assert_eq!(refusal_of_claims("nbf", json!(1_800_000_061)), Some(Reason::TokenNotYetValid));
    let mut eternal = good_claims();
    eternal.as_object_mut().unwrap().remove("exp");
    let eternal = sign_ed(&json!({"alg": "EdDSA"}), &eternal.to_string());
    assert_eq!(refusal(&ed(), &eternal, NOW), Some(Reason::TokenWithoutExpiry));
    let patient =
        issuer_of(json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X}), json!({"require_expiry": false}));
    assert_eq!(refusal(&patient, &eternal, NOW), None);
}

#[test]
fn claims_that_are_required_have_to_be_there() {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X});
    let jwt = issuer_of(key, json!({"claims": {"email_verified": true, "org.team": {"prefix": "a"}}}));
    let token = |claims: Value| {
        let mut all = good_claims();
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        sign_ed(&json!({"alg": "EdDSA"}), &all.to_string())
    };
    assert_eq!(refusal(&jwt, &token(json!({"email_verified": true, "org": {"team": "api"}})), NOW), None);
    for missing in
        [json!({}), json!({"email_verified": true}), json!({"email_verified": "true", "org": {"team": "a"}})]
    {
        assert_eq!(refusal(&jwt, &token(missing.clone()), NOW), Some(Reason::TokenClaims), "{missing}");
    }
}

#[test]
fn a_claim_twice_is_refused() {
    let claims = good_claims().to_string();
    let twice = claims.replace(r#""sub":"ann""#, r#""sub":"ann","sub":"root""#);
    assert_ne!(claims, twice);
    assert_eq!(refusal(&ed(), &sign_ed(&json!({"alg": "EdDSA"}), &twice), NOW), Some(Reason::TokenMalformed));
}

#[test]
fn a_huge_token_is_refused_before_it_is_read() {
    let large = |bytes: usize| {
        let mut claims = good_claims();
        claims["pad"] = "x".repeat(bytes).into();
        sign_ed(&json!({"alg": "EdDSA"}), &claims.to_string())
    };
    assert_eq!(refusal(&ed(), &large(5000), NOW), None);
    assert_eq!(refusal(&ed(), &large(7000), NOW), Some(Reason::TokenTooLarge));
}

#[test]
fn what_is_no_token_is_malformed() {
    let good = sign_ed(&json!({"alg": "EdDSA"}), &good_claims().to_string());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let wrong = [
        String::new(),
        "a".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.{}+/", &signature[2..]),
        format!(" {good}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode([0xff, 0xfe])),
    ];
    for token in wrong {
        assert_eq!(refusal(&ed(), &token, NOW), Some(Reason::TokenMalformed), "{token}");
    }
}

/// The last character of base64 has bits that nobody needs: were they ignored, one signature had many forms.
#[test]
fn a_signature_has_one_form() {
    let good = sign_ed(&json!({"alg": "EdDSA"}), &good_claims().to_string());
    let last = good.chars().last().unwrap();
    for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').filter(|c| *c != last) {
        let changed = format!("{}{other}", &good[..good.len() - 1]);
        assert!(refusal(&ed(), &changed, NOW).is_some(), "{other} for {last}");
    }
}

fn fetching() -> Jwt {
    let fetch = json!({"cluster": "idp", "path": "/jwks"});
    jwt(json!({"issuers": [{"issuer": "https://idp.test", "audiences": ["api"], "fetch": fetch}]}))
}

fn receive(jwt: &Jwt, jwks: &str, now: Duration) -> bool {
    let issuer = &jwt.issuers[0];
    issuer.schedule.borrow_mut().begin(now);
    issuer.receive(jwks.as_bytes(), now).unwrap()
}

#[test]
fn a_token_waits_for_keys_that_are_fetched() {
    let jwt = fetching();
    assert!(matches!(jwt.verify(fixture("RS256"), NOW, true), Outcome::NeedsKeys(_)));
    assert_eq!(refusal(&jwt, fixture("RS256"), NOW), Some(Reason::KeysUnavailable));
    assert!(receive(&jwt, JWKS, NOW));
    assert_eq!(refusal(&jwt, fixture("RS256"), NOW), None);
    assert!(!receive(&jwt, JWKS, NOW), "they are the same");
}

#[test]
fn a_key_that_is_rotated_in_mid_flight_is_fetched_once_and_ends_what_was_remembered() {
    let jwt = fetching();
    receive(&jwt, JWKS, NOW);
    assert_eq!(refusal(&jwt, fixture("RS256"), NOW), None);
    assert_eq!(refusal(&jwt, fixture("rotated"), NOW), Some(Reason::TokenKey));

    let soon = NOW + Duration::from_secs(10);
    let too_soon = jwt.verify(fixture("rotated"), soon, true);
    assert!(matches!(too_soon, Outcome::Refused(Denial { reason: Reason::TokenKey, .. })), "{too_soon:?}");
    let later = NOW + Duration::from_secs(30);
    assert!(matches!(jwt.verify(fixture("rotated"), later, true), Outcome::NeedsKeys(_)));
    assert!(receive(&jwt, ROTATED, later));
    assert_eq!(refusal(&jwt, fixture("rotated"), later), None);
    assert_eq!(refusal(&jwt, fixture("RS256"), later), Some(Reason::TokenKey), "remembered no more");
}

#[test]
fn what_is_fetched_and_makes_no_sense_leaves_the_keys_in_place() {
    let jwt = fetching();
    receive(&jwt, JWKS, NOW);
    let later = NOW + Duration::from_secs(300);
    let oct = json!({"keys": [{"kty": "oct", "k": SECRET}]}).to_string();
    for wrong in ["", "<html>", "{}", r#"{"keys": []}"#, &oct] {
        jwt.issuers[0].schedule.borrow_mut().begin(later);
        assert!(jwt.issuers[0].receive(wrong.as_bytes(), later).is_err(), "{wrong}");
        jwt.issuers[0].fail(later);
    }
    assert_eq!(refusal(&jwt, fixture("RS256"), later), None);
    let stale = NOW + Duration::from_secs(300 + 3600);
    assert_eq!(refusal(&jwt, fixture("RS256"), stale), Some(Reason::KeysUnavailable));
}

#[test]
fn a_remembered_token_ends_when_it_expires() {
    let jwt = ed();
    let token = sign_ed(&json!({"alg": "EdDSA"}), &good_claims().to_string());
    assert_eq!(refusal(&jwt, &token, NOW), None);
    assert_eq!(refusal(&jwt, &token, Duration::from_secs(1_800_000_159)), None, "within the leeway");
    assert_eq!(refusal(&jwt, &token, Duration::from_secs(1_800_000_160)), Some(Reason::TokenExpired));
}

#[test]
fn several_issuers_are_told_apart_and_verify_only_their_own() {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X});
    let other = json!({"issuer": "https://other.test", "any_audience": true, "jwks": ed, "headers": {"x-other": "sub"}});
    let idp = json!({"issuer": "https://idp.test", "any_audience": true, "jwks": JWKS, "headers": {"x-user": "sub"}});
    let jwt = jwt(json!({"issuers": [idp, other]}));
    let mut claims = good_claims();
    let as_idp = sign_ed(&json!({"alg": "EdDSA"}), &claims.to_string());
    assert_eq!(refusal(&jwt, &as_idp, NOW), Some(Reason::TokenSignature), "signed by the other");
    claims["iss"] = "https://other.test".into();
    let token = sign_ed(&json!({"alg": "EdDSA"}), &claims.to_string());
    let Outcome::Verified(verified) = jwt.verify(&token, NOW, false) else { panic!("it holds") };
    assert_eq!(jwt.headers_of(&verified), [("x-other", "ann".to_owned())]);
    assert_eq!(jwt.headers().collect::<Vec<_>>(), ["x-user", "x-other"]);
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_what_was_expected() {
    let issuer = |more: &str| format!(r#"{{"issuers": [{{"issuer": "a"{more}}}]}}"#);
    let wrong = [
        (r#"{"issuers": []}"#.to_owned(), "issuers: 0 of them; expected 1 to 16"),
        (issuer(""), "issuers[0]: expected `audiences`, or `any_audience: true`"),
        (issuer(r#", "audiences": ["a"]"#), "issuers[0]: expected `jwks` or `fetch`"),
        (issuer(r#", "audiences": ["a"], "jwks": "{"#), "EOF while parsing"),
        (
            issuer(r#", "audiences": ["a"], "jwks": "{""#),
            "issuers[0]: jwks: not a JWK set: EOF while parsing",
        ),
        (
            issuer(r#", "audiences": ["a"], "jwks": {"keys": []}"#),
            "issuers[0]: jwks: no key to verify tokens with",
        ),
        (
            issuer(r#", "audiences": ["a"], "algorithms": ["none"]"#),
            "issuers[0].algorithms[0]: unknown variant `none`",
        ),
        (
            issuer(
                r#", "audiences": ["a"], "algorithms": ["HS256"], "fetch": {"cluster": "c", "path": "/"}"#,
            ),
            "algorithms: keys that are fetched are public",
        ),
        (
            issuer(r#", "audiences": ["a"], "fetch": {"cluster": "c", "path": "/", "timeout": "5"}"#),
            "issuers[0].fetch.timeout: invalid value: string \"5\", expected a duration",
        ),
        (issuer(r#", "any_audience": true, "headers": {"host": "sub"}"#), "`host` is not a filter's to set"),
    ];
    for (text, message) in wrong {
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let error =
            serde_path_to_error::deserialize::<_, JwtConfig>(&mut deserializer).unwrap_err().to_string();
        assert!(error.contains(message), "{text} gave: {error}");
    }
}
