//! Tokens, API keys and passwords: who a request is from, and what the upstream is told of it.

use serde_json::{Value, json};
use tidegate_test::Request;

use super::{JWKS, KEY, KEY_SHA256, bearer, filter, token, tokens};

fn with_keys(more: Value) -> Value {
    let mut config = json!({"jwks": serde_json::from_str::<Value>(JWKS).unwrap()});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tokens(config)
}

fn get(authorization: &str) -> Request {
    Request::get("/").header("authorization", authorization)
}

#[test]
fn a_token_of_every_algorithm_is_verified() {
    let kit = filter(with_keys(json!({}))).start();
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
        assert_eq!(kit.send(get(&bearer(name))).status(), 200, "{name}");
        let forged = format!("{}AAAA", &bearer(name)[..bearer(name).len() - 4]);
        let seen = kit.send(get(&forged));
        assert_eq!(
            (seen.status(), seen.details()),
            (401, "authz_token_signature:https://idp.test"),
            "{name}"
        );
    }
    assert!(kit.faults().is_empty());
}

#[test]
fn keys_may_be_given_as_the_text_of_a_file() {
    let kit = filter(tokens(json!({"jwks": JWKS}))).start();
    assert_eq!(kit.send(get(&bearer("ES256"))).status(), 200);
}

#[test]
fn a_request_without_a_token_is_challenged_and_one_with_a_bad_token_is_told_so() {
    let kit = filter(with_keys(json!({}))).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!((seen.status(), seen.details()), (401, "authz_no_credentials"));
    assert_eq!(seen.response().header("www-authenticate"), Some(r#"Bearer realm="restricted""#));
    let seen = kit.send(get(&bearer("expired")));
    assert_eq!(
        (seen.status(), seen.details(), seen.text().as_str()),
        (401, "authz_token_expired:https://idp.test", "unauthorized\n")
    );
    let told = seen.response().header("www-authenticate");
    assert_eq!(told, Some(r#"Bearer realm="restricted", error="invalid_token""#), "not why");
    assert!(seen.logged("denied rule=https://idp.test reason=token_expired"));
    assert_eq!(kit.counter(r#"authz_denied{rule="https://idp.test",reason="token_expired"}"#), 1);
}

#[test]
fn claims_become_headers_that_a_client_cannot_forge() {
    let config = with_keys(json!({"headers": {"x-user": "sub", "x-groups": "groups", "x-email": "email"}}));
    let mut config = config;
    config["allow"] = json!([]);
    let kit = filter(config).start();
    let forge = |request: Request| {
        let names = ["x-user", "X-User", "x_user", "x-groups", "x-email"];
        names.iter().fold(request, |request, name| request.header(name, "root"))
    };
    let seen = kit.send(forge(get(&bearer("RS256"))));
    let forwarded = seen.forwarded().clone();
    assert_eq!(forwarded.header("x-user"), Some("ann"));
    assert_eq!(forwarded.headers().get_all("x-user").iter().count(), 1);
    assert_eq!(forwarded.header("x-groups"), Some("dev,ops"));
    assert_eq!((forwarded.header("x-email"), forwarded.header("x_user")), (None, None));
    assert!(seen.was_rerouted(), "routes may look at them");
    let claims = seen.property(&["jwt_claims"]).expect("filters further on see them");
    assert_eq!(serde_json::from_slice::<Value>(claims).unwrap()["sub"], "ann");
    let anonymous = kit.send(forge(Request::get("/")));
    let forwarded = anonymous.forwarded().clone();
    assert!(["x-user", "x_user", "x-groups", "x-email"].iter().all(|name| forwarded.header(name).is_none()));
}

#[test]
fn a_token_is_found_where_it_is_configured_to_be_and_hidden_from_the_upstream_if_that_is_said() {
    let mut config = with_keys(json!({}));
    config["jwt"]["from"] =
        json!([{"header": "authorization"}, {"query": "access_token"}, {"cookie": "session"}]);
    config["jwt"]["forward"] = json!(false);
    let kit = filter(config).start();
    let token = token("EdDSA");
    let by_query = kit.send(Request::get(&format!("/a?b=1&access_token={token}")));
    assert_eq!(by_query.forwarded().target(), "/a?b=1");
    let by_cookie = kit.send(Request::get("/").header("cookie", format!("a=b; session={token}")));
    assert_eq!(by_cookie.forwarded().header("cookie"), Some("a=b"));
    let by_header = kit.send(get(&format!("bearer {token}")));
    assert_eq!(by_header.forwarded().header("authorization"), None);
    let twice = kit.send(get(&format!("Bearer {token}")).header("cookie", format!("session={token}")));
    assert_eq!((twice.status(), twice.details()), (401, "authz_ambiguous_credentials"));
}

#[test]
fn an_api_key_names_its_client() {
    let config = json!({
        "api_keys": {"keys": [{"name": "ci", "sha256": KEY_SHA256}], "header": "x-client", "forward": false},
        "allow": [{"match": {"api_keys": ["ci"]}}],
    });
    let kit = filter(config).start();
    let seen = kit.send(Request::get("/").header("x-api-key", KEY));
    let forwarded = seen.forwarded();
    assert_eq!((forwarded.header("x-client"), forwarded.header("x-api-key")), (Some("ci"), None));
    let wrong = kit.send(Request::get("/").header("x-api-key", "let-me-on"));
    assert_eq!((wrong.status(), wrong.details()), (401, "authz_api_key"));
    assert_eq!(wrong.response().header("www-authenticate"), Some(r#"ApiKey realm="restricted""#));
    assert_eq!(kit.send(Request::get("/")).details(), "authz_no_credentials");
    assert_eq!(
        kit.send(Request::get("/").header("x-api-key", KEY_SHA256)).status(),
        401,
        "the hash is no key"
    );
}

#[test]
fn a_password_names_its_user_and_is_slow_to_check_only_once() {
    // `U*U`, a vector of crypt_blowfish's.
    let htpasswd = "ann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let config = json!({
        "realm": "staff",
        "basic": {"htpasswd": htpasswd, "header": "x-user"},
        "allow": [{"match": {"users": ["ann"]}}],
    });
    let kit = filter(config).start();
    let first = kit.send(get("Basic YW5uOlUqVQ=="));
    assert_eq!(first.forwarded().header("x-user"), Some("ann"));
    let second = kit.send(get("Basic YW5uOlUqVQ=="));
    assert_eq!(second.status(), 200);
    println!("bcrypt of cost 5: {}", first.instructions());
    assert!(
        second.instructions() * 100 < first.instructions(),
        "{} {}",
        first.instructions(),
        second.instructions()
    );
    let wrong = kit.send(get("Basic YW5uOlUqVg=="));
    assert_eq!((wrong.status(), wrong.details()), (401, "authz_password"));
    assert_eq!(wrong.response().header("www-authenticate"), Some(r#"Basic realm="staff", charset="UTF-8""#));
    let nobody = kit.send(get("Basic Ym9iOlUqVQ=="));
    assert_eq!(nobody.status(), 401);
    let (one, other) = (wrong.instructions(), nobody.instructions());
    assert!(one.abs_diff(other) < one / 50, "a name that is not there costs the same: {one} {other}");
}

#[test]
fn grpc_clients_get_a_grpc_status() {
    let kit = filter(with_keys(json!({}))).start();
    let seen = kit.send(Request::post("/pkg.Service/Method").header("content-type", "application/grpc"));
    assert_eq!((seen.status(), seen.response().header("grpc-status")), (200, Some("16")));
}
