//! A configuration ready to be served: its filters compiled and proved, its routes indexed, its clusters made.
//! Immutable, shared by all workers, swapped whole.

mod modules;
mod trust;
mod unusable;
mod variants;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::canary::Canary;
use crate::config::model::{self, Address, Config, Filter, Protocol};
use crate::config::{self, Loaded, Problems};
use crate::files::{Footprint, Sha256};
use crate::origin::{Obtained, Origins, Unobtainable, Wanted};
use crate::route::Table;
use crate::upstream::Cluster;
use crate::wasm::{Callback, Clusters, Engine, Plugin, Services};
use modules::{Modules, Proved};

/// Everything that workers serve from.
#[derive(Debug)]
pub(crate) struct Snapshot {
    config: Config,
    filters: Vec<Proved>,
    /// Filters as routes configure them, in the order of the configuration's.
    variants: Vec<Proved>,
    tables: Vec<Table>,
    clusters: Vec<Arc<Cluster>>,
    endpoints: Arc<Clusters>,
    /// Filters' second versions, in the order of the configuration's.
    canaries: Vec<Arc<Canary>>,
    /// Notified when one of those fails, and when they are others; the same in every configuration.
    alarm: Arc<Notify>,
}

/// What to do with modules that cannot be fetched at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are problems, as any other module is that cannot be had.
    Refused,
    /// The configuration is served without them, each filter by its `on_fault`.
    Tolerated,
}

/// What came of looking for modules that were missing.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The same configuration with those that came, if any did.
    pub(crate) snapshot: Option<Snapshot>,
    /// What is wrong with those that came and cannot be used, if any: they are missing still.
    pub(crate) problems: Option<Problems>,
}

impl Snapshot {
    /// Gets, compiles, links and proves every filter, and makes what is looked up later. What is as it was in `former` is
    /// taken from there: filters of the same code and configuration, and clusters. Notes which files that took, also
    /// where it fails.
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
        footprint: &mut Footprint,
    ) -> Result<Snapshot, Problems> {
        let config = &loaded.config;
        let every = 0..config.filters.len();
        let wanted: Vec<_> = every.map(|index| wanted(config, index, false)).collect();
        let answers = origins.obtain(config, &wanted, footprint);
        if origins.is_cut_short() {
            return Err(loaded.blame([])); // whoever called it back does not read it
        }
        // A module that was there is a mistake to lose.
        let may_be_missing = |filter: &Filter, why: &Unobtainable| {
            missing == Missing::Tolerated
                && former.is_none_or(|former| former.misses(filter))
                && why.is_of_the_moment()
        };
        let endpoints = endpoints(config);
        let mut modules = Modules::new(engine, origins, config, services(&endpoints), former);
        let mut filters = Vec::with_capacity(config.filters.len());
        let mut findings = Vec::new();
        for ((index, filter), answer) in config.filters.iter().enumerate().zip(answers) {
            let proved = match answer {
                Err(why) if may_be_missing(filter, &why) => modules.stand_in(index, &why),
                answer => modules.accept(index, answer),
            };
            match proved {
                Ok(proved) => filters.push(proved),
                Err(unusable) => findings.push(unusable.found(index, filter)),
            }
        }
        let (variants, refused) = modules.into_variants();
        let variants = variants.into_values().collect();
        findings.extend(refused);
        if !findings.is_empty() {
            return Err(loaded.blame(findings));
        }
        Ok(Snapshot::assemble(config.clone(), filters, variants, endpoints, former))
    }

    /// Looks for the modules that are missing. One that comes and cannot be used keeps no other from serving.
    pub(crate) fn complete(&self, loaded: &Loaded, engine: &Engine, origins: &Origins) -> Arrivals {
        let config = &loaded.config;
        let indices: Vec<usize> = (0..self.filters.len()).filter(|&index| self.is_missing(index)).collect();
        let wanted: Vec<_> = indices.iter().map(|&index| wanted(config, index, true)).collect();
        // What is missing is fetched: no file is read for it.
        let answers = origins.obtain(config, &wanted, &mut Footprint::default());
        if origins.is_cut_short() {
            return Arrivals { snapshot: None, problems: None };
        }
        let mut modules = Modules::new(engine, origins, config, services(&self.endpoints), Some(self));
        let mut filters = self.filters.clone();
        let (mut came, mut findings) = (false, Vec::new());
        for (index, answer) in indices.into_iter().zip(answers) {
            let filter = &config.filters[index];
            match answer {
                Err(why) if why.is_of_the_moment() => {
                    if self.note_lack(index, &why) {
                        tracing::warn!(filter = filter.name, reason = %why, "the filter's module is missing still");
                    }
                }
                answer => match modules.accept(index, answer) {
                    // It will not do where a route's configuration will not.
                    Ok(proved) if modules.has_all_variants_of(index) => {
                        (filters[index], came) = (proved, true)
                    }
                    Ok(_) => drop(self.note_lack(index, &"it refuses what a route configures it with")),
                    Err(unusable) => {
                        self.note_lack(index, &unusable);
                        findings.push(unusable.found(index, filter));
                    }
                },
            }
        }
        let (variants, refused) = modules.into_variants();
        findings.extend(refused);
        let variants = variants::among(&self.variants, variants);
        let assemble =
            || Snapshot::assemble(config.clone(), filters, variants, self.endpoints.clone(), Some(self));
        Arrivals {
            snapshot: came.then(assemble),
            problems: (!findings.is_empty()).then(|| loaded.blame(findings)),
        }
    }

    fn assemble(
        mut config: Config,
        filters: Vec<Proved>,
        variants: Vec<Proved>,
        endpoints: Arc<Clusters>,
        former: Option<&Snapshot>,
    ) -> Snapshot {
        warn_of_filters_that_see_nothing(&config, &filters);
        keep_sessions(&mut config, former);
        let tables = config.listeners.iter().map(|listener| Table::new(&listener.routes)).collect();
        let clusters = {
            let former = former.map_or(&[][..], |former| &former.clusters);
            let former: HashMap<_, _> = former.iter().map(|cluster| (cluster.name(), cluster)).collect();
            let cluster = |config: &Arc<model::Cluster>| match former.get(&*config.name) {
                Some(cluster) if cluster.config() == &**config => Arc::clone(cluster),
                Some(cluster) => Arc::new(cluster.successor(config.clone())),
                None => Arc::new(Cluster::new(config.clone())),
            };
            config.clusters.iter().map(cluster).collect()
        };
        let alarm = former.map_or_else(Arc::default, |former| former.alarm.clone());
        let mut snapshot =
            Snapshot { config, filters, variants, tables, clusters, endpoints, canaries: Vec::new(), alarm };
        snapshot.canaries = snapshot.make_canaries(former);
        snapshot
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

    /// A filter as routes configure it, by its index in the configuration's variants.
    pub(crate) fn variant(&self, variant: usize) -> &Plugin {
        &self.variants[variant].plugin
    }

    /// Every filter.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.filters.iter().map(|proved| &proved.plugin)
    }

    /// Where a filter's module is from, and the SHA-256 of its bytes, unless it is missing.
    pub(crate) fn code(&self, filter: usize) -> (&str, Option<Sha256>) {
        let Proved { origin, digest, .. } = &self.filters[filter];
        (origin, *digest)
    }

    /// Whether a filter's module could not be fetched yet.
    pub(crate) fn is_missing(&self, filter: usize) -> bool {
        self.filters[filter].digest.is_none()
    }

    /// The filters whose modules could not be fetched yet.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Arc<Filter>> {
        self.filters.iter().filter(|proved| proved.digest.is_none()).map(|proved| proved.plugin.filter())
    }

    /// The same, and for each why, in a line, by the last look for it.
    pub(crate) fn lacks(&self) -> impl Iterator<Item = (&Arc<Filter>, String)> {
        self.filters.iter().filter_map(|proved| Some((proved.plugin.filter(), proved.lack.as_ref()?.why())))
    }

    /// Notes why a module is missing still. Whether the reason is another than before.
    fn note_lack(&self, filter: usize, why: &impl std::fmt::Display) -> bool {
        self.filters[filter].lack.as_ref().is_some_and(|lack| lack.note(why))
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

/// Clients go on with their TLS sessions where nothing about a listener's TLS has changed.
fn keep_sessions(config: &mut Config, former: Option<&Snapshot>) {
    let former = former.map_or(&[][..], |former| &former.config.listeners);
    for listener in &mut config.listeners {
        let known = former.iter().find(|former| former.name == listener.name && former.tls == listener.tls);
        if let Some(known) = known {
            listener.tls.clone_from(&known.tls);
        }
    }
}

/// `once`: with one attempt only.
fn wanted(config: &Config, index: usize, once: bool) -> Wanted<'_> {
    Wanted { filter: &config.filters[index], signed: trust::is_asked_of(config, index), once, anew: false }
}

