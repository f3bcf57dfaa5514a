//! What a module says of itself, read without compiling it, and everything that keeps it from being a filter.
//!
//! [`Module`](super::Module) loads by this, and `tidegate filter inspect` shows it: what one refuses the other
//! explains. It must not run or trust anything: every length is checked by the parser, and a file that breaks off in
//! the middle gives what came before.

use std::collections::HashSet;
use std::ops::Range;

use wasmparser::{
    CompositeInnerType, ExternalKind, FromReader, FuncType, KnownCustom, MemoryType, Parser, Payload,
    SectionLimited, TableType, TypeRef,
};

use super::abi::AbiVersion;
use super::exports;
use super::host::{MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use super::hostcalls;
use super::manifest::{self, Manifest, ManifestError};
use super::module::LoadError;

/// Bytes in a page of memory.
pub const PAGE: u64 = 64 << 10;

/// How many types, imports, functions and so on of one kind a module may have: what engines for WebAssembly agree on.
const MAX_ITEMS: usize = 1_000_000;

/// How many entries of the `producers` section are read.
const MAX_PRODUCERS: usize = 100;

/// A module's outside.
#[derive(Debug, Default)]
pub struct Outline {
    /// How large the file is, in bytes.
    pub size: usize,
    /// The imports, in the file's order, each once: some tool chains import a function twice.
    pub imports: Vec<Import>,
    /// The exports, in the file's order.
    pub exports: Vec<Export>,
    /// The memories, imported ones first.
    pub memories: Vec<Memory>,
    /// The tables, imported ones first.
    pub tables: Vec<Table>,
    /// Whether it has a start section, which runs when it is instantiated.
    pub has_start: bool,
    /// How many functions have code here.
    pub functions: u32,
    /// The sections with code and with data, in bytes of the file.
    pub code_size: usize,
    /// See `code_size`.
    pub data_size: usize,
    /// The custom sections, in the file's order.
    pub custom_sections: Vec<CustomSection>,
    /// What it says of itself and asks for, if it does, in a form that can be read.
    pub manifest: Option<Result<Manifest, ManifestError>>,
    /// What the `producers` section says: field, name, version.
    pub producers: Vec<[String; 3]>,
    /// Where in the file there are texts to recognise an SDK by: data and the names of functions.
    pub(crate) texts: Vec<Range<usize>>,
    invalid: Option<String>,
}

/// Something that a module imports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Import {
    /// The import's module.
    pub module: String,
    /// The import's name.
    pub name: String,
    /// What it is.
    pub item: Item,
}

/// Something that a module exports.
#[derive(Debug)]
pub struct Export {
    /// The export's name.
    pub name: String,
    /// What it is.
    pub item: Item,
}

/// What is imported or exported.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// A function of this type.
    Function(FuncType),
    /// A memory.
    Memory(Memory),
    /// A table.
    Table,
    /// A global.
    Global,
    /// Anything else, or something that the module does not have.
    Other,
}

/// A memory, in pages of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Memory {
    /// How many it has at first.
    pub initial: u64,
    /// How many it may have.
    pub maximum: Option<u64>,
    /// Whether the host can use it: 32 bits, of one thread.
    pub usable: bool,
}

/// A table of functions.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// How many entries it has at first.
    pub initial: u64,
    /// How many it may have.
    pub maximum: Option<u64>,
}

/// A custom section.
#[derive(Debug)]
pub struct CustomSection {
    /// Its name.
    pub name: String,
    /// How long its content is, in bytes.
    pub size: usize,
}

impl Outline {
    /// Reads a module.
    ///
    /// # Errors
    /// It is no module at all. A broken one is read as far as it goes; [`problems`](Outline::problems) says how it
    /// ends.
    pub fn read(bytes: &[u8]) -> Result<Outline, LoadError> {
        check_magic(bytes)?;
        let mut reader =
            Reader { outline: Outline { size: bytes.len(), ..Outline::default() }, ..Reader::default() };
        for payload in Parser::new(0).parse_all(bytes) {
            if let Err(error) = payload.map_err(Broken::from).and_then(|payload| reader.read(payload)) {
                reader.outline.invalid = Some(error.0);
                break;
            }
        }
        let mut seen = HashSet::new();
        reader.outline.imports.retain(|import| seen.insert(import.clone()));
        Ok(reader.outline)
    }

