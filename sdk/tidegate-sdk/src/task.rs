//! Work that outlasts a callback: the futures of exchanges and of the background, and who runs them.
//!
//! There are no threads and nothing to block on in a guest: a future makes progress in the callbacks that the host makes
//! anyway. A waker puts its task in the queue of those to run, once however often it is woken; the queue is worked off at the
//! end of each callback. In the callback of an exchange only that exchange's own tasks run, because the proxy-wasm crate hands the answer to a callout
//! to the context that was active when the call was made, and forgets it with that context. The others wait for the
//! root's tick.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::numbered::Numbered;

/// What a task runs.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// The tasks to run, in the order in which they were woken: of all roots, because a host may have several in one
    /// module, whose futures may wake one another. A module has one thread.
    static WOKEN: RefCell<VecDeque<Arc<Alarm>>> = const { RefCell::new(VecDeque::new()) };
}

/// Which task of a root: its context, and a number that is never used again.
type TaskId = (u32, u64);

/// The tasks of one root that wait.
pub(crate) struct Tasks {
    root: u32,
    /// By their context, which stays until it is over once it had one.
    waiting: Numbered<Vec<Task>>,
    made: u64,
}

/// One piece of work, and the context that it acts in.
pub(crate) struct Task {
    pub(crate) context: u32,
    work: Work,
    alarm: Arc<Alarm>,
}

impl Tasks {
    /// Those of this root: none yet.
    pub(crate) fn of(root: u32) -> Tasks {
        Tasks { root, waiting: Numbered::default(), made: 0 }
    }

    /// A task that has not run yet; it is not among those that wait.
    pub(crate) fn make(&mut self, context: u32, work: Work) -> Task {
        self.made += 1;
        let alarm = Alarm { root: self.root, task: (context, self.made), is_woken: AtomicBool::new(false) };
        Task { context, work, alarm: Arc::new(alarm) }
    }

    /// Keeps a task until it is woken.
    pub(crate) fn keep(&mut self, task: Task) {
        self.waiting.entry(task.context).or_default().push(task);
    }

    /// Takes the task that was woken first and that `context` may run; `None` is the root, which may run all.
    pub(crate) fn take_woken(&mut self, context: Option<u32>) -> Option<Task> {
        let root = self.root;
        let runs =
            |alarm: &Arc<Alarm>| alarm.root == root && context.is_none_or(|context| alarm.task.0 == context);
        WOKEN.with_borrow_mut(|woken| {
            loop {
                let first = woken.iter().position(runs)?;
                let alarm = woken.remove(first)?;
                let task = self.take(alarm.task);
                if task.is_some() {
                    return task;
                }
            }
        })
    }

    /// Whether any of them wait.
    pub(crate) fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn take(&mut self, (context, number): TaskId) -> Option<Task> {
        let own = self.waiting.get_mut(&context)?;
        let found = own.iter().position(|task| task.alarm.task.1 == number)?;
        Some(own.remove(found))
    }

    /// Whether a task that still waits was woken.
    pub(crate) fn has_woken(&self) -> bool {
        let waits = |(context, number): TaskId| {
            let own = self.waiting.get(&context);
            own.is_some_and(|own| own.iter().any(|task| task.alarm.task.1 == number))
        };
        WOKEN.with_borrow_mut(|woken| {
            while let Some(first) = woken.iter().position(|alarm| alarm.root == self.root) {
                if waits(woken[first].task) {
                    return true;
                }
                woken.remove(first); // of a task that is over
            }
            false
        })
    }

    /// Takes out what a context that is over was waiting for. Drop it when nothing is borrowed: futures clean up.
    pub(crate) fn take_of(&mut self, context: u32) -> Vec<Task> {
        self.waiting.remove(&context).unwrap_or_default()
    }
}

impl Task {
    /// Lets it go on; gives it back when it is not done.
    pub(crate) fn run(mut self) -> Option<Task> {
        // From here on it may be woken again, also by itself.
        self.alarm.is_woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(self.alarm.clone());
        match self.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(self),
        }
    }

    /// Has it run as soon as its context or the root may.
    pub(crate) fn wake(&self) {
        self.alarm.wake_by_ref();
    }
}

/// Whether some task was woken, of whatever root: cheap enough to ask in every callback.
pub(crate) fn is_any_woken() -> bool {
    WOKEN.with_borrow(|woken| !woken.is_empty())
}

/// Wakes one task.
struct Alarm {
    root: u32,
    task: TaskId,
    /// It is in the queue, or was when its task went.
    is_woken: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            WOKEN.with_borrow_mut(|woken| woken.push_back(self));
        }
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
        let mut tasks = Tasks::of(1);
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
        let mut tasks = Tasks::of(1);
        let (first, desk) = task(&mut tasks, 7);
        tasks.keep(first.run().expect("the switch is off"));
        desk.wake();
        assert_eq!(tasks.take_of(7).len(), 1);
        assert!(!tasks.has_woken());
        assert!(tasks.take_woken(None).is_none());
        assert!(!is_any_woken(), "what is gone is forgotten");
    }

    #[test]
    fn roots_of_one_module_run_their_own_tasks_and_leave_the_others() {
        let (mut one, mut other) = (Tasks::of(1), Tasks::of(2));
        let (first, first_desk) = task(&mut one, 7);
        let (second, second_desk) = task(&mut other, 8);
        one.keep(first.run().expect("the switch is off"));
        other.keep(second.run().expect("the switch is off"));
        second_desk.wake();
        assert!(!one.has_woken() && one.take_woken(None).is_none(), "it is the other's");
        first_desk.wake();
        assert_eq!(other.take_woken(None).map(|task| task.context), Some(8), "and not lost");
        assert_eq!(one.take_woken(None).map(|task| task.context), Some(7));
        assert!(!is_any_woken());
    }

    #[test]
    fn a_task_that_wakes_itself_runs_again_after_those_that_were_woken_before() {
        let mut tasks = Tasks::of(1);
        let yields = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let restless = tasks.make(7, Box::pin(yields));
        tasks.keep(restless.run().expect("it never ends"));
        let (other, desk) = task(&mut tasks, 8);
        tasks.keep(other.run().expect("the switch is off"));
        desk.wake();
        for context in [7, 8, 7, 7] {
            let task = tasks.take_woken(None).expect("one was woken");
            assert_eq!(task.context, context);
            tasks.keep(task.run().expect("it never ends"));
        }
        drop(tasks.take_of(7));
        assert!(!tasks.has_woken() && !is_any_woken());
    }
}
