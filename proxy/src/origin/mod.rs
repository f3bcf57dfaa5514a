//! Where modules come from: the binary, files, servers and registries.
//!
//! It gives bytes, and what they are known by. Whether they are trusted, and what is in them, is the business of
//! `snapshot`. Nothing here is on a request's way: it takes as long as a network does.

// What only a fetch needs stays in its place in a build that fetches nothing.
#![cfg_attr(not(feature = "fetch"), allow(dead_code))]

mod cache;
mod errand;
#[cfg(feature = "fetch")]
mod fetch;
mod unobtainable;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::builtin;
use crate::config::model::{Address, Config, Filter, Location, ModuleSource, Remote};
use crate::files::{self, Footprint, ReadError, Sha256};
use crate::wasm::debug_info;
use cache::{Cache, Note};
pub(crate) use errand::Errand;
#[cfg(feature = "fetch")]
pub(crate) use fetch::FetchError;
pub(crate) use unobtainable::Unobtainable;
#[cfg(not(feature = "fetch"))]
pub(crate) use without::FetchError;

/// A module larger than this is not read, in bytes.
pub(crate) const MODULE_LIMIT: u64 = 64 << 20;

/// The same of its debug information, which is larger.
const DEBUG_LIMIT: u64 = 256 << 20;

/// What the name of a file with a module's signatures ends in, after the module's own name.
pub(crate) const SIGNATURE_SUFFIX: &str = ".sig";

/// The way to modules.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    cache: Cache,
    errand: Errand,
}

/// A module's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Obtained {
    /// What to call it in messages.
    pub(crate) name: String,
    /// The module.
    pub(crate) bytes: Bytes,
    /// Of these bytes.
    pub(crate) digest: Sha256,
    /// What the file with its signatures says, if there is one and it was asked for.
    pub(crate) detached: Option<Bytes>,
    /// The file beside it that may have its debug information.
    pub(crate) debug: Option<Bytes>,
    /// Whether it is part of this binary.
    pub(crate) is_builtin: bool,
    /// How it came, if it was fetched.
    fetched: Option<Arc<Memo>>,
}

impl Obtained {
    /// Whether it, or its signatures, are a copy on disk that the server may have another of by now.
    pub(crate) fn may_be_outdated(&self) -> bool {
        self.fetched.as_ref().is_some_and(|memo| memo.may_be_outdated)
    }
}

/// What there is to remember of a module that was fetched, once it has proved to be a filter.
#[derive(Debug)]
struct Memo {
    /// What it is remembered under.
    reference: String,
    /// An image's manifest.
    manifest: Option<Sha256>,
    /// Whether the module is a copy on disk already, and whether its signatures are.
    is_copy: bool,
    are_signatures_copy: bool,
    may_be_outdated: bool,
    /// Whether it was remembered: several filters may have the same.
    is_kept: AtomicBool,
}

/// A module that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// By this filter.
    pub(crate) filter: &'a Filter,
    /// With the file of its signatures, if it has none in it.
    pub(crate) signed: bool,
    /// With one attempt only: whoever asks will ask again.
    pub(crate) once: bool,
    /// Not by a reference's copy on disk: that was no good.
    pub(crate) anew: bool,
}

impl Origins {
    /// Modules that were fetched are kept under this folder, if there is one.
    pub(crate) fn new(cache_folder: Option<&Path>) -> Origins {
        Origins { cache: Cache::new(cache_folder), errand: Errand::default() }
    }

    /// The same way for one errand, which can be called back.
    pub(crate) fn on_an_errand(&self) -> (Origins, Errand) {
        let errand = self.errand.next();
        (Origins { cache: self.cache.clone(), errand: errand.clone() }, errand)
    }

