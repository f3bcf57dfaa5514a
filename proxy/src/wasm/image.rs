//! A plugin as it is right after it was configured, from which instances start without being configured.
//!
//! The memory and the globals of one instance that has started are written into its module as what they begin with, and
//! that is compiled (the method of the pre-initialiser Wizer). An instance of it maps the memory and copies the pages
//! that it writes to, so that the cost of one is that of what it touches, whatever it took to configure the first.
//!
//! What is the host's of that instance is kept beside the module: properties, what was declared of them, the metrics and
//! queues that it has the ids of. What it did that reached out of itself (shared data, queues, ticks, callouts) is not part of an image.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{Extern, Instance, ModuleExport, Store, Val};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, ValType, Wizer};

use super::engine::Engine;
use super::exports;
use super::host::Host;
use super::hostcalls::metrics::Definitions;
use super::module::{LoadError, Module};
use super::properties::{Declarations, Properties};
use super::vm::Vm;

/// Under this name the first memory is exported where images are to be made.
const MEMORY: &str = "__wizer_memory_0";
const GLOBAL: &str = "__wizer_global_";

/// Why there is no image of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum NoImage {
    /// The module can change, or holds, what an image has no words for.
    #[error("the module cannot have an instance for each exchange: {0}")]
    Unsupported(String),
    /// The module cannot be compiled with what is in its memory then.
    #[error("the configured module cannot be compiled: {0}")]
    Configured(LoadError),
}

/// A module that exports all that an image of it is made of. It serves as well as the one that it was made from.
pub struct Blank<'a> {
    wizer: Wizer,
    context: ModuleContext<'a>,
    bytes: Vec<u8>,
}

impl<'a> Blank<'a> {
    /// Prepares a module.
    ///
    /// # Errors
    ///
    /// [`NoImage::Unsupported`]: the module changes tables, or drops segments, or is not valid.
    pub fn new(module: &'a [u8]) -> Result<Blank<'a>, NoImage> {
        let wizer = Wizer::new();
        let unsupported = |error: wasmtime::Error| NoImage::Unsupported(format!("{error:#}"));
        let (context, bytes) = wizer.instrument(module).map_err(unsupported)?;
        Ok(Blank { wizer, context, bytes })
    }

    /// The module, to be compiled.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The image of an instance of this module.
    ///
    /// # Errors
    ///
    /// It has grown beyond what compiles.
    pub(crate) fn develop(&self, vm: &mut Vm, engine: &Engine) -> Result<Image, NoImage> {
        let mut state = vm.with_instance(Captured::of).unwrap_or_default();
        let unsupported = |error: wasmtime::Error| NoImage::Unsupported(format!("{error:#}"));
        let bytes = at_once(self.wizer.snapshot(&self.context, &mut state)).map_err(unsupported)?;
        let (root, host) = vm.state();
        let image = engine.compile_image(&bytes, vm.module(), host.is_repeatable);
        let module = image.map_err(NoImage::Configured)?;
        Ok(Image {
            exports: Places::of(&module),
            module,
            properties: root.properties.clone(),
            declarations: root.declarations.clone(),
            metrics: host.metric_ids.definitions(),
            queues: host.shared.queue_names().all(),
        })
    }
}

/// An instance's memory and globals, read out.
#[derive(Default)]
struct Captured {
    memory: Vec<u8>,
    globals: HashMap<String, Val>,
}

impl Captured {
    fn of(instance: &Instance, store: &mut Store<Host>) -> Captured {
        let memory = instance.get_memory(&mut *store, MEMORY);
        let memory = memory.map(|memory| memory.data(&*store).to_vec()).unwrap_or_default();
        let globals: Vec<_> = instance
            .exports(&mut *store)
            .filter(|export| export.name().starts_with(GLOBAL))
            .filter_map(|export| Some((export.name().to_owned(), export.into_global()?)))
            .collect();
        let globals = globals.into_iter().map(|(name, global)| (name, global.get(&mut *store))).collect();
        Captured { memory, globals }
    }
}

impl InstanceState for Captured {
    fn global_get(&mut self, name: &str, hint: ValType) -> impl Future<Output = SnapshotVal> + Send {
        // What is not there or of another type was refused when the module was instrumented.
        ready(match (self.globals.get(name), hint) {
            (Some(Val::I32(value)), _) => SnapshotVal::I32(*value),
            (Some(Val::I64(value)), _) => SnapshotVal::I64(*value),
            (Some(Val::F32(bits)), _) => SnapshotVal::F32(*bits),
            (Some(Val::F64(bits)), _) => SnapshotVal::F64(*bits),
            (Some(Val::V128(value)), _) => SnapshotVal::V128(value.as_u128()),
            (_, ValType::I64) => SnapshotVal::I64(0),
            (_, ValType::F32) => SnapshotVal::F32(0),
            (_, ValType::F64) => SnapshotVal::F64(0),
            (_, ValType::V128) => SnapshotVal::V128(0),
            _ => SnapshotVal::I32(0),
        })
    }

    fn memory_contents(
        &mut self,
        _name: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) -> impl Future<Output = ()> + Send {
        contents(&self.memory); // a filter has one memory
        ready(())
    }
}

/// Nothing in a snapshot of what was captured waits.
fn at_once<T>(future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(wasmtime::Error::msg("a snapshot waited")),
    }
}

impl std::fmt::Debug for Blank<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blank").finish_non_exhaustive()
    }
}

/// See the module's description.
pub(crate) struct Image {
    pub(crate) module: Module,
    pub(crate) exports: Places,
    pub(crate) properties: Properties,
    pub(crate) declarations: Declarations,
    pub(crate) metrics: Definitions,
    /// The queues that it registered, by the ids that it has of them.
    pub(crate) queues: Vec<(u32, Vec<u8>)>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}

/// Where a module's exports are, so that nobody looks for them by name at each instance.
pub(crate) struct Places(HashMap<&'static str, ModuleExport>);

impl Places {
    fn of(module: &Module) -> Places {
        let compiled = module.linked().module();
        let place = |name: &'static str| Some((name, compiled.get_export_index(name)?));
        Places(exports::looked_up().filter_map(place).collect())
    }

    pub(crate) fn find(&self, instance: &Instance, store: &mut Store<Host>, name: &str) -> Option<Extern> {
        instance.get_module_export(store, self.0.get(name)?)
    }
}
