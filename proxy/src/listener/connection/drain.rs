//! The end of a worker's connections, in order.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::exchange::Stage;

/// How long an idle connection may stay after a drain has begun: a request may be on its way on it.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A worker's drain: whether it has begun, and whom to wake when it does.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    began: Cell<Option<Instant>>,
    stage: Rc<Cell<Stage>>,
    waiting: RefCell<HashMap<u64, Waker>>,
    listeners: tokio::sync::Notify,
}

impl Drain {
    /// Begins it: nothing is accepted any more, responses say `connection: close`, idle connections end soon.
    pub(crate) fn begin(&self) {
        self.began.set(Some(Instant::now()));
        self.stage.set(Stage::Draining);
        self.listeners.notify_waiters();
        self.stir();
    }

    /// Has every connection look whether it is to end.
    pub(crate) fn stir(&self) {
        self.waiting.borrow().values().for_each(Waker::wake_by_ref);
    }

    /// Its time is over: what is left will be dropped.
    pub(crate) fn give_up(&self) {
        self.stage.set(Stage::Over);
    }

    /// How far it has come, for those who only want to know.
    pub(crate) fn stage(&self) -> Rc<Cell<Stage>> {
        self.stage.clone()
    }

    /// Waits for it to begin.
    pub(in crate::listener) async fn begun(&self) {
        let notified = self.listeners.notified();
        if !self.is_begun() {
            notified.await;
        }
    }

    pub(super) fn is_begun(&self) -> bool {
        self.stage.get() != Stage::Serving
    }

    /// Until when idle connections may stay.
    pub(super) fn deadline(&self) -> Instant {
        self.began.get().unwrap_or_else(Instant::now) + DRAIN_GRACE
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_begun() && self.deadline() <= Instant::now()
    }

    pub(super) fn register(&self, connection: u64, waker: &Waker) {
        self.waiting.borrow_mut().insert(connection, waker.clone());
    }

    pub(super) fn forget(&self, connection: u64) {
        self.waiting.borrow_mut().remove(&connection);
    }

    /// How many connections are to be told of it.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }
}
