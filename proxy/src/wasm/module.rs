//! A compiled module: checked to be a Proxy-Wasm filter, and linked to the table of hostcalls.
//!
//! What keeps a module from being a filter is found in `outline`, before it is compiled, and said in one message each.

use std::sync::Arc;

use wasmtime::{InstancePre, Linker};

use super::abi::{AbiVersion, Callback};
use super::engine::Engine;
use super::exports;
use super::host::Host;
use super::hostcalls::{self, Hostcall};
use super::manifest::{Manifest, ManifestError};
use super::outline::Outline;
use crate::files::Sha256;

/// A module that is ready to run. Cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Module {
    shared: Arc<Shared>,
}

struct Shared {
    linked: InstancePre<Host>,
    sha256: Sha256,
    is_kept: bool,
    abi: AbiVersion,
    edits_bodies: bool,
    manifest: Option<Result<Manifest, ManifestError>>,
    calls: Vec<&'static Hostcall>,
    exported: [bool; Callback::COUNT],
}

/// Why a module cannot be a filter. The message says what to do about it; who asked for it adds which file it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// There are no bytes.
    #[error("the module is empty: was it built?")]
    Empty,
    /// It is something else.
    #[error("this is not a WebAssembly module but {0}; build the filter for a wasm32 target")]
    NotWasm(&'static str),
    /// It is a component.
    #[error(
        "this is a WebAssembly component, and filters are core modules: build it for wasm32-wasip1 or \
         wasm32-unknown-unknown, without `wasm-tools component new`"
    )]
    Component,
    /// It is WebAssembly, but broken, or uses a proposal that is not offered.
    #[error("the module is not valid: {0}")]
    Invalid(String),
    /// It does not say which ABI it speaks.
    #[error(
        "the module is not a Proxy-Wasm filter: it exports no ABI version (`proxy_abi_version_0_2_1` or another); \
         with the Rust SDK this needs crate-type \"cdylib\" and `proxy_wasm::main!`"
    )]
    NoAbiVersion,
    /// The host cannot reach its memory.
    #[error("the module exports no 32-bit memory of its own named `memory`; have the linker export it")]
    NoMemory,
    /// The host cannot give it values.
    #[error(
        "the module exports no allocator (`proxy_on_memory_allocate` or `malloc`); have the linker export one"
    )]
    NoAllocator,
    /// It wants something that no Proxy-Wasm host offers.
    #[error(
        "the module imports `{module}::{name}`, which is neither a Proxy-Wasm nor a WASI preview 1 function"
    )]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// It wants a function of the ABI in another form.
    #[error(
        "the module imports `{module}::{name}` as {found}, but it is {expected}; was it built for this ABI?"
    )]
    ImportSignature {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// What it wants.
        found: String,
        /// What there is.
        expected: String,
    },
    /// It offers a function of the ABI in another form.
    #[error("the module exports `{name}` as {found}, but the ABI has it as {expected}")]
    ExportSignature {
        /// The export's name.
        name: String,
        /// What it offers.
        found: String,
        /// What the ABI says.
        expected: String,
    },
    /// It could never be instantiated.
    #[error("the module has {found} {what}, and a filter may have {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it has.
        found: u64,
        /// How many it may have.
        most: usize,
    },
}

impl LoadError {
    /// A fixed word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            LoadError::Empty => "empty",
            LoadError::NotWasm(_) => "not_wasm",
            LoadError::Component => "component",
            LoadError::Invalid(_) => "invalid",
            LoadError::NoAbiVersion => "no_abi_version",
            LoadError::NoMemory => "no_memory",
            LoadError::NoAllocator => "no_allocator",
            LoadError::UnknownImport { .. } => "unknown_import",
            LoadError::ImportSignature { .. } => "import_signature",
            LoadError::ExportSignature { .. } => "export_signature",
            LoadError::TooMany { .. } => "too_many",
        }
    }
}

impl Module {
    /// Loads a module, or says the first thing that is wrong with it.
    pub(super) fn load(engine: &Engine, bytes: &[u8], sha256: Sha256) -> Result<Module, LoadError> {
        let outline = Outline::read(bytes)?;
        if let Some(problem) = outline.problems().into_iter().next() {
            return Err(problem);
        }
        Module::compile(engine, bytes, &outline, sha256)
    }

    /// Everything that is wrong with a module whose outline this is; nothing if it can be loaded.
    pub(super) fn problems(engine: &Engine, bytes: &[u8], outline: &Outline) -> Vec<LoadError> {
        let mut problems = outline.problems();
        if problems.is_empty() {
            problems.extend(Module::compile(engine, bytes, outline, Sha256::of(bytes)).err());
        } else if !problems.iter().any(|problem| matches!(problem, LoadError::Invalid(_))) {
            problems.extend(wasmtime::Module::validate(engine.inner(), bytes).err().map(invalid));
        }
        problems
    }

