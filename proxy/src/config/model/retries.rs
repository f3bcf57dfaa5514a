//! When a request is sent again.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::super::bounds;
use super::super::scalar::{Count, Size};
use super::{Percent, ValueMatch};

/// When a request is sent again, and how often.
#[derive(Debug, Clone)]
pub struct Retries {
    /// What is tried again.
    pub on: Vec<RetryCondition>,
    /// Responses with any of these fields are too.
    pub on_headers: Vec<(HeaderName, ValueMatch)>,
    /// How often it is sent again at most.
    pub attempts: u32,
    /// How long one attempt may take until the response's head is there; shorter than forever where it is set.
    pub per_try_timeout: Option<Duration>,
    /// How long to wait before each.
    pub backoff: Backoff,
    /// Fields of a response that say how long to wait; the first that is there counts.
    pub reset_headers: Vec<(HeaderName, ResetFormat)>,
    /// A response that asks for a longer wait is not tried again.
    pub max_wait: Duration,
    /// Which share of a cluster's requests in flight may be retries.
    pub budget: Percent,
    /// How many may be, whatever the share.
    pub budget_minimum: usize,
    /// How much of a request's body is kept to be sent again, in bytes.
    pub buffer: usize,
    /// Whether `x-envoy-attempt-count` is sent.
    pub attempt_count: bool,
    /// When another attempt is made beside one that is not answered yet.
    pub hedge: Option<Hedge>,
}

/// When another attempt is made beside one that is not answered yet: one of the two is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hedge {
    /// So long after the last one.
    pub after: Option<Duration>,
    /// When its `per_try_timeout` is over, which there is then; it goes on.
    pub on_per_try_timeout: bool,
}

impl Default for Retries {
    /// What holds where the file says nothing: nothing is tried again.
    fn default() -> Retries {
        let Count(attempts) = bounds::RETRY_ATTEMPTS.default;
        let Count(minimum) = bounds::RETRY_BUDGET_MINIMUM.default;
        let Size(buffer) = bounds::RETRY_BUFFER.default;
        Retries {
            on: Vec::new(),
            on_headers: Vec::new(),
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            per_try_timeout: None,
            backoff: Backoff::default(),
            reset_headers: vec![(http::header::RETRY_AFTER, ResetFormat::Seconds)],
            max_wait: bounds::RETRY_AFTER_MAX.default,
            budget: bounds::RETRY_BUDGET.default,
            budget_minimum: usize::try_from(minimum).unwrap_or(usize::MAX),
            buffer: usize::try_from(buffer).unwrap_or(usize::MAX),
            attempt_count: false,
            hedge: None,
        }
    }
}

/// What makes a request be sent again. Those with a name have Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCondition {
    /// There was no connection.
    Connect,
    /// There was no response: the connection or the stream was reset, or the attempt's time was over.
    Reset,
    /// The endpoint says that it has not begun with the request (RFC 9113, section 8.7).
    RefusedStream,
    /// A status of 5xx, or no response.
    ServerError,
    /// 502, 503 or 504, or no response.
    GatewayError,
    /// 409, as in Envoy.
    Conflict,
    /// A response that says that it is for a rate limit (`x-envoy-ratelimited`). Without this, none such is tried again.
    RateLimited,
    /// This status.
    Status(StatusCode),
    /// This status of gRPC, in a response without a body.
    Grpc(u8),
}

impl RetryCondition {
    /// Envoy's words, and what they mean.
    pub const WORDS: &'static [(&'static str, RetryCondition)] = &[
        ("connect-failure", RetryCondition::Connect),
        ("connect", RetryCondition::Connect),
        ("reset", RetryCondition::Reset),
        ("refused-stream", RetryCondition::RefusedStream),
        ("5xx", RetryCondition::ServerError),
        ("gateway-error", RetryCondition::GatewayError),
        ("retriable-4xx", RetryCondition::Conflict),
        ("envoy-ratelimited", RetryCondition::RateLimited),
        ("cancelled", RetryCondition::Grpc(1)),
        ("deadline-exceeded", RetryCondition::Grpc(4)),
        ("resource-exhausted", RetryCondition::Grpc(8)),
        ("internal", RetryCondition::Grpc(13)),
        ("unavailable", RetryCondition::Grpc(14)),
    ];
}

/// What a field says of when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// In so many seconds, or, in `retry-after`, at a date (RFC 9110, section 10.2.3).
    Seconds,
    /// At a moment, in seconds since the Unix epoch.
    UnixTimestamp,
}

/// How long to wait before a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Below this the first time; not zero.
    pub base: Duration,
    /// Below this each time; at least `base`.
    pub max: Duration,
}

impl Backoff {
    /// Where only the base is given.
    pub fn of(base: Duration) -> Backoff {
        Backoff { base, max: base * 10 }
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::of(bounds::RETRY_BACKOFF_BASE.default)
    }
}
