//! A compiled module: checked to be a Proxy-Wasm filter, and linked to the table of hostcalls.
//!
//! Everything that can be known of a filter without running it is known here, and said in one message each.

use std::sync::Arc;

use wasmtime::{ExternType, FuncType, InstancePre, Linker, ValType};

use super::abi::{AbiVersion, Callback};
use super::host::Host;
use super::hostcalls;

/// A module that is ready to run. Cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Module {
    shared: Arc<Shared>,
}

struct Shared {
    linked: InstancePre<Host>,
    abi: AbiVersion,
    edits_bodies: bool,
    exported: [bool; Callback::COUNT],
}

/// Why a module cannot be a filter. The message says what to do about it; who asked for it adds which file it was.
#[derive(Debug, thiserror::Error)]
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
}

impl Module {
    pub(super) fn load(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Module, LoadError> {
        check_magic(bytes)?;
        let module =
            wasmtime::Module::new(engine, bytes).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let abi = module
            .exports()
            .find_map(|export| AbiVersion::from_marker(export.name()))
            .ok_or(LoadError::NoAbiVersion)?;
        check_memory(&module)?;
        let linked = link(engine, &module)?;
        let exported = check_exports(&module)?;
        let edits_bodies = module.imports().any(|import| import.name() == "proxy_set_buffer_bytes");
        Ok(Module { shared: Arc::new(Shared { linked, abi, edits_bodies, exported }) })
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

    /// Whether it exports a callback.
    pub fn handles(&self, callback: Callback) -> bool {
        self.shared.exported[callback as usize]
    }

    /// Whether both are the same compiled code.
    pub(super) fn is(&self, other: &Module) -> bool {
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

/// Tells what is not a core module by its first bytes, so that the message can say what it is.
fn check_magic(bytes: &[u8]) -> Result<(), LoadError> {
    const COMPONENT_LAYER: &[u8] = &[1, 0];
    match bytes {
        [] => Err(LoadError::Empty),
        [0, b'a', b's', b'm', _, _, layer @ ..] if layer.starts_with(COMPONENT_LAYER) => {
            Err(LoadError::Component)
        }
        [0, b'a', b's', b'm', ..] => Ok(()),
        [0x7f, b'E', b'L', b'F', ..] => Err(LoadError::NotWasm("a native program (ELF)")),
        [0x1f, 0x8b, ..] => Err(LoadError::NotWasm("a gzip archive")),
        [b'P', b'K', 3, 4, ..] => Err(LoadError::NotWasm("a zip archive")),
        _ if bytes.trim_ascii_start().starts_with(b"(module") => {
            Err(LoadError::NotWasm("WebAssembly text (compile it with wat2wasm)"))
        }
        _ if bytes.is_ascii() => Err(LoadError::NotWasm("text")),
        _ => Err(LoadError::NotWasm("something else")),
    }
}

fn check_memory(module: &wasmtime::Module) -> Result<(), LoadError> {
    match module.get_export("memory") {
        Some(ExternType::Memory(memory)) if !memory.is_64() && !memory.is_shared() => Ok(()),
        _ => Err(LoadError::NoMemory),
    }
}

/// What the ABI says of an export: how many `i32` parameters (one of these), and whether there is an `i32` result.
struct Signature {
    params: &'static [usize],
    result: bool,
}

/// Every function that a guest may export for the host to call, beside `_initialize`, `_start`, `main` and
/// `__main_void`, which differ from one tool chain to the next.
fn export_signature(name: &str) -> Option<Signature> {
    let (params, result): (&[usize], bool) = match name {
        "malloc" | "proxy_on_memory_allocate" => (&[1], true),
        "proxy_on_context_create" => (&[2], false),
        "proxy_on_vm_start" | "proxy_on_configure" | "proxy_validate_configuration" => (&[2], true),
        "proxy_on_tick" | "proxy_on_log" | "proxy_on_delete" => (&[1], false),
        "proxy_on_done" | "proxy_on_new_connection" => (&[1], true),
        "proxy_on_downstream_data" | "proxy_on_upstream_data" => (&[3], true),
        "proxy_on_downstream_connection_close" | "proxy_on_upstream_connection_close" => (&[2], false),
        // Version 0.1.0 has no end-of-stream, but modules of that version exist that take it.
        "proxy_on_request_headers" | "proxy_on_response_headers" => (&[2, 3], true),
        "proxy_on_request_body" | "proxy_on_response_body" => (&[3], true),
        "proxy_on_request_trailers" | "proxy_on_response_trailers" => (&[2], true),
        "proxy_on_request_metadata" | "proxy_on_response_metadata" => (&[2], true),
        "proxy_on_http_call_response" => (&[5], false),
        "proxy_on_grpc_receive_initial_metadata"
        | "proxy_on_grpc_receive"
        | "proxy_on_grpc_receive_trailing_metadata"
        | "proxy_on_grpc_close"
        | "proxy_on_foreign_function" => (&[3], false),
        "proxy_on_queue_ready" => (&[2], false),
        "tidegate_on_request_headers" => (&[4], true),
        "tidegate_on_response_headers" => (&[3], true),
        "tidegate_on_end" => (&[1], true),
        _ => return None,
    };
    Some(Signature { params, result })
}

/// Checks each export of the ABI and notes which callbacks there are.
fn check_exports(module: &wasmtime::Module) -> Result<[bool; Callback::COUNT], LoadError> {
    let mut has_allocator = false;
    let mut exported = [false; Callback::COUNT];
    for export in module.exports() {
        let Some(signature) = export_signature(export.name()) else { continue };
        let ExternType::Func(found) = export.ty() else { continue };
        if !signature.accepts(&found) {
            return Err(LoadError::ExportSignature {
                name: export.name().to_owned(),
                found: describe(&found),
                expected: signature.describe(),
            });
        }
        has_allocator |= matches!(export.name(), "malloc" | "proxy_on_memory_allocate");
        if let Some(callback) = Callback::ALL.iter().find(|callback| callback.name() == export.name()) {
            exported[*callback as usize] = true;
        }
    }
    if has_allocator { Ok(exported) } else { Err(LoadError::NoAllocator) }
}

impl Signature {
    fn accepts(&self, found: &FuncType) -> bool {
        let is_i32 = |ty: ValType| matches!(ty, ValType::I32);
        self.params.contains(&found.params().len())
            && found.results().len() == usize::from(self.result)
            && found.params().all(is_i32)
            && found.results().all(is_i32)
    }

    fn describe(&self) -> String {
        let forms: Vec<String> = self
            .params
            .iter()
            .map(|count| {
                format!("({}){}", vec!["i32"; *count].join(", "), if self.result { " -> i32" } else { "" })
            })
            .collect();
        forms.join(" or ")
    }
}

/// Defines what the module imports, each in the form in which it imports it.
fn link(engine: &wasmtime::Engine, module: &wasmtime::Module) -> Result<InstancePre<Host>, LoadError> {
    let mut linker = Linker::new(engine);
    // Some tool chains import a function twice.
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let ExternType::Func(found) = import.ty() else {
            return Err(LoadError::UnknownImport { module: from.to_owned(), name: name.to_owned() });
        };
        let Some(hostcall) = hostcalls::find(from, name) else {
            return Err(LoadError::UnknownImport { module: from.to_owned(), name: name.to_owned() });
        };
        if !hostcall.accepts(&found) {
            return Err(LoadError::ImportSignature {
                module: from.to_owned(),
                name: name.to_owned(),
                found: describe(&found),
                expected: hostcall.describe(),
            });
        }
        let has_result = found.results().len() > 0;
        hostcall
            .define(&mut linker, from, has_result)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    }
    linker.instantiate_pre(module).map_err(|error| LoadError::Invalid(format!("{error:#}")))
}

/// A function's type as people write it: `(i32, i64) -> i32`.
pub(super) fn describe(ty: &FuncType) -> String {
    let list = |types: Vec<String>| types.join(", ");
    let params = list(ty.params().map(|ty| ty.to_string()).collect());
    match ty.results().len() {
        0 => format!("({params})"),
        _ => format!("({params}) -> {}", list(ty.results().map(|ty| ty.to_string()).collect())),
    }
}
