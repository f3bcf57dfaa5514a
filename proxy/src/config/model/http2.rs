//! HTTP/2, on either side.

use std::time::Duration;

use super::super::bounds;

/// How HTTP/2 is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Requests that may go on at once on a connection: from a client, or at most to an endpoint, which may allow fewer.
    pub max_concurrent_streams: u32,
    /// What may be received of one message before it is read, in bytes (RFC 9113, 6.9.2).
    pub initial_stream_window_size: u32,
    /// What may be received of all messages of a connection before it is read, in bytes.
    pub initial_connection_window_size: u32,
    /// Whether a connection is asked from time to time if it is still there.
    pub keepalive: Option<Keepalive>,
}

impl Default for Http2 {
    /// What holds where the file says nothing.
    fn default() -> Http2 {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Http2 {
            max_concurrent_streams: narrow(bounds::MAX_CONCURRENT_STREAMS.default.0),
            initial_stream_window_size: narrow(bounds::STREAM_WINDOW.default.0),
            initial_connection_window_size: narrow(bounds::CONNECTION_WINDOW.default.0),
            keepalive: None,
        }
    }
}

/// Pings that find out whether a connection is still there (RFC 9113, 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// From one to the next.
    pub interval: Duration,
    /// How long the other side may take for its answer: then the connection is closed.
    pub timeout: Duration,
}
