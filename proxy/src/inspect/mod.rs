//! What `tidegate filter inspect` says of a module: whether it will load, and what its author would want to know.
//!
//! [`Report`] is what is said, and its fields are the stable JSON; `text` is the same for people. `toolchain`
//! recognises what a module was made with, `notes` finds what its author may not have meant. What keeps a module from
//! loading is found by [`crate::wasm`], which loads by it. It must not run the module.

mod notes;
mod permissions;
mod text;
mod toolchain;

use serde::Serialize;

pub use notes::Note;
pub use permissions::Permissions;
pub use toolchain::Tool;

use crate::config::model::Sha256;
use crate::signature::{SignatureError, Signed};
use crate::wasm::exports;
use crate::wasm::hostcalls;
use crate::wasm::outline::{self, Item, Outline, PAGE};
use crate::wasm::{AbiVersion, Engine, LoadError};

/// All that is said of a module. Fields may be added in later versions; those that are here stay.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether it will load.
    pub loads: bool,
    /// Why not: every reason.
    pub problems: Vec<Problem>,
    /// What does not keep it from loading, and may not be what its author meant.
    pub notes: Vec<Note>,
    /// How large it is, in bytes.
    pub size: usize,
    /// SHA-256 of it, which a configuration can pin it by.
    pub sha256: String,
    /// The signatures of it as it is, in it and beside it: how many; none where they cannot be read.
    pub signatures: Option<usize>,
    /// The rest, for what is a WebAssembly module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Facts>,
}

/// A reason why a module does not load.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// A fixed word.
    pub reason: &'static str,
    /// A sentence that says what to do about it.
    pub message: String,
}

/// What a module has and wants.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Whether it could be read to its end: of one that could not, what follows is of the part before.
    pub is_whole: bool,
    /// The version of the ABI that counts: the first that it names.
    pub abi_version: Option<&'static str>,
    /// All that it names, in its order.
    pub abi_markers: Vec<&'static str>,
    /// What it was made with, as far as it can be recognised.
    pub made_with: Vec<Tool>,
    /// Its sections with code and with data, in bytes.
    pub code_size: usize,
    /// See `code_size`.
    pub data_size: usize,
    /// How many functions it has.
    pub functions: u32,
    /// Whether a trap can be shown with the names of functions, and with source lines.
    pub has_names: bool,
    /// See `has_names`.
    pub has_debug_info: bool,
    /// Its memories.
    pub memories: Vec<Memory>,
    /// Its tables of functions.
    pub tables: Vec<Table>,
    /// Which of its exports the host asks for memory.
    pub allocator: Option<&'static str>,
    /// What it says of itself and asks for; none without a manifest that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// What it exports, in its order.
    pub exports: Vec<Export>,
    /// What it imports, in its order, each once.
    pub imports: Vec<Import>,
    /// Its custom sections.
    pub custom_sections: Vec<CustomSection>,
}

/// What a module says of itself.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// What its author calls it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it asks for, as a filter's `capabilities` would grant it.
    pub capabilities: serde_json::Value,
    /// The same as lists.
    #[serde(skip)]
    asked: Vec<(&'static str, Vec<String>)>,
}

/// A memory, in bytes.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// How large it is at first.
    pub initial: u64,
    /// How large it may become.
    pub maximum: Option<u64>,
}

/// A table, in entries.
#[derive(Debug, Serialize)]
pub struct Table {
    /// How large it is at first.
    pub initial: u64,
    /// How large it may become.
    pub maximum: Option<u64>,
}

/// An export.
#[derive(Debug, Serialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is: `function`, `memory`, `table`, `global` or `other`.
    pub kind: &'static str,
    /// A function's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// What it is about, for one that the ABI knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'static str>,
    /// Whether this host calls it, for one that the ABI knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<bool>,
}

/// An import.
#[derive(Debug, Serialize)]
pub struct Import {
    /// The module that it names.
    pub module: String,
    /// The function that it names.
    pub name: String,
    /// A function's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// What it needs of the host; none for one that the host does not have.
    pub family: Option<&'static str>,
    /// The version of the ABI that introduced it; none for one of a tool chain.
    pub since: Option<&'static str>,
}

/// A custom section.
#[derive(Debug, Serialize)]
pub struct CustomSection {
    /// Its name.
    pub name: String,
    /// How long it is, in bytes.
    pub size: usize,
}

