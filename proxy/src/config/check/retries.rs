//! Checks when requests are sent again.

use std::time::Duration;

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{Backoff, Hedge, Retries};
use super::super::raw;
use super::super::scalar::{Count, Text};
use super::{Checker, Unique, entries};

impl Checker<'_> {
    /// `timeout` is the whole request's, if it has one.
    pub(super) fn retries(&self, raw: Field<raw::Retries>, timeout: Option<Duration>) -> Option<Retries> {
        let Located { value: raw, span } = raw.given()?;
        if raw.on.is_absent() && raw.on_headers.is_absent() && raw.hedge.is_absent() {
            let hint = "say what is tried again: `on: [connect-failure, gateway-error]`";
            self.log.error_with_hint(span, "the field `on` is missing here", hint);
        }
        let on = self.alternatives(raw.on).into_iter().map(|condition| condition.value.0).collect();
        let on_headers = entries(raw.on_headers).into_iter();
        let on_headers =
            on_headers.filter_map(|(name, value)| Some((name.value.0, self.value_match(value)?))).collect();
        let per_try_timeout = raw.per_try_timeout.given().map(|time| {
            if timeout.is_some_and(|whole| time.value.0 >= whole) {
                let hint = "make it shorter than the route's `timeout`, or leave it out";
                self.log.warning(time.span, "no attempt is over before all of the request's time is", hint);
            }
            self.in_range(time, bounds::PER_TRY_TIMEOUT)
        });
        let hedge = raw.hedge.given().and_then(|raw| self.hedge(raw, timeout, per_try_timeout));
        let whole = |Count(count)| u32::try_from(count).unwrap_or(u32::MAX);
        let (reset_headers, max_wait) = self.retry_after(raw.retry_after);
        Some(Retries {
            on,
            on_headers,
            attempts: whole(self.number(raw.attempts, bounds::RETRY_ATTEMPTS)),
            per_try_timeout,
            backoff: self.backoff(raw.backoff.value().unwrap_or_default()),
            reset_headers,
            max_wait,
            budget: self.number(raw.budget, bounds::RETRY_BUDGET),
            budget_minimum: self.count(raw.budget_minimum, bounds::RETRY_BUDGET_MINIMUM),
            buffer: self.bytes(raw.buffer, bounds::RETRY_BUFFER),
            attempt_count: raw.attempt_count.value().unwrap_or(false),
            hedge,
        })
    }

    fn hedge(
        &self,
        raw: Located<raw::Hedge>,
        timeout: Option<Duration>,
        per_try_timeout: Option<Duration>,
    ) -> Option<Hedge> {
        let Located { value: raw, span } = raw;
        let on_per_try_timeout = raw.on_per_try_timeout.value().unwrap_or(false);
        let after = raw.after.given().map(|time| {
            if timeout.is_some_and(|whole| time.value.0 >= whole) {
                let hint = "make it shorter than the route's `timeout`, or leave it out";
                self.log.warning(time.span, "all of the request's time is over by then", hint);
            }
            self.in_range(time, bounds::HEDGE_AFTER)
        });
        if on_per_try_timeout && per_try_timeout.is_none() {
            let hint = "give the attempts of `retries` a `per_try_timeout`";
            self.log.error_with_hint(span, "there is no `per_try_timeout` that could be over", hint);
            return None;
        }
        if after.is_none() && !on_per_try_timeout {
            let hint = "give `after: 50ms`, or `on_per_try_timeout: true`";
            self.log.error_with_hint(span, "this does not say when", hint);
            return None;
        }
        Some(Hedge { after, on_per_try_timeout })
    }

    fn backoff(&self, raw: raw::Backoff) -> Backoff {
        let base = self.duration(raw.base, bounds::RETRY_BACKOFF_BASE);
        let Some(max) = raw.max.given() else { return Backoff::of(base) };
        if max.value.0 < base {
            self.log.error_with_hint(max.span, "`max` is shorter than `base`", "make it as long at least");
        }
        Backoff { base, max: self.in_range(max, bounds::RETRY_BACKOFF_MAX) }
    }

    fn retry_after(
        &self,
        raw: Field<raw::RetryAfter>,
    ) -> (Vec<(::http::HeaderName, super::super::model::ResetFormat)>, Duration) {
        let raw = raw.value().unwrap_or_default();
        let max = self.duration(raw.max, bounds::RETRY_AFTER_MAX);
        if raw.headers.is_absent() {
            return (Retries::default().reset_headers, max);
        }
        let mut twice = Unique::new(self.log);
        let mut headers = Vec::new();
        for (name, format) in entries(raw.headers) {
            let Text(header) = name.value;
            twice.take(header.clone(), name.span, || format!("`{header}` is given twice"));
            headers.extend(format.value().map(|Text(format)| (header, format)));
        }
        (headers, max)
    }
}
