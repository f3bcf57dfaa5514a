//! One filter on one worker: what it has of its own of the guest that it runs in.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::rate::{Rate, Verdict};
use super::singles::Singles;
use super::slot::{Generation, Place, Slot};
use super::trial::Split;
use super::ways::Way;
use crate::config::model::OnFault;
use crate::wasm::{
    Abandoned, CalloutResult, Clusters, ContextId, Effect, Fault, FaultKind, GrpcCallout, GrpcEvent,
    HttpCall, Inbox, Plugin, Services, Vm, Work,
};

/// How long a filter that is told to go may take, where it says that it is not done.
pub(super) const LONGEST_FAREWELL: Duration = Duration::from_secs(5);

/// Does for guests what takes time and needs the outside.
pub trait Performer {
    /// Sends a request for a guest. Its result goes to [`Instance::deliver`], once, unless it was
    /// abandoned.
    fn http_call(&self, from: &Rc<Instance>, generation: u64, call: Box<HttpCall>, abandoned: Abandoned);

    /// Begins a gRPC callout for a guest. What comes of it goes to [`Instance::deliver_grpc`], until that says that the
    /// guest wants no more of it.
    fn grpc(&self, from: &Rc<Instance>, generation: u64, callout: Box<GrpcCallout>);

    /// A guest has [worn out](Instance::is_worn): it is to be replaced when there is time. Nothing does that without.
    fn recycle(&self) {}
}

/// A listener's filters on one worker.
#[derive(Debug, Default)]
pub struct Chain {
    pub(super) instances: Vec<Rc<Instance>>,
    edits_bodies: bool,
    /// For each filter its second version; nothing at all where no filter has one.
    pub(super) splits: Vec<Option<Rc<Split>>>,
    has_shadow: bool,
    /// For each route what is different on it; nothing at all where nothing is on any.
    pub(super) ways: Box<[Way]>,
}

impl Chain {
    /// The chain of these filters, in order.
    pub fn new(instances: Vec<Rc<Instance>>) -> Chain {
        let edits_bodies = instances.iter().any(|instance| instance.plugin.module().edits_bodies());
        Chain { instances, edits_bodies, splits: Vec::new(), has_shadow: false, ways: Box::default() }
    }

    /// Puts a second version beside the filter at `stage`.
    #[must_use]
    pub fn beside(mut self, stage: usize, split: Split) -> Chain {
        self.edits_bodies |= split.candidate().plugin.module().edits_bodies();
        self.has_shadow |= split.is_shadow();
        self.splits.resize(self.instances.len(), None);
        self.splits[stage] = Some(Rc::new(split));
        self
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    pub(super) fn instance(&self, stage: usize) -> &Rc<Instance> {
        &self.instances[stage]
    }

    pub(super) fn split(&self, stage: usize) -> Option<&Rc<Split>> {
        self.splits.get(stage)?.as_ref()
    }

    /// Whether two versions of a filter are compared.
    pub(super) fn compares(&self) -> bool {
        self.splits.iter().flatten().any(|split| split.compares())
    }

    pub(super) fn has_shadow(&self) -> bool {
        self.has_shadow
    }

    pub(super) fn edits_bodies(&self) -> bool {
        self.edits_bodies
    }
}

/// One filter on one worker.
pub struct Instance {
    slot: Rc<Slot>,
    /// Its root context in the guest of the moment.
    root: Cell<ContextId>,
    /// Whether its guest wears out by what it does.
    wears: bool,
    /// How much it may run, where that is limited.
    rate: Option<Rate>,
    plugin: Plugin,
    name: Arc<str>,
    services: RefCell<Services>,
    performer: RefCell<Rc<dyn Performer>>,
    /// Its place there.
    place: Cell<Place>,
    ticker: RefCell<Option<tokio::task::JoinHandle<()>>>,
    queue_watch: RefCell<Option<tokio::task::JoinHandle<()>>>,
    /// Whether it was told to go, and who waits until it has.
    going: Cell<bool>,
    gone: Notify,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("filter", &self.name).finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts a filter in a guest of its own.
    ///
    /// # Errors
    ///
    /// The fault with which the guest failed to start or refused its configuration.
    pub fn start(
        plugin: Plugin,
        services: Services,
        performer: Rc<dyn Performer>,
    ) -> Result<Rc<Instance>, Fault> {
        let (slot, root) = Slot::start(&plugin, &services)?;
        Ok(Instance::house(slot, root, plugin, services, performer))
    }

