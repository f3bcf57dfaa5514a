//! HTTP/2 as the user wrote it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::scalar::{Count, Size, Text};

/// How HTTP/2 is spoken.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http2 {
    /// Requests that may go on at once on a connection: from a client, or to an endpoint, which may allow fewer.
    #[serde(default)]
    #[schemars(transform = bounds::MAX_CONCURRENT_STREAMS.describe())]
    pub(crate) max_concurrent_streams: Field<Text<Count>>,
    /// What may be received of one message before it is read.
    #[serde(default)]
    #[schemars(transform = bounds::STREAM_WINDOW.describe())]
    pub(crate) initial_stream_window_size: Field<Text<Size>>,
    /// What may be received of all messages of a connection before it is read.
    #[serde(default)]
    #[schemars(transform = bounds::CONNECTION_WINDOW.describe())]
    pub(crate) initial_connection_window_size: Field<Text<Size>>,
    /// Whether a connection is asked from time to time if it is still there. Without this it is not.
    #[serde(default)]
    pub(crate) keepalive: Field<Keepalive>,
}

/// Pings that find out whether a connection is still there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keepalive {
    /// From one to the next.
    #[schemars(transform = bounds::KEEPALIVE_INTERVAL.describe())]
    pub(crate) interval: Field<Text<Duration>>,
    /// How long the other side may take for its answer. Then the connection is closed.
    #[serde(default)]
    #[schemars(transform = bounds::KEEPALIVE_TIMEOUT.describe())]
    pub(crate) timeout: Field<Text<Duration>>,
}
