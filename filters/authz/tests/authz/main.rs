//! The built filter on the real host: what it lets through, what it answers, what it asks, what it costs.

mod attacks;
mod cost;
mod credentials;
mod external;
mod keys;
mod rules;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Setup};

/// Before the fixtures expire, and after the one that has.
const NOW: Duration = Duration::from_secs(1_800_000_000);
const JWKS: &str = include_str!("../fixtures/jwks.json");
const ROTATED: &str = include_str!("../fixtures/jwks-rotated.json");

/// The filter with this configuration, and with room for signatures.
fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    let setup = Kit::of(&module).config(config).start_time(SystemTime::UNIX_EPOCH + NOW);
    setup.limits(|limits| limits.instructions = 200_000_000)
}

/// One of `fixtures/tokens.txt`.
fn token(name: &str) -> &'static str {
    let tokens = include_str!("../fixtures/tokens.txt");
    let found = tokens.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name);
    found.map(|(_, token)| token).unwrap_or_else(|| panic!("no token {name}"))
}

fn bearer(name: &str) -> String {
    format!("Bearer {}", token(name))
}

/// The issuer of the fixtures, with these fields more.
fn issuer(more: Value) -> Value {
    let mut issuer = json!({"issuer": "https://idp.test", "audiences": ["api"]});
    issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    issuer
}

/// Tokens of that issuer are taken, and nothing else.
fn tokens(more: Value) -> Value {
    json!({"jwt": {"issuers": [issuer(more)]}, "allow": [{"match": {"authenticated": true}}]})
}

/// Of `let-me-in`.
const KEY: &str = "let-me-in";
const KEY_SHA256: &str = "a3ee786b5707c27d42570785081ec17f5c7db9262a01366af362a1aa61a420b9";

#[test]
fn the_schema_is_that_of_the_configuration() {
    let schema = serde_json::to_string_pretty(&authz::schema()).expect("a schema is JSON") + "\n";
    expect_test::expect_file!["../../config.schema.json"].assert_eq(&schema);
}