    /// Starts a filter in the guest of another, with which it [shares](Plugin::shares) a VM.
    ///
    /// # Errors
    ///
    /// The fault with which the guest failed or refused the configuration; then it is lost for the other as well, until
    /// that is [mended](Instance::mend).
    pub fn join(
        other: &Instance,
        plugin: Plugin,
        services: Services,
        performer: Rc<dyn Performer>,
    ) -> Result<Rc<Instance>, Fault> {
        let root = other.slot.add(&plugin, &services)?;
        Ok(Instance::house(other.slot.clone(), root, plugin, services, performer))
    }

    /// Starts a filter once more in its guest, with what a route configures it with. Where there is no guest at the moment
    /// it starts with the next.
    ///
    /// # Errors
    ///
    /// The fault with which the guest failed or refused the configuration; then it is lost for the filter as well, until
    /// that is [mended](Instance::mend).
    pub fn vary(
        &self,
        plugin: Plugin,
        services: Services,
        performer: Rc<dyn Performer>,
    ) -> Result<Rc<Instance>, Fault> {
        let root = self.slot.add(&plugin, &services)?;
        Ok(Instance::house(self.slot.clone(), root, plugin, services, performer))
    }

    /// Whether as much again as is in its guest may well fit into it: the guest has no more than half of the memory that
    /// it may have.
    pub fn has_room(&self) -> bool {
        self.slot.has_room()
    }

    /// Has a new guest at once, if its own was lost to another filter that was to [start](Instance::join) in it. What was
    /// under way in that is lost.
    pub fn mend(&self) {
        self.slot.mend();
    }

    /// Whether both run in one guest.
    pub fn is_beside(&self, other: &Instance) -> bool {
        Rc::ptr_eq(&self.slot, &other.slot)
    }

    /// A filter whose module is missing: it fails on everything that passes it, which `on_fault` decides on.
    pub fn missing(plugin: Plugin, services: Services, performer: Rc<dyn Performer>) -> Rc<Instance> {
        let (slot, root) = Slot::vacant(&plugin, &services);
        Instance::house(slot, root, plugin, services, performer)
    }

    fn house(
        slot: Rc<Slot>,
        root: ContextId,
        plugin: Plugin,
        services: Services,
        performer: Rc<dyn Performer>,
    ) -> Rc<Instance> {
        let per_second = plugin.filter().limits.instructions_per_second;
        let rate =
            per_second.map(|rate| Rate::new(rate, services.usage.instructions(), services.clock.monotonic()));
        let recycle = &plugin.filter().recycle;
        let instance = Rc::new(Instance {
            wears: recycle.requests.is_some() || recycle.memory.is_some(),
            name: plugin.filter().name.as_str().into(),
            plugin,
            services: RefCell::new(services),
            performer: RefCell::new(performer),
            slot,
            place: Cell::new(0),
            rate,
            root: Cell::new(root),
            ticker: RefCell::new(None),
            queue_watch: RefCell::new(None),
            going: Cell::new(false),
            gone: Notify::new(),
        });
        instance.slot.house(&instance);
        instance
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Instructions that it has run.
    pub(super) fn instructions(&self) -> u64 {
        self.services.borrow().usage.instructions()
    }

    /// The filter's code and configuration.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Goes on under another configuration: with these clusters, and by whoever sends requests to them. What it asked
    /// for before goes on as it began.
    pub fn move_to(&self, clusters: &Arc<Clusters>, performer: Rc<dyn Performer>) {
        self.services.borrow_mut().clusters = clusters.clone();
        self.slot.know_clusters(clusters);
        *self.performer.borrow_mut() = performer;
    }

    /// Whether there is nothing to run: its module is missing.
    pub fn is_vacant(&self) -> bool {
        self.slot.is_vacant()
    }

    /// Whether somebody watches it: then nobody may share its guest.
    pub fn is_watched(&self) -> bool {
        self.services.borrow().witness.is_some()
    }

    pub(super) fn services(&self) -> Services {
        self.services.borrow().clone()
    }

    /// What becomes of an exchange on which this filter fails.
    pub(super) fn on_fault(&self) -> OnFault {
        self.plugin.filter().on_fault
    }

    /// What becomes of an exchange that begins while the filter is over its rate.
    pub(super) fn on_rate_exceeded(&self) -> OnFault {
        self.plugin.filter().on_rate_exceeded
    }

    /// Whether work that is about to begin is to be kept from the filter, because it is over its rate: that is counted,
    /// and told once.
    pub(super) fn withholds(&self, work: Work) -> bool {
        let Some(rate) = &self.rate else { return false };
        let services = self.services.borrow();
        let verdict = rate.judge(services.usage.instructions(), services.clock.monotonic());
        match verdict {
            Verdict::Within => return false,
            Verdict::WithinAgain(withheld) => {
                tracing::info!(filter = %self.name, withheld, "the filter is within its rate again");
                return false;
            }
            Verdict::Over => {}
            Verdict::OverNow => tracing::warn!(
                filter = %self.name,
                "the filter is over its rate (`limits.instructions_per_second`): it is not called for what begins now"
            ),
        }
        services.usage.record_withheld(work);
        true
    }

    /// How long it takes until the filter is within its rate.
    fn delay(&self) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, Rate::delay)
    }

