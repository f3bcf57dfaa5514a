//! Whether the proxy itself has more to do than it can: what it refuses then, so that what it has gets on.
//!
//! The control thread looks at the memory and says how far it has come: a [`Stage`], which requests and connections
//! look up by one load. What is counted (requests, connections) is counted as it begins; how late a worker is, it finds
//! out for itself. Nothing here answers anybody or closes anything: see `exchange` and `listener`.

mod lag;
mod memory;
mod stage;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

pub(crate) use lag::keep_pace;
pub(crate) use memory::{Memory, Reading};
pub(crate) use stage::Stage;

use crate::config::model;

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Memory in use.
    Memory,
    /// Requests under way.
    Requests,
    /// Connections that are open.
    Connections,
    /// Work that is due, on one worker.
    Lag,
}

impl Excess {
    pub(crate) const ALL: [Excess; 4] = [Excess::Memory, Excess::Requests, Excess::Connections, Excess::Lag];

    /// Its word in metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Excess::Memory => "memory",
            Excess::Requests => "requests",
            Excess::Connections => "connections",
            Excess::Lag => "lag",
        }
    }
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Request,
    Connection,
}

impl Work {
    pub(crate) const ALL: [Work; 2] = [Work::Request, Work::Connection];

    /// Its word in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Work::Request => "request",
            Work::Connection => "connection",
        }
    }
}

/// How much the process has to do, whatever the configuration. All threads share it.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    stage: AtomicU8,
    requests: Count,
    connections: Count,
    /// What was found when the memory was looked at last, in bytes; 0 where it is not looked at.
    memory_used: AtomicU64,
    memory_limit: AtomicU64,
    /// How often each stage began.
    entered: [AtomicU64; Stage::ALL.len()],
    refused: [[AtomicU64; Excess::ALL.len()]; Work::ALL.len()],
}

/// A number that all workers write: on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicUsize);

impl Overload {
    /// How far it has come with the memory.
    pub(crate) fn stage(&self) -> Stage {
        Stage::of_number(self.stage.load(Relaxed))
    }

    /// Goes over to a stage. For the control thread.
    pub(crate) fn enter(&self, stage: Stage) {
        if self.stage.swap(stage as u8, Relaxed) != stage as u8 {
            self.entered[stage as usize].fetch_add(1, Relaxed);
        }
    }

    /// Notes what was found, or that the memory is not looked at. For the control thread.
    pub(crate) fn note_memory(&self, reading: Option<Reading>) {
        let Reading { used, limit } = reading.unwrap_or_default();
        self.memory_used.store(used, Relaxed);
        self.memory_limit.store(limit, Relaxed);
    }

    /// What was found when the memory was looked at last, if it is looked at.
    pub(crate) fn memory(&self) -> Option<Reading> {
        let (used, limit) = (self.memory_used.load(Relaxed), self.memory_limit.load(Relaxed));
        (limit > 0).then_some(Reading { used, limit })
    }

    /// How often a stage began.
    pub(crate) fn entered(&self, stage: Stage) -> u64 {
        self.entered[stage as usize].load(Relaxed)
    }

    /// How much was refused because of it.
    pub(crate) fn refused(&self, work: Work, excess: Excess) -> u64 {
        self.refused[work as usize][excess as usize].load(Relaxed)
    }

    fn refuse(&self, work: Work, excess: Excess) -> Excess {
        self.refused[work as usize][excess as usize].fetch_add(1, Relaxed);
        excess
    }
}

/// A worker's view of it.
#[derive(Debug)]
pub(crate) struct Admission {
    overload: Arc<Overload>,
    /// The worker is so late that it refuses requests.
    pub(super) is_late: Cell<bool>,
}

/// A connection or a request that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Overload>, Work);

impl Admission {
    pub(crate) fn new(overload: Arc<Overload>) -> Rc<Admission> {
        Rc::new(Admission { overload, is_late: Cell::new(false) })
    }

    /// Whether connections are to be ended as soon as they are not in use.
    pub(crate) fn is_relieving(&self) -> bool {
        self.overload.stage() >= Stage::Relieving
    }

    /// Lets a request be served, unless there is too much; `exempt` is served whatever there is. It is counted where
    /// that has a limit.
    pub(crate) fn request(&self, terms: &model::Overload, exempt: bool) -> Result<Option<Admitted>, Excess> {
        let refuse = |excess| Err(self.overload.refuse(Work::Request, excess));
        if !exempt && self.overload.stage() >= Stage::Shedding {
            return refuse(Excess::Memory);
        }
        if !exempt && self.is_late.get() {
            return refuse(Excess::Lag);
        }
        let Some(most) = terms.requests else { return Ok(None) };
        match self.count(Work::Request, most, exempt) {
            Some(admitted) => Ok(Some(admitted)),
            None => refuse(Excess::Requests),
        }
    }

    /// Lets a connection be served, unless there is too much. On a TCP listener it is what a request is elsewhere.
    pub(crate) fn connection(&self, terms: &model::Overload, is_tcp: bool) -> Result<Admitted, Excess> {
        let refuse = |excess| Err(self.overload.refuse(Work::Connection, excess));
        let last = if is_tcp { Stage::Shedding } else { Stage::Refusing };
        if self.overload.stage() >= last {
            return refuse(Excess::Memory);
        }
        if is_tcp && self.is_late.get() {
            return refuse(Excess::Lag);
        }
        let most = terms.connections.unwrap_or(usize::MAX);
        self.count(Work::Connection, most, false).map_or_else(|| refuse(Excess::Connections), Ok)
    }

    fn count(&self, work: Work, most: usize, even_so: bool) -> Option<Admitted> {
        let before = self.overload.counter(work).fetch_add(1, Relaxed);
        // Made now, so that it counts one less where it may not be.
        let admitted = Admitted(self.overload.clone(), work);
        (before < most || even_so).then_some(admitted)
    }
}

impl Overload {
    fn counter(&self, work: Work) -> &AtomicUsize {
        match work {
            Work::Request => &self.requests.0,
            Work::Connection => &self.connections.0,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.counter(self.1).fetch_sub(1, Relaxed);
    }
}
