//! What a filter can do wherever it is: wait, call another service, run more than one thing at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::types::StreamType;

use crate::callout::{Callout, Callouts};
use crate::host::{self, report};
use crate::task::{self, Tasks};
use crate::timer::{Sleep, Timers};

/// Between now and the tick that runs what could not run at once.
const SOON: Duration = Duration::from_millis(1);

/// What the contexts of one root share.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) timers: RefCell<Timers>,
    pub(crate) callouts: RefCell<Callouts>,
    pub(crate) tasks: RefCell<Tasks>,
    /// How many futures each paused direction of an exchange waits for.
    pub(crate) waits: RefCell<BTreeMap<Direction, u32>>,
}

/// One direction of one exchange: its context, and the code of its stream in the ABI.
pub(crate) type Direction = (u32, u32);

impl Services {
    /// Sets the period that a change of the timers asked for.
    pub(crate) fn tick_after(&self, period: Option<Duration>) {
        if let Some(period) = period {
            report("set the tick period", host::set_tick_period(period));
        }
    }

    /// Has the root tick as soon as a host can.
    pub(crate) fn tick_soon(&self) {
        let now = host::now();
        let period = self.timers.borrow_mut().arm(now, now + SOON);
        self.tick_after(period);
    }

    /// Runs the tasks that were woken: those of `context`, which is the one that the host called. The root's runs all.
    pub(crate) fn run_woken(&self, context: u32, is_root: bool) {
        if !task::is_any_woken() {
            return; // nearly always
        }
        let own = (!is_root).then_some(context);
        let mut effective = context;
        loop {
            let woken = self.tasks.borrow_mut().take_woken(own);
            let Some(task) = woken else { break };
            // An exchange that the host has ended has nothing to wait for.
            if task.context != effective && host::set_effective_context(task.context).is_err() {
                continue;
            }
            effective = task.context;
            if let Some(task) = task.run() {
                self.tasks.borrow_mut().keep(task);
            }
        }
        if effective != context {
            report("return to its own context", host::set_effective_context(context));
        }
        let others_wait = !is_root && self.tasks.borrow().has_woken();
        if others_wait {
            self.tick_soon();
        }
    }

    /// Forgets what a context that is over was waiting for.
    pub(crate) fn cancel(&self, context: u32) {
        drop(self.tasks.borrow_mut().take_of(context));
        let mut waits = self.waits.borrow_mut();
        if !waits.is_empty() {
            waits.retain(|(owner, _), _| *owner != context);
        }
    }

    /// Whether a direction of an exchange waits for a future.
    pub(crate) fn is_waiting(&self, context: u32, stream: StreamType) -> bool {
        let waits = self.waits.borrow();
        !waits.is_empty() && waits.contains_key(&(context, stream as u32))
    }

    pub(crate) fn begin_wait(&self, direction: Direction) {
        *self.waits.borrow_mut().entry(direction).or_default() += 1;
    }

    /// Returns whether it was the last.
    pub(crate) fn end_wait(&self, direction: Direction) -> bool {
        let mut waits = self.waits.borrow_mut();
        let Some(count) = waits.get_mut(&direction) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            waits.remove(&direction);
        }
        is_last
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
        Callout::new(self.services.clone(), cluster)
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.services.clone(), duration)
    }

    /// Runs a future until it first waits; what is left of it goes on later.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let task = self.services.tasks.borrow_mut().make(self.context, Box::pin(work));
        if let Some(task) = task.run() {
            self.services.tasks.borrow_mut().keep(task);
        }
    }
}

/// What a filter does beside its exchanges: given to [`Filter::on_start`](crate::Filter::on_start).
#[derive(Clone)]
pub struct Background(pub(crate) Scope);

impl Background {
    /// Does `work`, beginning at the next moment at which the host lets a filter act. It ends with the filter's
    /// configuration.
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
        let moment = self.sleep(SOON);
        self.0.spawn(async move {
            moment.await;
            work.await;
        });
    }

    /// A request of the filter's own to a cluster of the host's configuration. End it with [`Callout::send`].
    pub fn call<'a>(&self, cluster: &'a str) -> Callout<'a> {
        self.0.call(cluster)
    }

    /// Waits. Hosts keep time in milliseconds.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }

    /// Time since 1970 by the host's clock.
    pub fn now(&self) -> Duration {
        host::now()
    }
}
