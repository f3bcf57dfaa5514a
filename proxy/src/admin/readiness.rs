//! Whether traffic should be sent here.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not every worker serves yet.
    Starting,
    /// Every worker serves.
    Ready,
    /// Requests under way end; new ones should go elsewhere.
    Draining,
}

impl Stage {
    /// Its word: what `/ready` answers.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::Ready => "ready",
            Stage::Draining => "draining",
        }
    }
}

/// The stage, shared between who knows it and who is asked. Begins as [`Stage::Starting`] and goes forward only: a
/// drain that begins while workers start is not undone by the last of them.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Goes on to a stage.
    pub fn enter(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// Where the process is.
    pub fn stage(&self) -> Stage {
        [Stage::Starting, Stage::Ready]
            .into_iter()
            .find(|stage| *stage as u8 == self.0.load(Ordering::Relaxed))
            .unwrap_or(Stage::Draining)
    }
}
