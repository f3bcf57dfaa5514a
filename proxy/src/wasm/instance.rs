//! A running guest: how it starts, and the one way into it, which measures and bounds each call.

use wasmtime::{Extern, Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::abi::Callback;
use super::context::VM;
use super::fault::{Fault, FaultKind};
use super::host::{Host, Restriction};
use super::image::{Image, Places};
use super::plugin::Plugin;
use super::root::{Budget, Root};
use super::services::Services;
use super::tally;
use super::vm::ContextId;
use super::witness::{End, Op};

/// A callback of two numbers and an answer, and so on.
pub(crate) type Func2 = TypedFunc<(u32, u32), u32>;
pub(crate) type CalloutFunc = TypedFunc<(u32, u32, u32, u32, u32), ()>;
pub(crate) type Func3 = TypedFunc<(u32, u32, u32), u32>;
pub(crate) type GrpcFunc = TypedFunc<(u32, u32, u32), ()>;
pub(crate) type Func4 = TypedFunc<(u32, u32, u32, u32), u32>;

/// A headers callback: 0.1.0 knows no end-of-stream.
pub(crate) enum HeadersFunc {
    /// (context, count)
    Two(Func2),
    /// (context, count, end of stream)
    Three(Func3),
}

/// The guest's callbacks, looked up once.
#[repr(C)]
pub(crate) struct Exports {
    /// None for a module that has none of them, as most: then no call needs to look at each.
    merged: Option<Box<Merged>>,
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<Func2>,
    pub(crate) configure: Option<Func2>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) new_connection: Option<TypedFunc<u32, u32>>,
    pub(crate) downstream_data: Option<Func3>,
    pub(crate) upstream_data: Option<Func3>,
    pub(crate) downstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) upstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) request_headers: Option<HeadersFunc>,
    pub(crate) request_body: Option<Func3>,
    pub(crate) request_trailers: Option<Func2>,
    pub(crate) response_headers: Option<HeadersFunc>,
    pub(crate) response_body: Option<Func3>,
    pub(crate) response_trailers: Option<Func2>,
    pub(crate) http_call_response: Option<CalloutFunc>,
    pub(crate) grpc: GrpcFuncs,
    pub(crate) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) foreign_function: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

/// The callbacks of gRPC callouts.
pub(crate) struct GrpcFuncs {
    /// (context, token, count)
    pub(crate) initial_metadata: Option<GrpcFunc>,
    /// (context, token, size)
    pub(crate) receive: Option<GrpcFunc>,
    /// (context, token, count)
    pub(crate) trailing_metadata: Option<GrpcFunc>,
    /// (context, token, status)
    pub(crate) close: Option<GrpcFunc>,
}

/// The callbacks of tidegate's own, each of which does the work of several of the ABI's. A module may have any of them.
struct Merged {
    /// (context, root, count, end of stream)
    request_headers: Option<Func4>,
    /// (context, count, end of stream)
    response_headers: Option<Func3>,
    /// (context), whether it is done
    end: Option<TypedFunc<u32, u32>>,
}

impl Exports {
    /// A module whose exports have other types than the ABI's was refused when it was loaded.
    fn find(instance: &impl Offers, store: &mut Store<Host>) -> Exports {
        let (i, s) = (instance, store);
        Exports {
            context_create: typed(i, s, Callback::ContextCreate.name()),
            vm_start: typed(i, s, Callback::VmStart.name()),
            configure: typed(i, s, Callback::Configure.name()),
            tick: typed(i, s, Callback::Tick.name()),
            new_connection: typed(i, s, Callback::NewConnection.name()),
            downstream_data: typed(i, s, Callback::DownstreamData.name()),
            upstream_data: typed(i, s, Callback::UpstreamData.name()),
            downstream_close: typed(i, s, Callback::DownstreamConnectionClose.name()),
            upstream_close: typed(i, s, Callback::UpstreamConnectionClose.name()),
            request_headers: headers(i, s, Callback::RequestHeaders.name()),
            request_body: typed(i, s, Callback::RequestBody.name()),
            request_trailers: typed(i, s, Callback::RequestTrailers.name()),
            response_headers: headers(i, s, Callback::ResponseHeaders.name()),
            response_body: typed(i, s, Callback::ResponseBody.name()),
            response_trailers: typed(i, s, Callback::ResponseTrailers.name()),
            http_call_response: typed(i, s, Callback::HttpCallResponse.name()),
            grpc: GrpcFuncs {
                initial_metadata: typed(i, s, Callback::GrpcReceiveInitialMetadata.name()),
                receive: typed(i, s, Callback::GrpcReceive.name()),
                trailing_metadata: typed(i, s, Callback::GrpcReceiveTrailingMetadata.name()),
                close: typed(i, s, Callback::GrpcClose.name()),
            },
            queue_ready: typed(i, s, Callback::QueueReady.name()),
            foreign_function: typed(i, s, Callback::ForeignFunction.name()),
            log: typed(i, s, Callback::Log.name()),
            done: typed(i, s, Callback::Done.name()),
            delete: typed(i, s, Callback::Delete.name()),
            merged: Merged::find(i, s),
        }
    }

