//! What guests take from their surroundings, made predictable: a clock that stands still until the kit moves it,
//! randomness from a seed, and a log that is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::wasm::{Clock, Fault, GuestLog, LogLevel, NoRandomness, Randomness};

/// The time: tokio's, which is paused and jumps to the next timer when there is nothing else to do.
pub(crate) struct VirtualClock {
    beginning: tokio::time::Instant,
    /// What the wall clock said then, if it was not set since.
    wall: Mutex<SystemTime>,
}

impl VirtualClock {
    /// A clock that begins now, on the thread of the kit's runtime.
    pub(crate) fn begin(wall: SystemTime) -> VirtualClock {
        VirtualClock { beginning: tokio::time::Instant::now(), wall: Mutex::new(wall) }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.beginning.elapsed()
    }

    /// Sets the wall clock.
    pub(crate) fn set(&self, wall: SystemTime) {
        *lock(&self.wall) = wall - self.elapsed();
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> SystemTime {
        *lock(&self.wall) + self.elapsed()
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Randomness that is the same in every run.
pub(crate) struct Seeded(Mutex<fastrand::Rng>);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Seeded {
        Seeded(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Randomness for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        lock(&self.0).fill(buffer);
        Ok(())
    }
}

/// A line that the filter logged.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// # use tidegate_test::{Kit, Module};
/// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
/// use tidegate_test::{LogLevel, Request};
///
/// let seen = kit.send(Request::get("/"));
/// assert_eq!((seen.logs()[0].level, seen.logs()[0].text.as_str()), (LogLevel::Debug, "tagging"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
    /// The worker whose instance logged it.
    pub worker: usize,
}

impl std::fmt::Display for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.level.word(), self.text)
    }
}

/// What the instances of all workers logged, and how they failed.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    lines: Vec<LogLine>,
    faults: Vec<Fault>,
}

impl Journal {
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        lock(&self.0).lines.clone()
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        lock(&self.0).faults.clone()
    }

    /// The lines and faults that have come since there were so many.
    pub(crate) fn since(&self, (lines, faults): (usize, usize)) -> (Vec<LogLine>, Vec<Fault>) {
        let entries = lock(&self.0);
        (entries.lines[lines..].to_vec(), entries.faults[faults..].to_vec())
    }

    pub(crate) fn forget(&self) {
        *lock(&self.0) = Entries::default();
    }

    /// How many lines and faults there are.
    pub(crate) fn len(&self) -> (usize, usize) {
        let entries = lock(&self.0);
        (entries.lines.len(), entries.faults.len())
    }
}

/// One worker's way into the journal.
pub(crate) struct WorkerLog {
    pub(crate) journal: std::sync::Arc<Journal>,
    pub(crate) level: LogLevel,
    pub(crate) worker: usize,
}

impl GuestLog for WorkerLog {
    fn level(&self) -> LogLevel {
        self.level
    }

    fn line(&self, _filter: &str, level: LogLevel, line: &str) {
        let line = LogLine { level, text: line.to_owned(), worker: self.worker };
        lock(&self.journal.0).lines.push(line);
    }

    fn dropped(&self, filter: &str, lines: u64) {
        let text = format!("(the host dropped {lines} log lines of {filter}: it logs too much)");
        self.line(filter, LogLevel::Warn, &text);
    }

    fn fault(&self, _filter: &str, fault: &Fault) {
        lock(&self.journal.0).faults.push(fault.clone());
    }
}

/// A panic while a lock was held left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
