//! A count of the tasks that were spawned, so that a drain can wait for them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::task::{AbortHandle, spawn_local};

/// The tasks of one worker's upstream side that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl Tasks {
    /// Spawns `task` on the worker and counts it until it has ended or was aborted.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        self.running.set(self.running.get() + 1);
        // Made outside of the task: a task that is aborted before its first turn has to be counted out as well.
        let running = Running(self.clone());
        spawn_local(async move {
            let _running = running;
            task.await;
        })
        .abort_handle()
    }

    /// Waits until none is running.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| {
            if self.running.get() == 0 {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

struct Running(Rc<Tasks>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}
