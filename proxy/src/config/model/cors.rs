//! Which web pages of other origins may use routes.

use std::time::Duration;

use http::{HeaderName, Method};

use super::ValueMatch;

/// Which web pages of other origins may use routes.
#[derive(Debug, Clone)]
pub struct Cors {
    /// The origins that may; empty is any.
    pub origins: Vec<ValueMatch>,
    /// What preflight requests are told of methods.
    pub methods: Vec<Method>,
    /// What preflight requests are told of the request's header fields.
    pub headers: Vec<HeaderName>,
    /// The response's header fields that pages may see.
    pub expose: Vec<HeaderName>,
    /// How long browsers may keep what a preflight request was told, in whole seconds.
    pub max_age: Option<Duration>,
    /// Whether requests may have the user's cookies.
    pub credentials: bool,
    /// Whether pages of public addresses may reach a private one.
    pub private_network: bool,
    /// Whether preflight requests of other origins are sent on.
    pub forwards_others: bool,
}