/// The module of a filter as the server has it now, by one attempt.
fn obtain_anew(origins: &Origins, config: &Config, index: usize) -> Result<Obtained, Unobtainable> {
    let wanted = Wanted { anew: true, ..wanted(config, index, true) };
    // What may be another on a server is no file: nothing is read for it.
    let mut answers = origins.obtain(config, &[wanted], &mut Footprint::default());
    answers.remove(0)
}

fn endpoints(config: &Config) -> Arc<Clusters> {
    let endpoints = config
        .clusters
        .iter()
        .map(|cluster| (cluster.name.clone(), cluster.addresses().filter_map(Address::ip).collect()));
    Arc::new(endpoints.collect())
}

/// What filters have while they are tried.
fn services(endpoints: &Arc<Clusters>) -> Services {
    Services { clusters: endpoints.clone(), ..Services::new() }
}

/// A module without a callback for connections does nothing on a TCP listener. It is no error, as it is none in Envoy.
/// Most SDKs export every callback, so that this finds few of those that are meant for HTTP. Of a module that is missing
/// nobody knows.
fn warn_of_filters_that_see_nothing(config: &Config, filters: &[Proved]) {
    let tcp = config.listeners.iter().filter(|listener| matches!(listener.protocol, Protocol::Tcp(_)));
    for (listener, proved) in
        tcp.flat_map(|listener| listener.runs.iter().map(move |&filter| (listener, &filters[filter])))
    {
        let plugin = &proved.plugin;
        let sees = Callback::OF_CONNECTIONS.iter().any(|callback| plugin.module().handles(*callback));
        if proved.digest.is_some() && !sees {
            let (filter, listener) = (&plugin.filter().name, &listener.name);
            tracing::warn!(
                filter,
                listener,
                "the filter has no callback for TCP connections: it sees nothing here"
            );
        }
    }
}
