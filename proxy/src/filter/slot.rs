//! The guest of the moment: of one filter on one worker, or of several that share a VM; and beside it, where a filter is
//! isolated so, the guests that serve one exchange each.
//!
//! A guest that failed is never called again. The next exchange gets a new one, unless the last was made less than a
//! backoff ago: a request that kills its guest must not turn into an amplifier. A filter that does nothing but fail is
//! left alone for a while.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::breaker::{Admission, Backoff, Breaker};
use super::instance::Instance;
use super::singles::Singles;
use crate::wasm::stream::StreamAction;
use crate::wasm::{Clusters, ContextId, Effect, Fault, FaultKind, Plugin, Services, Vm};

/// The root of a filter that has none in the guest of the moment: no root has this number.
const NO_ROOT: ContextId = 0;

/// Which of a slot's guests, counted from 1.
pub(super) type Generation = u64;

/// A place for a guest, and the filters that run in it, in the order in which they came.
// What each call needs comes first, in few lines of the cache: five filters have more state than the fastest holds.
#[repr(C)]
pub(super) struct Slot {
    singles: Option<Singles>,
    breaker: RefCell<Breaker>,
    /// Exchanges that the guest of the moment was called for.
    served: Cell<u64>,
    /// Those that were told to go and have not gone yet.
    going: RefCell<Vec<Weak<Instance>>>,
    /// Whether it has served, grown or lived long enough to be replaced.
    worn: Cell<bool>,
    /// Whether there is nothing to make a guest of.
    is_vacant: bool,
    guest: RefCell<Occupant>,
    /// By their places: routes may make thousands of them, which come and go with a reload.
    tenants: RefCell<BTreeMap<Place, Weak<Instance>>>,
    last_place: Cell<Place>,
}

/// A filter's place among those of its slot, in the order in which they came.
pub(super) type Place = u64;