    /// tidegate's own callback for a request's headers, if the module has it.
    #[inline]
    pub(crate) fn merged_request_headers(&self) -> Option<&Func4> {
        self.merged.as_ref()?.request_headers.as_ref()
    }

    /// The same for a response's.
    #[inline]
    pub(crate) fn merged_response_headers(&self) -> Option<&Func3> {
        self.merged.as_ref()?.response_headers.as_ref()
    }

    /// The same for the end of an exchange.
    #[inline]
    pub(crate) fn merged_end(&self) -> Option<&TypedFunc<u32, u32>> {
        self.merged.as_ref()?.end.as_ref()
    }
}

impl Merged {
    fn find(instance: &impl Offers, store: &mut Store<Host>) -> Option<Box<Merged>> {
        let merged = Merged {
            request_headers: typed(instance, store, "tidegate_on_request_headers"),
            response_headers: typed(instance, store, "tidegate_on_response_headers"),
            end: typed(instance, store, "tidegate_on_end"),
        };
        let has_any =
            merged.request_headers.is_some() || merged.response_headers.is_some() || merged.end.is_some();
        has_any.then(|| Box::new(merged))
    }
}

/// What a callback returns.
pub(crate) trait Number {
    /// It, if it is a number.
    fn number(&self) -> Option<u32>;
}

impl Number for () {
    fn number(&self) -> Option<u32> {
        None
    }
}

impl Number for u32 {
    fn number(&self) -> Option<u32> {
        Some(*self)
    }
}

/// Where exports are found.
trait Offers {
    fn export(&self, store: &mut Store<Host>, name: &str) -> Option<Extern>;
}

impl Offers for Instance {
    fn export(&self, store: &mut Store<Host>, name: &str) -> Option<Extern> {
        self.get_export(store, name)
    }
}

impl Offers for (&Instance, &Places) {
    fn export(&self, store: &mut Store<Host>, name: &str) -> Option<Extern> {
        let (instance, places) = self;
        places.find(instance, store, name)
    }
}

fn typed<P: WasmParams, R: WasmResults>(
    instance: &impl Offers,
    store: &mut Store<Host>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.export(store, name)?.into_func()?.typed(store).ok()
}

fn allocator(instance: &impl Offers, store: &mut Store<Host>) -> Option<TypedFunc<u32, u32>> {
    typed(instance, store, "proxy_on_memory_allocate").or_else(|| typed(instance, store, "malloc"))
}

fn headers(instance: &impl Offers, store: &mut Store<Host>, name: &str) -> Option<HeadersFunc> {
    typed(instance, store, name)
        .map(HeadersFunc::Three)
        .or_else(|| typed(instance, store, name).map(HeadersFunc::Two))
}

/// The guest and what bounds it.
#[repr(C)]
pub(crate) struct Guest {
    pub(crate) store: Store<Host>,
    instance: Option<Instance>,
    dead: bool,
}

