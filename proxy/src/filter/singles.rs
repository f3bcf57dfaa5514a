//! The guests that serve one exchange each, where a filter is isolated so.
//!
//! One is made from an image when an exchange first calls the filter, and goes when the exchange has ended for it and
//! nothing that it asked for is under way. It ticks while it lives, if it asked for that itself, and for a while after its
//! exchange has ended: who ticks may have something left to do. What the filter asked for while it was configured
//! (ticks, items of queues) is its other guest's, the one that was configured.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::instance::LONGEST_FAREWELL;
use super::slot::Generation;
use crate::wasm::{Clusters, ContextId, Effect, Fault, FaultKind, FilterUsage, Plugin, Services, Stamp, Vm};

/// Numbers of these guests have this bit, others have not.
const SINGLE: Generation = 1 << 63;

/// Between two reports of faults, at least.
const REPORTING_INTERVAL: Duration = Duration::from_secs(1);

/// A guest that serves one exchange.
struct Single {
    vm: Vm,
    ticker: Option<Ticker>,
    /// Since when nothing is under way but its ticks.
    idle_since: Option<Instant>,
}

impl Single {
    /// Whether nothing would be missed without it. One that ticks may have something left to do, for a while.
    fn is_done(&mut self) -> bool {
        if !self.vm.is_idle() {
            self.idle_since = None;
            return false;
        }
        self.ticker.is_none()
            || self.idle_since.get_or_insert_with(Instant::now).elapsed() >= LONGEST_FAREWELL
    }
}

/// A task that ends with its guest.
struct Ticker(JoinHandle<()>);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a guest asked for, each with the root that it is for.
type Effects = Vec<(ContextId, Effect)>;

/// The guests of one filter on one worker that serve one exchange each.
pub(super) struct Singles {
    stamp: RefCell<Stamp>,
    most: usize,
    usage: Arc<FilterUsage>,
    last: Cell<Generation>,
    /// When a fault was last reported, and how many were not since.
    reported: Cell<Option<(Instant, u64)>>,
    guests: RefCell<HashMap<Generation, Single>>,
}

impl Singles {
    /// For a plugin that there is an image of.
    pub(super) fn new(plugin: &Plugin, services: &Services) -> Option<Singles> {
        Some(Singles {
            stamp: RefCell::new(Stamp::new(plugin, services)?),
            most: plugin.filter().limits.instances,
            usage: services.usage.clone(),
            last: Cell::new(SINGLE),
            reported: Cell::default(),
            guests: RefCell::default(),
        })
    }

    /// Whether a number is that of such a guest.
    pub(super) fn is_single(generation: Generation) -> bool {
        generation & SINGLE != 0
    }

    pub(super) fn know_clusters(&self, clusters: &Arc<Clusters>) {
        self.stamp.borrow_mut().know_clusters(clusters);
        self.guests.borrow_mut().values_mut().for_each(|single| single.vm.know_clusters(clusters.clone()));
    }

    /// Makes a guest and runs `work` on it. What it asked for comes back beside the result, with its number.
    pub(super) fn open<R>(
        &self,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> (Generation, Effects, Result<R, Fault>) {
        let generation = self.last.get() + 1;
        let mut vm = match self.make() {
            Ok(vm) => vm,
            Err(fault) => return (generation, Vec::new(), Err(fault)),
        };
        self.last.set(generation);
        let result = work(&mut vm, generation);
        let effects = vm.take_effects();
        if result.is_ok() {
            self.guests.borrow_mut().insert(generation, Single { vm, ticker: None, idle_since: None });
        }
        (generation, effects, result)
    }

    /// Runs `work` on a guest that there is. `None` if it has gone.
    pub(super) fn enter<R>(
        &self,
        generation: Generation,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Option<(Effects, Result<R, Fault>)> {
        let mut guests = self.guests.borrow_mut();
        let Single { vm, .. } = guests.get_mut(&generation)?;
        let result = work(vm, generation);
        let effects = if vm.has_effects() { vm.take_effects() } else { Vec::new() };
        let lost = if result.is_err() { guests.remove(&generation) } else { None };
        drop(guests);
        drop(lost);
        Some((effects, result))
    }

    /// Lets a guest go, if what it asked for last was begun and it has nothing left to do.
    pub(super) fn settle(&self, generation: Generation) {
        let mut guests = self.guests.borrow_mut();
        let is_done = guests.get_mut(&generation).is_some_and(Single::is_done);
        let done = if is_done { guests.remove(&generation) } else { None };
        drop(guests);
        drop(done);
    }

    /// Has a task tick for a guest from now on, and no other. A guest that has gone needs none.
    pub(super) fn tick_by(&self, generation: Generation, task: Option<JoinHandle<()>>) {
        let ticker = task.map(Ticker);
        if let Some(single) = self.guests.borrow_mut().get_mut(&generation) {
            single.ticker = ticker;
        }
    }

    /// Ends all of them. Their exchanges find that out when they next call.
    pub(super) fn clear(&self) {
        self.guests.borrow_mut().clear();
    }

    /// A fault, if it is to be reported: each request may cause one, so that it is one in a while, which says how many
    /// there were in between.
    pub(super) fn worth_a_line(&self, mut fault: Fault) -> Option<Fault> {
        let now = Instant::now();
        match self.reported.get() {
            Some((at, silent)) if now - at < REPORTING_INTERVAL => {
                self.reported.set(Some((at, silent + 1)));
                return None;
            }
            Some((_, silent @ 1..)) => {
                fault.message.push_str(&format!("\n    ({silent} more faults since the last line)"));
            }
            Some(_) | None => {}
        }
        self.reported.set(Some((now, 0)));
        Some(fault)
    }

    fn make(&self) -> Result<Vm, Fault> {
        if self.guests.borrow().len() < self.most {
            return self.stamp.borrow().instance();
        }
        let message = format!(
            "{most} exchanges have an instance of their own, as many as may (`limits.instances: {most}`)",
            most = self.most
        );
        self.usage.record_fault(FaultKind::Instances);
        Err(Fault { kind: FaultKind::Instances, callback: "instantiate", message })
    }
}
