//! Redirects that the proxy follows itself, as the user wrote them.

use ::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::scalar::{Count, Text};

/// Which redirects of an upstream the proxy follows itself: the request begins anew with where the `location` leads, finds its
/// route and passes its filters. One that leads to no route goes to the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowRedirects {
    /// The statuses that are followed, of 301, 302, 303, 307 and 308. Default: `[302]`, as in Envoy.
    #[serde(default)]
    #[schemars(extend("default" = [302]))]
    pub(crate) codes: Field<Vec<Field<Text<StatusCode>>>>,
    /// How many in a row; what comes after goes to the client.
    #[serde(default)]
    #[schemars(transform = bounds::FOLLOWED_REDIRECTS.describe())]
    pub(crate) max: Field<Text<Count>>,
    /// Whether those are followed that lead from `https` to `http` or back. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) allow_cross_scheme: Field<bool>,
}
