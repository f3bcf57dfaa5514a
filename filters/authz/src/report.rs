//! What the operator is told: counters, and a log line for each request that is denied.

use tidegate_sdk::log::info;
use tidegate_sdk::{Counter, CounterFamily};

use crate::config::Mode;
use crate::request::Facts;
use crate::verdict::Denial;

/// What is counted.
pub(crate) struct Report {
    mode: Mode,
    allowed: Counter,
    /// By who decided and why: `authz_denied`, or `authz_would_deny` when nothing is enforced.
    denied: CounterFamily<2>,
    /// By issuer and `ok`, `unchanged`, `failed`.
    fetches: CounterFamily<2>,
    /// By `allowed`, `denied`, `failed`.
    external: CounterFamily<1>,
}

impl Report {
    pub(crate) fn new(mode: Mode) -> Report {
        let denied = match mode {
            Mode::Enforce => "authz_denied",
            Mode::Audit => "authz_would_deny",
        };
        Report {
            mode,
            allowed: Counter::new("authz_allowed"),
            denied: CounterFamily::new(denied, ["rule", "reason"]),
            fetches: CounterFamily::new("authz_key_fetches", ["issuer", "result"]),
            external: CounterFamily::new("authz_external", ["result"]),
        }
    }

    /// A request passed.
    pub(crate) fn allowed(&self) {
        self.allowed.increment();
    }

    /// A request was denied, or would have been. The query is not logged: there may be credentials in it.
    pub(crate) fn denied(&self, denial: &Denial, facts: &Facts) {
        let (rule, reason) = (denial.by.as_deref().unwrap_or("-"), denial.reason.word());
        self.denied.with([rule, reason]).increment();
        let (method, path) = (facts.method(), facts.path.readings().next().unwrap_or_default());
        match self.mode {
            Mode::Enforce => info!(rule = rule, reason = reason, method = method, path = path; "denied"),
            Mode::Audit => info!(rule = rule, reason = reason, method = method, path = path; "would deny"),
        }
    }

    /// Keys were asked for.
    pub(crate) fn fetched(&self, issuer: &str, result: &str) {
        self.fetches.with([issuer, result]).increment();
    }

    /// The external service was asked.
    pub(crate) fn asked(&self, result: &str) {
        self.external.with([result]).increment();
    }
}
