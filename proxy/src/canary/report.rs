//! What an operator is shown: the admin listener writes it, `tidegate canary` reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cells::Sums;

/// What an operator is shown of a canary. Its fields stay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The filter's name.
    pub filter: String,
    /// `serve` or `shadow`.
    pub mode: String,
    /// What it does.
    pub state: State,
    /// The share in force.
    pub percent: f64,
    /// Since when that is the share, in RFC 3339.
    pub since: String,
    /// The next step that it takes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// Why it was rolled back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// The first version.
    pub stable: VersionReport,
    /// The second.
    pub candidate: VersionReport,
    /// How a shadow's decisions compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<BTreeMap<String, u64>>,
}

/// What a canary does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It gets its share.
    Running,
    /// It gets its share, which an operator keeps from growing by itself.
    Paused,
    /// It gets nothing.
    RolledBack,
    /// It gets everything.
    Promoted,
}

/// A step to come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Next {
    /// The share then.
    pub percent: f64,
    /// In how many seconds, at the earliest.
    pub in_seconds: f64,
    /// How many exchanges the first version has to see before, at least; 0 where it saw enough, or does not matter.
    #[serde(default)]
    pub missing_stable: u64,
    /// The same of the second version.
    #[serde(default)]
    pub missing_candidate: u64,
}

/// What a version did since its canary began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionReport {
    /// Exchanges that it saw to their end.
    pub exchanges: u64,
    /// Responses whose status is 5xx.
    pub server_errors: u64,
    /// Exchanges that it ended itself.
    pub denials: u64,
    /// Exchanges that it failed on.
    pub faults: u64,
    /// The mean time to the response's head, in milliseconds.
    pub latency_ms: Option<f64>,
    /// The mean of the instructions for an exchange.
    pub instructions: Option<u64>,
}

impl VersionReport {
    pub(super) fn of(sums: &Sums) -> VersionReport {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        VersionReport {
            exchanges: sums.exchanges,
            server_errors: sums.server_errors,
            denials: sums.denials,
            faults: sums.faults,
            latency_ms: sums.mean_latency().map(milliseconds),
            instructions: sums.mean_instructions(),
        }
    }
}

/// The last rollback, while it lasts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolledBack {
    /// One of the fixed words of [`Reason`](super::Reason).
    pub reason: String,
    /// The numbers, in words.
    pub details: String,
    /// The share until then.
    pub from_percent: f64,
}
