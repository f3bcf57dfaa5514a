//! Two versions of a filter side by side: which exchanges get the second, what both did, and when the second gets none.
//!
//! One [`Canary`] is there for the whole process, for as long as neither version nor what is said of them changes.
//! Workers ask it for each exchange, which is one load of an atomic, and count into [`Cells`] of their own; the control
//! thread [looks](Canary::look) at the sums again and again, and opens or closes the gate. It knows no guests and does no
//! I/O.
//!
//! | file | what |
//! |---|---|
//! | `cells`   | what a worker counts |
//! | `gate`    | which exchanges get the second version |
//! | `window`  | what both versions did in the last while |
//! | `judge`   | whether the second version did worse |
//! | `control` | the share in force: steps, rollbacks, what operators say |
//! | `report`  | what operators are shown |

mod cells;
mod control;
mod gate;
mod judge;
mod report;
mod window;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::HeaderValue;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::config::model::{self, CanaryMode};
use crate::route::Condition;
use crate::wasm::stream::RequestHead;

pub use cells::{Cells, Comparison, Counts, Outcome, Sums, Version};
use control::Control;
pub use control::{Order, Refused};
use gate::Gate;
pub use gate::Turn;
pub use judge::Reason;
pub use report::{Next, Report, RolledBack, State, VersionReport};

/// Two versions of a filter side by side, in the whole process.
#[derive(Debug)]
pub struct Canary {
    /// The filter's name.
    filter: String,
    policy: model::Canary,
    /// What the file says of it, filled in: see [`is_of`](Canary::is_of).
    terms: Map<String, Value>,
    condition: Option<Condition>,
    gate: Gate,
    cells: Mutex<BTreeMap<usize, Arc<Cells>>>,
    control: Mutex<Control>,
    /// Notified of faults, which are not waited with.
    alarm: Arc<Notify>,
}

impl Canary {
    /// A canary at its beginning. `terms`: what the file says of it, by which it is known again. `alarm` is notified
    /// when the second version fails.
    pub fn new(filter: &str, policy: model::Canary, terms: Map<String, Value>, alarm: Arc<Notify>) -> Canary {
        let control = Control::new(&policy, Instant::now());
        Canary {
            filter: filter.to_owned(),
            condition: policy.matches.as_ref().map(Condition::new),
            gate: Gate::new(filter, policy.percent),
            policy,
            terms,
            cells: Mutex::default(),
            control: Mutex::new(control),
            alarm,
        }
    }

    /// Whether this is the canary of that filter on those terms: then it goes on where the versions are the same too.
    pub fn is_of(&self, filter: &str, terms: &Map<String, Value>) -> bool {
        self.filter == filter && self.terms == *terms
    }

    /// The filter's name.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether the second version only looks on.
    pub fn is_shadow(&self) -> bool {
        self.policy.mode == CanaryMode::Shadow
    }

    /// Whether the next exchange gets the second version. `turn` is the worker's own.
    pub fn picks(&self, turn: &Turn, request: &RequestHead) -> bool {
        let key = self.policy.key.as_ref().and_then(|key| request.headers.get(key));
        let is_chosen = || {
            let holds = |it: &Condition| it.holds(&request.method, &request.uri, &request.headers);
            self.condition.as_ref().is_some_and(holds)
        };
        self.gate.passes(turn, key.map(HeaderValue::as_bytes), is_chosen)
    }

    /// What a worker counts into. The same again for the same worker, which alone may write it.
    pub fn cells(&self, worker: usize) -> Arc<Cells> {
        let mut cells = lock(&self.cells);
        cells.entry(worker).or_insert_with(|| Arc::new(Cells::new(self.alarm.clone()))).clone()
    }

    /// What was counted since it began.
    pub fn counts(&self) -> Counts {
        lock(&self.cells).values().fold(Counts::default(), |sum, cells| sum + cells.counts())
    }

    /// Looks at what was counted: rolls back, or goes on to the next step. To be called often, by one thread.
    pub fn look(&self, now: Instant) {
        let counts = self.counts();
        lock(&self.control).look(self, &counts, now);
    }

    /// Does what an operator says.
    ///
    /// # Errors
    ///
    /// What is said makes no sense now.
    pub fn steer(&self, order: Order) -> Result<(), Refused> {
        let counts = self.counts();
        lock(&self.control).steer(self, order, &counts, Instant::now())
    }

    /// What an operator is shown.
    pub fn report(&self) -> Report {
        let counts = self.counts();
        lock(&self.control).report(self, counts)
    }

    /// The share in force, in hundredths of a percent: 0 once it was rolled back.
    pub fn percent(&self) -> model::Percent {
        self.gate.percent()
    }

    /// How often it was rolled back, by reason.
    pub fn rollbacks(&self) -> BTreeMap<Reason, u64> {
        lock(&self.control).rollbacks().clone()
    }
}

/// A panic while a lock was held leaves numbers that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
