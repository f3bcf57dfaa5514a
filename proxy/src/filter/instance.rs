//! One filter on one worker: its guest, and what keeps it alive.
//!
//! A guest that failed is never called again. The next exchange gets a new one, unless the last was made less than a
//! backoff ago: a request that kills its guest must not turn into an amplifier.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::model::OnFault;
use crate::wasm::stream::StreamAction;
use crate::wasm::{CalloutResult, Effect, Fault, FaultKind, HttpCall, Inbox, Plugin, Services, Vm};

/// Between two guests of one filter on one worker, at least; jittered by up to a half on top.
const REBUILD_BACKOFF: Duration = Duration::from_secs(1);

/// Which of an instance's guests, counted from 1.
pub(super) type Generation = u64;

/// Does for guests what takes time and needs the outside.
pub trait Performer {
    /// Sends a request for a guest. Its result goes to [`Instance::deliver`], once.
    fn http_call(&self, from: &Rc<Instance>, generation: u64, call: Box<HttpCall>);
}

/// A listener's filters on one worker.
#[derive(Debug, Default)]
pub struct Chain {
    instances: Vec<Rc<Instance>>,
    edits_bodies: bool,
}

impl Chain {
    /// The chain of these filters, in order.
    pub fn new(instances: Vec<Rc<Instance>>) -> Chain {
        let edits_bodies = instances.iter().any(|instance| instance.plugin.module().edits_bodies());
        Chain { instances, edits_bodies }
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

    pub(super) fn name(&self, stage: usize) -> Arc<str> {
        self.instances[stage].name.clone()
    }

    pub(super) fn edits_bodies(&self) -> bool {
        self.edits_bodies
    }
}

/// One filter on one worker.
pub struct Instance {
    name: Arc<str>,
    plugin: Plugin,
    services: Services,
    performer: Rc<dyn Performer>,
    slot: RefCell<Slot>,
    ticker: RefCell<Option<tokio::task::JoinHandle<()>>>,
    queue_watch: RefCell<Option<tokio::task::JoinHandle<()>>>,
}

/// The guest of the moment.
struct Slot {
    vm: Option<Vm>,
    generation: Generation,
    made: Instant,
    backoff: Duration,
    last_fault: FaultKind,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("filter", &self.name).finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts a filter's guest on this worker.
    ///
    /// # Errors
    ///
    /// The fault with which the guest failed to start or refused its configuration.
    pub fn start(
        plugin: Plugin,
        services: Services,
        performer: Rc<dyn Performer>,
    ) -> Result<Rc<Instance>, Fault> {
        let vm = plugin.start(services.clone())?;
        let made = services.clock.monotonic();
        let instance = Rc::new(Instance {
            name: plugin.filter().name.as_str().into(),
            slot: RefCell::new(Slot {
                vm: Some(vm),
                generation: 1,
                made,
                backoff: Duration::ZERO,
                last_fault: FaultKind::Dead,
            }),
            plugin,
            services,
            performer,
            ticker: RefCell::new(None),
            queue_watch: RefCell::new(None),
        });
        instance.perform_pending();
        Ok(instance)
    }

    /// What becomes of an exchange on which this filter fails.
    pub(super) fn on_fault(&self) -> OnFault {
        self.plugin.filter().on_fault
    }

    /// Runs `work` on the guest, the one of `generation` if that is given: the guest that an exchange has its context
    /// in. What the guest asked for is performed afterwards.
    ///
    /// # Errors
    ///
    /// The kind of the fault, when the guest fails now, failed before, or cannot be made anew yet.
    pub(super) fn enter<R>(
        self: &Rc<Self>,
        generation: Option<Generation>,
        work: impl FnOnce(&mut Vm, Generation) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        let mut slot = self.slot.borrow_mut();
        let slot = &mut *slot;
        if slot.vm.is_none() && generation.is_none() {
            self.rebuild(slot);
        }
        let Some(vm) = &mut slot.vm else { return Err(slot.last_fault) };
        if generation.is_some_and(|wanted| wanted != slot.generation) {
            return Err(FaultKind::Dead);
        }
        let generation = slot.generation;
        let result = work(vm, generation);
        if vm.has_effects() {
            let effects = vm.take_effects();
            self.perform(generation, effects);
        }
        result.map_err(|fault| self.lose(slot, fault))
    }

