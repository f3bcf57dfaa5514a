//! Checks how HTTP/2 is spoken.

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{Http2, Keepalive};
use super::super::raw;
use super::Checker;

impl Checker<'_> {
    pub(super) fn http2(&self, raw: Field<raw::Http2>) -> Http2 {
        let raw = raw.value().unwrap_or_default();
        // Every bound is below what these hold.
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Http2 {
            max_concurrent_streams: narrow(
                self.count(raw.max_concurrent_streams, bounds::MAX_CONCURRENT_STREAMS),
            ),
            initial_stream_window_size: narrow(
                self.bytes(raw.initial_stream_window_size, bounds::STREAM_WINDOW),
            ),
            initial_connection_window_size: narrow(
                self.bytes(raw.initial_connection_window_size, bounds::CONNECTION_WINDOW),
            ),
            keepalive: raw.keepalive.given().map(|Located { value, span }| {
                if value.interval.is_absent() {
                    self.log.error(span, "the field `interval` is missing here");
                }
                Keepalive {
                    interval: self.duration(value.interval, bounds::KEEPALIVE_INTERVAL),
                    timeout: self.duration(value.timeout, bounds::KEEPALIVE_TIMEOUT),
                }
            }),
        }
    }
}
