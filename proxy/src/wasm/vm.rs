//! One running instance on one worker, of one plugin or of several that share it: the callbacks that the pipeline
//! calls.
//!
//! It must not be called while one of its own calls is in progress, which Rust's borrowing sees to, nor while the
//! stream is borrowed. After a [`Fault`] it is dead and to be dropped: nothing enters the guest again.

mod connection;
mod exchange;
mod root;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::abi::Callback;
use super::effect::Effect;
use super::fault::Fault;
use super::host::Host;
use super::image::Image;
use super::instance::{Exports, Guest};
use super::module::Module;
use super::plugin::Plugin;
use super::root::{Root, RootEnd};
use super::services::{Clusters, GuestLog, Services};
use super::stream::StreamRef;
use super::witness::{Facts, Op, Word, listed};

/// A context of one instance, as its guest knows it.
pub type ContextId = u32;

/// How long a stream context may wait for `proxy_done` after it said in `proxy_on_done` that it was not done, and how
/// many may wait at once; beyond either it is deleted without.
const MAX_PARKED: Duration = Duration::from_secs(60);
const MAX_PARKED_COUNT: usize = 1024;

/// One instance.
#[repr(C)]
pub struct Vm {
    guest: Guest,
    exports: Exports,
    module: Module,
}

impl Vm {
    pub(super) fn start(plugin: &Plugin, services: Services) -> Result<Vm, Fault> {
        Vm::of(plugin, Host::new(plugin, services))
    }

    fn of(plugin: &Plugin, host: Host) -> Result<Vm, Fault> {
        let (guest, exports) = Guest::start(plugin, host)?;
        let module = plugin.module().clone();
        Ok(Vm { guest, exports, module })
    }

    /// Starts an instance from an image.
    pub(super) fn stamp(image: &Image, host: Host) -> Result<Vm, Fault> {
        let (guest, exports) = Guest::stamp(image, host)?;
        Ok(Vm { guest, exports, module: image.module.clone() })
    }

    /// Starts an instance that is to serve one exchange. What it asked for at its start is its other instance's.
    pub(super) fn start_for_one(plugin: &Plugin, services: Services) -> Result<Vm, Fault> {
        let mut host = Host::new(plugin, services);
        host.serves_one = true;
        let mut vm = Vm::of(plugin, host)?;
        let host = vm.host_mut();
        host.effects.clear();
        let root = host.roots[0].id;
        host.callouts.forget(root);
        host.grpc.forget(root);
        Ok(vm)
    }

    /// Looks into the instance, which has started.
    pub(super) fn with_instance<R>(
        &mut self,
        look: impl FnOnce(&wasmtime::Instance, &mut wasmtime::Store<Host>) -> R,
    ) -> Option<R> {
        self.guest.with_instance(look)
    }

    /// What the host keeps for the first root.
    pub(super) fn state(&self) -> (&Root, &Host) {
        (&self.host().roots[0], self.host())
    }

    /// The code that it runs.
    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    /// Runs one more plugin in this instance, which has to be one that [shares](Plugin::shares) with those that it
    /// runs. What comes back is its root context; the first plugin's is [`first_root`](Vm::first_root).
    ///
    /// # Errors
    ///
    /// The guest failed, or refused the plugin's configuration; then it is lost for all of its plugins.
    pub fn add(&mut self, plugin: &Plugin, services: &Services) -> Result<ContextId, Fault> {
        self.guest.add(plugin, services, &self.exports)
    }

    /// From now on the guest logs there.
    pub(super) fn log_to(&mut self, log: Arc<dyn GuestLog>) {
        Rc::make_mut(&mut self.host_mut().services).log = log;
    }

    /// From now on these are the clusters that there are.
    pub fn know_clusters(&mut self, clusters: Arc<Clusters>) {
        let is_news = self.host().recorder.is_some() && self.host().services.clusters != clusters;
        let op = is_news.then(|| Op::Clusters { clusters: listed(&clusters) });
        let known = self.step(op, |vm| {
            Rc::make_mut(&mut vm.host_mut().services).clusters = clusters;
            Ok(())
        });
        debug_assert!(known.is_ok(), "no guest is called");
    }

