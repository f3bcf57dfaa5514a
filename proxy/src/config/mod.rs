//! From a file to a checked configuration.
//!
//! ```text
//! text ── yaml ──> located tree ── decode ──> raw (what the user wrote) ── check ──> model (what is valid)
//!           └──────────────────────────┴─────────────────┴──> problems, all at once
//! ```
//!
//! Nothing here opens a socket, loads a module or knows what is running: whether a port is free or a filter accepts
//! its configuration is found out by those who use the [`Config`], and shown at the right place of the
//! file with [`Loaded::blame`]. Of other files, it reads those that a filter's `config` takes text from.

pub(crate) mod bounds;
pub(crate) mod check;
pub(crate) mod collector;
pub(crate) mod decode;
mod effective;
pub mod model;
mod problem;
pub(crate) mod raw;
pub(crate) mod scalar;
mod schema;
pub(crate) mod source;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

pub(crate) use effective::canary_policy;
pub use effective::effective;
pub use problem::{Level, Problem, Problems};
pub(crate) use scalar::{Count, Parse, Quantity, Size, name_of};
pub use schema::schema;
pub use source::{Place, Source, Span};

use crate::files::{Footprint, ReadError};
use check::Places;
use collector::Collector;
use model::Config;
use source::MAX_FILE_BYTES;

/// A configuration that is valid, and the file that it is from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is valid.
    pub config: Config,
    /// What is allowed but likely not meant. Never fatal.
    pub warnings: Problems,
    source: Arc<Source>,
    places: Places,
    footprint: Footprint,
}

/// A part of a configuration that can turn out to be wrong after it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The address of `config.listeners[N]`: it cannot be bound.
    ListenerAddress(usize),
    /// The address of the admin listener.
    AdminAddress,
    /// The module of `config.filters[N]`: it is not there, or is not a filter.
    FilterModule(usize),
    /// The configuration of `config.filters[N]`: the filter rejects it. Its module where it has none.
    FilterConfig(usize),
    /// The configuration of `config.variants[N]`: the filter rejects what a route gives it.
    VariantConfig(usize),
}

impl Loaded {
    /// The file's name as it was given.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Which files it was read from: itself, and those that it takes text from.
    pub(crate) fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Problems that were found after checking, each shown at its place in the file.
    pub fn blame(&self, findings: impl IntoIterator<Item = Finding>) -> Problems {
        let places = &self.places;
        let log = Collector::new(&self.source);
        for Finding { part, message, hint } in findings {
            let span = match part {
                Part::ListenerAddress(index) => places.listener_addresses.get(index).copied(),
                Part::AdminAddress => places.admin_address,
                Part::FilterModule(index) => places.filter_modules.get(index).copied(),
                Part::FilterConfig(index) => places.filter_configs.get(index).copied(),
                Part::VariantConfig(index) => places.variant_configs.get(index).copied(),
            };
            log.record(Level::Error, span, message, || hint);
        }
        log.finish(self.source.clone())
    }
}

/// What using a configuration found wrong with it.
#[derive(Debug)]
pub struct Finding {
    /// Which part of the file.
    pub part: Part,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, all at once; that it cannot be read is a problem like any other.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_noting(path, &mut Footprint::default())
}

/// The same of what can be read from `input`. `path` is what problems call it, and modules' relative paths are relative to
/// its folder.
///
/// # Errors
/// Those of [`load`].
pub fn load_from(input: impl io::Read, path: &Path) -> Result<Loaded, Problems> {
    let mut bytes = Vec::new();
    match input.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => read_bytes(bytes, path, &RefCell::default()),
        Err(error) => Err(unreadable(path, format!("it cannot be read: {error}"), remedy_for(&error))),
    }
}

