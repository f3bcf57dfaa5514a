//! A configuration ready to be served: its filters compiled and proved, its routes indexed, its clusters made. Immutable,
//! shared by all workers, swapped whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::model::{Config, Filter, ModuleSource};
use crate::route::Table;
use crate::upstream::Cluster;
use crate::wasm::{Engine, Fault, LoadError, Module, Plugin, Services};

/// A module larger than this is not read, in bytes.
const MODULE_LIMIT: u64 = 64 * 1024 * 1024;

/// Everything that workers serve from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    config: Config,
    plugins: Vec<Plugin>,
    tables: Vec<Table>,
    clusters: Vec<Arc<Cluster>>,
    cluster_names: Arc<HashSet<String>>,
}

/// Why a filter cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("filter `{filter}`: {reason}")]
pub struct Unusable {
    /// Its name in the configuration.
    pub filter: String,
    /// Why.
    pub reason: Reason,
}

/// What is wrong with a filter.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// `builtin:NAME` is not shipped.
    #[error("there is no built-in filter `{name}`; there is {}", known.join(", "))]
    NoBuiltin {
        /// What was asked for.
        name: String,
        /// What is shipped.
        known: Vec<&'static str>,
    },
    /// Its file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file is larger than any filter.
    #[error("{} is larger than {} MiB", path.display(), MODULE_LIMIT >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its module cannot be a filter.
    #[error("{origin}: {source}")]
    Load {
        /// The file, or the built-in's name.
        origin: String,
        /// Why.
        source: LoadError,
    },
    /// It does not start, or refuses its configuration.
    #[error("{origin}: {}{}", advice(.fault), .fault.message)]
    Start {
        /// The file, or the built-in's name.
        origin: String,
        /// How.
        fault: Box<Fault>,
    },
}

/// What to look at for a filter that does not start.
fn advice(fault: &Fault) -> &'static str {
    match fault.kind {
        crate::wasm::FaultKind::Configure => {
            "the filter refuses its configuration (its `config`; what it logged is above): "
        }
        crate::wasm::FaultKind::Memory => "the filter needs more memory than `limits.memory` to start: ",
        crate::wasm::FaultKind::Instructions => "the filter needs more than `limits.instructions` to start: ",
        _ => "the filter does not start: ",
    }
}

impl Snapshot {
    /// Compiles, links and proves every filter, and makes what is looked up later.
    ///
    /// # Errors
    ///
    /// Every filter that cannot be used, with its reason.
    pub(crate) fn prepare(config: Config, engine: &Engine) -> Result<Snapshot, Vec<Unusable>> {
        let cluster_names: Arc<HashSet<String>> =
            Arc::new(config.clusters.iter().map(|cluster| cluster.name.clone()).collect());
        let services = Services { clusters: cluster_names.clone(), ..Services::new() };
        let mut plugins = Vec::with_capacity(config.filters.len());
        let mut unusable = Vec::new();
        for filter in &config.filters {
            match plugin(filter, engine, &services) {
                Ok(plugin) => plugins.push(plugin),
                Err(reason) => unusable.push(Unusable { filter: filter.name.clone(), reason }),
            }
        }
        if !unusable.is_empty() {
            return Err(unusable);
        }
        let tables = config.listeners.iter().map(|listener| Table::new(&listener.routes)).collect();
        let clusters = config.clusters.iter().map(|cluster| Arc::new(Cluster::new(cluster.clone()))).collect();
        Ok(Snapshot { config, plugins, tables, clusters, cluster_names })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn routes(&self, listener: usize) -> &Table {
        &self.tables[listener]
    }

    pub(crate) fn plugin(&self, filter: usize) -> &Plugin {
        &self.plugins[filter]
    }

    pub(crate) fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    pub(crate) fn cluster_names(&self) -> &Arc<HashSet<String>> {
        &self.cluster_names
    }
}

fn plugin(filter: &Arc<Filter>, engine: &Engine, services: &Services) -> Result<Plugin, Reason> {
    let began = std::time::Instant::now();
    let (origin, module) = module(&filter.module, engine)?;
    let plugin = Plugin::new(filter.clone(), module);
    plugin.prove(services).map_err(|fault| Reason::Start { origin: origin.clone(), fault: Box::new(fault) })?;
    tracing::info!(
        filter = filter.name,
        module = origin,
        abi = ?plugin.module().abi(),
        milliseconds = began.elapsed().as_millis() as u64,
        "filter compiled"
    );
    Ok(plugin)
}

fn module(source: &ModuleSource, engine: &Engine) -> Result<(String, Module), Reason> {
    let (origin, bytes) = match source {
        ModuleSource::Builtin(name) => {
            let bytes = tidegate_filter_bundle::module(name).ok_or_else(|| Reason::NoBuiltin {
                name: name.clone(),
                known: tidegate_filter_bundle::names().collect(),
            })?;
            (format!("builtin:{name}"), bytes.into())
        }
        ModuleSource::File(path) => (path.display().to_string(), std::borrow::Cow::from(read(path)?)),
    };
    let module = engine.compile(&bytes).map_err(|source| Reason::Load { origin: origin.clone(), source })?;
    Ok((origin, module))
}

fn read(path: &Path) -> Result<Vec<u8>, Reason> {
    let unreadable = |source| Reason::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MODULE_LIMIT {
        return Err(Reason::TooLarge { path: path.to_owned() });
    }
    std::fs::read(path).map_err(unreadable)
}
