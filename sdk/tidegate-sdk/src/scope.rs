//! What a filter can do wherever it is: wait, call another service, run more than one thing at a time.
//!
//! Hostcalls act on one context: that of the callback, unless it was changed. [`acting_on`] sees to it that the handle of an
//! exchange acts on that exchange, also in another one's callback.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::types::StreamType;

use crate::callout::{Callout, Callouts};
use crate::filter::Next;
use crate::host::{self, Refused, report};
use crate::numbered::Numbered;
use crate::task::{self, Tasks};
use crate::timer::{Sleep, Timers};

/// Between now and the tick that runs what could not run at once.
const SOON: Duration = Duration::from_millis(1);

/// How often tasks run in one callback at most, so that many that are woken at once, or one that wakes itself, do not use
/// up its budget. The rest runs [`SOON`].
const MAX_RUNS: usize = 128;

thread_local! {
    /// The context that hostcalls act on now.
    static ACTIVE: Cell<u32> = const { Cell::new(0) };
}

/// The host has called this context.
pub(crate) fn enter(context: u32) {
    ACTIVE.set(context);
}

/// Does hostcalls on a context: nearly always the one that is active. Refused: the host has no such context any more.
pub(crate) fn acting_on<T>(context: u32, call: impl FnOnce() -> T) -> Result<T, Refused> {
    let active = ACTIVE.get();
    if active == context {
        return Ok(call());
    }
    host::set_effective_context(context)?;
    let result = call();
    report("return to its own context", host::set_effective_context(active));
    Ok(result)
}

/// What the contexts of one root share.
pub(crate) struct Services {
    pub(crate) timers: RefCell<Timers>,
    pub(crate) callouts: RefCell<Callouts>,
    pub(crate) tasks: RefCell<Tasks>,
    /// What the directions of each exchange wait for that waits: the request, the response.
    waits: RefCell<Numbered<[Waits; 2]>>,
    /// The direction whose callback is about to say what becomes of it: a wait of it that ends now needs no resuming.
    settling: Cell<Option<Direction>>,
}

/// One direction of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) context: u32,
    pub(crate) stream: StreamType,
}

impl Direction {
    fn index(self) -> usize {
        usize::from(self.stream == StreamType::HttpResponse)
    }
}

/// The futures that a direction waits for.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    count: u32,
    /// One of them ended with a pause, as after a reply: the direction is not to go on when the others end.
    stays: bool,
}

impl Services {
    /// Those of this root.
    pub(crate) fn of(root: u32) -> Services {
        Services {
            timers: RefCell::default(),
            callouts: RefCell::default(),
            tasks: RefCell::new(Tasks::of(root)),
            waits: RefCell::default(),
            settling: Cell::default(),
        }
    }

    /// Sets the period that a change of the timers asked for.
    pub(crate) fn tick_after(&self, period: Option<Duration>) {
        let Some(period) = period else { return };
        let set = host::set_tick_period(period);
        if set.is_err() {
            self.timers.borrow_mut().disarm(); // the next one asks again
        }
        report("set the tick period", set);
    }

    /// Has the root tick as soon as a host can.
    fn tick_soon(&self) {
        let now = host::monotonic();
        let period = self.timers.borrow_mut().arm(now, now + SOON);
        self.tick_after(period);
    }

    /// Has the root tick soon where tasks were woken that could not run yet.
    #[inline]
    pub(crate) fn tick_for_woken(&self) {
        if task::is_any_woken() && self.tasks.borrow().has_woken() {
            self.tick_soon();
        }
    }

    /// The root's tick: wakes what is due, runs what was woken, and asks for the next tick.
    pub(crate) fn tick(&self, root: u32) {
        let due = self.timers.borrow_mut().take_due(host::monotonic());
        due.into_values().for_each(std::task::Waker::wake);
        self.run_woken(root, None);
        let period = self.timers.borrow_mut().rearm(host::monotonic());
        self.tick_after(Some(period));
        self.tick_for_woken();
    }

    /// Runs tasks that were woken: those of `own`, or else all; `active` is the context that the host called.
    pub(crate) fn run_woken(&self, active: u32, own: Option<u32>) {
        if !task::is_any_woken() {
            return; // nearly always
        }
        for _ in 0..MAX_RUNS {
            let woken = self.tasks.borrow_mut().take_woken(own);
            let Some(task) = woken else { break };
            let context = task.context;
            if context != ACTIVE.get() && host::set_effective_context(context).is_err() {
                // Work for an exchange that was over when it began.
                drop(task);
                self.cancel(context);
                continue;
            }
            ACTIVE.set(context);
            if let Some(task) = task.run() {
                self.tasks.borrow_mut().keep(task);
            }
        }
        if ACTIVE.get() != active {
            report("return to its own context", host::set_effective_context(active));
            ACTIVE.set(active);
        }
    }

    /// Runs an exchange's own tasks that were woken, after a callback of it. The others wait for the root.
    pub(crate) fn run_own(&self, context: u32) {
        if task::is_any_woken() {
            self.run_woken(context, Some(context));
            self.tick_for_woken();
        }
    }

    /// Drops what a context that is over was waiting for. That may wake others.
    #[inline]
    pub(crate) fn cancel(&self, context: u32) {
        if self.tasks.borrow().wait() || !self.waits.borrow().is_empty() {
            self.cancel_work(context); // hardly ever
        }
    }

