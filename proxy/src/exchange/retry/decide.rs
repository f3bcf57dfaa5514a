//! Whether what came of an attempt is worth another one, and when.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::config::model::{Backoff, ResetFormat, Retries, RetryCondition};
use crate::grpc;
use crate::route;
use crate::telemetry::metrics::RetryReason;
use crate::upstream::UpstreamError;

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// Why a response is to be asked for again.
pub(super) fn about_response(
    policy: &Retries,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<RetryReason> {
    let has = |condition| policy.on.contains(&condition);
    if headers.contains_key(RATE_LIMITED) {
        return has(RetryCondition::RateLimited).then_some(RetryReason::Status);
    }
    let grpc = grpc::Status::of(headers).map(grpc::Status::code);
    for condition in &policy.on {
        let (applies, reason) = match condition {
            RetryCondition::ServerError => (status.is_server_error(), RetryReason::Status),
            RetryCondition::GatewayError => (matches!(status.as_u16(), 502..=504), RetryReason::Status),
            RetryCondition::Conflict => (status == StatusCode::CONFLICT, RetryReason::Status),
            RetryCondition::Status(wanted) => (status == *wanted, RetryReason::Status),
            RetryCondition::Grpc(wanted) => (grpc == Some(*wanted), RetryReason::GrpcStatus),
            RetryCondition::Connect
            | RetryCondition::Reset
            | RetryCondition::RefusedStream
            | RetryCondition::RateLimited => continue,
        };
        if applies {
            return Some(reason);
        }
    }
    let named = |(name, value): &(HeaderName, _)| route::holds_of_field(value, &headers.get_all(name));
    policy.on_headers.iter().any(named).then_some(RetryReason::Header)
}

/// Why a request is to be sent again that there was no response to.
pub(super) fn about_failure(policy: &Retries, error: &UpstreamError) -> Option<RetryReason> {
    let reason = match error {
        UpstreamError::ConnectRefused(_)
        | UpstreamError::Connect(_)
        | UpstreamError::ConnectTimeout
        | UpstreamError::Tls(_) => RetryReason::Connect,
        // Nobody has begun with it: whatever it is, and whatever the conditions are.
        UpstreamError::RefusedStream(_) => return Some(RetryReason::RefusedStream),
        UpstreamError::Closed { .. } | UpstreamError::Malformed(_) | UpstreamError::Http2(_) => {
            RetryReason::Reset
        }
        // Another attempt would come to the same.
        UpstreamError::NoEndpoint
        | UpstreamError::NoUpgrade
        | UpstreamError::Overflow(_)
        | UpstreamError::HeadTooLarge(_)
        | UpstreamError::RequestBody(_)
        | UpstreamError::ResponseBody(_)
        | UpstreamError::Undecodable(_) => return None,
    };
    wants_without_response(policy, reason).then_some(reason)
}

/// Whether a request is to be sent again whose attempt took too long.
pub(super) fn about_timeout(policy: &Retries) -> Option<RetryReason> {
    wants_without_response(policy, RetryReason::Timeout).then_some(RetryReason::Timeout)
}

/// In Envoy's words 5xx and gateway errors are also what would become one.
fn wants_without_response(policy: &Retries, reason: RetryReason) -> bool {
    policy.on.iter().any(|condition| match condition {
        RetryCondition::Reset | RetryCondition::ServerError | RetryCondition::GatewayError => true,
        RetryCondition::Connect => reason == RetryReason::Connect,
        RetryCondition::RefusedStream => reason == RetryReason::RefusedStream,
        _ => false,
    })
}

/// How long a response asks to wait. `None` where it does not.
pub(super) fn asked_wait(policy: &Retries, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    policy.reset_headers.iter().find_map(|(name, format)| {
        let value = headers.get(name)?;
        match format {
            ResetFormat::Seconds => seconds(value).or_else(|| date(name, value, now)),
            ResetFormat::UnixTimestamp => {
                let moment = SystemTime::UNIX_EPOCH.checked_add(seconds(value)?)?;
                Some(moment.duration_since(now).unwrap_or_default())
            }
        }
    })
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn date(name: &HeaderName, value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let date = (name == RETRY_AFTER).then(|| httpdate::parse_http_date(value.to_str().ok()?).ok())??;
    Some(date.duration_since(now).unwrap_or_default())
}

/// How long to wait before the `number`th retry, from 1: a random time below what doubles each time, so that those who
/// failed together do not come again together.
pub(super) fn backoff(backoff: &Backoff, number: u32) -> Duration {
    let factor = 2_u32.saturating_pow(number).saturating_sub(1);
    let below = backoff.base.saturating_mul(factor).min(backoff.max);
    Duration::from_micros(fastrand::u64(..=u64::try_from(below.as_micros()).unwrap_or(u64::MAX)))
}

/// What a response asked for, and up to half as much again: it said the same to others.
pub(super) fn spread(wait: Duration) -> Duration {
    let more = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX);
    wait.saturating_add(Duration::from_micros(fastrand::u64(..=more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn on(conditions: &[RetryCondition]) -> Retries {
        Retries { on: conditions.to_vec(), ..Retries::default() }
    }

    #[test]
    fn what_is_tried_again_is_what_the_conditions_name() {
        use RetryCondition::*;
        let status = |code| StatusCode::from_u16(code).unwrap();
        type Case<'a> = (&'a [RetryCondition], u16, &'a [(&'a str, &'a str)], bool);
        let cases: [Case<'_>; 12] = [
            (&[ServerError], 500, &[], true),
            (&[ServerError], 429, &[], false),
            (&[GatewayError], 500, &[], false),
            (&[GatewayError], 504, &[], true),
            (&[Conflict], 409, &[], true),
            (&[Connect, Reset, RefusedStream], 503, &[], false),
            (&[Status(status(429))], 429, &[], true),
            (&[Grpc(14)], 200, &[("grpc-status", "14")], true),
            (&[Grpc(14)], 200, &[("grpc-status", "0")], false),
            (&[ServerError], 503, &[("x-envoy-ratelimited", "true")], false),
            (&[RateLimited], 429, &[("x-envoy-ratelimited", "true")], true),
            (&[], 503, &[], false),
        ];
        for (conditions, code, headers, expected) in cases {
            let headers = headers.iter().map(|&(name, value)| {
                (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
            });
            let reason = about_response(&on(conditions), status(code), &headers.collect());
            assert_eq!(reason.is_some(), expected, "{conditions:?} {code}");
        }
    }

    #[test]
    fn a_response_says_in_seconds_or_by_a_date_when_to_come_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut policy = Retries::default();
        let wait = |policy: &Retries, name, value: &str| asked_wait(policy, &fields(&[(name, value)]), now);
        assert_eq!(wait(&policy, "retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(
            wait(&policy, "retry-after", "Tue, 14 Nov 2023 22:13:25 GMT"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(wait(&policy, "retry-after", "Tue, 14 Nov 2000 22:13:25 GMT"), Some(Duration::ZERO));
        assert_eq!(wait(&policy, "retry-after", "soon"), None);
        assert_eq!(wait(&policy, "x-reset", "1700000003"), None);
        policy.reset_headers = vec![(HeaderName::from_static("x-reset"), ResetFormat::UnixTimestamp)];
        assert_eq!(wait(&policy, "x-reset", "1700000003"), Some(Duration::from_secs(3)));
        assert_eq!(wait(&policy, "x-reset", "18446744073709551615"), None);
    }

    #[test]
    fn waits_are_below_what_doubles_and_have_a_limit() {
        let policy = Backoff { base: Duration::from_millis(25), max: Duration::from_millis(100) };
        for (number, below) in [(1, 25), (2, 75), (3, 100), (40, 100)] {
            let longest = (0..1000).map(|_| backoff(&policy, number)).max().unwrap();
            assert!(longest <= Duration::from_millis(below), "{number}: {longest:?}");
            assert!(longest > Duration::from_millis(below) * 8 / 10, "{number}: all of the range is used");
        }
    }
}
