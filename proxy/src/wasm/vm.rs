//! One running instance on one worker, of one plugin or of several that share it: the callbacks that the pipeline
//! calls.
//!
//! It must not be called while one of its own calls is in progress, which Rust's borrowing sees to, nor while the
//! stream is borrowed. After a [`Fault`] it is dead and to be dropped: nothing enters the guest again.

mod connection;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::abi::{Callback, DataStatus, HeadersStatus, MapType, TrailersStatus};
use super::effect::{CalloutResult, CalloutStatus, Effect};
use super::fault::Fault;
use super::grants::Capability;
use super::grpc::{GrpcEvent, Shown, TokenKind};
use super::header_map;
use super::host::Host;
use super::image::Image;
use super::instance::{Exports, Guest, HeadersFunc};
use super::module::Module;
use super::plugin::Plugin;
use super::root::{Root, RootEnd};
use super::services::{Clusters, GuestLog, Services};
use super::stream::{Direction, StreamRef};
use super::witness::{Blob, Facts, Op, Word, listed};

/// A context of one instance, as its guest knows it.
pub type ContextId = u32;

/// How long a stream context may wait for `proxy_done` after it said in `proxy_on_done` that it was not done, and how
/// many may wait at once; beyond either it is deleted without.
const MAX_PARKED: Duration = Duration::from_secs(60);
const MAX_PARKED_COUNT: usize = 1024;