    /// Whether this errand was called back before all was there.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.errand.is_cut_short()
    }

    /// How long servers were waited for since this was made, on all errands.
    pub(crate) fn waited(&self) -> Duration {
        self.errand.waited()
    }

    /// Remembers what was fetched, now that it has proved to be a filter. Until then nothing does: the error page that a
    /// server answers for a module is not what a URL stands for from then on.
    pub(crate) fn keep(&self, obtained: &Obtained) {
        let Some(memo) = &obtained.fetched else { return };
        if memo.is_kept.swap(true, Ordering::Relaxed) {
            return;
        }
        if !memo.is_copy {
            self.cache.keep(obtained.digest, &obtained.bytes);
            self.cache.keep_note(&memo.reference, Note { module: obtained.digest, manifest: memo.manifest });
        }
        if let Some(signatures) = obtained.detached.as_ref().filter(|_| !memo.are_signatures_copy) {
            self.cache.keep_signatures(obtained.digest, signatures);
        }
    }

    /// Gets modules, those that have to be fetched side by side, and each of those once. An answer for each of `wanted`,
    /// in its order. Notes which files that took.
    pub(crate) fn obtain(
        &self,
        config: &Config,
        wanted: &[Wanted<'_>],
        footprint: &mut Footprint,
    ) -> Vec<Result<Obtained, Unobtainable>> {
        let mut requests: Vec<Request> = Vec::new();
        let mut way = |wanted: &Wanted<'_>| match &wanted.filter.module {
            ModuleSource::Builtin(name) => Way::Here(built_in(name)),
            ModuleSource::File(path) => Way::Here(file(path, wanted.signed, footprint)),
            ModuleSource::Remote(remote) => {
                Way::Fetched(join(&mut requests, Request::of(config, wanted, remote)))
            }
        };
        let ways: Vec<Way> = wanted.iter().map(&mut way).collect();
        let fetched = fetch_all(requests, &self.cache, &self.errand);
        let answer = |way: Way| match way {
            Way::Here(answer) => answer,
            Way::Fetched(index) => fetched[index].clone(),
        };
        ways.into_iter().map(answer).collect()
    }
}

/// How a module comes here.
enum Way {
    /// It is on this machine.
    Here(Result<Obtained, Unobtainable>),
    /// By this one of the requests.
    Fetched(usize),
}

/// The index of a request among those that are made, once each.
fn join(requests: &mut Vec<Request>, request: Request) -> usize {
    let is_same = |other: &Request| other.remote == request.remote && other.sha256 == request.sha256;
    let index = requests.iter().position(is_same).unwrap_or(requests.len());
    match requests.get_mut(index) {
        Some(same) => same.signed |= request.signed,
        None => requests.push(request),
    }
    index
}

/// A module that is to be fetched.
#[derive(Debug, Clone)]
struct Request {
    remote: Remote,
    sha256: Option<Sha256>,
    signed: bool,
    anew: bool,
    /// Where to ask instead of the URL's host.
    endpoints: Option<Vec<SocketAddr>>,
}

impl Request {
    fn of(config: &Config, wanted: &Wanted<'_>, remote: &Remote) -> Request {
        let endpoints = match &remote.location {
            Location::Url { cluster: Some(name), .. } => {
                let cluster = config.clusters.iter().find(|cluster| cluster.name == *name);
                Some(
                    cluster
                        .map(|cluster| cluster.addresses().filter_map(Address::ip).collect())
                        .unwrap_or_default(),
                )
            }
            Location::Url { .. } | Location::Image(_) => None,
        };
        let retries = if wanted.once { 0 } else { remote.retries };
        let remote = Remote { retries, ..remote.clone() };
        let Wanted { filter, signed, anew, .. } = *wanted;
        Request { remote, sha256: filter.sha256, signed, anew, endpoints }
    }
}

#[cfg(feature = "fetch")]
fn fetch_all(requests: Vec<Request>, cache: &Cache, errand: &Errand) -> Vec<Result<Obtained, Unobtainable>> {
    fetch::fetch_all(requests, cache, errand)
}

