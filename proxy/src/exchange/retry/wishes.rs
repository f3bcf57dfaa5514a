//! What a request says itself of how often and how long it may be tried: Envoy's headers, and gRPC's deadline.
//!
//! Envoy's are believed where the listener trusts whoever connects to it to speak for others (`trusted_hops`): a proxy
//! there removes from strangers' requests what they may not say. They go no further than this proxy, believed or not.

use std::borrow::Cow;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::config::model::{Retries, RetryCondition, Route};

const RETRY_ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
const RETRY_GRPC_ON: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
const RETRIABLE_STATUSES: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
const MAX_RETRIES: HeaderName = HeaderName::from_static("x-envoy-max-retries");
const TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const PER_TRY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Envoy's headers by which a request is its own policy.
const WISHES: [HeaderName; 6] =
    [RETRY_ON, RETRY_GRPC_ON, RETRIABLE_STATUSES, MAX_RETRIES, TIMEOUT, PER_TRY_TIMEOUT];

/// More retries than this are not a request's to ask for.
const MOST_RETRIES: u32 = 100;

/// How often a request is sent again, by its route and, where it is believed, by itself.
pub(in crate::exchange) fn policy<'a>(
    route: &'a Route,
    headers: &HeaderMap,
    trusted: bool,
) -> Option<Cow<'a, Retries>> {
    let own = route.retries.as_ref().map(Cow::Borrowed);
    if !trusted || !has_any(headers) {
        return own;
    }
    let per_try = headers.get(PER_TRY_TIMEOUT).and_then(milliseconds);
    let conditions = asked_conditions(headers);
    if own.is_none() && conditions.is_empty() && per_try.is_none() {
        return None;
    }
    let mut policy = own.unwrap_or_default();
    let changed = policy.to_mut();
    for condition in conditions {
        if !changed.on.contains(&condition) {
            changed.on.push(condition);
        }
    }
    if let Some(most) = headers.get(MAX_RETRIES).and_then(number) {
        changed.attempts = most.min(MOST_RETRIES);
    }
    if let Some(time) = per_try {
        changed.per_try_timeout = (!time.is_zero()).then_some(time);
    }
    Some(policy)
}

/// How long the request may take from when it is whole: by its route, by gRPC's deadline where the route looks at that,
/// and where it is believed by Envoy's header, which goes before both.
pub(in crate::exchange) fn time(route: &Route, headers: &HeaderMap, trusted: bool) -> Option<Duration> {
    if trusted && let Some(time) = headers.get(TIMEOUT).and_then(milliseconds) {
        return (!time.is_zero()).then_some(time);
    }
    deadline(route, headers).or(route.timeout)
}

/// What a gRPC request says of its time, as far as its route allows it.
pub(in crate::exchange) fn deadline(route: &Route, headers: &HeaderMap) -> Option<Duration> {
    let longest = route.grpc_timeout?;
    let grpc = headers.get(CONTENT_TYPE)?.as_bytes().starts_with(b"application/grpc");
    let said = headers.get(GRPC_TIMEOUT).filter(|_| grpc).and_then(grpc_timeout)?;
    Some(if longest.is_zero() { said } else { said.min(longest) })
}

/// Tells the endpoint how much is left of a deadline.
pub(in crate::exchange) fn tell_deadline(headers: &mut HeaderMap, left: Duration) {
    // Eight digits at most (gRPC over HTTP/2, "Timeout"): beyond a day seconds do.
    let (milliseconds, seconds) = (left.as_millis().max(1), left.as_secs());
    let text = match milliseconds {
        ..100_000_000 => format!("{milliseconds}m"),
        _ => format!("{}S", seconds.min(99_999_999)),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

/// Removes what was meant for this proxy.
pub(in crate::exchange) fn drop_wishes(headers: &mut HeaderMap) {
    if has_any(headers) {
        WISHES.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Looking at each name once is cheaper than looking each of these up, where there are few and none of these.
fn has_any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-envoy-"))
}

/// Words that nobody knows are left out, as in Envoy.
fn asked_conditions(headers: &HeaderMap) -> Vec<RetryCondition> {
    let known = |word: &str| {
        let word = RetryCondition::WORDS.iter().find(|(known, _)| *known == word)?;
        Some(word.1)
    };
    let words = headers.get_all(RETRY_ON).iter().chain(headers.get_all(RETRY_GRPC_ON));
    let words = words.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',').map(str::trim));
    let statuses = headers.get_all(RETRIABLE_STATUSES).iter().filter_map(|value| value.to_str().ok());
    let statuses = statuses.flat_map(|list| list.split(',').map(str::trim));
    let statuses = statuses.filter_map(|text| StatusCode::from_bytes(text.as_bytes()).ok());
    words.filter_map(known).chain(statuses.map(RetryCondition::Status)).collect()
}

fn number(value: &HeaderValue) -> Option<u32> {
    value.to_str().ok()?.trim().parse().ok()
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    number(value).map(|number| Duration::from_millis(number.into()))
}

/// Eight digits at most, and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (&unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_has_digits_and_a_unit() {
        let read = |text: &'static str| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        for wrong in ["", "m", "5", "-5m", "999999999m", "5x", "1.5S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_told_of_a_deadline_has_eight_digits_at_most() {
        let told = |left| {
            let mut headers = HeaderMap::new();
            tell_deadline(&mut headers, left);
            headers[GRPC_TIMEOUT].to_str().unwrap().to_owned()
        };
        assert_eq!(told(Duration::from_millis(1500)), "1500m");
        assert_eq!(told(Duration::from_micros(1)), "1m");
        assert_eq!(told(Duration::from_millis(99_999_999)), "99999999m");
        assert_eq!(told(Duration::from_secs(100_000)), "100000S");
        assert_eq!(told(Duration::MAX), "99999999S");
    }
}