/// The guest of the moment.
#[repr(C)]
struct Occupant {
    generation: Generation,
    vm: Option<Vm>,
    backoff: Backoff,
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
        let slot = Slot::of(Some(vm), Singles::new(plugin, services), plugin, services);
        Ok((slot, root))
    }

    /// A place that stays empty: the filter's module is missing, and every call is a fault.
    pub(super) fn vacant(plugin: &Plugin, services: &Services) -> (Rc<Slot>, ContextId) {
        (Slot::of(None, None, plugin, services), NO_ROOT)
    }

    fn of(vm: Option<Vm>, singles: Option<Singles>, plugin: &Plugin, services: &Services) -> Rc<Slot> {
        let filter = plugin.filter();
        let is_vacant = vm.is_none();
        let backoff = Backoff::new(&filter.reload, services.clock.monotonic());
        Rc::new(Slot {
            guest: RefCell::new(Occupant { vm, generation: 1, backoff }),
            singles,
            is_vacant,
            breaker: RefCell::new(Breaker::new(&filter.breaker)),
            served: Cell::new(0),
            worn: Cell::new(false),
            tenants: RefCell::default(),
            last_place: Cell::new(0),
            going: RefCell::default(),
        })
    }

    /// Starts one more filter in the guest. Where there is none at the moment, that which is made next has it.
    ///
    /// # Errors
    ///
    /// The guest failed, or refused the configuration: it is lost, until the slot is [mended](Slot::mend).
    pub(super) fn add(&self, plugin: &Plugin, services: &Services) -> Result<ContextId, Fault> {
        let guest = &mut *self.guest.borrow_mut();
        let Some(vm) = &mut guest.vm else { return Ok(NO_ROOT) };
        vm.add(plugin, services).inspect_err(|_| self.drop_guest(guest))
    }

    /// Whether the guest may well have room for as much again as is in it: what came to be there one by one may not fit
    /// twice.
    pub(super) fn has_room(&self) -> bool {
        self.guest.borrow().vm.as_ref().is_none_or(|vm| vm.memory_bytes() <= vm.memory_limit() / 2)
    }

    /// Makes a new guest at once where the last was lost to a filter that was [added](Slot::add): those that it had
    /// before are not to pay for that, neither by a wait nor by a strike.
    pub(super) fn mend(&self) {
        let guest = &mut *self.guest.borrow_mut();
        if guest.vm.is_none() && !self.is_vacant {
            self.rebuild(guest);
        }
    }

    /// From now on these are the clusters that there are.
    pub(super) fn know_clusters(&self, clusters: &Arc<Clusters>) {
        if let Some(vm) = &mut self.guest.borrow_mut().vm {
            vm.know_clusters(clusters.clone());
        }
        if let Some(singles) = &self.singles {
            singles.know_clusters(clusters);
        }
    }

    /// Takes a filter in, and performs what its guest asked for until now.
    pub(super) fn house(&self, tenant: &Rc<Instance>) {
        self.last_place.set(self.last_place.get() + 1);
        tenant.set_place(self.last_place.get());
        self.tenants.borrow_mut().insert(self.last_place.get(), Rc::downgrade(tenant));
        let guest = &mut *self.guest.borrow_mut();
        let effects = guest.vm.as_mut().map(Vm::take_effects).unwrap_or_default();
        self.perform(guest.generation, effects);
    }

    /// See [`Instance::open`].
    pub(super) fn open<R>(
        &self,
        tenant: &Instance,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        match self.breaker.borrow_mut().admit(|| tenant.services().clock.monotonic()) {
            Admission::Usual => {}
            Admission::Trial => tenant.report_trial(),
            Admission::Refused => return Err(FaultKind::Breaker),
        }
        self.revive(tenant);
        let Some(singles) = &self.singles else {
            return self.enter_moment(tenant, None, |vm, generation| {
                self.served.set(self.served.get() + 1);
                self.breaker.borrow_mut().note_exchange();
                work(vm, generation)
            });
        };
        self.breaker.borrow_mut().note_exchange();
        let (generation, effects, result) = singles.open(work);
        self.perform(generation, effects);
        singles.settle(generation);
        result.map_err(|fault| self.lose_single(singles, tenant, fault))
    }

    /// See [`Instance::enter`].
    pub(super) fn enter<R>(
        &self,
        tenant: &Instance,
        generation: Generation,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        if !Singles::is_single(generation) {
            return self.enter_moment(tenant, Some(generation), work);
        }
        let singles = self.singles.as_ref().ok_or(FaultKind::Dead)?;
        let (effects, result) = singles.enter(generation, work).ok_or(FaultKind::Dead)?;
        self.perform(generation, effects);
        singles.settle(generation);
        result.map_err(|fault| self.lose_single(singles, tenant, fault))
    }

    /// See [`Instance::call_foreign_function`].
    pub(super) fn enter_root<R>(
        &self,
        tenant: &Instance,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        self.revive(tenant);
        self.enter_moment(tenant, None, work)
    }

    /// Calls the guest of the moment, if it is the one that is asked for.
    fn enter_moment<R>(
        &self,
        tenant: &Instance,
        generation: Option<Generation>,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        let guest = &mut *self.guest.borrow_mut();
        let Some(vm) = &mut guest.vm else {
            if self.is_vacant {
                tenant.note_missing(); // nobody else counts what it is not there for
                return Err(FaultKind::Missing);
            }
            return Err(FaultKind::Dead);
        };
        if generation.is_some_and(|wanted| wanted != guest.generation) {
            return Err(FaultKind::Dead);
        }
        let result = work(vm, guest.generation);
        self.note_wear(tenant, vm);
        if vm.has_effects() {
            let effects = vm.take_effects();
            self.perform(guest.generation, effects);
        }
        let result = result.map_err(|fault| self.lose(guest, tenant, &fault));
        self.tell_of_ends(guest);
        result
    }

    /// Notes whether the guest is to be replaced, and tells whoever does that.
    #[inline]
    fn note_wear(&self, tenant: &Instance, vm: &Vm) {
        if !tenant.wears() {
            return; // nearly always
        }
        let recycle = &tenant.plugin().filter().recycle;
        let served_enough = recycle.requests.is_some_and(|most| self.served.get() >= most);
        if served_enough || recycle.memory.is_some_and(|most| vm.memory_bytes() > most) {
            self.wear_out(tenant);
        }
    }

    /// The guest is to be replaced.
    pub(super) fn wear_out(&self, tenant: &Instance) {
        if !self.worn.replace(true) {
            tenant.performer().recycle();
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.is_vacant
    }

    pub(super) fn is_worn(&self) -> bool {
        self.worn.get()
    }

    /// It could not be replaced: it serves on, as if it were new.
    pub(super) fn renew(&self) {
        self.worn.set(false);
        self.served.set(0);
    }

    /// Tells a filter's root that it goes. Whether it went at once.
    pub(super) fn shut(&self, tenant: &Instance) -> bool {
        let this = self.tenants.borrow().get(&tenant.place()).cloned();
        self.going.borrow_mut().extend(this);
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
    #[inline]
    fn tell_of_ends(&self, guest: &Occupant) {
        if !self.going.borrow().is_empty() {
            self.tell_those_going(guest); // hardly ever
        }
    }

    #[cold]
    fn tell_those_going(&self, guest: &Occupant) {
        self.going.borrow_mut().retain(|tenant| {
            let gone = tenant.upgrade().filter(|tenant| guest.has_gone(tenant));
            gone.as_ref().inspect(|tenant| tenant.note_end()).is_none() && tenant.strong_count() > 0
        });
    }

    /// Whether a filter's root went.
    pub(super) fn has_gone(&self, tenant: &Instance) -> bool {
        self.guest.borrow().has_gone(tenant)
    }

    /// A filter that was told to go is done with its guest, which ends with the last of them.
    pub(super) fn leave(&self, tenant: &Instance) {
        let mut tenants = self.tenants.borrow_mut();
        tenants.remove(&tenant.place());
        self.going.borrow_mut().retain(|other| !std::ptr::eq(other.as_ptr(), tenant));
        if tenants.is_empty() {
            self.guest.borrow_mut().vm = None;
            if let Some(singles) = &self.singles {
                singles.clear();
            }
        }
    }

    /// Each effect is of the filter whose root asked for it, whoever's call it was. A guest for one exchange has one
    /// filter, whose other guest is told of items in queues.
    fn perform(&self, generation: Generation, effects: Vec<(ContextId, Effect)>) {
        for (root, effect) in effects {
            let singles = self.singles.as_ref().filter(|_| Singles::is_single(generation));
            let tenant = if singles.is_some() { self.tenants().next() } else { self.tenant(root) };
            let Some(tenant) = tenant else { continue };
            match (singles, effect) {
                (Some(singles), Effect::SetTick(period)) => {
                    singles.tick_by(generation, period.map(|period| tenant.tick(generation, period)));
                }
                (Some(_), Effect::WatchQueues(_)) => {}
                (_, effect) => tenant.perform(generation, effect),
            }
        }
    }

    fn tenant(&self, root: ContextId) -> Option<Rc<Instance>> {
        // Who came last asks most: it has just been configured.
        self.tenants.borrow().values().rev().filter_map(Weak::upgrade).find(|tenant| tenant.root() == root)
    }

    /// All of them, taken out of the list first: what is done to one may change it.
    fn tenants(&self) -> impl Iterator<Item = Rc<Instance>> {
        self.tenants.borrow().values().filter_map(Weak::upgrade).collect::<Vec<_>>().into_iter()
    }

    /// Makes the guest of the moment anew with all the filters in it, if it was lost and is old enough. Where it has no
    /// exchanges, its ticks are to go on.
    fn revive(&self, wanted_by: &Instance) {
        let guest = &mut *self.guest.borrow_mut();
        if guest.vm.is_some() || self.is_vacant {
            return;
        }
        let services = &wanted_by.services();
        if !guest.backoff.may_rebuild(services) {
            return;
        }
        self.rebuild(guest);
    }

    fn rebuild(&self, guest: &mut Occupant) {
        // Why there is none was reported.
        let Some(mut vm) = self.restart() else { return };
        guest.generation += 1;
        let effects = vm.take_effects();
        guest.vm = Some(vm);
        self.renew();
        self.perform(guest.generation, effects);
        self.tenants().for_each(|tenant| tenant.note_rebuild());
    }

    /// A new guest with every filter in it that was not told to go, in the order of the first one.
    fn restart(&self) -> Option<Vm> {
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
            tenant.set_root(root.inspect_err(|fault| tenant.report(fault)).ok()?);
        }
        running
    }

    /// Drops a guest that failed, and tells every exchange that it had.
    fn lose(&self, guest: &mut Occupant, by: &Instance, fault: &Fault) -> FaultKind {
        by.report(fault);
        self.note_strike(by);
        self.drop_guest(guest);
        fault.kind
    }

    fn drop_guest(&self, guest: &mut Occupant) {
        self.tenants().for_each(|tenant| tenant.stop_calling());
        if let Some(vm) = guest.vm.take() {
            for (stream, stage) in vm.streams() {
                if let Ok(mut stream) = stream.try_borrow_mut() {
                    stream.push_action(stage, StreamAction::Fault);
                }
            }
        }
    }

    /// A guest that served one exchange failed: nobody else is concerned.
    fn lose_single(&self, singles: &Singles, by: &Instance, fault: Fault) -> FaultKind {
        let kind = fault.kind;
        if let Some(fault) = singles.worth_a_line(fault) {
            by.report(&fault);
        }
        // What fails in no time costs nobody but its own exchange, however often it does.
        if matches!(kind, FaultKind::Instructions | FaultKind::WallClock | FaultKind::Memory) {
            self.note_strike(by);
        }
        kind
    }

    /// A fault that others had to wait for, or lost their guest by.
    fn note_strike(&self, by: &Instance) {
        if let Some(open_for) = self.breaker.borrow_mut().note_fault(&by.services()) {
            by.note_breaker(true);
            by.report_breaker(open_for);
        }
    }
}
