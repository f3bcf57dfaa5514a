//! What a worker counts of a filter's two versions. One thread writes: a count is a load and a store.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Which of a filter's two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The first: what the filter is without its canary.
    Stable,
    /// The second.
    Candidate,
}

impl Version {
    /// Both.
    pub const ALL: [Version; 2] = [Version::Stable, Version::Candidate];

    /// Its word in metrics and on the admin listener.
    pub fn word(self) -> &'static str {
        match self {
            Version::Stable => "stable",
            Version::Candidate => "candidate",
        }
    }
}

/// What became of an exchange that a version saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// How long it took until the response's head was there, and whether its status is 5xx. `None` if there was none.
    pub answer: Option<(Duration, bool)>,
    /// Whether the version ended the exchange itself, with an error or a close.
    pub denied: bool,
    /// Instructions that it ran.
    pub instructions: u64,
}

/// How a shadow's decision compares with that of the first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Both let the request go on with the same head, or answered with the same status.
    Same,
    /// One of them answered, or both did with different statuses.
    Decision,
    /// Both let the request go on, with different heads.
    Headers,
    /// The shadow failed.
    Fault,
    /// It is not known: the shadow waited for something, or the exchange ended before.
    Unknown,
}

impl Comparison {
    /// Every one, in the order of its discriminant.
    pub const ALL: [Comparison; 5] =
        [Comparison::Same, Comparison::Decision, Comparison::Headers, Comparison::Fault, Comparison::Unknown];

    /// Its word in metrics and on the admin listener.
    pub fn word(self) -> &'static str {
        match self {
            Comparison::Same => "same",
            Comparison::Decision => "decision",
            Comparison::Headers => "headers",
            Comparison::Fault => "fault",
            Comparison::Unknown => "unknown",
        }
    }
}

/// A worker's counters. They are in lines of the cache that no other worker writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cells {
    versions: [VersionCells; 2],
    compared: [AtomicU64; Comparison::ALL.len()],
    alarm: Arc<Notify>,
}

#[derive(Debug, Default)]
struct VersionCells {
    exchanges: AtomicU64,
    answers: AtomicU64,
    server_errors: AtomicU64,
    denials: AtomicU64,
    faults: AtomicU64,
    latency_ns: AtomicU64,
    instructions: AtomicU64,
}

impl Cells {
    pub(super) fn new(alarm: Arc<Notify>) -> Cells {
        Cells { versions: Default::default(), compared: Default::default(), alarm }
    }

    /// Counts an exchange that has ended.
    pub fn count(&self, version: Version, outcome: &Outcome) {
        let cells = &self.versions[version as usize];
        add(&cells.exchanges, 1);
        add(&cells.denials, u64::from(outcome.denied));
        add(&cells.instructions, outcome.instructions);
        if let Some((latency, is_error)) = outcome.answer {
            add(&cells.answers, 1);
            add(&cells.server_errors, u64::from(is_error));
            add(&cells.latency_ns, u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Counts an exchange that a version failed on, or could not be called for. At once: it may go on for long.
    pub fn count_fault(&self, version: Version) {
        add(&self.versions[version as usize].faults, 1);
        if version == Version::Candidate {
            self.alarm.notify_one();
        }
    }

    /// Counts how a shadow decided.
    pub fn count_comparison(&self, comparison: Comparison) {
        add(&self.compared[comparison as usize], 1);
    }

    pub(super) fn counts(&self) -> Counts {
        let sums = |version: Version| {
            let cells = &self.versions[version as usize];
            Sums {
                exchanges: read(&cells.exchanges),
                answers: read(&cells.answers),
                server_errors: read(&cells.server_errors),
                denials: read(&cells.denials),
                faults: read(&cells.faults),
                latency_ns: read(&cells.latency_ns),
                instructions: read(&cells.instructions),
            }
        };
        Counts {
            stable: sums(Version::Stable),
            candidate: sums(Version::Candidate),
            compared: std::array::from_fn(|at| read(&self.compared[at])),
        }
    }
}

fn read(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(read(cell).wrapping_add(amount), Ordering::Relaxed);
}

/// What both versions did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The first version.
    pub stable: Sums,
    /// The second.
    pub candidate: Sums,
    /// How a shadow's decisions compare, in the order of [`Comparison::ALL`].
    pub compared: [u64; Comparison::ALL.len()],
}

/// What a version did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Exchanges that it saw, or was shown, and that have ended.
    pub exchanges: u64,
    /// Those that had a response. None of a shadow.
    pub answers: u64,
    /// Responses whose status is 5xx.
    pub server_errors: u64,
    /// Exchanges that it ended itself, with an error or a close.
    pub denials: u64,
    /// Exchanges that it failed on, or could not be called for.
    pub faults: u64,
    /// The sum of the times from an exchange's beginning to its response's head, in nanoseconds.
    pub latency_ns: u64,
    /// Instructions that it ran for exchanges.
    pub instructions: u64,
}

impl Counts {
    /// What a version did.
    pub fn of(&self, version: Version) -> &Sums {
        match version {
            Version::Stable => &self.stable,
            Version::Candidate => &self.candidate,
        }
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            stable: self.stable.with(&other.stable, u64::wrapping_add),
            candidate: self.candidate.with(&other.candidate, u64::wrapping_add),
            compared: std::array::from_fn(|at| self.compared[at].wrapping_add(other.compared[at])),
        }
    }
}

/// What came since. Counts only grow; one that was read while it grew is taken for what it was.
impl Sub for Counts {
    type Output = Counts;

    fn sub(self, earlier: Counts) -> Counts {
        Counts {
            stable: self.stable.with(&earlier.stable, u64::saturating_sub),
            candidate: self.candidate.with(&earlier.candidate, u64::saturating_sub),
            compared: std::array::from_fn(|at| self.compared[at].saturating_sub(earlier.compared[at])),
        }
    }
}

impl Sums {
    fn with(&self, other: &Sums, op: fn(u64, u64) -> u64) -> Sums {
        Sums {
            exchanges: op(self.exchanges, other.exchanges),
            answers: op(self.answers, other.answers),
            server_errors: op(self.server_errors, other.server_errors),
            denials: op(self.denials, other.denials),
            faults: op(self.faults, other.faults),
            latency_ns: op(self.latency_ns, other.latency_ns),
            instructions: op(self.instructions, other.instructions),
        }
    }

    /// The mean time to the response's head.
    pub fn mean_latency(&self) -> Option<Duration> {
        self.latency_ns.checked_div(self.answers).map(Duration::from_nanos)
    }

    /// The mean of the instructions for an exchange.
    pub fn mean_instructions(&self) -> Option<u64> {
        self.instructions.checked_div(self.exchanges)
    }
}