    /// The most memory that the guest may have, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.host().limiter.memory()
    }

    /// Whether no exchange has a context in it and no callout of its is in flight: nothing would be missed.
    pub fn is_idle(&self) -> bool {
        let host = self.host();
        host.contexts.live() == 0 && host.callouts.is_empty()
    }

    /// The root context of the plugin that the instance was started with.
    pub fn first_root(&self) -> ContextId {
        self.host().roots[0].id
    }

    /// Makes a context under a root for an exchange, in which the filter is the `stage`th of the chain
    /// (`proxy_on_context_create`; a guest that takes it together with the request's headers hears of it then).
    pub fn open(&mut self, root: ContextId, stream: &StreamRef, stage: usize) -> Result<ContextId, Fault> {
        self.delete_late()?;
        let contexts = &mut self.host_mut().contexts;
        let root = contexts.root(root).unwrap_or(0);
        let context = contexts.open(root, stream, stage);
        let op = self.watched(|| Op::Open { context, facts: Facts::of(&stream.borrow(), stage) });
        self.step(op, |vm| if vm.hears_late() { Ok(()) } else { vm.tell_of(context) })?;
        Ok(context)
    }

    /// Whether the guest is told of a context with its request's headers, and not when it is made.
    fn hears_late(&self) -> bool {
        self.exports.merged_request_headers().is_some()
    }

    /// Tells the guest of a context, unless it knows it.
    fn announce(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.hears_late() { self.tell_of(context) } else { Ok(()) }
    }

    fn tell_of(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host_mut().contexts.announce(context)
            && let Some(create) = &self.exports.context_create
        {
            let parent = self.parent(context);
            self.guest.enter(Callback::ContextCreate, context, false, create, (context, parent))?;
            self.settle()?;
        }
        Ok(())
    }

    /// Whether a root was deleted, or its guest failed.
    pub fn has_gone(&self, root: ContextId) -> bool {
        let host = self.host();
        let is_gone = |place: usize| host.roots[place].end == RootEnd::Gone;
        self.guest.is_dead() || host.contexts.root(root).is_none_or(is_gone)
    }

    /// Whether the guest asked for anything since the last time.
    pub fn has_effects(&self) -> bool {
        !self.host().effects.is_empty()
    }

    /// What the guest asked for since the last time, each with the root that it is for.
    pub fn take_effects(&mut self) -> Vec<(ContextId, Effect)> {
        std::mem::take(&mut self.host_mut().effects)
    }

    /// Whether the guest exports a callback; one that it does not is never entered.
    pub fn handles(&self, callback: Callback) -> bool {
        self.module.handles(callback)
    }

    /// Whether the exchange of this context has ended, and the context waits for `proxy_done`.
    pub(crate) fn is_parked(&self, context: ContextId) -> bool {
        self.host().contexts.stream(context).is_some_and(|context| context.parked.is_some())
    }

    /// The exchanges that it has a context for, each with the filter's place in its chain: they are to be told of its
    /// fault.
    pub fn streams(&self) -> impl Iterator<Item = (StreamRef, usize)> + '_ {
        let live = self.host().contexts.iter().filter(|(_, context)| context.parked.is_none());
        live.map(|(_, context)| (context.stream.clone(), context.stage))
    }

    /// How much memory the guest has, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.host().memory.map_or(0, |memory| memory.data_size(&self.guest.store))
    }

    /// What the pipeline calls for, if anybody watches the instance: nearly always nobody does.
    fn watched(&self, op: impl FnOnce() -> Op) -> Option<Op> {
        self.host().recorder.is_some().then(op)
    }

    /// Runs `work`, which is one step for whoever watches.
    fn step<R: Word>(
        &mut self,
        op: Option<Op>,
        work: impl FnOnce(&mut Vm) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let Some(op) = op else { return work(self) };
        self.guest.begin_step(op);
        let result = work(self);
        self.guest.end_step(result.as_ref().map(Word::word));
        result
    }

    fn host(&self) -> &Host {
        self.guest.host()
    }

    /// The root of the present call, or of the last.
    fn current_root(&self) -> &Root {
        let host = self.host();
        &host.roots[host.current.root]
    }

    fn root_mut(&mut self, id: ContextId) -> Option<&mut Root> {
        let host = self.host_mut();
        let place = host.contexts.root(id)?;
        host.roots.get_mut(place)
    }

    /// The root of a stream.
    fn parent(&self, context: ContextId) -> ContextId {
        let host = self.host();
        let place = host.contexts.stream(context).map_or(0, |context| context.root);
        host.roots[place].id
    }

    fn host_mut(&mut self) -> &mut Host {
        self.guest.host_mut()
    }

    /// Performs what the guest asked for at the end of the call, and says whether it sent a local reply on the stream
    /// of the call.
    fn settle(&mut self) -> Result<bool, Fault> {
        let replied = self.host().replied;
        if !self.host().finished.is_empty() {
            self.delete_finished()?;
        }
        Ok(replied)
    }

    fn ask_done(&mut self, context: ContextId) -> Result<bool, Fault> {
        self.announce(context)?;
        let Some(done) = &self.exports.done else { return Ok(true) };
        let answer = self.guest.enter(Callback::Done, context, true, done, context)?;
        self.settle()?;
        Ok(answer != 0)
    }

    /// The end of a context, once and for all, and of those for which the guest calls `proxy_done` meanwhile.
    fn delete(&mut self, context: ContextId) -> Result<(), Fault> {
        self.delete_one(context)?;
        self.delete_finished()
    }

    /// One that has gone is left alone.
    fn delete_one(&mut self, context: ContextId) -> Result<(), Fault> {
        let root = match self.host().contexts.stream(context) {
            Some(_) => None,
            None if self.has_gone(context) => return Ok(()),
            None => self.host().contexts.root(context),
        };
        // From here on `proxy_done` finds nothing to end.
        let host = self.host_mut();
        match root {
            None => host.contexts.unpark(context),
            Some(place) => host.roots[place].end = RootEnd::Running,
        }
        let outcome = match &self.exports.delete {
            Some(delete) => self.guest.enter(Callback::Delete, context, true, delete, context),
            None => Ok(()),
        };
        let host = self.host_mut();
        let Some(place) = root else {
            host.contexts.close(context);
            return outcome;
        };
        host.bury(place);
        host.callouts.forget(context);
        host.grpc.forget(context);
        host.effects.retain(|(of, _)| *of != context); // nobody is left to hear of what it asked for
        outcome
    }

    /// Deletes the contexts for which the guest called `proxy_done`.
    fn delete_finished(&mut self) -> Result<(), Fault> {
        while !self.host().finished.is_empty() {
            for context in std::mem::take(&mut self.host_mut().finished) {
                self.delete_one(context)?;
            }
        }
        Ok(())
    }

    /// Deletes the contexts that have waited for `proxy_done` too long.
    fn delete_late(&mut self) -> Result<(), Fault> {
        if self.host().contexts.parked() == 0 {
            return Ok(());
        }
        let host = self.host_mut();
        let Some(deadline) = host.services.clock.monotonic().checked_sub(MAX_PARKED) else { return Ok(()) };
        let late = host.contexts.parked_before(deadline);
        if late.is_empty() { Ok(()) } else { self.give_up(late) }
    }

    /// Deletes contexts that wait for `proxy_done`.
    pub(crate) fn give_up(&mut self, late: Vec<ContextId>) -> Result<(), Fault> {
        let op = self.watched(|| Op::GiveUp { contexts: late.clone() });
        self.step(op, |vm| late.into_iter().try_for_each(|context| vm.delete(context)))
    }
}

/// Whether a context's exchange has not ended for its guest yet.
fn is_live(host: &Host, context: ContextId) -> bool {
    host.contexts.stream(context).is_some_and(|context| context.parked.is_none())
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm").field("filter", &self.host().roots[0].filter.name).finish_non_exhaustive()
    }
}
