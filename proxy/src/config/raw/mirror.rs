//! Mirrors as the user wrote them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::Percent;
use super::super::scalar::Text;

/// A cluster that gets copies of a route's requests. Its answers are not waited for, and nothing that becomes of a copy
/// changes the request that it is of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mirror {
    /// The cluster.
    pub(crate) cluster: Field<String>,
    /// The share of the requests that are copied, drawn for each mirror by itself.
    #[serde(default)]
    #[schemars(transform = bounds::MIRROR_PERCENT.describe())]
    pub(crate) percent: Field<Text<Percent>>,
    /// Whether a copy's host ends in `-shadow`, as in Envoy. Default: `true`.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) mark_host: Field<bool>,
}
