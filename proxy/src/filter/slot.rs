//! The guest of the moment: of one filter on one worker, or of several that share a VM.
//!
//! A guest that failed is never called again. The next exchange gets a new one, unless the last was made less than a
//! backoff ago: a request that kills its guest must not turn into an amplifier.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::instance::Instance;
use crate::wasm::stream::StreamAction;
use crate::wasm::{Clusters, ContextId, Effect, Fault, FaultKind, Plugin, Services, Vm};

/// Between two guests of one slot, at least; jittered by up to a half on top.
const REBUILD_BACKOFF: Duration = Duration::from_secs(1);

/// The root of a filter that has none in the guest of the moment: no root has this number.
const NO_ROOT: ContextId = 0;

/// Which of a slot's guests, counted from 1.
pub(super) type Generation = u64;

/// A place for a guest, and the filters that run in it, in the order in which they came.
pub(super) struct Slot {
    guest: RefCell<Occupant>,
    tenants: RefCell<Vec<Weak<Instance>>>,
    /// How many of them were told to go.
    going: Cell<usize>,
}

/// The guest of the moment.
struct Occupant {
    vm: Option<Vm>,
    generation: Generation,
    made: Instant,
    backoff: Duration,
    last_fault: FaultKind,
}

impl Occupant {
    fn has_gone(&self, tenant: &Instance) -> bool {
        self.vm.as_ref().is_none_or(|vm| vm.has_gone(tenant.root()))
    }
}

impl Slot {
    /// Starts a guest. What it asks for is performed when its filter [moves in](Slot::house).
    pub(super) fn start(plugin: &Plugin, services: &Services) -> Result<(Rc<Slot>, ContextId), Fault> {
        let vm = plugin.start(services.clone())?;
        let root = vm.first_root();
        let guest = RefCell::new(Occupant {
            vm: Some(vm),
            generation: 1,
            made: services.clock.monotonic(),
            backoff: Duration::ZERO,
            last_fault: FaultKind::Dead,
        });
        Ok((Rc::new(Slot { guest, tenants: RefCell::default(), going: Cell::new(0) }), root))
    }

    /// A place that stays empty: the filter's module is missing, and every call is a fault.
    pub(super) fn vacant(services: &Services) -> (Rc<Slot>, ContextId) {
        let guest = RefCell::new(Occupant {
            vm: None,
            generation: 0,
            made: services.clock.monotonic(),
            backoff: Duration::MAX,
            last_fault: FaultKind::Missing,
        });
        (Rc::new(Slot { guest, tenants: RefCell::default(), going: Cell::new(0) }), NO_ROOT)
    }

    /// Starts one more filter in the guest.
    pub(super) fn add(&self, plugin: &Plugin, services: &Services) -> Result<ContextId, Fault> {
        match &mut self.guest.borrow_mut().vm {
            Some(vm) => vm.add(plugin, services),
            None => {
                let message = "the instance that it shares failed before".to_owned();
                Err(Fault { kind: FaultKind::Dead, callback: "start", message })
            }
        }
    }

    /// From now on these are the clusters that there are.
    pub(super) fn know_clusters(&self, clusters: &Arc<Clusters>) {
        if let Some(vm) = &mut self.guest.borrow_mut().vm {
            vm.know_clusters(clusters.clone());
        }
    }

    /// Takes a filter in, and performs what its guest asked for until now.
    pub(super) fn house(&self, tenant: &Rc<Instance>) {
        self.tenants.borrow_mut().push(Rc::downgrade(tenant));
        let guest = &mut *self.guest.borrow_mut();
        let effects = guest.vm.as_mut().map(Vm::take_effects).unwrap_or_default();
        self.perform(guest.generation, effects);
    }

    /// See [`Instance::enter`].
    pub(super) fn enter<R>(
        &self,
        tenant: &Instance,
        generation: Option<Generation>,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        let guest = &mut *self.guest.borrow_mut();
        if guest.vm.is_none() && generation.is_none() {
            self.rebuild(guest, tenant);
        }
        let Some(vm) = &mut guest.vm else {
            if guest.last_fault == FaultKind::Missing {
                tenant.note_missing(); // nobody else counts what it is not there for
            }
            return Err(guest.last_fault);
        };
        if generation.is_some_and(|wanted| wanted != guest.generation) {
            return Err(FaultKind::Dead);
        }
        let result = work(vm, guest.generation);
        if vm.has_effects() {
            let effects = vm.take_effects();
            self.perform(guest.generation, effects);
        }
        let result = result.map_err(|fault| self.lose(guest, tenant, &fault));
        self.tell_of_ends(guest);
        result
    }

