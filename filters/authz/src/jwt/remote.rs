//! When an issuer's keys are fetched, and how long those from before serve. Knows no host: it is told the time.
//!
//! Keys are fetched at the start, again every `refresh`, and at once for a token with a key that is not known, though no
//! more often than `min_interval`: else anyone could have the issuer asked as often as they like. When a fetch fails, the
//! keys from before serve for `stale_if_error` beyond their `refresh`, and it is tried again soon.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::Span;

/// Keys are not fetched more often than this, whatever is configured.
const SHORTEST_REFRESH: Duration = Duration::from_millis(100);
/// The first wait after a failure; doubled with each.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Where keys are fetched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fetch {
    /// The cluster that has them.
    pub(crate) cluster: String,
    /// Path and query there.
    pub(crate) path: String,
    /// The host that is asked for; the cluster's name without it.
    #[serde(default)]
    pub(crate) authority: Option<String>,
    /// For the whole answer.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Span,
    /// How long keys serve before they are fetched again.
    #[serde(default = "default_refresh")]
    pub(crate) refresh: Span,
    /// How much longer they serve while that fails.
    #[serde(default = "default_stale")]
    pub(crate) stale_if_error: Span,
    /// Between two fetches for tokens with keys that are not known.
    #[serde(default = "default_interval")]
    pub(crate) min_interval: Span,
}

fn default_timeout() -> Span {
    Span::new(Duration::from_secs(5))
}

fn default_refresh() -> Span {
    Span::new(Duration::from_secs(300))
}

fn default_stale() -> Span {
    Span::new(Duration::from_secs(3600))
}

fn default_interval() -> Span {
    Span::new(Duration::from_secs(30))
}

/// How fetching stands. Times are since 1970.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// When keys came last.
    fetched: Option<Duration>,
    /// When they were last asked for.
    attempted: Option<Duration>,
    /// In a row, up to now.
    failures: u32,
    /// The keys are being asked for.
    under_way: bool,
}

impl Schedule {
    /// How long the background has to wait before it fetches.
    pub(crate) fn wait(&self, fetch: &Fetch, now: Duration) -> Duration {
        let due = match (self.attempted, self.fetched) {
            (Some(attempted), _) if self.failures > 0 => attempted + self.retry(fetch),
            (_, Some(fetched)) => fetched + fetch.refresh.duration().max(SHORTEST_REFRESH),
            (_, None) => return Duration::ZERO,
        };
        due.saturating_sub(now)
    }

    fn retry(&self, fetch: &Fetch) -> Duration {
        let wait = FIRST_RETRY.saturating_mul(2u32.saturating_pow(self.failures.min(16).saturating_sub(1)));
        wait.min(LONGEST_RETRY).min(fetch.refresh.duration().max(FIRST_RETRY))
    }

    /// The keys that are there may still be used.
    pub(crate) fn serves(&self, fetch: &Fetch, now: Duration) -> bool {
        self.fetched
            .is_some_and(|fetched| now < fetched + fetch.refresh.duration() + fetch.stale_if_error.duration())
    }

    /// A request with a key that is not known is worth a fetch, or one is under way that it can wait for.
    pub(crate) fn may_help(&self, fetch: &Fetch, now: Duration) -> bool {
        self.under_way
            || self.attempted.is_none_or(|attempted| now >= attempted + fetch.min_interval.duration())
    }

    /// The keys are being asked for.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// A fetch begins.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.under_way = true;
        self.attempted = Some(now);
    }

    /// It brought keys, or did not.
    pub(crate) fn end(&mut self, now: Duration, succeeded: bool) {
        self.under_way = false;
        if succeeded {
            self.fetched = Some(now);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch() -> Fetch {
        serde_json::from_str(r#"{"cluster": "idp", "path": "/jwks.json"}"#).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn keys_are_fetched_at_once_and_again_after_their_time() {
        let (fetch, mut schedule) = (fetch(), Schedule::default());
        assert_eq!(schedule.wait(&fetch, at(0)), Duration::ZERO);
        assert!(!schedule.serves(&fetch, at(0)));
        schedule.begin(at(0));
        schedule.end(at(1), true);
        assert_eq!(schedule.wait(&fetch, at(1)), Duration::from_secs(300));
        assert_eq!(schedule.wait(&fetch, at(301)), Duration::ZERO);
    }

    #[test]
    fn keys_from_before_serve_for_a_while_when_fetching_fails() {
        let (fetch, mut schedule) = (fetch(), Schedule::default());
        schedule.begin(at(0));
        schedule.end(at(0), true);
        schedule.begin(at(300));
        schedule.end(at(305), false);
        assert!(schedule.serves(&fetch, at(3899)));
        assert!(!schedule.serves(&fetch, at(3900)));
    }

    #[test]
    fn after_failures_it_is_tried_again_less_and_less_often() {
        let (fetch, mut schedule) = (fetch(), Schedule::default());
        let mut waits = Vec::new();
        for _ in 0..8 {
            schedule.begin(at(0));
            schedule.end(at(0), false);
            waits.push(schedule.wait(&fetch, at(0)).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        schedule.begin(at(0));
        schedule.end(at(0), true);
        assert_eq!(schedule.wait(&fetch, at(0)).as_secs(), 300);
    }

    #[test]
    fn tokens_with_unknown_keys_do_not_have_the_issuer_asked_all_the_time() {
        let (fetch, mut schedule) = (fetch(), Schedule::default());
        assert!(schedule.may_help(&fetch, at(0)));
        schedule.begin(at(0));
        assert!(schedule.may_help(&fetch, at(1)), "there is one to wait for");
        schedule.end(at(1), true);
        assert!(!schedule.may_help(&fetch, at(29)));
        assert!(schedule.may_help(&fetch, at(30)));
    }
}
