//! What an instance is given from outside: the time, randomness, a log, and what outlives it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::abi::LogLevel;
use super::fault::Fault;
use super::grants::Capability;
use super::metrics::GuestMetrics;
use super::shared_data::SharedData;
use super::usage::FilterUsage;
use super::witness::Witness;

/// Where guests' time comes from; a test has one of its own.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> SystemTime;
    /// A clock that never goes back.
    fn monotonic(&self) -> Instant;
}

/// Nanoseconds, of which 64 bits hold 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970; 0 before that.
pub(crate) fn wall_nanoseconds(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
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

/// Where randomness comes from; a test has a seed.
pub trait Randomness: Send + Sync {
    /// Fills the buffer.
    ///
    /// # Errors
    ///
    /// There is none to be had.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The operating system gives no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there is no randomness to be had")]
pub struct NoRandomness;

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(buffer).map_err(|_| NoRandomness)
    }
}

/// Where goes what guests say, and what is said of their faults; a test keeps it.
pub trait GuestLog: Send + Sync {
    /// The lowest level at which a line is kept.
    fn level(&self) -> LogLevel;
    /// A line that a filter logs, at a level that is kept.
    fn line(&self, filter: &str, level: LogLevel, line: &str);
    /// Lines of a filter were dropped, because it logs more than it may.
    fn dropped(&self, filter: &str, lines: u64);
    /// A filter was denied something, as not often is said of one filter and one capability.
    fn denied(&self, filter: &str, capability: Capability, sentence: &str) {
        let _ = capability;
        self.line(filter, LogLevel::Warn, sentence);
    }
    /// A filter failed.
    fn fault(&self, filter: &str, fault: &Fault);
}

/// The process's log: guests' lines under the target `tidegate::guest`, whole, with the filter's name.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessLog;

impl GuestLog for ProcessLog {
    fn level(&self) -> LogLevel {
        macro_rules! lowest {
            ($($level:ident => $lowest:ident),*) => {
                $(if tracing::enabled!(target: "tidegate::guest", tracing::Level::$level) {
                    return LogLevel::$lowest;
                })*
            };
        }
        lowest!(TRACE => Trace, DEBUG => Debug, INFO => Info, WARN => Warn, ERROR => Error);
        LogLevel::Critical
    }

    fn line(&self, filter: &str, level: LogLevel, line: &str) {
        macro_rules! write_at {
            ($level:ident) => {
                tracing::event!(target: "tidegate::guest", tracing::Level::$level, filter, "{line}")
            };
        }
        match level {
            LogLevel::Trace => write_at!(TRACE),
            LogLevel::Debug => write_at!(DEBUG),
            LogLevel::Info => write_at!(INFO),
            LogLevel::Warn => write_at!(WARN),
            LogLevel::Error | LogLevel::Critical => write_at!(ERROR),
        }
    }

    fn dropped(&self, filter: &str, lines: u64) {
        tracing::warn!(filter, lines, "log lines of a filter were dropped: it logs too much");
    }

    fn denied(&self, filter: &str, capability: Capability, sentence: &str) {
        tracing::warn!(filter, capability = capability.name(), "{sentence}");
    }

    fn fault(&self, filter: &str, fault: &Fault) {
        tracing::error!(filter, fault = fault.kind.word(), callback = fault.callback, "{}", fault.message);
    }
}

/// Clusters by name, and the endpoints of each.
pub type Clusters = HashMap<String, Vec<SocketAddr>>;

/// What an instance is given when it starts.
#[derive(Clone)]
pub struct Services {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// The log.
    pub log: Arc<dyn GuestLog>,
    /// Shared data of all filters and workers.
    pub shared_data: Arc<SharedData>,
    /// Metrics that guests define.
    pub metrics: Arc<GuestMetrics>,
    /// Which worker the instance runs on, from 0.
    pub worker: usize,
    /// The filter's counters on this worker.
    pub usage: Arc<FilterUsage>,
    /// The clusters that a callout may go to.
    pub clusters: Arc<Clusters>,
    /// Who watches the filter's instances, if anybody does.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Services {
    /// Services of their own, shared with nothing: the machine's clock and randomness, the process's log, no clusters,
    /// worker 0.
    pub fn new() -> Services {
        Services {
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            log: Arc::new(ProcessLog),
            shared_data: Arc::default(),
            metrics: Arc::new(GuestMetrics::new(1)),
            worker: 0,
            usage: Arc::default(),
            clusters: Arc::default(),
            witness: None,
        }
    }

    /// The same surroundings, but nothing that an instance could leave a trace in; only what it logs is kept.
    pub(crate) fn throw_away(&self) -> Services {
        Services {
            shared_data: Arc::new(SharedData::aside()),
            metrics: Arc::new(GuestMetrics::new(1)),
            worker: 0,
            usage: Arc::default(),
            witness: None,
            ..self.clone()
        }
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