    /// Its root context in the guest of the moment.
    pub(super) fn root(&self) -> ContextId {
        self.root.get()
    }

    pub(super) fn place(&self) -> Place {
        self.place.get()
    }

    pub(super) fn set_place(&self, place: Place) {
        self.place.set(place);
    }

    pub(super) fn set_root(&self, root: ContextId) {
        self.root.set(root);
    }

    /// Runs `work` on the guest that a new exchange is to have its context in. What the guest asked for is performed
    /// afterwards.
    ///
    /// # Errors
    ///
    /// The kind of the fault, when the guest fails now, failed before, or cannot be made anew yet.
    pub(super) fn open<R>(
        &self,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        self.slot.open(self, work)
    }

    /// Runs `work` on the guest of this generation, in which an exchange has its context. What the guest asked for is
    /// performed afterwards.
    ///
    /// # Errors
    ///
    /// The kind of the fault, when the guest fails now or has failed before.
    pub(super) fn enter<R>(
        &self,
        generation: Generation,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        self.slot.enter(self, generation, work)
    }

    /// Its root context in a guest.
    pub(super) fn root_in(&self, vm: &Vm, generation: Generation) -> ContextId {
        if Singles::is_single(generation) { vm.first_root() } else { self.root() }
    }

    /// Whether its guest is to be replaced when it has served or grown enough.
    pub(super) fn wears(&self) -> bool {
        self.wears
    }

    /// Whether the guest has served, grown or lived as long as the filter's configuration lets it: then a successor is
    /// to take its place.
    pub fn is_worn(&self) -> bool {
        self.slot.is_worn()
    }

    /// The guest is to be replaced, for its age.
    pub fn wear_out(&self) {
        self.slot.wear_out(self);
    }

    /// The guest could not be replaced: it serves on.
    pub fn renew(&self) {
        self.slot.renew();
    }

    /// Counts an exchange on which the filter failed, or could not be called.
    pub(super) fn note_policy(&self) {
        self.services.borrow().usage.record_policy();
    }

    /// Notes whether the filter is left alone.
    pub(super) fn note_breaker(&self, is_open: bool) {
        self.services.borrow().usage.record_breaker(is_open);
    }

    pub(super) fn report_trial(&self) {
        self.note_breaker(false);
        tracing::info!(filter = %self.name, "the filter is called again, after it was left alone for a while");
    }

    pub(super) fn report_breaker(&self, open_for: Duration) {
        tracing::error!(
            filter = %self.name,
            seconds = open_for.as_secs(),
            on_fault = ?self.on_fault(),
            "the filter fails again and again: it is not called for a while"
        );
    }

    /// Gives a guest the result of a call that it made. A guest that is gone does not get it.
    pub fn deliver(&self, generation: u64, token: u32, result: CalloutResult) {
        let _ = self.enter(generation, |vm, _| vm.on_http_call_response(token, result));
    }

    /// Gives a guest what came of a gRPC callout. Whether it wants more of it: not if that was the end, if it cancelled
    /// it, or if it is gone.
    pub fn deliver_grpc(self: &Rc<Self>, generation: u64, token: u32, event: GrpcEvent) -> bool {
        self.enter(generation, |vm, _| vm.on_grpc(token, event)).unwrap_or(false)
    }

    /// Calls the filter's root by a number that both agree on: see [`Vm::on_foreign_function`]. The proxy never does.
    ///
    /// # Errors
    ///
    /// The kind of the fault, when the guest fails now, failed before, or cannot be made anew yet.
    pub fn call_foreign_function(&self, function: u32, arguments: Bytes) -> Result<(), FaultKind> {
        self.slot.enter_root(self, |vm, _| vm.on_foreign_function(self.root(), function, arguments))
    }

