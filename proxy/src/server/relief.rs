//! Looks at the memory for as long as the configuration says something of it, and has workers do what is called for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::crew::Orders;
use crate::config::model::{MemoryTerms, Percent};
use crate::overload::{Memory, Overload, Stage};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);

/// Who looks at the memory, if anybody does. Dropped, nobody does.
#[derive(Default)]
pub(super) struct Relief(Option<(MemoryTerms, AbortHandle)>);

impl Relief {
    /// Looks by these terms from now on. To be called on the control thread's runtime.
    pub(super) fn follow(&mut self, terms: Option<&MemoryTerms>, overload: &Arc<Overload>, orders: &Orders) {
        if self.0.as_ref().map(|(terms, _)| terms) == terms {
            return;
        }
        if let Some((_, former)) = self.0.take() {
            former.abort();
        }
        match terms {
            None => {
                overload.enter(Stage::Normal);
                overload.note_memory(None);
            }
            Some(terms) => {
                let task = tokio::spawn(watch(terms.clone(), overload.clone(), orders.clone()));
                self.0 = Some((terms.clone(), task.abort_handle()));
            }
        }
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}

async fn watch(terms: MemoryTerms, overload: Arc<Overload>, orders: Orders) {
    let memory = Memory::find();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        ticks.tick().await;
        // Also where there are too few file descriptors to look, which is no time to be at ease.
        let Some(reading) = memory.read(terms.limit) else {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(
                    "the system does not say how much memory is in use: `overload.memory` has no effect until it does"
                );
            }
            continue;
        };
        told = false;
        overload.note_memory(Some(reading));
        let (before, now) = (overload.stage(), overload.stage().next(Percent(reading.share()), &terms));
        if before == now {
            continue;
        }
        overload.enter(now);
        let (used_bytes, limit_bytes) = (reading.used, reading.limit);
        let (stage, before) = (now.word(), before.word());
        match now {
            Stage::Normal => {
                tracing::info!(used_bytes, limit_bytes, stage, before, "memory: there is enough again")
            }
            _ => tracing::warn!(
                used_bytes,
                limit_bytes,
                stage,
                before,
                "memory: it is running out, or less so than before"
            ),
        }
        orders.relieve();
    }
}
