//! What a worker counts of a filter's two versions.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::telemetry::metrics::Counter;

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
    compared: [Counter; Comparison::ALL.len()],
    alarm: Arc<Notify>,
}

#[derive(Debug, Default)]
struct VersionCells {
    exchanges: Counter,
    answers: Counter,
    server_errors: Counter,
    denials: Counter,
    faults: Counter,
    latency_ns: Counter,
    instructions: Counter,
}

impl Cells {
    pub(super) fn new(alarm: Arc<Notify>) -> Cells {
        Cells { versions: Default::default(), compared: Default::default(), alarm }
    }

    /// Counts an exchange that has ended.
    pub fn count(&self, version: Version, outcome: &Outcome) {
        let cells = &self.versions[version as usize];
        cells.exchanges.increment();
        cells.denials.add(u64::from(outcome.denied));
        cells.instructions.add(outcome.instructions);
        if let Some((latency, is_error)) = outcome.answer {
            cells.answers.increment();
            cells.server_errors.add(u64::from(is_error));
            cells.latency_ns.add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Counts an exchange that a version failed on, or could not be called for. At once: it may go on for long.
    pub fn count_fault(&self, version: Version) {
        self.versions[version as usize].faults.increment();
        if version == Version::Candidate {
            self.alarm.notify_one();
        }
    }

    /// Counts how a shadow decided.
    pub fn count_comparison(&self, comparison: Comparison) {
        self.compared[comparison as usize].increment();
    }

    pub(super) fn counts(&self) -> Counts {
        let sums = |version: Version| {
            let cells = &self.versions[version as usize];
            Sums {
                exchanges: cells.exchanges.value(),
                answers: cells.answers.value(),
                server_errors: cells.server_errors.value(),
                denials: cells.denials.value(),
                faults: cells.faults.value(),
                latency_ns: cells.latency_ns.value(),
                instructions: cells.instructions.value(),
            }
        };
        Counts {
            stable: sums(Version::Stable),
            candidate: sums(Version::Candidate),
            compared: std::array::from_fn(|at| self.compared[at].value()),
        }
    }
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

    fn with(&self, other: &Counts, op: fn(u64, u64) -> u64) -> Counts {
        Counts {
            stable: self.stable.with(&other.stable, op),
            candidate: self.candidate.with(&other.candidate, op),
            compared: std::array::from_fn(|at| op(self.compared[at], other.compared[at])),
        }
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        self.with(&other, u64::wrapping_add)
    }
}

/// What came since. Counts only grow; one that was read while it grew is taken for what it was.
impl Sub for Counts {
    type Output = Counts;

    fn sub(self, earlier: Counts) -> Counts {
        self.with(&earlier, u64::saturating_sub)
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