    /// The versions of the ABI that it names, in the order of its exports: the first one counts.
    pub fn markers(&self) -> impl Iterator<Item = AbiVersion> {
        self.exports.iter().filter_map(|export| AbiVersion::from_marker(&export.name))
    }

    /// Whether it could be read to its end. Of one that could not, only what came before is here.
    pub fn is_whole(&self) -> bool {
        self.invalid.is_none()
    }

    /// The functions that it exports.
    pub fn functions(&self) -> impl Iterator<Item = (&str, &FuncType)> {
        self.exports.iter().filter_map(|export| match &export.item {
            Item::Function(ty) => Some((&*export.name, ty)),
            _ => None,
        })
    }

    /// Whether it exports a function of this name.
    pub fn exports_function(&self, name: &str) -> bool {
        self.functions().any(|(exported, _)| exported == name)
    }

    /// Whether it imports a function of this name.
    pub fn imports_function(&self, name: &str) -> bool {
        self.imports.iter().any(|import| import.name == name)
    }

    /// Everything that can be known to keep it from being a filter before it is compiled.
    pub fn problems(&self) -> Vec<LoadError> {
        let mut problems = Vec::new();
        problems.extend(self.invalid.clone().map(LoadError::Invalid));
        if self.markers().next().is_none() {
            problems.push(LoadError::NoAbiVersion);
        }
        if !self.exports.iter().any(Export::is_usable_memory) {
            problems.push(LoadError::NoMemory);
        }
        problems.extend(self.imports.iter().filter_map(Import::problem));
        problems.extend(self.functions().filter_map(|(name, found)| {
            let expected = exports::find(name).filter(|export| !export.accepts(found))?;
            let (name, found) = (name.to_owned(), describe(found));
            Some(LoadError::ExportSignature { name, found, expected: expected.describe() })
        }));
        if !["proxy_on_memory_allocate", "malloc"].iter().any(|name| self.exports_function(name)) {
            problems.push(LoadError::NoAllocator);
        }
        let entries = self.tables.iter().map(|table| table.initial).max().unwrap_or(0);
        let bounds = [
            ("memories", self.memories.len() as u64, MAX_MEMORIES),
            ("tables", self.tables.len() as u64, MAX_TABLES),
            ("entries in a table", entries, MAX_TABLE_ELEMENTS),
        ];
        for (what, found, most) in bounds {
            if found > most as u64 {
                problems.push(LoadError::TooMany { what, found, most });
            }
        }
        problems
    }
}

impl Export {
    fn is_usable_memory(&self) -> bool {
        self.name == "memory" && matches!(self.item, Item::Memory(Memory { usable: true, .. }))
    }
}