    fn compile(
        engine: &Engine,
        bytes: &[u8],
        outline: &Outline,
        sha256: Sha256,
    ) -> Result<Module, LoadError> {
        let (module, is_kept) = engine.translate(bytes).map_err(invalid)?;
        let linked = link(engine.inner(), &module)?;
        let abi = outline.markers().next().ok_or(LoadError::NoAbiVersion)?;
        let edits_bodies = ["proxy_set_buffer_bytes", "proxy_inject_encoded_data_to_filter_chain"]
            .into_iter()
            .any(|hostcall| outline.imports_function(hostcall));
        let mut exported = [false; Callback::COUNT];
        for callback in Callback::ALL {
            let name = callback.name();
            exported[*callback as usize] = exports::find(name).is_some() && outline.exports_function(name);
        }
        let manifest = outline.manifest.clone();
        let calls = outline
            .imports
            .iter()
            .filter_map(|import| hostcalls::find(&import.module, &import.name))
            .collect();
        Ok(Module {
            shared: Arc::new(Shared {
                linked,
                sha256,
                is_kept,
                abi,
                edits_bodies,
                manifest,
                calls,
                exported,
            }),
        })
    }

    /// The same filter with other contents of its memory, compiled by an engine that may be another, or found compiled.
    pub(super) fn with_contents(
        &self,
        engine: &wasmtime::Engine,
        module: wasmtime::Result<(wasmtime::Module, bool)>,
    ) -> Result<Module, LoadError> {
        let (module, is_kept) = module.map_err(invalid)?;
        let (linked, is_kept) = (link(engine, &module)?, is_kept && self.is_kept());
        let Shared { sha256, abi, edits_bodies, exported, .. } = *self.shared;
        let (calls, manifest) = (self.shared.calls.clone(), self.shared.manifest.clone());
        Ok(Module {
            shared: Arc::new(Shared {
                linked,
                sha256,
                is_kept,
                abi,
                edits_bodies,
                exported,
                calls,
                manifest,
            }),
        })
    }

    /// Whether its compiled code was on disk, so that nothing was compiled for it.
    pub(crate) fn is_kept(&self) -> bool {
        self.shared.is_kept
    }

    /// What it is known by: that of its file, whatever was put into the module for its debug information, or for images.
    pub fn sha256(&self) -> Sha256 {
        self.shared.sha256
    }

    /// The ABI that it declares: the first that it names.
    pub fn abi(&self) -> AbiVersion {
        self.shared.abi
    }

    /// Whether it may change the length of a body: it can write buffers. Which direction's does not follow from what it
    /// exports: a guest may hold a body in its headers callback and write it from a tick or a callout's answer.
    pub fn edits_bodies(&self) -> bool {
        self.shared.edits_bodies
    }

    /// What it says of itself and asks for, if it does.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.shared.manifest.as_ref()?.as_ref().ok()
    }

    /// Why what it says of itself cannot be read, if it says something that cannot.
    pub fn manifest_error(&self) -> Option<&ManifestError> {
        self.shared.manifest.as_ref()?.as_ref().err()
    }

    /// The hostcalls that it imports, each once.
    pub fn calls(&self) -> &[&'static Hostcall] {
        &self.shared.calls
    }

    /// Whether it exports a callback.
    pub fn handles(&self, callback: Callback) -> bool {
        self.shared.exported[callback as usize]
    }

    /// Whether both are the same compiled code.
    pub(crate) fn is(&self, other: &Module) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn linked(&self) -> &InstancePre<Host> {
        &self.shared.linked
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("abi", &self.shared.abi).finish_non_exhaustive()
    }
}

/// Defines what the module imports, each in the form in which it imports it, which is known to be one that there is.
fn link(engine: &wasmtime::Engine, module: &wasmtime::Module) -> Result<InstancePre<Host>, LoadError> {
    let mut linker = Linker::new(engine);
    // Some tool chains import a function twice.
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let unknown = || LoadError::UnknownImport { module: from.to_owned(), name: name.to_owned() };
        let hostcall = hostcalls::find(from, name).ok_or_else(unknown)?;
        let has_result = import.ty().func().is_some_and(|ty| ty.results().len() > 0);
        hostcall.define(&mut linker, from, has_result).map_err(invalid)?;
    }
    linker.instantiate_pre(module).map_err(invalid)
}

fn invalid(error: wasmtime::Error) -> LoadError {
    LoadError::Invalid(format!("{error:#}"))
}
