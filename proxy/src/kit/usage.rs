//! What the filter used, at one moment or between two.

use crate::wasm::{Callback, FilterUsage};

/// What the filter used: calls and instructions for each callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage([(u64, u64); Callback::COUNT]);

impl Usage {
    pub(crate) fn of(usage: &FilterUsage) -> Usage {
        let mut all = Usage::default();
        for &callback in Callback::ALL {
            let cost = usage.cost(callback);
            all.0[callback as usize] = (cost.calls, cost.instructions);
        }
        all
    }

    pub(crate) fn since(mut self, before: &Usage) -> Usage {
        for (now, before) in self.0.iter_mut().zip(&before.0) {
            *now = (now.0 - before.0, now.1 - before.1);
        }
        self
    }

    pub(crate) fn calls(&self, callback: Callback) -> u64 {
        self.0[callback as usize].0
    }

    pub(crate) fn instructions_in(&self, callback: Callback) -> u64 {
        self.0[callback as usize].1
    }

    pub(crate) fn instructions(&self) -> u64 {
        self.0.iter().map(|(_, instructions)| instructions).sum()
    }

    pub(crate) fn all_calls(&self) -> u64 {
        self.0.iter().map(|(calls, _)| calls).sum()
    }
}
