//! The guests that serve one exchange each, where a filter is isolated so.
//!
//! One is made from an image when an exchange first calls the filter, and goes when the exchange has ended for it and
//! nothing that it asked for is under way. What it asks of time beyond that (ticks, items of queues) is asked by the
//! filter's other guest, the one that was configured.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use super::slot::Generation;
use crate::wasm::{Clusters, ContextId, Effect, Fault, FaultKind, FilterUsage, Plugin, Services, Stamp, Vm};

/// Numbers of these guests have this bit, others have not.
const SINGLE: Generation = 1 << 63;

/// What a guest asked for, each with the root that it is for.
type Effects = Vec<(ContextId, Effect)>;

/// The guests of one filter on one worker that serve one exchange each.
pub(super) struct Singles {
    stamp: RefCell<Stamp>,
    most: usize,
    usage: Arc<FilterUsage>,
    last: Cell<Generation>,
    guests: RefCell<HashMap<Generation, Vm>>,
}

impl Singles {
    /// For a plugin that there is an image of.
    pub(super) fn new(plugin: &Plugin, services: &Services) -> Option<Singles> {
        Some(Singles {
            stamp: RefCell::new(Stamp::new(plugin, services)?),
            most: plugin.filter().limits.instances,
            usage: services.usage.clone(),
            last: Cell::new(SINGLE),
            guests: RefCell::default(),
        })
    }

    /// Whether a number is that of such a guest.
    pub(super) fn is_single(generation: Generation) -> bool {
        generation & SINGLE != 0
    }

    pub(super) fn know_clusters(&self, clusters: &Arc<Clusters>) {
        self.stamp.borrow_mut().know_clusters(clusters);
        self.guests.borrow_mut().values_mut().for_each(|vm| vm.know_clusters(clusters.clone()));
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
        if result.is_ok() && !vm.is_idle() {
            self.guests.borrow_mut().insert(generation, vm);
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
        let vm = guests.get_mut(&generation)?;
        let result = work(vm, generation);
        let effects = if vm.has_effects() { vm.take_effects() } else { Vec::new() };
        if result.is_err() || vm.is_idle() {
            guests.remove(&generation);
        }
        Some((effects, result))
    }

    /// Ends all of them. Their exchanges find that out when they next call.
    pub(super) fn clear(&self) {
        self.guests.borrow_mut().clear();
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
