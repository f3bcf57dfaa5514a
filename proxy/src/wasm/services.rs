//! What an instance is given from outside: the time, and what outlives it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::metrics::GuestMetrics;
use super::shared_data::SharedData;
use super::usage::FilterUsage;

/// Where guests' time comes from; a test has one of its own.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> SystemTime;
    /// A clock that never goes back.
    fn monotonic(&self) -> Instant;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// What an instance is given when it starts.
#[derive(Clone)]
pub struct Services {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Shared data of all filters and workers.
    pub shared_data: Arc<SharedData>,
    /// Metrics that guests define.
    pub metrics: Arc<GuestMetrics>,
    /// Which worker the instance runs on, from 0.
    pub worker: usize,
    /// The filter's counters on this worker.
    pub usage: Arc<FilterUsage>,
    /// The names of the clusters that a callout may go to.
    pub clusters: Arc<HashSet<String>>,
}

impl Services {
    /// Services of their own, shared with nothing: the machine's clock, no clusters, worker 0.
    pub fn new() -> Services {
        Services {
            clock: Arc::new(SystemClock),
            shared_data: Arc::default(),
            metrics: Arc::new(GuestMetrics::new(1)),
            worker: 0,
            usage: Arc::default(),
            clusters: Arc::default(),
        }
    }

    /// The same clock and clusters, but nothing that an instance could leave a trace in.
    pub(crate) fn throw_away(&self) -> Services {
        Services { clock: self.clock.clone(), clusters: self.clusters.clone(), ..Services::new() }
    }
}

impl Default for Services {
    fn default() -> Services {
        Services::new()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("worker", &self.worker).finish_non_exhaustive()
    }
}