/// Reads and checks what a route's `match` has, in one line of YAML or JSON.
///
/// # Errors
/// What is wrong with it, as text.
pub fn read_match(text: &str) -> Result<model::Match, String> {
    if text.contains(['\n', '\r']) {
        return Err("what is to match goes into one line, such as {path: {prefix: /api}}".to_owned());
    }
    // A route that has nothing else, so that a match is read in one place.
    let file = format!(
        "listeners: [{{name: l, address: 127.0.0.1:1, routes: [{{respond: {{status: 200}}, match: {text}\n}}]}}]"
    );
    let said = |problems: &Problems| {
        let lines = problems.iter().map(|problem| match &problem.hint {
            Some(hint) => format!("match: {}; {hint}", problem.message),
            None => format!("match: {}", problem.message),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut loaded = load_from(file.as_bytes(), Path::new("match")).map_err(|problems| said(&problems))?;
    let route = loaded.config.listeners.pop().and_then(|mut listener| listener.routes.pop());
    route.map(|route| route.matches).ok_or_else(|| "match: it ends what is around it".to_owned())
}

/// [`load`], which notes which files that took, also where it fails.
///
/// # Errors
/// Those of [`load`].
pub(crate) fn load_noting(path: &Path, footprint: &mut Footprint) -> Result<Loaded, Problems> {
    let noted = RefCell::new(std::mem::take(footprint));
    let loaded = read_file(path, &noted);
    *footprint = noted.into_inner();
    loaded
}

fn read_file(path: &Path, footprint: &RefCell<Footprint>) -> Result<Loaded, Problems> {
    read_bytes(bytes_of(path, footprint)?, path, footprint)
}

/// The text of a file in YAML that is no configuration.
///
/// # Errors
/// That it cannot be read, is larger than a file may be, or is no text.
#[cfg(feature = "kit")]
pub(crate) fn read_source(path: &Path) -> Result<Arc<Source>, Problems> {
    let text = text_of(bytes_of(path, &RefCell::default())?, path)?;
    Ok(Arc::new(Source::new(path, &text)))
}

fn bytes_of(path: &Path, footprint: &RefCell<Footprint>) -> Result<Vec<u8>, Problems> {
    let read = footprint.borrow_mut().read_stream(path, MAX_FILE_BYTES as u64);
    match read {
        Ok((bytes, _)) => Ok(bytes),
        Err(ReadError::Unreadable(error)) => {
            let message = format!("the file cannot be read: {error}");
            Err(unreadable(path, message, remedy_for(&error)))
        }
        Err(error) => Err(unreadable(path, format!("the file {error}"), TOO_LARGE)),
    }
}

fn unreadable(path: &Path, message: String, hint: &str) -> Problems {
    Problems::with_file(Arc::new(Source::new(path, "")), message, hint)
}

fn read_bytes(bytes: Vec<u8>, path: &Path, footprint: &RefCell<Footprint>) -> Result<Loaded, Problems> {
    parse_noting(&text_of(bytes, path)?, path, footprint)
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, Problems> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let message = format!("the file is not UTF-8 text: see line {line}");
        unreadable(path, message, "save it as UTF-8")
    })
}

/// What to do about a file that is larger than any configuration.
const TOO_LARGE: &str = "is it the right file?";

fn remedy_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the name, and the folder that you are in",
        io::ErrorKind::PermissionDenied => "let the user that runs tidegate read it",
        io::ErrorKind::IsADirectory => "give a file: the configuration is one file",
        _ => "check that it is a file that can be read",
    }
}

/// Checks a text. `path` is what problems call it, and modules' relative paths are relative to its folder.
///
/// # Errors
/// Everything that is wrong with it, all at once.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, Problems> {
    parse_noting(text, path, &RefCell::default())
}

fn parse_noting(text: &str, path: &Path, footprint: &RefCell<Footprint>) -> Result<Loaded, Problems> {
    if text.len() > MAX_FILE_BYTES {
        let source = Arc::new(Source::new(path, ""));
        return Err(Problems::with_file(source, "the file is larger than 16 MiB", TOO_LARGE));
    }
    let source = Arc::new(Source::new(path, text));
    let log = Collector::new(&source);
    let checked = read_and_check(&source, &log, footprint);
    if checked.is_none() && !log.has_errors() {
        let hint = "it needs `listeners` at least; a first one is examples/quickstart/tidegate.yaml";
        return Err(Problems::with_file(source.clone(), "the file is empty", hint));
    }
    let problems = log.finish(source.clone());
    match checked {
        Some((config, places)) if !problems.are_fatal() => {
            let footprint = footprint.borrow().clone();
            Ok(Loaded { config, warnings: problems, source, places, footprint })
        }
        _ => Err(problems),
    }
}

fn read_and_check(
    source: &Source,
    log: &Collector<'_>,
    footprint: &RefCell<Footprint>,
) -> Option<(Config, Places)> {
    let root = yaml::read(source, log)?;
    if root.is_nothing() {
        return None;
    }
    let file = decode::decode::<raw::File>(&root, log).given()?;
    check::check(file, source.path().parent().unwrap_or(Path::new("")), footprint, log)
}
