//! Cross-origin requests as the user wrote them.

use std::time::Duration;

use ::http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, OneOrMany};
use super::super::scalar::Text;

/// Which web pages of other origins may use the routes (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
/// Preflight requests are answered by the proxy, before any filter; answers to the requests themselves say what pages may
/// see of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cors {
    /// The origins that may: `"*"` for any, an origin such as `https://example.com`, or how origins are compared.
    pub(crate) allow_origin: Field<OneOrMany<Origin>>,
    /// The methods that preflight requests are told. `GET`, `HEAD` and `POST` need no telling. Default: none.
    #[serde(default)]
    pub(crate) allow_methods: Field<Vec<Field<Text<Method>>>>,
    /// The request's header fields that preflight requests are told. Default: none.
    #[serde(default)]
    pub(crate) allow_headers: Field<Vec<Field<Text<HeaderName>>>>,
    /// The response's header fields that pages may see. Default: those that every page may.
    #[serde(default)]
    pub(crate) expose_headers: Field<Vec<Field<Text<HeaderName>>>>,
    /// How long browsers may keep what a preflight request was told, in whole seconds.
    #[serde(default)]
    #[schemars(transform = bounds::CORS_MAX_AGE.describe())]
    pub(crate) max_age: Field<Text<Duration>>,
    /// Whether requests may have the user's cookies and certificates. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) allow_credentials: Field<bool>,
    /// Whether pages of public addresses may reach this one if it is a private address. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) allow_private_network: Field<bool>,
    /// Whether a preflight request of an origin that may not is sent on, rather than answered without a word of
    /// permission. Default: `true`, as in Envoy.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) forward_not_matching_preflights: Field<bool>,
}

/// How an origin is compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// It is this.
    Exact(Field<String>),
    /// It begins with this.
    Prefix(Field<String>),
    /// It ends with this.
    Suffix(Field<String>),
    /// It has this in it.
    Contains(Field<String>),
    /// This regular expression matches all of it.
    Regex(Field<String>),
    /// It is this, or `"*"` for any.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Text(Field<String>),
}
