//! How a cluster's limit of requests adapts to how long they take.

use std::time::Duration;

use super::Percent;

/// The terms of an adaptive limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// Which of the times of a window counts: that within which this share was answered.
    pub percentile: Percent,
    /// The least limit, and that of measurements. Not 0.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// Between two changes.
    pub window: Duration,
    /// Between two measurements.
    pub measure_every: Duration,
    /// The requests of a measurement.
    pub requests: usize,
    /// How much later a measurement may be, at random, as a share of the time between two.
    pub jitter: Percent,
    /// How much longer than measured requests may take, as a share of that.
    pub buffer: Percent,
    /// The time that is not measured then.
    pub fixed: Option<Duration>,
}