    /// Tells a filter's root that it goes. Whether it went at once.
    pub(super) fn shut(&self, tenant: &Instance) -> bool {
        self.going.set(self.going.get() + 1);
        let guest = &mut *self.guest.borrow_mut();
        let Some(vm) = &mut guest.vm else { return true };
        let outcome = vm.shutdown(tenant.root());
        let effects = vm.take_effects();
        self.perform(guest.generation, effects);
        if let Err(fault) = outcome {
            self.lose(guest, tenant, &fault);
        }
        self.tell_of_ends(guest);
        guest.has_gone(tenant)
    }

    /// Tells the filters that wait for their roots to go of those that went: a call for one filter may end the root of
    /// another.
    fn tell_of_ends(&self, guest: &Occupant) {
        if self.going.get() == 0 {
            return; // nearly always
        }
        self.tenants().filter(|tenant| guest.has_gone(tenant)).for_each(|tenant| tenant.note_end());
    }

    /// Whether a filter's root went.
    pub(super) fn has_gone(&self, tenant: &Instance) -> bool {
        self.guest.borrow().has_gone(tenant)
    }

    /// A filter that was told to go is done with its guest, which ends with the last of them.
    pub(super) fn leave(&self, tenant: &Instance) {
        let mut tenants = self.tenants.borrow_mut();
        let count = tenants.len();
        tenants.retain(|other| !std::ptr::eq(other.as_ptr(), tenant));
        self.going.set(self.going.get() - (count - tenants.len()));
        if tenants.is_empty() {
            self.guest.borrow_mut().vm = None;
        }
    }

    /// Each effect is of the filter whose root asked for it, whoever's call it was.
    fn perform(&self, generation: Generation, effects: Vec<(ContextId, Effect)>) {
        for (root, effect) in effects {
            if let Some(tenant) = self.tenant(root) {
                tenant.perform(generation, effect);
            }
        }
    }

    fn tenant(&self, root: ContextId) -> Option<Rc<Instance>> {
        self.tenants.borrow().iter().filter_map(Weak::upgrade).find(|tenant| tenant.root() == root)
    }

    /// All of them, taken out of the list first: what is done to one may change it.
    fn tenants(&self) -> impl Iterator<Item = Rc<Instance>> {
        self.tenants.borrow().iter().filter_map(Weak::upgrade).collect::<Vec<_>>().into_iter()
    }

    /// Makes a new guest, if the last one is old enough, with all the filters in it.
    fn rebuild(&self, guest: &mut Occupant, wanted_by: &Instance) {
        let services = &wanted_by.services();
        let now = services.clock.monotonic();
        if now.saturating_duration_since(guest.made) < guest.backoff {
            return;
        }
        guest.made = now;
        guest.backoff = jittered_backoff(services);
        match self.restart() {
            Ok(mut vm) => {
                guest.generation += 1;
                let effects = vm.take_effects();
                guest.vm = Some(vm);
                self.perform(guest.generation, effects);
                self.tenants().for_each(|tenant| tenant.note_rebuild());
            }
            Err(fault) => guest.last_fault = fault,
        }
    }

    /// A new guest with every filter in it that was not told to go, in the order of the first one.
    fn restart(&self) -> Result<Vm, FaultKind> {
        let mut running: Option<Vm> = None;
        for tenant in self.tenants() {
            if tenant.is_going() {
                tenant.set_root(NO_ROOT);
                continue;
            }
            let (plugin, services) = (tenant.plugin(), &tenant.services());
            let root = match &mut running {
                Some(vm) => vm.add(plugin, services),
                None => plugin.start(services.clone()).map(|vm| running.insert(vm).first_root()),
            };
            tenant.set_root(root.map_err(|fault| {
                tenant.report(&fault);
                fault.kind
            })?);
        }
        running.ok_or(FaultKind::Dead)
    }

    /// Drops a guest that failed, and tells every exchange that it had.
    fn lose(&self, guest: &mut Occupant, by: &Instance, fault: &Fault) -> FaultKind {
        by.report(fault);
        self.tenants().for_each(|tenant| tenant.stop_calling());
        guest.last_fault = fault.kind;
        if let Some(vm) = guest.vm.take() {
            for (stream, stage) in vm.streams() {
                if let Ok(mut stream) = stream.try_borrow_mut() {
                    stream.push_action(stage, StreamAction::Fault);
                }
            }
        }
        fault.kind
    }
}

fn jittered_backoff(services: &Services) -> Duration {
    let mut byte = [0];
    // Without randomness there is none in the backoff, which then is as good as another's.
    let _ = services.randomness.fill(&mut byte);
    REBUILD_BACKOFF + REBUILD_BACKOFF * u32::from(byte[0]) / 512
}
