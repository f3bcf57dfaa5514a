//! A configuration ready to be served: its filters compiled and proved, its routes indexed, its clusters made.
//! Immutable, shared by all workers, swapped whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::builtin;
use crate::canary::Canary;
use crate::config::model::{self, Config, Filter, Isolation, ModuleSource, Protocol};
use crate::config::{self, Finding, Loaded, Part, Problems};
use crate::files::{self, Digest, Footprint, NoVersion};
use crate::route::Table;
use crate::upstream::Cluster;
use crate::wasm::stream::Subject;
use crate::wasm::{
    Callback, Clusters, Engine, Fault, FaultKind, LoadError, Module, NoImage, Plugin, Proof, Services,
};

/// A module larger than this is not read, in bytes.
const MODULE_LIMIT: u64 = 64 * 1024 * 1024;

/// Everything that workers serve from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    config: Config,
    filters: Vec<Proved>,
    tables: Vec<Table>,
    clusters: Vec<Arc<Cluster>>,
    endpoints: Arc<Clusters>,
    /// Filters' second versions, in the order of the configuration's.
    canaries: Vec<Arc<Canary>>,
    /// Notified when one of those fails, and when they are others; the same in every configuration.
    alarm: Arc<Notify>,
}

/// A filter that may serve.
#[derive(Debug, Clone)]
struct Proved {
    plugin: Plugin,
    /// Where its module is from: what messages call it.
    origin: String,
    /// What its module's bytes are.
    digest: Digest,
    /// What it was shown to make contexts for.
    subjects: Vec<Subject>,
}

/// Why a filter cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// `builtin:NAME` is not shipped.
    #[error("there is no built-in filter `{name}`")]
    NoBuiltin { name: String },
    /// Its file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// It is a folder, and which of its modules is meant cannot be said.
    #[error("{}: {error}", path.display())]
    NoVersion { path: PathBuf, error: NoVersion },
    /// Its file is a pipe or a device, reading which may never end.
    #[error("cannot read {}: it is not a file", path.display())]
    NotAFile { path: PathBuf },
    /// Its file is larger than any filter.
    #[error("{} is larger than {} MiB", path.display(), MODULE_LIMIT >> 20)]
    TooLarge { path: PathBuf },
    /// Its module cannot be a filter.
    #[error("{origin}: {source}")]
    Load { origin: String, source: LoadError },
    /// It does not start, or refuses its configuration.
    #[error("{origin}: {}", .fault.message)]
    Start { origin: String, fault: Box<Fault> },
    /// No instances for single exchanges can be made of it.
    #[error("{origin}: {source}")]
    NoImage { origin: String, source: NoImage },
    /// It is in a chain, and fails when it is to make a context for an exchange or a connection.
    #[error("{origin}: the filter makes no contexts for {}: {}", plural(*.subject), .fault.message)]
    NoContexts { origin: String, subject: Subject, fault: Box<Fault> },
}

fn plural(subject: Subject) -> &'static str {
    match subject {
        Subject::Exchange => "exchanges",
        Subject::Connection => "connections",
    }
}