    /// Ends the filter's part in its guest: `on_done` and `on_delete` of its root, and no more ticks nor items of
    /// queues. What says in `on_done` that it is not done is not waited for.
    pub fn stop(&self) {
        if !self.going.replace(true) {
            self.slot.shut(self);
        }
        self.stop_calling();
        self.slot.leave(self);
    }

    /// The same for a filter that may have something left to do: one that says in `on_done` that it is not done goes
    /// on, ticks, items of queues and callouts included, until it calls `proxy_done`, for five seconds at most.
    pub async fn end(&self) {
        if !self.going.replace(true) && !self.slot.shut(self) {
            let gone = async {
                let mut gone = std::pin::pin!(self.gone.notified());
                gone.as_mut().enable();
                if !self.slot.has_gone(self) {
                    gone.await;
                }
            };
            if tokio::time::timeout(LONGEST_FAREWELL, gone).await.is_err() {
                tracing::warn!(filter = %self.name, "the filter did not call proxy_done in time: it is cut off");
            }
        }
        self.stop();
    }

    pub(super) fn perform(self: &Rc<Self>, generation: Generation, effect: Effect) {
        match effect {
            Effect::HttpCall(call, abandoned) => {
                self.performer().http_call(self, generation, call, abandoned);
            }
            Effect::Grpc(callout) => self.performer().grpc(self, generation, callout),
            Effect::SetTick(period) => self.tick_every(generation, period),
            Effect::WatchQueues(inbox) => self.watch_queues(generation, inbox),
        }
    }

    pub(super) fn performer(&self) -> Rc<dyn Performer> {
        self.performer.borrow().clone()
    }

    pub(super) fn is_going(&self) -> bool {
        self.going.get()
    }

    pub(super) fn note_end(&self) {
        self.gone.notify_waiters();
    }

    pub(super) fn note_rebuild(&self) {
        self.services.borrow().usage.record_rebuild();
        tracing::info!(filter = %self.name, "filter restarted after a fault");
    }

    pub(super) fn note_missing(&self) {
        self.services.borrow().usage.record_fault(FaultKind::Missing);
    }

    pub(super) fn report(&self, fault: &Fault) {
        self.services.borrow().log.fault(&self.name, fault);
    }

    /// Calls `on_tick` each period. The period is measured from the end of one call to the start of the next, so that
    /// ticks never overlap. One that comes while the filter is over its rate is left out.
    fn tick_every(self: &Rc<Self>, generation: Generation, period: Option<Duration>) {
        self.stop_ticking();
        *self.ticker.borrow_mut() = period.map(|period| self.tick(generation, period));
    }

    /// Calls `on_tick` of one guest each period, until it is gone or the task is aborted.
    pub(super) fn tick(
        self: &Rc<Self>,
        generation: Generation,
        period: Duration,
    ) -> tokio::task::JoinHandle<()> {
        let instance = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(instance) = Weak::upgrade(&instance) else { return };
                if instance.withholds(Work::Tick) {
                    continue;
                }
                let ticked = instance.enter(generation, |vm, generation| {
                    let root = instance.root_in(vm, generation);
                    vm.on_tick(root)
                });
                if ticked.is_err() {
                    return;
                }
            }
        })
    }

    /// Calls `on_queue_ready` once for each item that the filter is to be told of, whichever thread put it in. Other
    /// tasks of the worker have their turn between two calls. While the filter is over its rate they wait in the queue.
    fn watch_queues(self: &Rc<Self>, generation: Generation, inbox: Arc<Inbox>) {
        let instance = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                poll_fn(|context| inbox.poll_ready(context)).await;
                let Some(instance) = Weak::upgrade(&instance) else { return };
                if instance.withholds(Work::QueueItem) {
                    let delay = instance.delay();
                    drop(instance);
                    tokio::time::sleep(delay).await;
                    continue;
                }
                let root = instance.root();
                // A root that is told of nothing though there is something has gone.
                if instance.enter(generation, |vm, _| vm.on_queue_ready(root)) != Ok(true) {
                    return;
                }
                drop(instance);
                tokio::task::yield_now().await;
            }
        });
        if let Some(former) = self.queue_watch.borrow_mut().replace(task) {
            former.abort();
        }
    }

    /// Has the guest called no more of its own accord: no ticks, no items of queues, no results of callouts.
    pub(super) fn stop_calling(&self) {
        self.stop_ticking();
        if let Some(task) = self.queue_watch.borrow_mut().take() {
            task.abort();
        }
    }

    fn stop_ticking(&self) {
        if let Some(task) = self.ticker.borrow_mut().take() {
            task.abort();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
    }
}
