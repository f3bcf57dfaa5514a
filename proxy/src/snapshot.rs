//! A configuration ready to be served: its filters compiled and proved, its routes indexed, its clusters made.
//! Immutable, shared by all workers, swapped whole.

mod trust;

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::model::{self, Config, Filter, OnFault, Protocol, Sha256};
use crate::config::{Finding, Loaded, Part, Problems};
use crate::origin::{Obtained, Origins, Unobtainable, Wanted};
use crate::route::Table;
use crate::upstream::Cluster;
use crate::wasm::stream::Subject;
use crate::wasm::{Callback, Clusters, Engine, Fault, FaultKind, LoadError, Module, Plugin, Services};
use trust::Untrusted;

/// Everything that workers serve from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    config: Config,
    filters: Vec<Proved>,
    tables: Vec<Table>,
    clusters: Vec<Arc<Cluster>>,
    endpoints: Arc<Clusters>,
}

/// A filter that may serve.
#[derive(Debug, Clone)]
struct Proved {
    plugin: Plugin,
    /// What its module's bytes are; nothing where they could not be fetched yet.
    digest: Option<Sha256>,
    /// What it was shown to make contexts for.
    subjects: Vec<Subject>,
}

/// What to do with modules that cannot be fetched at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are problems, as any other module is that cannot be had.
    Refused,
    /// The configuration is served without them, each filter by its `on_fault`.
    Tolerated,
}

/// A filter's code, as far as it is known.
enum Code {
    /// It was proved already.
    AsBefore(Proved),
    /// It was looked for.
    Obtained(Result<Obtained, Unobtainable>),
}

/// The module of filters whose own is missing, which is never called. It exports what every filter must, and does
/// nothing: `(memory 0)`, the marker of ABI 0.2.1, and an allocator that has nothing to give.
const STAND_IN: &[u8] =
    b"\0asm\x01\0\0\0\x01\x09\x02`\0\0`\x01\x7f\x01\x7f\x03\x03\x02\0\x01\x05\x03\x01\0\0\
\x07-\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x06malloc\0\x01\
\x0a\x09\x02\x02\0\x0b\x04\0A\0\x0b";

/// Why a filter cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its module cannot be had.
    #[error(transparent)]
    Unobtainable(#[from] Unobtainable),
    /// Its module is not to be trusted.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Its module cannot be a filter.
    #[error("{origin}: {source}")]
    Load { origin: String, source: LoadError },
    /// It does not start, or refuses its configuration.
    #[error("{origin}: {}", .fault.message)]
    Start { origin: String, fault: Box<Fault> },
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
        Finding { part, message: format!("filter `{}`: {self}", filter.name), hint: Some(self.hint()) }
    }

    fn hint(&self) -> String {
        let hint = match self {
            Unusable::Unobtainable(why) => return why.hint(),
            Unusable::Untrusted(why) => why.hint(),
            Unusable::Load { .. } => "`tidegate filter inspect FILE` says all that is wrong with a module",
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
        };
        hint.to_owned()
    }
}

impl Snapshot {
    /// Gets, compiles, links and proves every filter, and makes what is looked up later. What is as it was in `former` is
    /// taken from there: filters of the same code and configuration, and clusters.
    ///
    /// # Errors
    ///
    /// Every filter that cannot be used, at its place in the file.
    pub(crate) fn prepare(
        loaded: &Loaded,
        engine: &Engine,
        origins: &Origins,
        former: Option<&Snapshot>,
        missing: Missing,
    ) -> Result<Snapshot, Problems> {
        let config = &loaded.config;
        let wanted = config.filters.iter().enumerate();
        let wanted = wanted.map(|(index, filter)| {
            let signed = trust::is_asked_of(config, index);
            Wanted { filter, signed, once: false }
        });
        let wanted: Vec<_> = wanted.collect();
        let obtained = origins.obtain(config, &wanted).into_iter().map(Code::Obtained);
        Snapshot::prove(loaded, engine, former, missing, obtained.collect())
    }

    /// The same configuration with those modules that were missing, as far as they can be had now; nothing where none
    /// of them can.
    ///
    /// # Errors
    ///
    /// One that came cannot be used.
    pub(crate) fn complete(
        &self,
        loaded: &Loaded,
        engine: &Engine,
        origins: &Origins,
    ) -> Result<Option<Snapshot>, Problems> {
        let config = &loaded.config;
        let indices: Vec<usize> = (0..self.filters.len()).filter(|&index| self.is_missing(index)).collect();
        let wanted = indices.iter().map(|&index| {
            let signed = trust::is_asked_of(config, index);
            Wanted { filter: &config.filters[index], signed, once: true }
        });
        let answers = origins.obtain(config, &wanted.collect::<Vec<_>>());
        let is_there = |answer: &Result<Obtained, Unobtainable>| {
            !answer.as_ref().is_err_and(Unobtainable::is_of_the_moment)
        };
        if !answers.iter().any(is_there) {
            return Ok(None);
        }
        let mut code: Vec<_> = self.filters.iter().cloned().map(Code::AsBefore).collect();
        indices.into_iter().zip(answers).for_each(|(index, answer)| code[index] = Code::Obtained(answer));
        Snapshot::prove(loaded, engine, Some(self), Missing::Tolerated, code).map(Some)
    }