    #[cold]
    fn cancel_work(&self, context: u32) {
        loop {
            let over = self.tasks.borrow_mut().take_of(context);
            if over.is_empty() {
                break;
            }
        }
        self.waits.borrow_mut().remove(&context);
    }

    /// What becomes of a direction after a callback of it gave `next`: it cannot go on while it waits for a future.
    #[inline]
    pub(crate) fn settle(&self, direction: Direction, next: Next) -> Next {
        if !task::is_any_woken() && self.waits.borrow().is_empty() {
            return next; // nearly always
        }
        self.settle_work(direction, next)
    }

    #[cold]
    fn settle_work(&self, direction: Direction, next: Next) -> Next {
        if task::is_any_woken() && self.run_settling(direction) && next == Next::Hold {
            return Next::Continue;
        }
        match next {
            Next::Continue | Next::Leave if self.is_waiting(direction) => Next::Hold,
            Next::Leave if self.waits.borrow().contains_key(&direction.context) => Next::Continue,
            next => next,
        }
    }

    /// Runs the exchange's own tasks, and says whether the last wait of this direction ended with leave to go on.
    fn run_settling(&self, direction: Direction) -> bool {
        self.settling.set(Some(direction));
        self.run_own(direction.context);
        self.settling.take().is_none()
    }

    fn is_waiting(&self, direction: Direction) -> bool {
        let waits = self.waits.borrow();
        waits.get(&direction.context).is_some_and(|waits| waits[direction.index()].count > 0)
    }

    pub(crate) fn begin_wait(&self, direction: Direction) {
        self.waits.borrow_mut().entry(direction.context).or_default()[direction.index()].count += 1;
    }

    /// One wait of a direction ended with `next`. Returns whether it was the last, and all said that it may go on.
    pub(crate) fn end_wait(&self, direction: Direction, next: Next) -> bool {
        let mut all = self.waits.borrow_mut();
        let Some(waits) = all.get_mut(&direction.context) else { return false };
        let own = &mut waits[direction.index()];
        own.count -= 1;
        own.stays |= !matches!(next, Next::Continue | Next::Leave);
        if own.count > 0 {
            return false;
        }
        let goes_on = !std::mem::take(own).stays;
        if waits.iter().all(|waits| waits.count == 0) {
            all.remove(&direction.context);
        }
        goes_on
    }

    /// Lets a direction go on whose waits are over: through what its callback returns, if that is still to come. A
    /// resume in the callback would come before the pause that it is to end.
    pub(crate) fn resume(&self, direction: Direction) {
        if self.settling.get() == Some(direction) {
            self.settling.set(None);
        } else {
            report("resume what waited", host::resume(direction.stream));
        }
    }
}

/// A context, and what it shares with those of its root.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) context: u32,
    pub(crate) services: Rc<Services>,
}

impl Scope {
    pub(crate) fn call<'a>(&self, cluster: &'a str) -> Callout<'a> {
        Callout::new(self.clone(), cluster)
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.services.clone(), duration)
    }

    /// Runs a future until it first waits; what is left of it goes on later. In the callback of another context all of it
    /// is for later: an answer to what it asks would be that one's.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        if ACTIVE.get() != self.context {
            return self.spawn_later(work);
        }
        let task = self.services.tasks.borrow_mut().make(self.context, Box::pin(work));
        if let Some(task) = task.run() {
            self.services.tasks.borrow_mut().keep(task);
        }
    }

    fn spawn_later(&self, work: impl Future<Output = ()> + 'static) {
        let mut tasks = self.services.tasks.borrow_mut();
        let task = tasks.make(self.context, Box::pin(work));
        task.wake();
        tasks.keep(task);
    }
}

/// What a filter does beside its exchanges: given to [`Filter::on_start`](crate::Filter::on_start). Every worker has an
/// instance of the filter, and so a background of its own.
#[derive(Clone)]
pub struct Background(pub(crate) Scope);

impl Background {
    /// Does `work`, beginning a millisecond later, when any host lets a filter send a callout. It is dropped with the
    /// filter's configuration.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidegate_sdk::{Background, log};
    /// fn refresh(background: &Background) {
    ///     let host = background.clone();
    ///     background.spawn(async move {
    ///         loop {
    ///             match host.call("keys").path("/jwks.json").send(Duration::from_secs(5)).await {
    ///                 Ok(answer) => log::info!("{} bytes of keys", answer.body().len()),
    ///                 Err(error) => log::warn!("{error}"),
    ///             }
    ///             host.sleep(Duration::from_secs(300)).await;
    ///         }
    ///     });
    /// }
    /// ```
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        // Not every host can send a callout while a filter is being configured.
        self.0.spawn_later(work);
    }

    /// A request of the filter's own to a cluster of the host's configuration. End it with [`Callout::send`]. Not in
    /// [`Filter::on_start`](crate::Filter::on_start) itself: not every host sends one then.
    pub fn call<'a>(&self, cluster: &'a str) -> Callout<'a> {
        self.0.call(cluster)
    }

    /// Waits; see [`Exchange::sleep`](crate::Exchange::sleep).
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }

    /// Time since 1970 by the host's clock.
    pub fn now(&self) -> Duration {
        host::now()
    }
}