/// One instance.
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
        self.step(op, |vm| match vm.exports.merged.request_headers {
            None => vm.announce(context),
            Some(_) => Ok(()),
        })?;
        Ok(context)
    }

    /// Tells the guest of a context, unless it knows it.
    fn announce(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host_mut().contexts.announce(context)
            && let Some(create) = &self.exports.context_create
        {
            let parent = self.parent(context);
            self.guest.enter(Callback::ContextCreate, context, false, create, (context, parent))?;
            self.settle()?;
        }
        Ok(())
    }

    /// Shows the headers of a direction (`proxy_on_request_headers`, `proxy_on_response_headers`). `end_of_stream`:
    /// neither a body nor trailers follow. If the guest sent a local reply, it stops whatever it says.
    pub fn on_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<HeadersStatus, Fault> {
        self.step(
            self.watched(|| Op::Headers { context, direction: direction.into(), end_of_stream }),
            |vm| vm.show_headers(context, direction, end_of_stream),
        )
    }

    fn show_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<HeadersStatus, Fault> {
        let answer = match self.enter_merged_headers(context, direction, end_of_stream)? {
            Some(answer) => HeadersStatus::from_merged(answer, self.current_root().lone_stop),
            None => match self.enter_headers(context, direction, end_of_stream)? {
                Some(answer) => HeadersStatus::from_guest(answer, self.current_root().lone_stop),
                None => return Ok(HeadersStatus::Continue),
            },
        };
        let replied = self.settle()?;
        match answer {
            HeadersStatus::Leave => self.host_mut().contexts.close(context),
            _ if replied => return Ok(HeadersStatus::StopAllIterationAndWatermark),
            _ => {}
        }
        Ok(answer)
    }

    /// Calls the guest with the headers of a direction; no answer from one that has no callback for them.
    fn enter_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Option<u32>, Fault> {
        self.announce(context)?;
        let (export, map) = match direction {
            Direction::Request => (&self.exports.request_headers, MapType::RequestHeaders),
            Direction::Response => (&self.exports.response_headers, MapType::ResponseHeaders),
        };
        let Some(export) = export else { return Ok(None) };
        let callback = Callback::headers(direction);
        let count = self.count(context, map);
        match export {
            HeadersFunc::Two(export) => {
                self.guest.enter(callback, context, end_of_stream, export, (context, count))
            }
            HeadersFunc::Three(export) => {
                let params = (context, count, u32::from(end_of_stream));
                self.guest.enter(callback, context, end_of_stream, export, params)
            }
        }
        .map(Some)
    }

    /// The same by tidegate's own callback, if the guest has it.
    fn enter_merged_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Option<u32>, Fault> {
        let callback = Callback::headers(direction);
        let end = u32::from(end_of_stream);
        match direction {
            Direction::Request => {
                let Some(export) = &self.exports.merged.request_headers else { return Ok(None) };
                if !self.guest.host_mut().contexts.announce(context) {
                    return Ok(None);
                }
                let (parent, count) = (self.parent(context), self.count(context, MapType::RequestHeaders));
                let params = (context, parent, count, end);
                self.guest.enter(callback, context, end_of_stream, export, params).map(Some)
            }
            Direction::Response => {
                self.announce(context)?;
                let Some(export) = &self.exports.merged.response_headers else { return Ok(None) };
                let params = (context, self.count(context, MapType::ResponseHeaders), end);
                self.guest.enter(callback, context, end_of_stream, export, params).map(Some)
            }
        }
    }

    /// Shows a piece of a direction's body, which is in the stream's stage (`proxy_on_request_body`,
    /// `proxy_on_response_body`).
    pub fn on_body(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<DataStatus, Fault> {
        self.step(self.watched(|| Op::Body { context, direction: direction.into(), end_of_stream }), |vm| {
            vm.show_body(context, direction, end_of_stream)
        })
    }

    fn show_body(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<DataStatus, Fault> {
        self.announce(context)?;
        let export = match direction {
            Direction::Request => &self.exports.request_body,
            Direction::Response => &self.exports.response_body,
        };
        let Some(export) = export else { return Ok(DataStatus::Continue) };
        let params = (context, self.body_len(context, direction), u32::from(end_of_stream));
        let answer = self.guest.enter(Callback::body(direction), context, end_of_stream, export, params)?;
        if self.settle()? {
            return Ok(DataStatus::StopIterationNoBuffer);
        }
        Ok(DataStatus::from_guest(answer))
    }

    /// Shows the trailers of a direction (`proxy_on_request_trailers`, `proxy_on_response_trailers`).
    pub fn on_trailers(&mut self, context: ContextId, direction: Direction) -> Result<TrailersStatus, Fault> {
        self.step(self.watched(|| Op::Trailers { context, direction: direction.into() }), |vm| {
            vm.show_trailers(context, direction)
        })
    }

    fn show_trailers(&mut self, context: ContextId, direction: Direction) -> Result<TrailersStatus, Fault> {
        self.announce(context)?;
        let (export, map) = match direction {
            Direction::Request => (&self.exports.request_trailers, MapType::RequestTrailers),
            Direction::Response => (&self.exports.response_trailers, MapType::ResponseTrailers),
        };
        let Some(export) = export else { return Ok(TrailersStatus::Continue) };
        let params = (context, self.count(context, map));
        let answer = self.guest.enter(Callback::trailers(direction), context, true, export, params)?;
        if self.settle()? {
            return Ok(TrailersStatus::StopIteration);
        }
        Ok(TrailersStatus::from_guest(answer))
    }

    /// Ends a context: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`, Envoy's order for HTTP. An id that is none
    /// is no error.
    pub fn close(&mut self, context: ContextId) -> Result<(), Fault> {
        self.log(context)?;
        self.release(context)
    }

    /// The first part of [`close`](Vm::close), where other filters of the chain come between: `proxy_on_log`.
    /// A guest that takes both parts as one has them here.
    pub fn log(&mut self, context: ContextId) -> Result<(), Fault> {
        self.step(self.watched(|| Op::Log { context }), |vm| vm.tell_of_end(context))
    }

    fn tell_of_end(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.guest.host(), context) {
            return Ok(());
        }
        self.announce(context)?;
        if let Some(end) = &self.exports.merged.end {
            let is_done = self.guest.enter(Callback::Log, context, true, end, context)? != 0;
            self.settle()?;
            if !is_done {
                return self.park(context);
            }
            self.host_mut().contexts.close(context);
            return Ok(());
        }
        if let Some(log) = &self.exports.log {
            self.guest.enter(Callback::Log, context, true, log, context)?;
            self.settle()?;
        }
        Ok(())
    }

    /// The second part: `proxy_on_done`, `proxy_on_delete`. A guest that says it is not done keeps the context until
    /// `proxy_done`, for a minute at most.
    pub fn release(&mut self, context: ContextId) -> Result<(), Fault> {
        self.step(self.watched(|| Op::Release { context }), |vm| vm.let_go(context))
    }

    fn let_go(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.host(), context) {
            return Ok(());
        }
        if self.ask_done(context)? { self.delete(context) } else { self.park(context) }
    }

    /// Has a context wait for `proxy_done`, unless too many wait.
    fn park(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host().contexts.parked() >= MAX_PARKED_COUNT {
            return self.delete(context);
        }
        let host = self.host_mut();
        let now = host.services.clock.monotonic();
        host.contexts.park(context, now);
        Ok(())
    }

    /// Lets a root tick (`proxy_on_tick`).
    pub fn on_tick(&mut self, root: ContextId) -> Result<(), Fault> {
        self.delete_late()?;
        self.step(self.watched(|| Op::Tick), |vm| vm.tick(root))
    }

    fn tick(&mut self, root: ContextId) -> Result<(), Fault> {
        if self.root_mut(root).is_none_or(|root| root.end == RootEnd::Gone) {
            return Ok(());
        }
        let Some(tick) = &self.exports.tick else { return Ok(()) };
        self.guest.enter(Callback::Tick, root, false, tick, root)?;
        self.settle().map(drop)
    }

    /// Tells a root of an item in a queue that it registered (`proxy_on_queue_ready`): of one, and says whether there
    /// was one to be told of. It may have been taken out already.
    pub fn on_queue_ready(&mut self, root: ContextId) -> Result<bool, Fault> {
        self.delete_late()?;
        let there = self.root_mut(root).filter(|root| root.end != RootEnd::Gone);
        let Some(queue) = there.and_then(|root| root.inbox.as_ref()?.take()) else { return Ok(false) };
        self.tell_of_queue(root, queue).map(|()| true)
    }

    /// Tells a root of an item in this queue.
    pub(crate) fn tell_of_queue(&mut self, root: ContextId, queue: u32) -> Result<(), Fault> {
        self.step(self.watched(|| Op::QueueReady { queue }), |vm| {
            let Some(export) = &vm.exports.queue_ready else { return Ok(()) };
            vm.guest.enter(Callback::QueueReady, root, false, export, (root, queue))?;
            vm.settle().map(drop)
        })
    }

    /// Calls the guest by a number that embedder and guest agree on (`proxy_on_foreign_function`). `arguments` are in
    /// the buffer `CallData` (8) during the call, and not afterwards. Nothing in the proxy calls it, as in Envoy; it is
    /// there for who embeds the host. An id that is no context's has no effect.
    pub fn on_foreign_function(
        &mut self,
        context: ContextId,
        function: u32,
        arguments: Bytes,
    ) -> Result<(), Fault> {
        self.step(
            self.watched(|| Op::ForeignFunction { context, function, arguments: Blob(arguments.clone()) }),
            |vm| vm.call_function(context, function, arguments),
        )
    }

    fn call_function(&mut self, context: ContextId, function: u32, arguments: Bytes) -> Result<(), Fault> {
        let is_root = self.root_mut(context).is_some_and(|root| root.end != RootEnd::Gone);
        if is_live(self.host(), context) {
            self.announce(context)?;
        } else if !is_root {
            return Ok(());
        }
        let Some(export) = &self.exports.foreign_function else { return Ok(()) };
        let params = (context, function, u32::try_from(arguments.len()).unwrap_or(u32::MAX));
        self.guest.host_mut().call_data = Some(arguments);
        let outcome = self.guest.enter(Callback::ForeignFunction, context, false, export, params);
        self.host_mut().call_data = None;
        outcome?;
        self.settle().map(drop)
    }

    /// Hands the root that asked for it what became of a callout (`proxy_on_http_call_response`). A token that is not in flight has no
    /// effect: the guest hears of each callout once.
    pub fn on_http_call_response(&mut self, token: u32, result: CalloutResult) -> Result<(), Fault> {
        self.step(self.watched(|| Op::HttpCallResponse { token, result: (&result).into() }), |vm| {
            vm.answer_http(token, result)
        })
    }

    fn answer_http(&mut self, token: u32, result: CalloutResult) -> Result<(), Fault> {
        let host = self.guest.host_mut();
        let Some(root) = host.callouts.end(token) else { return Ok(()) };
        let (response, status) = result.into_parts();
        host.note_status(root, status);
        let Some(export) = &self.exports.http_call_response else { return Ok(()) };
        let (headers, body, trailers) = response.as_ref().map_or((0, 0, 0), |response| {
            let trailers = response.trailers.as_ref().map_or(0, http::HeaderMap::len);
            // `:status` is one more.
            (response.headers.len() as u32 + 1, response.body.len() as u32, trailers as u32)
        });
        host.callout_response = response;
        let params = (root, token, headers, body, trailers);
        let outcome = self.guest.enter(Callback::HttpCallResponse, root, true, export, params);
        self.host_mut().callout_response = None;
        outcome?;
        self.settle().map(drop)
    }

    /// Hands the root that asked for it what came of a gRPC callout (`proxy_on_grpc_receive` and the three beside it).
    /// Whether it is still in flight: the guest hears of one that has ended, or that it has cancelled, no more.
    pub fn on_grpc(&mut self, token: u32, event: GrpcEvent) -> Result<bool, Fault> {
        self.step(self.watched(|| Op::Grpc { token, event: (&event).into() }), |vm| {
            vm.answer_grpc(token, event)
        })
    }

    fn answer_grpc(&mut self, token: u32, event: GrpcEvent) -> Result<bool, Fault> {
        let host = self.guest.host_mut();
        let Some(root) = host.grpc.root(token) else { return Ok(false) };
        let is_call = TokenKind::of(token) == Some(TokenKind::GrpcCall);
        match event {
            GrpcEvent::Close { .. } => host.end_grpc(token),
            GrpcEvent::Message(_) if is_call => {
                host.end_grpc(token);
                host.note_status(root, CalloutStatus::default());
            }
            // Of a call its guest is told the end alone.
            _ if is_call => return Ok(true),
            _ => {}
        }
        let exports = &self.exports.grpc;
        let (callback, export, number) = match event {
            GrpcEvent::InitialMetadata(status, metadata) => {
                let count = metadata.len() + usize::from(status.is_some());
                host.grpc.shown = Some(Shown::Initial(status, metadata));
                (Callback::GrpcReceiveInitialMetadata, &exports.initial_metadata, count as u32)
            }
            GrpcEvent::Message(message) => {
                let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
                host.grpc.shown = Some(Shown::Message(message));
                (Callback::GrpcReceive, &exports.receive, len)
            }
            GrpcEvent::TrailingMetadata(status, metadata) => {
                let count = metadata.len() + usize::from(status.is_some());
                host.grpc.shown = Some(Shown::Trailing(status, metadata));
                (Callback::GrpcReceiveTrailingMetadata, &exports.trailing_metadata, count as u32)
            }
            GrpcEvent::Close { status, message } => {
                host.note_status(root, CalloutStatus { code: status, message });
                (Callback::GrpcClose, &exports.close, status)
            }
        };
        let outcome = match export {
            Some(export) => self.guest.enter(callback, root, true, export, (root, token, number)),
            None => Ok(()),
        };
        self.host_mut().grpc.shown = None;
        outcome?;
        self.settle()?;
        Ok(self.host().grpc.root(token).is_some())
    }

    /// Tells a root that its plugin goes (`proxy_on_done`, `proxy_on_delete`); its callouts are forgotten. A root that
    /// says it is not done is deleted when it calls `proxy_done`, if the instance lives that long: see
    /// [`has_gone`](Vm::has_gone).
    ///
    /// # Errors
    ///
    /// The guest failed; then it is lost for all of its plugins.
    pub fn shutdown(&mut self, root: ContextId) -> Result<(), Fault> {
        self.step(self.watched(|| Op::Shutdown), |vm| vm.end_root(root))
    }

    fn end_root(&mut self, root: ContextId) -> Result<(), Fault> {
        if self.root_mut(root).is_none_or(|root| root.end != RootEnd::Running) {
            return Ok(());
        }
        let is_done = self.ask_done(root)?;
        if is_done {
            return self.delete(root);
        }
        if let Some(root) = self.root_mut(root) {
            root.end = RootEnd::Parked;
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

    fn count(&self, context: ContextId, map: MapType) -> u32 {
        let Some(context) = self.host().contexts.stream(context) else { return 0 };
        let stream = context.stream.borrow();
        match &self.host().roots[context.root].grants {
            None => header_map::count(&stream, map),
            Some(grants) => {
                header_map::count_of(&stream, map, |name| grants.allows(Capability::HeadersRead, name))
            }
        }
    }

    fn body_len(&self, context: ContextId, direction: Direction) -> u32 {
        let Some(context) = self.host().contexts.stream(context) else { return 0 };
        let stream = context.stream.borrow();
        let len = stream.stages.get(context.stage).map_or(0, |stage| stage.body(direction).len());
        u32::try_from(len).unwrap_or(u32::MAX)
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
        if self.host().contexts.stream(context).is_none() && self.has_gone(context) {
            return Ok(());
        }
        // From here on `proxy_done` finds nothing to end.
        let host = self.host_mut();
        host.contexts.unpark(context);
        if let Some(place) = host.contexts.root(context) {
            host.roots[place].end = RootEnd::Running;
        }
        let outcome = match &self.exports.delete {
            Some(delete) => self.guest.enter(Callback::Delete, context, true, delete, context),
            None => Ok(()),
        };
        let host = self.host_mut();
        host.contexts.close(context);
        if let Some(place) = host.contexts.root(context) {
            host.roots[place].end = RootEnd::Gone;
            host.roots[place].inbox = None;
            host.callouts.forget(context);
            host.grpc.forget(context);
            host.effects.retain(|(of, _)| *of != context); // nobody is left to hear of what it asked for
        }
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