impl Report {
    /// Inspects a module. It is compiled, which takes as long as a compiler does, and not run.
    pub fn of(engine: &Engine, bytes: &[u8]) -> Report {
        let size = bytes.len();
        let sha256 = Sha256::of(bytes).to_string();
        let signatures = signatures(bytes, None);
        let outline = match Outline::read(bytes) {
            Ok(outline) => outline,
            Err(problem) => {
                let problems = vec![(&problem).into()];
                return Report {
                    loads: false,
                    problems,
                    notes: Vec::new(),
                    size,
                    sha256,
                    signatures,
                    module: None,
                };
            }
        };
        let problems: Vec<Problem> = engine.problems(bytes, &outline).iter().map(Problem::from).collect();
        let notes = notes::of(&outline);
        let module = Some(Facts::of(&outline, bytes));
        Report { loads: problems.is_empty(), problems, notes, size, sha256, signatures, module }
    }

    /// With what a file beside the module, `bytes`, says of its signatures.
    #[must_use]
    pub fn with_signatures(self, bytes: &[u8], detached: Option<&[u8]>) -> Report {
        Report { signatures: signatures(bytes, detached), ..self }
    }

    /// What matters most, in a line: how large it is, its ABI, its SDK, and whether it will not load.
    pub fn summary(&self, name: &str) -> String {
        text::summarize(self, name)
    }

    /// Every reason why it will not load, as paragraphs; nothing where it will.
    pub fn reasons(&self) -> String {
        text::render_problems(self)
    }

    /// The report for people. `name` is what they call the module.
    pub fn text(&self, name: &str) -> String {
        text::render(self, name)
    }
}

fn signatures(bytes: &[u8], detached: Option<&[u8]>) -> Option<usize> {
    match Signed::read(bytes, detached) {
        Ok(signed) => Some(signed.count()),
        Err(SignatureError::NotAModule) => Some(0),
        Err(_) => None,
    }
}

impl From<&LoadError> for Problem {
    fn from(problem: &LoadError) -> Problem {
        Problem { reason: problem.reason(), message: problem.to_string() }
    }
}

impl Facts {
    fn of(outline: &Outline, bytes: &[u8]) -> Facts {
        let has_section =
            |holds: fn(&str) -> bool| outline.custom_sections.iter().any(|section| holds(&section.name));
        Facts {
            is_whole: outline.is_whole(),
            abi_version: outline.markers().next().map(AbiVersion::number),
            abi_markers: outline.markers().map(AbiVersion::number).collect(),
            made_with: toolchain::of(outline, bytes),
            code_size: outline.code_size,
            data_size: outline.data_size,
            functions: outline.functions,
            has_names: has_section(|name| name == "name"),
            has_debug_info: has_section(|name| name.starts_with(".debug_")),
            memories: outline.memories.iter().map(Memory::of).collect(),
            tables: outline
                .tables
                .iter()
                .map(|table| Table { initial: table.initial, maximum: table.maximum })
                .collect(),
            allocator: ["proxy_on_memory_allocate", "malloc"]
                .into_iter()
                .find(|name| outline.exports_function(name)),
            manifest: outline.manifest.as_ref().and_then(|manifest| manifest.as_ref().ok()).map(Manifest::of),
            exports: outline.exports.iter().map(Export::of).collect(),
            imports: outline.imports.iter().map(Import::of).collect(),
            custom_sections: outline
                .custom_sections
                .iter()
                .map(|section| CustomSection { name: section.name.clone(), size: section.size })
                .collect(),
        }
    }
}

impl Manifest {
    fn of(manifest: &crate::wasm::manifest::Manifest) -> Manifest {
        Manifest {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            capabilities: manifest.capabilities.to_json(),
            asked: permissions::lists(&manifest.capabilities),
        }
    }
}

impl Memory {
    fn of(memory: &outline::Memory) -> Memory {
        let bytes = |pages: u64| pages.saturating_mul(PAGE);
        Memory { initial: bytes(memory.initial), maximum: memory.maximum.map(bytes) }
    }
}

impl Export {
    fn of(export: &outline::Export) -> Export {
        let (kind, signature) = match &export.item {
            Item::Function(ty) => ("function", Some(outline::describe(ty))),
            Item::Memory(_) => ("memory", None),
            Item::Table => ("table", None),
            Item::Global => ("global", None),
            Item::Other => ("other", None),
        };
        let known = exports::find(&export.name).filter(|_| signature.is_some());
        Export {
            name: export.name.clone(),
            kind,
            signature,
            group: known.map(|known| known.group.title()),
            called: known.map(exports::Export::is_called),
        }
    }
}

impl Import {
    fn of(import: &outline::Import) -> Import {
        let signature = match &import.item {
            Item::Function(ty) => Some(outline::describe(ty)),
            _ => None,
        };
        let known = hostcalls::find(&import.module, &import.name).filter(|_| signature.is_some());
        Import {
            module: import.module.clone(),
            name: import.name.clone(),
            signature,
            family: known.map(|known| known.family.title()),
            since: known.and_then(|known| known.since.title()),
        }
    }
}
