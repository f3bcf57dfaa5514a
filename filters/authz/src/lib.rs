//! Authorization: who may do what. By rules over what a request is and who it is from, and by asking another service.
//!
//! The order is: authenticate (tokens, API keys, passwords), deny rules, allow rules, the external service. A request
//! with bad credentials is denied; one without is anonymous, and the rules say what it may. If there is any allow rule,
//! what none of them allows is denied.
//!
//! ```json
//! {
//!   "jwt": {"issuers": [{"issuer": "https://idp.example", "audiences": ["api"],
//!                        "fetch": {"cluster": "idp", "path": "/jwks.json"}, "headers": {"x-user": "sub"}}]},
//!   "api_keys": {"keys": [{"name": "ci", "sha256": "…"}]},
//!   "deny": [{"name": "admin", "match": {"path": [{"prefix": "/admin"}]}, "except": {"client": ["10.0.0.0/8"]}}],
//!   "allow": [{"match": {"path": "/healthz"}}, {"match": {"authenticated": true}}]
//! }
//! ```
//!
//! The map, in reading order: `config` (what the operator writes), `gate` (the decision), `authenticate` (who a request
//! is from: `jwt`, `api_key`, `basic`, found in a `place`), `rule` (with `pattern`, `path`, `expression`), `external`;
//! these know no host. `filter` acts on it: it reads the request, answers and waits; `body` collects, `keys` fetches,
//! `report` counts and logs.

mod api_key;
mod authenticate;
mod basic;
mod body;
mod config;
mod expression;
mod external;
mod filter;
mod gate;
mod identity;
mod jwt;
mod keys;
mod path;
mod place;
mod report;
mod request;
mod rule;
mod values;
mod verdict;

pub use config::Config;
pub use filter::{Authz, State};

tidegate_sdk::filter!(Authz);

// Whose headers, and which clusters and properties, is for its configuration to say.
tidegate_sdk::manifest! {
    "clusters": ["*"],
    "headers": {"read": ["*"], "write": ["*"]},
    "body": "read",
    "properties": {"read": ["*"], "write": ["jwt_claims"]},
    "metrics": ["authz_*"],
    "reply": true
}

/// The JSON Schema of the configuration.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}
