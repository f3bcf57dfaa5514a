//! Panics of a test's own closures: they run within the kit's tasks, and are to end the test.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// The first panic of a closure, until the test gets it; and who is to be woken when anything happens.
#[derive(Default)]
pub(crate) struct Panics {
    caught: RefCell<Option<Box<dyn Any + Send>>>,
    waker: RefCell<Option<Waker>>,
}

impl Panics {
    /// Runs one of the test's closures; `None` if it panicked.
    pub(crate) fn keep<R>(&self, run: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.caught.borrow_mut().get_or_insert(panic);
                self.ring();
                None
            }
        }
    }

    /// Goes on with the panic, if there is one.
    pub(crate) fn resume(&self) {
        let caught = self.caught.borrow_mut().take();
        if let Some(panic) = caught {
            resume_unwind(panic);
        }
    }

    pub(crate) fn has_any(&self) -> bool {
        self.caught.borrow().is_some()
    }

    /// Has `waker` woken by the next [`ring`](Panics::ring).
    pub(crate) fn wait(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
    }

    /// Something happened that the test may wait for.
    pub(crate) fn ring(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
