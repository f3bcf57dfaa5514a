//! What the proxy may use, as the user wrote it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::Percent;
use super::super::scalar::{Count, Size, Text};

/// What the proxy may use, all listeners and workers together, before it refuses work to keep going: requests are
/// answered 503 with `x-envoy-local-overloaded` and `retry-after`. What is not given is not looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overload {
    /// Its memory, looked at ten times a second; `{}` is all the defaults.
    #[serde(default)]
    pub(crate) memory: Field<MemoryTerms>,
    /// HTTP requests under way; more are refused.
    #[serde(default)]
    pub(crate) requests: Field<Text<Count>>,
    /// Connections from clients that are open; more are closed at once.
    #[serde(default)]
    pub(crate) connections: Field<Text<Count>>,
    /// A worker that gets round to what is due so much too late, several times in a row, refuses requests until it no
    /// longer does.
    #[serde(default)]
    pub(crate) lag: Field<Text<Duration>>,
    /// When those who were refused may come again, in whole seconds.
    #[serde(default)]
    #[schemars(transform = bounds::OVERLOAD_RETRY_AFTER.describe())]
    pub(crate) retry_after: Field<Text<Duration>>,
}

/// At which shares of the memory that there is something is done. It is undone when 5 % of it less is in use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryTerms {
    /// How much there is: then the process's resident memory counts. Default: what its control groups let it have, where
    /// what counts is what they count but for what the kernel can take back; else the machine's memory.
    #[serde(default)]
    pub(crate) limit: Field<Text<Size>>,
    /// From here on connections are ended that are not in use, and those that are with what goes on on them.
    #[serde(default)]
    #[schemars(transform = bounds::MEMORY_RELIEVE.describe())]
    pub(crate) relieve: Field<Text<Percent>>,
    /// From here on requests are refused, and TCP connections closed at once. Not below `relieve`.
    #[serde(default)]
    #[schemars(transform = bounds::MEMORY_SHED.describe())]
    pub(crate) shed: Field<Text<Percent>>,
    /// From here on every new connection is closed at once. Not below `shed`.
    #[serde(default)]
    #[schemars(transform = bounds::MEMORY_REFUSE.describe())]
    pub(crate) refuse: Field<Text<Percent>>,
}