impl Unusable {
    /// The finding for the filter at `index`.
    fn found(self, index: usize, filter: &Filter) -> Finding {
        let part = match &self {
            Unusable::Start { fault, .. } if fault.kind == FaultKind::Configure => Part::FilterConfig(index),
            _ => Part::FilterModule(index),
        };
        let hint = self.hint().map(str::to_owned).or_else(|| match &self {
            Unusable::NoBuiltin { .. } => Some(format!("shipped are: {}", builtin::names().join(", "))),
            _ => None,
        });
        Finding { part, message: format!("filter `{}`: {self}", filter.name), hint }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Unusable::NoBuiltin { .. } => return None, // `found` lists those that there are
            Unusable::Load { .. } => "`tidegate filter inspect FILE` says all that is wrong with a module",
            Unusable::NoImage { .. } => "`isolation: worker` takes any module",
            Unusable::NoVersion { .. } => {
                "a folder has the versions of one module, each named like `limits-1.2.0.wasm`; the newest serves"
            }
            Unusable::NotAFile { .. } => "give the module's own file",
            Unusable::Unreadable { .. } => "a relative path is relative to the configuration file's folder",
            Unusable::TooLarge { .. } => "strip its debug information, or build it with `opt-level`",
            Unusable::Start { fault, .. } => match fault.kind {
                FaultKind::Configure => "the filter refuses its `config`",
                FaultKind::Memory => {
                    "the filter needs more than `limits.memory` to start: raise it, or have the linker give the module \
                     less, such as a smaller stack"
                }
                FaultKind::Instructions => {
                    "the filter needs more than `limits.instructions` to start: raise it"
                }
                FaultKind::WallClock => "the filter needs more than `limits.wall_clock` to start: raise it",
                _ => "the filter does not start; what it logged above may say why",
            },
            Unusable::NoContexts { fault, .. } => match fault.kind {
                FaultKind::Memory => "the filter needs more than `limits.memory` for a context: raise it",
                FaultKind::Instructions => {
                    "the filter needs more than `limits.instructions` for a context: raise it"
                }
                FaultKind::WallClock => {
                    "the filter needs more than `limits.wall_clock` for a context: raise it"
                }
                _ => {
                    "a filter of a chain has to make a context for each exchange (`create_http_context` and `get_type` \
                     in the Rust SDK); one for the background alone cannot be in a chain"
                }
            },
        })
    }
}

impl Snapshot {
    /// Compiles, links and proves every filter, and makes what is looked up later. What is as it was in `former` is
    /// taken from there: filters of the same code and configuration, and clusters. Notes which files modules were read
    /// from, also where it fails.
    ///
    /// # Errors
    ///
    /// Every filter that cannot be used, at its place in the file.
    pub(crate) fn prepare(
        loaded: &Loaded,
        engine: &Engine,
        former: Option<&Snapshot>,
        footprint: &mut Footprint,
    ) -> Result<Snapshot, Problems> {
        let config = loaded.config.clone();
        let endpoints =
            config.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.endpoints.clone()));
        let endpoints: Arc<Clusters> = Arc::new(endpoints.collect());
        let services = Services { clusters: endpoints.clone(), ..Services::new() };
        let mut filters = Vec::with_capacity(config.filters.len());
        let mut findings = Vec::new();
        let mut modules = Modules::new(engine, former.map_or(&[], |former| &former.filters));
        for (index, filter) in config.filters.iter().enumerate() {
            match modules.prove(filter, &services, subjects(&config, index), footprint) {
                Ok(proved) => filters.push(proved),
                Err(unusable) => findings.push(unusable.found(index, filter)),
            }
        }
        if !findings.is_empty() {
            return Err(loaded.blame(findings));
        }
        warn_of_filters_that_see_nothing(&config, &filters);
        let tables = config.listeners.iter().map(|listener| Table::new(&listener.routes)).collect();
        let clusters = {
            let former = former.map_or(&[][..], |former| &former.clusters);
            let former: HashMap<_, _> = former.iter().map(|cluster| (cluster.name(), cluster)).collect();
            let cluster = |config: &Arc<model::Cluster>| match former.get(&*config.name) {
                Some(cluster) if cluster.config() == &**config => Arc::clone(cluster),
                _ => Arc::new(Cluster::new(config.clone())),
            };
            config.clusters.iter().map(cluster).collect()
        };
        let alarm = former.map_or_else(Arc::default, |former| former.alarm.clone());
        let mut snapshot =
            Snapshot { config, filters, tables, clusters, endpoints, canaries: Vec::new(), alarm };
        snapshot.canaries = snapshot.make_canaries(former);
        Ok(snapshot)
    }

    /// A canary goes on where both versions and what is said of them are as they were.
    fn make_canaries(&self, former: Option<&Snapshot>) -> Vec<Arc<Canary>> {
        let made = self.config.canaries.iter().map(|canary| {
            let name = &self.config.filters[canary.filter].name;
            let terms = config::canary_policy(canary);
            let is_it = |former: &Snapshot, at: usize| {
                let before = &former.config.canaries[at];
                former.canaries[at].is_of(name, &terms)
                    && former.plugin(before.filter).is(self.plugin(canary.filter))
                    && former.plugin(before.candidate).is(self.plugin(canary.candidate))
            };
            let kept = former.and_then(|former| {
                let at = (0..former.canaries.len()).find(|at| is_it(former, *at))?;
                Some(former.canaries[at].clone())
            });
            kept.unwrap_or_else(|| {
                Arc::new(Canary::new(name, canary.clone(), terms.clone(), self.alarm.clone()))
            })
        });
        made.collect()
    }

    /// The canary of a filter, and its second version.
    pub(crate) fn canary(&self, filter: usize) -> Option<(&Arc<Canary>, usize)> {
        let at = self.config.canaries.iter().position(|canary| canary.filter == filter)?;
        Some((&self.canaries[at], self.config.canaries[at].candidate))
    }

    pub(crate) fn canaries(&self) -> &[Arc<Canary>] {
        &self.canaries
    }

    pub(crate) fn alarm(&self) -> &Arc<Notify> {
        &self.alarm
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn routes(&self, listener: usize) -> &Table {
        &self.tables[listener]
    }

    pub(crate) fn plugin(&self, filter: usize) -> &Plugin {
        &self.filters[filter].plugin
    }

    /// Where a filter's module is from, and the SHA-256 of its bytes.
    pub(crate) fn code(&self, filter: usize) -> (&str, &Digest) {
        let Proved { origin, digest, .. } = &self.filters[filter];
        (origin, digest)
    }

    pub(crate) fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    pub(crate) fn endpoints(&self) -> &Arc<Clusters> {
        &self.endpoints
    }
}