impl Guest {
    /// Instantiates a plugin, runs what its tool chain wants run first, and tells it of its root context and its
    /// configurations.
    pub(crate) fn start(plugin: &Plugin, mut host: Host) -> Result<(Guest, Exports), Fault> {
        host.record(plugin);
        let mut store = Store::new(plugin.module().linked().module().engine(), host);
        store.limiter(|host| &mut host.limiter);
        let mut guest = Guest { store, instance: None, dead: false };
        guest.begin_step(Op::Start);
        let started = guest.instantiate(plugin).and_then(|exports| {
            guest.introduce(0, &exports)?;
            Ok(exports)
        });
        guest.end_step(started.as_ref().map(|_| "started"));
        started.map(|exports| (guest, exports))
    }

    /// A call of the pipeline begins, which is one step for whoever watches.
    pub(crate) fn begin_step(&mut self, op: Op) {
        let host = self.store.data_mut();
        let Some(recorder) = &mut host.recorder else { return };
        let stream = op.context().and_then(|context| Some((context, host.contexts.stream(context)?)));
        recorder.begin_step(op, host.services.clock.monotonic());
        if let Some((context, found)) = stream {
            recorder.find(context, &found.stream, found.stage);
        }
    }

    /// It has ended, with this answer or by a fault.
    pub(crate) fn end_step(&mut self, answer: Result<&'static str, &Fault>) {
        let host = self.store.data_mut();
        if let Some(recorder) = &mut host.recorder {
            let end = answer.map_or_else(End::from, |answer| End::Answer(answer.into()));
            recorder.end_step(end, |context| host.contexts.stream(context).is_some());
        }
    }

    /// Tells a guest that runs of one more root context and its configurations.
    pub(crate) fn add(
        &mut self,
        plugin: &Plugin,
        services: &Services,
        exports: &Exports,
    ) -> Result<ContextId, Fault> {
        let root = self.host_mut().add(plugin, services.usage.clone());
        self.introduce(root, exports)?;
        Ok(self.host().roots[root].id)
    }

    fn instantiate(&mut self, plugin: &Plugin) -> Result<Exports, Fault> {
        self.grant();
        let instance = plugin.module().linked().instantiate(&mut self.store);
        tally::take(); // a start section is no callback: nobody counts what it did
        let instance = match instance {
            Ok(instance) => instance,
            Err(error) => return Err(self.fail(Fault::from_instantiation(&error, self.store.data()))),
        };
        self.instance = Some(instance);
        let allocator = allocator(&instance, &mut self.store);
        let memory = instance.get_memory(&mut self.store, "memory");
        let host = self.store.data_mut();
        host.memory = memory;
        host.allocator = allocator;
        self.initialise(&instance)?;
        self.store.data_mut().restriction = Restriction::None;
        Ok(Exports::find(&instance, &mut self.store))
    }

    /// Starts from an image: nothing of the guest runs.
    pub(crate) fn stamp(image: &Image, host: Host) -> Result<(Guest, Exports), Fault> {
        let linked = image.module.linked();
        let mut store = Store::new(linked.module().engine(), host);
        store.limiter(|host| &mut host.limiter);
        let mut guest = Guest { store, instance: None, dead: false };
        let instance = match linked.instantiate(&mut guest.store) {
            Ok(instance) => instance,
            Err(error) => return Err(guest.fail(Fault::from_instantiation(&error, guest.store.data()))),
        };
        let offers = (&instance, &image.exports);
        let store = &mut guest.store;
        let memory = offers.export(store, "memory").and_then(Extern::into_memory);
        let allocator = allocator(&offers, store);
        let host = store.data_mut();
        host.memory = memory;
        host.allocator = allocator;
        host.restriction = Restriction::None;
        let exports = Exports::find(&offers, store);
        Ok((guest, exports))
    }

    /// Looks into the instance. `None` before there is one.
    pub(crate) fn with_instance<R>(
        &mut self,
        look: impl FnOnce(&Instance, &mut Store<Host>) -> R,
    ) -> Option<R> {
        Some(look(self.instance.as_ref()?, &mut self.store))
    }