    /// `code`: that of each filter.
    fn prove(
        loaded: &Loaded,
        engine: &Engine,
        former: Option<&Snapshot>,
        missing: Missing,
        code: Vec<Code>,
    ) -> Result<Snapshot, Problems> {
        let config = loaded.config.clone();
        let endpoints =
            config.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.endpoints.clone()));
        let endpoints: Arc<Clusters> = Arc::new(endpoints.collect());
        let services = Services { clusters: endpoints.clone(), ..Services::new() };
        let mut filters = Vec::with_capacity(config.filters.len());
        let mut findings = Vec::new();
        let mut modules = Modules::new(engine, former.map_or(&[], |former| &former.filters));
        for ((index, filter), code) in config.filters.iter().enumerate().zip(code) {
            let is_tolerated = |why: &Unobtainable| {
                let was_missing = former.is_none_or(|former| former.misses(filter));
                missing == Missing::Tolerated && was_missing && why.is_of_the_moment()
            };
            let proved = match code {
                Code::AsBefore(proved) => Ok(proved),
                Code::Obtained(Err(why)) if is_tolerated(&why) => modules.stand_in(filter, &why),
                Code::Obtained(answer) => answer.map_err(Unusable::from).and_then(|obtained| {
                    let trusted = trust::examine(&config, index, obtained)?;
                    modules.prove(filter, trusted, &services, subjects(&config, index))
                }),
            };
            match proved {
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
        Ok(Snapshot { config, filters, tables, clusters, endpoints })
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

    /// Whether a filter's module could not be fetched yet.
    pub(crate) fn is_missing(&self, filter: usize) -> bool {
        self.filters[filter].digest.is_none()
    }

    /// The filters whose modules could not be fetched yet.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Arc<Filter>> {
        self.filters.iter().filter(|proved| proved.digest.is_none()).map(|proved| proved.plugin.filter())
    }

    /// Whether this filter's module is still to come.
    fn misses(&self, filter: &Filter) -> bool {
        self.missing().any(|missing| missing.name == filter.name && missing.module == filter.module)
    }

    pub(crate) fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    pub(crate) fn endpoints(&self) -> &Arc<Clusters> {
        &self.endpoints
    }
}

/// What passes the chains that a filter is in.
fn subjects(config: &Config, filter: usize) -> Vec<Subject> {
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
    compiled: HashMap<Sha256, Module>,
}

impl<'a> Modules<'a> {
    fn new(engine: &'a Engine, former: &'a [Proved]) -> Modules<'a> {
        let compiled =
            former.iter().filter_map(|proved| Some((proved.digest?, proved.plugin.module().clone())));
        let compiled = compiled.collect();
        Modules { engine, former, compiled }
    }

    /// `subjects`: what the filter is to make contexts for.
    fn prove(
        &mut self,
        filter: &Arc<Filter>,
        obtained: Obtained,
        services: &Services,
        subjects: Vec<Subject>,
    ) -> Result<Proved, Unusable> {
        let began = std::time::Instant::now();
        let Obtained { name: origin, bytes, digest, .. } = obtained;
        let is_as_it_was = |former: &&Proved| {
            former.digest == Some(digest)
                && former.plugin.filter() == filter
                && subjects.iter().all(|subject| former.subjects.contains(subject))
        };
        if let Some(former) = self.former.iter().find(is_as_it_was) {
            return Ok(former.clone());
        }
        let module = self
            .compile(digest, &bytes)
            .map_err(|source| Unusable::Load { origin: origin.clone(), source })?;
        let plugin = Plugin::new(filter.clone(), module);
        let mut proof = plugin
            .prove(services)
            .map_err(|fault| Unusable::Start { origin: origin.clone(), fault: Box::new(fault) })?;
        for &subject in &subjects {
            let none =
                |fault| Unusable::NoContexts { origin: origin.clone(), subject, fault: Box::new(fault) };
            proof.open(subject).map_err(none)?;
        }
        tracing::info!(
            filter = filter.name,
            module = origin,
            sha256 = %digest,
            abi = ?plugin.module().abi(),
            milliseconds = began.elapsed().as_millis() as u64,
            "filter compiled"
        );
        Ok(Proved { plugin, digest: Some(digest), subjects })
    }

    /// What takes the place of a filter whose module is missing. It is never called.
    fn stand_in(&mut self, filter: &Arc<Filter>, why: &Unobtainable) -> Result<Proved, Unusable> {
        let passes = match filter.on_fault {
            OnFault::Open => "requests go on without it",
            OnFault::Closed => "requests to it are answered 503",
        };
        tracing::warn!(filter = filter.name, reason = %why, "the filter's module is missing: {passes} until it is there");
        let origin = || "the stand-in for a missing module".to_owned();
        let module = self.compile(Sha256::of(STAND_IN), STAND_IN);
        let module = module.map_err(|source| Unusable::Load { origin: origin(), source })?;
        Ok(Proved { plugin: Plugin::new(filter.clone(), module), digest: None, subjects: Vec::new() })
    }

    fn compile(&mut self, digest: Sha256, bytes: &[u8]) -> Result<Module, LoadError> {
        if let Some(module) = self.compiled.get(&digest) {
            return Ok(module.clone());
        }
        let module = self.engine.compile(bytes)?;
        self.compiled.insert(digest, module.clone());
        Ok(module)
    }
}
