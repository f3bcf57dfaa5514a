//! A second version of a filter beside the first.

use std::time::Duration;

use http::HeaderName;

use super::Match;
use crate::config::bounds;
use crate::config::scalar::Count;

/// Hundredths of a percent: 10,000 is all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

impl Percent {
    /// All.
    pub const ALL: Percent = Percent(10_000);
    /// Nothing.
    pub const NONE: Percent = Percent(0);

    /// As a fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e4
    }
}

/// How many times as much, in hundredths: 200 is twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Times(pub u32);

/// A second version of a filter beside the first: which exchanges it gets, and when it gets none any more.
#[derive(Debug, Clone)]
pub struct Canary {
    /// The filter, as an index into [`Config::filters`](super::Config::filters).
    pub filter: usize,
    /// Its second version, as an index into the same. Chains do not name it; its name is the filter's with
    /// [`SUFFIX`](Canary::SUFFIX).
    pub candidate: usize,
    /// What the second version does to an exchange.
    pub mode: CanaryMode,
    /// Its share of the exchanges that `matches` says nothing of, at the beginning.
    pub percent: Percent,
    /// Which exchanges it gets whatever the share.
    pub matches: Option<Match>,
    /// The request's header field whose value decides: exchanges with one value get one version.
    pub key: Option<HeaderName>,
    /// When it gets no exchanges any more.
    pub rollback: Rollback,
    /// How its share grows by itself.
    pub promote: Option<Promote>,
}

impl Canary {
    /// What the name of a second version ends with.
    pub const SUFFIX: &str = "@canary";
}

/// What the second version of a filter does to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryMode {
    /// It serves it, in the place of the first.
    Serve,
    /// It is shown what the first is shown. What it decides changes nothing, and is compared.
    Shadow,
}

/// When the second version of a filter gets no exchanges any more. What is not set is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// How many exchanges it has to have seen before it is compared. Faults count at once.
    pub minimum: u64,
    /// How long is looked back, at least; at most twice as long.
    pub interval: Duration,
    /// So many exchanges that it failed on within the interval; 0 is never.
    pub faults: u64,
    /// Its share of responses with a status of 5xx beyond that of the first version, by this.
    pub server_errors: Option<Percent>,
    /// Its share of exchanges that it ended itself, with an error or a close, beyond that of the first version, by this.
    pub denials: Option<Percent>,
    /// Its mean time to the response's head, against that of the first version.
    pub latency: Option<Times>,
    /// Its mean instructions for an exchange, against those of the first version.
    pub instructions: Option<Times>,
}

impl Default for Rollback {
    fn default() -> Rollback {
        let Count(minimum) = bounds::CANARY_MINIMUM.default;
        Rollback {
            minimum,
            interval: bounds::CANARY_INTERVAL.default,
            faults: bounds::CANARY_FAULTS.default.0,
            server_errors: None,
            denials: None,
            latency: None,
            instructions: None,
        }
    }
}

/// How the share of a second version grows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promote {
    /// The shares, each larger than the one before. Never empty.
    pub steps: Vec<Percent>,
    /// How long one lasts, at least: until the second version has seen as many exchanges as a comparison takes.
    pub every: Duration,
}