    /// A reactor has `_initialize`, and perhaps a `main` for what comes after; a command has `_start`.
    fn initialise(&mut self, instance: &Instance) -> Result<(), Fault> {
        let store = &mut self.store;
        let initialize = typed::<(), ()>(instance, store, "_initialize");
        let start = typed::<(), ()>(instance, store, "_start").filter(|_| initialize.is_none());
        let main = typed::<(u32, u32), u32>(instance, store, "main");
        let void_main = typed::<(), u32>(instance, store, "__main_void").filter(|_| main.is_none());
        if let Some(start) = start {
            return self.enter(Callback::Start, VM, false, &start, ());
        }
        if let Some(initialize) = initialize {
            self.enter(Callback::Start, VM, false, &initialize, ())?;
        }
        if let Some(main) = main {
            self.enter(Callback::Start, VM, false, &main, (0, 0))?;
        }
        if let Some(void_main) = void_main {
            self.enter(Callback::Start, VM, false, &void_main, ())?;
        }
        Ok(())
    }

    /// The root context, the VM configuration, the plugin configuration, in this order. (`proxy_on_vm_start` comes for
    /// each root, as in Envoy, whatever its name says.)
    fn introduce(&mut self, root: usize, exports: &Exports) -> Result<(), Fault> {
        let Root { id, filter, .. } = &self.host().roots[root];
        let (id, filter) = (*id, filter.clone());
        if let Some(create) = &exports.context_create {
            self.enter(Callback::ContextCreate, id, false, create, (id, VM))?;
        }
        let steps = [
            (&exports.vm_start, Callback::VmStart, &filter.vm_config, FaultKind::Start),
            (&exports.configure, Callback::Configure, &filter.config, FaultKind::Configure),
        ];
        for (export, callback, config, refusal) in steps {
            let Some(export) = export else { continue };
            let len = u32::try_from(config.len()).unwrap_or(u32::MAX);
            if self.enter(callback, id, false, export, (id, len))? == 0 {
                // By convention a guest logs why, as an error.
                let silent =
                    || format!("the filter answered false to {} and logged no error", callback.name());
                let complaint = self.host_mut().roots[root].complaint.take();
                let message = complaint.unwrap_or_else(silent);
                return Err(self.fail(Fault { kind: refusal, callback: callback.name(), message }));
            }
        }
        self.host_mut().roots[root].has_started();
        Ok(())
    }

    /// Calls the guest. Whatever it does, it does within its budget of instructions and time. After a fault it is not
    /// entered again.
    pub(crate) fn enter<P: WasmParams, R: WasmResults + Number>(
        &mut self,
        callback: Callback,
        context: u32,
        end_of_stream: bool,
        export: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R, Fault> {
        if self.dead {
            let message = "the instance failed before".to_owned();
            return Err(Fault { kind: FaultKind::Dead, callback: callback.name(), message });
        }
        let host = self.store.data_mut();
        host.begin(callback, context, end_of_stream);
        let is_stream = host.active.stream.is_some();
        let granted = self.grant();
        let host = self.store.data_mut();
        if let Some(recorder) = &mut host.recorder {
            recorder.begin_call(callback);
        }
        let lap = if is_stream { host.stopwatch.sample() } else { host.stopwatch.start() };
        let result = export.call(&mut self.store, params);
        let used = granted.saturating_sub(self.store.get_fuel().unwrap_or(0));
        let host = self.store.data_mut();
        if let Some(recorder) = &mut host.recorder {
            recorder.end_call(result.as_ref().ok().and_then(Number::number), used);
        }
        let nanoseconds = host.stopwatch.stop(lap);
        host.roots[host.current.root].usage.record_call(callback, used, nanoseconds, tally::take());
        host.end();
        result.map_err(|error| self.fail(Fault::from_trap(&error, callback, self.store.data())))
    }

    pub(crate) fn host(&self) -> &Host {
        self.store.data()
    }

    pub(crate) fn host_mut(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Counts a fault and sees to it that it is the last.
    fn fail(&mut self, fault: Fault) -> Fault {
        self.dead = true;
        let host = self.host();
        host.roots[host.current.root].usage.record_fault(fault.kind);
        fault
    }

    /// Gives the guest what a call may cost on behalf of the root at hand, and says how many instructions that is.
    fn grant(&mut self) -> u64 {
        let host = self.store.data();
        let Budget { instructions, epochs } = host.roots[host.current.root].budget;
        // This fails only in an engine that does not count instructions.
        let _ = self.store.set_fuel(instructions);
        self.store.set_epoch_deadline(epochs);
        tally::grant(instructions);
        instructions
    }
}
