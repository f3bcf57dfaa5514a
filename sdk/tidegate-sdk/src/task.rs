//! Work that outlasts a callback: the futures of exchanges and of the background, and who runs them.
//!
//! There are no threads and nothing to block on in a guest: a future makes progress in the callbacks that the host makes
//! anyway. A waker puts its task on the list of those to run; the list is worked off at the end of each callback. In the
//! callback of an exchange only that exchange's own tasks run, because the proxy-wasm crate hands the answer to a callout
//! to the context that was active when the call was made, and forgets it with that context. The others wait for the
//! root's tick.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// What a task runs.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// The tasks to run, in the order in which they were woken. A module has one thread.
    static WOKEN: RefCell<Vec<TaskId>> = const { RefCell::new(Vec::new()) };
}

/// Which task; never used again in the life of a module.
type TaskId = u64;

/// The tasks that wait.
#[derive(Default)]
pub(crate) struct Tasks {
    waiting: BTreeMap<TaskId, Task>,
    made: TaskId,
}

/// One piece of work, and the context that it acts in.
pub(crate) struct Task {
    pub(crate) context: u32,
    work: Work,
    id: TaskId,
}

impl Tasks {
    /// A task that has not run yet; it is not among those that wait.
    pub(crate) fn make(&mut self, context: u32, work: Work) -> Task {
        self.made += 1;
        Task { context, work, id: self.made }
    }

    /// Keeps a task until it is woken.
    pub(crate) fn keep(&mut self, task: Task) {
        self.waiting.insert(task.id, task);
    }

    /// Takes the task that was woken first and that `context` may run; `None` is the root, which may run all.
    pub(crate) fn take_woken(&mut self, context: Option<u32>) -> Option<Task> {
        WOKEN.with_borrow_mut(|woken| {
            woken.retain(|id| self.waiting.contains_key(id));
            let runs = |id: &TaskId| context.is_none_or(|context| self.waiting[id].context == context);
            let found = woken.iter().position(runs)?;
            self.waiting.remove(&woken.remove(found))
        })
    }

    /// Whether a task that still waits was woken.
    pub(crate) fn has_woken(&self) -> bool {
        WOKEN.with_borrow(|woken| woken.iter().any(|id| self.waiting.contains_key(id)))
    }

    /// Takes out what a context that is over was waiting for. Drop it when nothing is borrowed: futures clean up.
    pub(crate) fn take_of(&mut self, context: u32) -> Vec<Task> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.waiting.extract_if(.., |_, task| task.context == context).map(|(_, task)| task).collect()
    }
}

impl Task {
    /// Lets it go on; gives it back when it is not done.
    pub(crate) fn run(mut self) -> Option<Task> {
        let waker = Waker::from(Arc::new(Alarm(self.id)));
        match self.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(self),
        }
    }
}

/// Whether some task was woken, of whatever root: cheap enough to ask in every callback.
pub(crate) fn is_any_woken() -> bool {
    WOKEN.with_borrow(|woken| !woken.is_empty())
}

/// Wakes one task.
struct Alarm(TaskId);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        WOKEN.with_borrow_mut(|woken| {
            if !woken.contains(&self.0) {
                woken.push(self.0);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    /// What the test shares with a task.
    #[derive(Default)]
    struct Desk {
        /// The task is done when this is on.
        switch: Cell<bool>,
        /// Where it leaves its waker.
        waker: RefCell<Option<Waker>>,
    }

    impl Desk {
        fn wake(&self) {
            self.waker.borrow().as_ref().expect("it ran once").wake_by_ref();
        }
    }

    fn task(tasks: &mut Tasks, context: u32) -> (Task, Rc<Desk>) {
        let desk = Rc::<Desk>::default();
        let shared = desk.clone();
        let work = poll_fn(move |cx| {
            shared.waker.replace(Some(cx.waker().clone()));
            if shared.switch.get() { Poll::Ready(()) } else { Poll::Pending }
        });
        (tasks.make(context, Box::pin(work)), desk)
    }

    #[test]
    fn a_task_runs_when_it_is_woken_and_only_where_it_may() {
        let mut tasks = Tasks::default();
        let (first, desk) = task(&mut tasks, 7);
        let first = first.run().expect("the switch is off");
        tasks.keep(first);
        assert!(tasks.take_woken(None).is_none());

        desk.wake();
        desk.wake();
        assert!(is_any_woken() && tasks.has_woken());
        assert!(tasks.take_woken(Some(8)).is_none(), "another exchange's callback");
        let first = tasks.take_woken(Some(7)).expect("its own");
        assert!(tasks.take_woken(None).is_none(), "woken twice, run once");
        tasks.keep(first.run().expect("the switch is still off"));

        desk.switch.set(true);
        desk.wake();
        assert!(tasks.take_woken(None).expect("the root runs all").run().is_none());
    }

    #[test]
    fn a_task_whose_exchange_is_over_never_runs_again() {
        let mut tasks = Tasks::default();
        let (first, desk) = task(&mut tasks, 7);
        tasks.keep(first.run().expect("the switch is off"));
        desk.wake();
        assert_eq!(tasks.take_of(7).len(), 1);
        assert!(!tasks.has_woken());
        assert!(tasks.take_woken(None).is_none());
        assert!(!is_any_woken(), "what is gone is forgotten");
    }
}