#[cfg(not(feature = "fetch"))]
fn fetch_all(requests: Vec<Request>, _: &Cache, _: &Errand) -> Vec<Result<Obtained, Unobtainable>> {
    let refuse = |request: Request| {
        let name = request.remote.location.to_string();
        Err(Unobtainable::Fetch { name, error: FetchError })
    };
    requests.into_iter().map(refuse).collect()
}

fn built_in(name: &str) -> Result<Obtained, Unobtainable> {
    let bytes = builtin::module(name).ok_or_else(|| Unobtainable::NoBuiltin { name: name.to_owned() })?;
    let (bytes, name) = (Bytes::from_static(bytes), format!("builtin:{name}"));
    Ok(Obtained {
        name,
        digest: Sha256::of(&bytes),
        bytes,
        detached: None,
        debug: None,
        is_builtin: true,
        fetched: None,
    })
}

fn file(path: &Path, signed: bool, footprint: &mut Footprint) -> Result<Obtained, Unobtainable> {
    let path = &*version_of(path, footprint)?;
    let read = footprint.read(path, MODULE_LIMIT);
    let (bytes, digest) = read.map_err(|error| Unobtainable::unread(path, error))?;
    let detached = if signed { signatures_beside(path, footprint)? } else { None };
    let name = path.display().to_string();
    let debug = debug_information(path, &bytes);
    Ok(Obtained { name, bytes: bytes.into(), digest, detached, debug, is_builtin: false, fetched: None })
}

/// The file beside a module that has its debug information. It helps to understand a fault, and nothing depends on it: what
/// cannot be read is not there.
pub(crate) fn debug_information(path: &Path, module: &[u8]) -> Option<Bytes> {
    let places = debug_info::places(path, module);
    places.iter().find_map(|place| files::read(place, DEBUG_LIMIT).ok()).map(Bytes::from)
}

/// The file that a path stands for: itself, or of a folder the newest version.
fn version_of<'a>(path: &'a Path, footprint: &mut Footprint) -> Result<Cow<'a, Path>, Unobtainable> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    let (newest, names) = files::newest(path);
    footprint.listed(path, &names);
    let unknown = |error| Unobtainable::NoVersion { path: path.to_owned(), error: Arc::new(error) };
    newest.map(Cow::from).map_err(unknown)
}

fn signatures_beside(module: &Path, footprint: &mut Footprint) -> Result<Option<Bytes>, Unobtainable> {
    let path = signature_file(module);
    optional(&path, footprint.read(&path, MODULE_LIMIT).map(|(bytes, _)| bytes))
}

/// What is in a file, if there is one.
fn optional(path: &Path, read: Result<Vec<u8>, ReadError>) -> Result<Option<Bytes>, Unobtainable> {
    match read {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(Unobtainable::unread(path, error)),
    }
}

/// The file beside a module that holds its signatures.
pub(crate) fn signature_file(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(SIGNATURE_SUFFIX);
    name.into()
}

/// Reads the file with a module's signatures, if there is one.
pub(crate) fn read_signatures(path: &Path) -> Result<Option<Bytes>, Unobtainable> {
    optional(path, files::read(path, MODULE_LIMIT))
}

/// Reads what was named on the command line, which may be a pipe: no more than a module may have is ever read.
pub(crate) fn read_named(path: &Path) -> Result<Vec<u8>, Unobtainable> {
    files::read_stream(path, MODULE_LIMIT).map_err(|error| Unobtainable::unread(path, error))
}

/// A build that fetches nothing.
#[cfg(not(feature = "fetch"))]
mod without {
    /// Modules are not fetched.
    #[derive(Debug, Clone, thiserror::Error)]
    #[error("this build of tidegate fetches no modules")]
    pub(crate) struct FetchError;

    impl FetchError {
        pub(crate) fn hint(&self) -> &'static str {
            "build it with the feature `fetch`, or give a file"
        }

        pub(crate) fn is_of_the_moment(&self) -> bool {
            false
        }
    }
}
