//! Bounds on what is shown: more requests than anybody reads, or than whoever shows them keeps up with.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::wasm::witness::{Op, Step};

/// Steps that may wait to be shown. Exchanges that begin while there are more are not shown.
const MAX_WAITING: usize = 20_000;

/// Requests that are shown one by one in a second; of more there is a sum.
const SHOWN_PER_SECOND: u32 = 20;

const SECOND: Duration = Duration::from_secs(1);

/// What waits to be shown. Shared by the workers, which never wait for whoever reads.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: AtomicUsize,
    missed: AtomicU64,
    /// Exchanges that are not shown, by instance and context.
    left_out: Mutex<HashSet<(u64, u32)>>,
}

impl Backlog {
    /// Whether a step is to be shown: either all those of an exchange are, or none.
    pub(super) fn takes(&self, instance: u64, step: &Step) -> bool {
        let Some(context) = step.op.context() else {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (instance, context);
        if matches!(step.op, Op::Open { .. }) && self.waiting.load(Ordering::Relaxed) > MAX_WAITING {
            self.missed.fetch_add(1, Ordering::Relaxed);
            left_out.insert(key);
            return false;
        }
        let takes = match step.op {
            Op::Release { .. } => !left_out.remove(&key),
            _ => !left_out.contains(&key),
        };
        if takes {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    /// A step has been shown.
    pub(super) fn done(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// An instance has ended, and so has what it had.
    pub(super) fn forget(&self, instance: u64) {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| *of != instance);
    }

    /// How many exchanges were left out since this was last asked.
    pub(super) fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

/// Lets so many requests through in a second, and sums up the others.
#[derive(Debug)]
pub(super) struct Flood {
    began: Instant,
    shown: u32,
    more: Sum,
}

/// Requests that were not shown one by one.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) requests: u64,
    /// By what the client got.
    pub(super) statuses: BTreeMap<String, u64>,
    pub(super) failed: u64,
    pub(super) instructions: u64,
}

impl Flood {
    pub(super) fn new() -> Flood {
        Flood { began: Instant::now(), shown: 0, more: Sum::default() }
    }

    /// Whether one more is shown in this second.
    pub(super) fn passes(&mut self) -> bool {
        self.shown += 1;
        self.shown <= SHOWN_PER_SECOND
    }

    /// One was not shown.
    pub(super) fn leave_out(&mut self, status: String, failed: bool, instructions: u64) {
        self.more.requests += 1;
        *self.more.statuses.entry(status).or_default() += 1;
        self.more.failed += u64::from(failed);
        self.more.instructions += instructions;
    }

    /// The sum of those that were not shown, when a second is over or `now` is wanted.
    pub(super) fn sum(&mut self, now: bool) -> Option<Sum> {
        if !now && self.began.elapsed() < SECOND {
            return None;
        }
        (self.began, self.shown) = (Instant::now(), 0);
        (self.more.requests > 0).then(|| std::mem::take(&mut self.more))
    }
}

impl Sum {
    /// `503 ×2, 200 ×7`.
    pub(super) fn statuses(&self) -> String {
        let words: Vec<_> =
            self.statuses.iter().map(|(status, count)| format!("{status} ×{count}")).collect();
        words.join(", ")
    }
}

/// What is said of exchanges that could not be shown, for tools.
pub(super) fn missed(exchanges: u64) -> Value {
    json!({"exchanges": exchanges})
}