    /// Gives a guest the result of a call that it made. A guest that is gone does not get it.
    pub fn deliver(self: &Rc<Self>, generation: u64, token: u32, result: CalloutResult) {
        let _ = self.enter(Some(generation), |vm, _| vm.on_http_call_response(token, result));
    }

    /// Ends the guest: `on_done` and `on_delete` of its root, and no more ticks nor items of queues.
    pub fn stop(&self) {
        self.stop_calling();
        if let Some(mut vm) = self.slot.borrow_mut().vm.take() {
            vm.shutdown();
        }
    }

    fn perform_pending(self: &Rc<Self>) {
        let mut slot = self.slot.borrow_mut();
        let generation = slot.generation;
        let effects = slot.vm.as_mut().map(Vm::take_effects).unwrap_or_default();
        drop(slot);
        self.perform(generation, effects);
    }

    fn perform(self: &Rc<Self>, generation: Generation, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::HttpCall(call) => self.performer.http_call(self, generation, call),
                Effect::SetTick(period) => self.tick_every(generation, period),
                Effect::WatchQueues(inbox) => self.watch_queues(generation, inbox),
            }
        }
    }

    /// Makes a new guest, if the last one is old enough.
    fn rebuild(self: &Rc<Self>, slot: &mut Slot) {
        let now = self.services.clock.monotonic();
        if now.saturating_duration_since(slot.made) < slot.backoff {
            return;
        }
        slot.made = now;
        slot.backoff = self.jittered_backoff();
        match self.plugin.start(self.services.clone()) {
            Ok(mut vm) => {
                slot.generation += 1;
                let effects = vm.take_effects();
                slot.vm = Some(vm);
                self.perform(slot.generation, effects);
                self.services.usage.record_rebuild();
                tracing::info!(filter = %self.name, "filter restarted after a fault");
            }
            Err(fault) => {
                slot.last_fault = fault.kind;
                self.report(&fault);
            }
        }
    }

    fn jittered_backoff(&self) -> Duration {
        let mut byte = [0];
        // Without randomness there is none in the backoff, which then is as good as another's.
        let _ = self.services.randomness.fill(&mut byte);
        REBUILD_BACKOFF + REBUILD_BACKOFF * u32::from(byte[0]) / 512
    }

    /// Drops a guest that failed, and tells every exchange that it had.
    fn lose(&self, slot: &mut Slot, fault: Fault) -> FaultKind {
        self.report(&fault);
        self.stop_calling();
        slot.last_fault = fault.kind;
        if let Some(vm) = slot.vm.take() {
            for (stream, stage) in vm.streams() {
                if let Ok(mut stream) = stream.try_borrow_mut() {
                    stream.push_action(stage, StreamAction::Fault);
                }
            }
        }
        fault.kind
    }

    fn report(&self, fault: &Fault) {
        self.services.log.fault(&self.name, fault);
    }

    /// Calls `on_tick` each period. The period is measured from the end of one call to the start of the next, so that
    /// ticks never overlap.
    fn tick_every(self: &Rc<Self>, generation: Generation, period: Option<Duration>) {
        self.stop_ticking();
        let Some(period) = period else { return };
        let instance = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(instance) = Weak::upgrade(&instance) else { return };
                if instance.enter(Some(generation), |vm, _| vm.on_tick()).is_err() {
                    return;
                }
            }
        });
        *self.ticker.borrow_mut() = Some(task);
    }

    /// Calls `on_queue_ready` once for each item that the guest is to be told of, whichever thread put it in. Other tasks
    /// of the worker have their turn between two calls.
    fn watch_queues(self: &Rc<Self>, generation: Generation, inbox: Arc<Inbox>) {
        let instance = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                poll_fn(|context| inbox.poll_ready(context)).await;
                let Some(instance) = Weak::upgrade(&instance) else { return };
                if instance.enter(Some(generation), |vm, _| vm.on_queue_ready()).is_err() {
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

    /// Calls the guest no more of its own accord.
    fn stop_calling(&self) {
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
