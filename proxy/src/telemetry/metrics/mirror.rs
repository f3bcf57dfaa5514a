//! Copies of requests that were sent to mirrors.

use std::fmt;

use super::number::Counter;
use super::page::Page;
use super::registry::{Cells, ExchangeLabels};

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// It was answered, whatever the status.
    Answered,
    /// It could not be sent, was not answered in time, or its answer was cut.
    Failed,
    /// The mirror read it more slowly than the request came: it was cut.
    Overrun,
    /// It was not made: too many were under way.
    Skipped,
    /// A drain ended it.
    Cancelled,
}

impl MirrorOutcome {
    /// Every outcome, in the order of its discriminant.
    pub const ALL: [MirrorOutcome; 5] = [
        MirrorOutcome::Answered,
        MirrorOutcome::Failed,
        MirrorOutcome::Overrun,
        MirrorOutcome::Skipped,
        MirrorOutcome::Cancelled,
    ];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            MirrorOutcome::Answered => "answered",
            MirrorOutcome::Failed => "failed",
            MirrorOutcome::Overrun => "overrun",
            MirrorOutcome::Skipped => "skipped",
            MirrorOutcome::Cancelled => "cancelled",
        }
    }
}

/// Copies of a route's requests to one of its mirrors, of one worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct MirrorCell {
    ended: [Counter; MirrorOutcome::ALL.len()],
}

impl MirrorCell {
    /// Counts a copy. Its worker only.
    pub fn count(&self, outcome: MirrorOutcome) {
        self.ended[outcome as usize].increment();
    }
}

pub(super) fn write(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    let mut family = page.counter(
        "tidegate_mirrored_requests_total",
        "Copies of requests for mirrors, by what became of them: answered, failed, overrun, skipped or cancelled.",
    )?;
    for (labels, workers) in &cells.mirrors {
        for outcome in MirrorOutcome::ALL {
            let ended = workers.values().map(|cell| cell.ended[outcome as usize].value()).sum::<u64>();
            if ended > 0 {
                let ExchangeLabels { listener, route, cluster } = labels;
                let labels = [("listener", listener), ("route", route), ("cluster", cluster)];
                let [listener, route, cluster] = labels.map(|(name, value)| (name, value.as_str()));
                family.sample(&[listener, route, cluster, ("outcome", outcome.word())], ended)?;
            }
        }
    }
    Ok(())
}