/// What passes the chains that a filter is in; a second version is in those of the first.
fn subjects(config: &Config, filter: usize) -> Vec<Subject> {
    let canary = config.canaries.iter().find(|canary| canary.candidate == filter);
    let filter = canary.map_or(filter, |canary| canary.filter);
    let subject = |protocol: &Protocol| match protocol {
        Protocol::Http => Subject::Exchange,
        Protocol::Tcp(_) => Subject::Connection,
    };
    let listeners = config.listeners.iter().filter(|listener| listener.filters.contains(&filter));
    let mut subjects: Vec<_> = listeners.map(|listener| subject(&listener.protocol)).collect();
    subjects.dedup();
    subjects
}

/// A module without a callback for connections does nothing on a TCP listener. It is no error, as it is none in Envoy.
/// Most SDKs export every callback, so that this finds few of those that are meant for HTTP.
fn warn_of_filters_that_see_nothing(config: &Config, filters: &[Proved]) {
    let tcp = config.listeners.iter().filter(|listener| matches!(listener.protocol, Protocol::Tcp(_)));
    for (listener, plugin) in tcp
        .flat_map(|listener| listener.filters.iter().map(move |&filter| (listener, &filters[filter].plugin)))
    {
        if !Callback::OF_CONNECTIONS.iter().any(|callback| plugin.module().handles(*callback)) {
            let (filter, listener) = (&plugin.filter().name, &listener.name);
            tracing::warn!(
                filter,
                listener,
                "the filter has no callback for TCP connections: it sees nothing here"
            );
        }
    }
}

/// The modules of one configuration, by their bytes: filters that run the same code share it, in memory and in the
/// processor's caches.
struct Modules<'a> {
    engine: &'a Engine,
    former: &'a [Proved],
    compiled: HashMap<Digest, Module>,
}