impl Import {
    fn problem(&self) -> Option<LoadError> {
        let (module, name) = (self.module.clone(), self.name.clone());
        let (Item::Function(found), Some(hostcall)) = (&self.item, hostcalls::find(&module, &name)) else {
            return Some(LoadError::UnknownImport { module, name });
        };
        if hostcall.accepts(found) {
            return None;
        }
        let (found, expected) = (describe(found), hostcall.describe());
        Some(LoadError::ImportSignature { module, name, found, expected })
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

/// A function's type as people write it: `(i32, i64) -> i32`.
pub fn describe(ty: &FuncType) -> String {
    let list =
        |types: &[wasmparser::ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match ty.results() {
        [] => format!("({})", list(ty.params())),
        results => format!("({}) -> {}", list(ty.params()), list(results)),
    }
}

/// An outline in the making: exports name things by their number.
#[derive(Default)]
struct Reader {
    outline: Outline,
    types: Vec<Option<FuncType>>,
    function_types: Vec<u32>,
}

/// Why a module cannot be read to its end.
struct Broken(String);

impl From<wasmparser::Error> for Broken {
    fn from(error: wasmparser::Error) -> Broken {
        Broken(error.to_string())
    }
}

/// The entries of a section, if they are not too many.
fn entries<'a, T: FromReader<'a>>(section: SectionLimited<'a, T>) -> Result<SectionLimited<'a, T>, Broken> {
    if section.count() as usize > MAX_ITEMS {
        return Err(Broken(format!(
            "a section has {} entries, and {MAX_ITEMS} are too many",
            section.count()
        )));
    }
    Ok(section)
}

impl Reader {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), Broken> {
        match payload {
            Payload::TypeSection(section) => {
                for group in entries(section)? {
                    self.types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => Some(ty),
                        _ => None,
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in entries(section)?.into_imports().take(MAX_ITEMS) {
                    self.import(import?);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in entries(section)? {
                    self.function_types.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in entries(section)? {
                    self.outline.tables.push(table?.ty.into());
                }
            }
            Payload::MemorySection(section) => {
                for memory in entries(section)? {
                    self.outline.memories.push(memory?.into());
                }
            }
            Payload::ExportSection(section) => {
                for export in entries(section)? {
                    let wasmparser::Export { name, kind, index } = export?;
                    let item = self.exported(kind, index);
                    self.outline.exports.push(Export { name: name.to_owned(), item });
                }
            }
            Payload::StartSection { .. } => self.outline.has_start = true,
            Payload::CodeSectionStart { count, range, size } => {
                // A file that breaks off in it has less of it than it says.
                let there = self.outline.size.saturating_sub(range.start);
                (self.outline.functions, self.outline.code_size) = (count, there.min(size as usize));
            }
            Payload::DataSection(section) => {
                self.outline.data_size = section.range().len();
                self.outline.texts.push(section.range());
            }
            Payload::CustomSection(section) => self.custom(&section)?,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: wasmparser::Import<'_>) {
        let item = match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.function_types.push(ty);
                self.function(ty)
            }
            TypeRef::Memory(memory) => {
                self.outline.memories.push(memory.into());
                Item::Memory(memory.into())
            }
            TypeRef::Table(table) => {
                self.outline.tables.push(table.into());
                Item::Table
            }
            TypeRef::Global(_) => Item::Global,
            TypeRef::Tag(_) => Item::Other,
        };
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        self.outline.imports.push(Import { module, name, item });
    }

    fn exported(&self, kind: ExternalKind, index: u32) -> Item {
        let index = index as usize;
        match kind {
            ExternalKind::Func | ExternalKind::FuncExact => {
                self.function_types.get(index).map_or(Item::Other, |ty| self.function(*ty))
            }
            ExternalKind::Memory => {
                self.outline.memories.get(index).map_or(Item::Other, |memory| Item::Memory(*memory))
            }
            ExternalKind::Table => Item::Table,
            ExternalKind::Global => Item::Global,
            ExternalKind::Tag => Item::Other,
        }
    }

    fn function(&self, ty: u32) -> Item {
        self.types.get(ty as usize).cloned().flatten().map_or(Item::Other, Item::Function)
    }

    /// What is wrong in a custom section concerns nobody but those who read it.
    fn custom(&mut self, section: &wasmparser::CustomSectionReader<'_>) -> Result<(), Broken> {
        if self.outline.custom_sections.len() >= MAX_ITEMS {
            return Err(Broken(format!("it has more than {MAX_ITEMS} custom sections")));
        }
        let (name, size) = (section.name().to_owned(), section.data().len());
        if name == "name" {
            self.outline.texts.push(section.range());
        }
        if name == manifest::SECTION {
            let found = match self.outline.manifest {
                None => Manifest::parse(section.data()),
                Some(_) => Err(ManifestError::Several),
            };
            self.outline.manifest = Some(found);
        }
        self.outline.custom_sections.push(CustomSection { name, size });
        let KnownCustom::Producers(fields) = section.as_known() else { return Ok(()) };
        let values = fields.into_iter().flatten().flat_map(|field| {
            field.values.into_iter().flatten().map(move |value| [field.name, value.name, value.version])
        });
        let room = MAX_PRODUCERS.saturating_sub(self.outline.producers.len());
        self.outline.producers.extend(values.take(room).map(|texts| texts.map(str::to_owned)));
        Ok(())
    }
}

impl From<MemoryType> for Memory {
    fn from(memory: MemoryType) -> Memory {
        let usable = !memory.memory64 && !memory.shared;
        Memory { initial: memory.initial, maximum: memory.maximum, usable }
    }
}

impl From<TableType> for Table {
    fn from(table: TableType) -> Table {
        Table { initial: table.initial, maximum: table.maximum }
    }
}
