//! Which exchanges get the second version.
//!
//! Exchanges are not drawn by lot but spread evenly: the k-th is at the fraction of k times the golden ratio, and gets
//! the second version where that is below the share. Of any run of exchanges, and of every n-th one of them, that is the
//! share to within a few: a small share of little traffic is what it says, and traffic that repeats itself is not split
//! along its own pattern.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::model::Percent;

/// What the gate holds while nobody passes, whatever a request says.
const CLOSED: u32 = u32::MAX;

/// 2^64 divided by the golden ratio.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many exchanges get the second version now. Read by workers, set by the control thread.
#[derive(Debug)]
pub(super) struct Gate {
    /// Hundredths of a percent, or [`CLOSED`].
    share: AtomicU32,
    /// What the filter's name is mixed into keys as: two canaries do not pick the same users.
    salt: u64,
}

/// A worker's place in the sequence.
#[derive(Debug)]
pub struct Turn(Cell<u64>);

impl Turn {
    /// Somewhere in it, so that workers do not all begin with the same version.
    pub fn somewhere() -> Turn {
        Turn(Cell::new(fastrand::u64(..)))
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(STRIDE));
        self.0.get()
    }
}

impl Gate {
    pub(super) fn new(filter: &str, percent: Percent) -> Gate {
        Gate { share: AtomicU32::new(percent.0), salt: hash(0, filter.as_bytes()) }
    }

    pub(super) fn open(&self, percent: Percent) {
        self.share.store(percent.0, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.share.store(CLOSED, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.share.load(Ordering::Relaxed) == CLOSED
    }

    pub(super) fn percent(&self) -> Percent {
        match self.share.load(Ordering::Relaxed) {
            CLOSED => Percent::NONE,
            share => Percent(share),
        }
    }

    /// Whether the next exchange passes. `is_chosen` says whether it does whatever the share; `key` is what it is known
    /// by, if it has such a thing.
    pub(super) fn passes(&self, turn: &Turn, key: Option<&[u8]>, is_chosen: impl FnOnce() -> bool) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        if share == CLOSED {
            return false;
        }
        let place = key.map_or_else(|| turn.next(), |key| hash(self.salt, key));
        // The place as one of 10,000: the upper half of it times 10,000, without its fraction.
        ((place >> 32) * u64::from(Percent::ALL.0)) >> 32 < u64::from(share) || is_chosen()
    }
}

/// The same in every process of one build: a user has one version wherever its requests go.
fn hash(salt: u64, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}