impl<'a> Modules<'a> {
    fn new(engine: &'a Engine, former: &'a [Proved]) -> Modules<'a> {
        let compiled = former.iter().map(|proved| (proved.digest, proved.plugin.module().clone())).collect();
        Modules { engine, former, compiled }
    }

    /// `subjects`: what the filter is to make contexts for.
    fn prove(
        &mut self,
        filter: &Arc<Filter>,
        services: &Services,
        subjects: Vec<Subject>,
        footprint: &mut Footprint,
    ) -> Result<Proved, Unusable> {
        let began = std::time::Instant::now();
        let Code { origin, bytes, digest } = read(&filter.module, footprint)?;
        let is_as_it_was = |former: &&Proved| {
            former.digest == digest
                && former.plugin.filter() == filter
                && subjects.iter().all(|subject| former.subjects.contains(subject))
        };
        if let Some(former) = self.former.iter().find(is_as_it_was) {
            return Ok(Proved { origin, ..former.clone() });
        }
        let (plugin, mut proof) = self.start(filter, digest, &bytes, services).map_err(|why| match why {
            NoImage::Load(source) => Unusable::Load { origin: origin.clone(), source },
            NoImage::Start(fault) => Unusable::Start { origin: origin.clone(), fault },
            source => Unusable::NoImage { origin: origin.clone(), source },
        })?;
        for &subject in &subjects {
            let none =
                |fault| Unusable::NoContexts { origin: origin.clone(), subject, fault: Box::new(fault) };
            proof.open(subject).map_err(none)?;
        }
        tracing::info!(
            filter = filter.name,
            module = origin,
            abi = ?plugin.module().abi(),
            milliseconds = began.elapsed().as_millis() as u64,
            "filter compiled"
        );
        Ok(Proved { plugin, origin, digest, subjects })
    }

    fn start(
        &mut self,
        filter: &Arc<Filter>,
        digest: Digest,
        bytes: &[u8],
        services: &Services,
    ) -> Result<(Plugin, Proof), NoImage> {
        if filter.isolation == Isolation::Exchange {
            return Plugin::with_image(filter.clone(), bytes, self.engine, services);
        }
        let module = self.compile(digest, bytes).map_err(NoImage::Load)?;
        let plugin = Plugin::new(filter.clone(), module);
        let proof = plugin.prove(services).map_err(|fault| NoImage::Start(Box::new(fault)))?;
        Ok((plugin, proof))
    }

    fn compile(&mut self, digest: Digest, bytes: &[u8]) -> Result<Module, LoadError> {
        if let Some(module) = self.compiled.get(&digest) {
            return Ok(module.clone());
        }
        let module = self.engine.compile(bytes)?;
        self.compiled.insert(digest, module.clone());
        Ok(module)
    }
}

/// A module that was read.
struct Code {
    /// What to call it in messages.
    origin: String,
    bytes: Cow<'static, [u8]>,
    digest: Digest,
}

fn read(source: &ModuleSource, footprint: &mut Footprint) -> Result<Code, Unusable> {
    match source {
        ModuleSource::Builtin(name) => {
            let bytes = builtin::module(name).ok_or_else(|| Unusable::NoBuiltin { name: name.clone() })?;
            let digest = Sha256::digest(bytes).into();
            Ok(Code { origin: format!("builtin:{name}"), bytes: bytes.into(), digest })
        }
        ModuleSource::File(path) => {
            let path = version_of(path, footprint)?;
            let bytes = match std::fs::metadata(&*path) {
                Ok(metadata) if !metadata.is_file() => Err(Unusable::NotAFile { path: path.to_path_buf() }),
                _ => read_module(&path),
            };
            let bytes = bytes.inspect_err(|_| footprint.missed(&path, MODULE_LIMIT))?;
            let digest = Sha256::digest(&bytes).into();
            footprint.read(&path, MODULE_LIMIT, digest);
            Ok(Code { origin: path.display().to_string(), bytes: bytes.into(), digest })
        }
    }
}

/// The file that a path stands for: itself, or of a folder the newest version.
fn version_of<'a>(path: &'a Path, footprint: &mut Footprint) -> Result<Cow<'a, Path>, Unusable> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    let (newest, names) = files::newest(path);
    footprint.listed(path, &names);
    let newest = newest.map_err(|error| Unusable::NoVersion { path: path.to_owned(), error })?;
    Ok(newest.into())
}

/// Reads a module's file, which may be any: no more than a module may have is ever read.
pub(crate) fn read_module(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |error| Unusable::Unreadable { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MODULE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MODULE_LIMIT {
        return Err(Unusable::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}
