//! What both versions did in the last while, made of sums that only grow.

use std::time::{Duration, Instant};

use super::cells::{Counts, Sums};

/// Two marks, of which the older is where the looking back ends. Once the younger is an interval old, and the second
/// version has seen enough since (and the first ever), it becomes the older: so that a comparison is of one to two intervals, or of as long as
/// enough exchanges take.
#[derive(Debug)]
pub(super) struct Window {
    older: Counts,
    younger: Counts,
    marked: Instant,
    /// What the first version did in the last while in which it saw enough: for when it sees nearly nothing any more.
    last_stable: Option<Sums>,
}

impl Window {
    pub(super) fn new(counts: Counts, now: Instant) -> Window {
        Window { older: counts, younger: counts, marked: now, last_stable: None }
    }

    /// What happened in the window, the first version's part in the last one that has `enough` of it.
    pub(super) fn view(
        &mut self,
        counts: &Counts,
        enough: u64,
        interval: Duration,
        now: Instant,
    ) -> (Option<Sums>, Sums) {
        let recent = *counts - self.older;
        if recent.stable.exchanges >= enough {
            self.last_stable = Some(recent.stable);
        }
        if now.duration_since(self.marked) >= interval
            && (*counts - self.younger).candidate.exchanges >= enough
            && self.last_stable.is_some()
        {
            self.older = std::mem::replace(&mut self.younger, *counts);
            self.marked = now;
        }
        (self.last_stable, recent.candidate)
    }

    /// How many exchanges of the first version are not there yet, of as many as are enough.
    pub(super) fn missing_stable(&self, counts: &Counts, enough: u64) -> u64 {
        match self.last_stable {
            Some(_) => 0,
            None => enough.saturating_sub((*counts - self.older).stable.exchanges),
        }
    }

    /// Begins anew with another share; what the first version did is not forgotten.
    pub(super) fn restart(&mut self, counts: &Counts, now: Instant) {
        *self = Window { last_stable: self.last_stable, ..Window::new(*counts, now) };
    }
}
