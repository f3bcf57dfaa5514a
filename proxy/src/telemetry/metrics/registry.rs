//! Hands out cells, knows whom else to ask, and renders.
//!
//! One for the process. Its locks are taken when a snapshot is made and when somebody scrapes, never on the way of a
//! request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};

use super::cells::{ClusterCell, ExchangeCell, ListenerCell, TcpCell};
use super::families;
use super::filter::{FilterObservation, FilterSample, Filters};
use super::mirror::MirrorCell;
use super::overview::{FilterOverview, Overview};
use super::page::{Format, Page};
use super::process;
use super::server::ServerNumbers;

/// Where every metric of the process is known.
pub struct Registry {
    cells: Mutex<Cells>,
    filters: Arc<Mutex<Filters>>,
    sources: Mutex<Vec<Source>>,
    server: ServerNumbers,
}

/// Somebody who keeps numbers and writes whole families of them.
type Source = Box<dyn Fn(&mut Page<'_>) -> fmt::Result + Send + Sync>;

/// Every cell, by its labels and worker.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) listeners: Shards<String, ListenerCell>,
    pub(super) exchanges: Shards<ExchangeLabels, ExchangeCell>,
    pub(super) tcp: Shards<TcpLabels, TcpCell>,
    pub(super) clusters: Shards<String, ClusterCell>,
    pub(super) mirrors: Shards<ExchangeLabels, MirrorCell>,
}

/// Cells of one kind: for each set of labels one a worker, in order of the labels so that two scrapes compare.
pub(super) type Shards<L, C> = BTreeMap<L, BTreeMap<usize, Arc<C>>>;

/// What tells the metrics of exchanges apart.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExchangeLabels {
    pub(super) listener: String,
    pub(super) route: String,
    pub(super) cluster: String,
}

/// What tells the metrics of TCP connections apart.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TcpLabels {
    pub(super) listener: String,
    pub(super) cluster: String,
}

impl Registry {
    /// An empty one.
    pub fn new() -> Arc<Registry> {
        Arc::new(Registry {
            cells: Mutex::default(),
            filters: Arc::default(),
            sources: Mutex::default(),
            server: ServerNumbers::default(),
        })
    }

    /// A worker's cell for a listener. The same again for the same arguments; that worker alone may write it.
    pub fn listener(&self, worker: usize, listener: &str) -> Arc<ListenerCell> {
        cell(&mut lock(&self.cells).listeners, listener.to_owned(), worker)
    }

    /// A worker's cell for exchanges of a listener that took a route to a cluster: empty names for an exchange that
    /// found no route, or a route that answers by itself. The same again for the same arguments; that worker alone
    /// may write it.
    pub fn exchange(&self, worker: usize, listener: &str, route: &str, cluster: &str) -> Arc<ExchangeCell> {
        let [listener, route, cluster] = [listener, route, cluster].map(str::to_owned);
        cell(&mut lock(&self.cells).exchanges, ExchangeLabels { listener, route, cluster }, worker)
    }

    /// A worker's cell for copies of a route's requests to a cluster. The same again for the same arguments; that worker
    /// alone may write it.
    pub fn mirror(&self, worker: usize, listener: &str, route: &str, cluster: &str) -> Arc<MirrorCell> {
        let [listener, route, cluster] = [listener, route, cluster].map(str::to_owned);
        cell(&mut lock(&self.cells).mirrors, ExchangeLabels { listener, route, cluster }, worker)
    }

    /// A worker's cell for TCP connections of a listener to a cluster. The same again for the same arguments; that
    /// worker alone may write it.
    pub fn tcp(&self, worker: usize, listener: &str, cluster: &str) -> Arc<TcpCell> {
        let [listener, cluster] = [listener, cluster].map(str::to_owned);
        cell(&mut lock(&self.cells).tcp, TcpLabels { listener, cluster }, worker)
    }

    /// A worker's cell for a cluster. The same again for the same arguments; that worker alone may write it.
    pub fn cluster(&self, worker: usize, cluster: &str) -> Arc<ClusterCell> {
        cell(&mut lock(&self.cells).clusters, cluster.to_owned(), worker)
    }

    /// Asks `sample` at every scrape what a filter has cost, for as long as the observation is kept; its last counts
    /// stay afterwards. Samples of one name, from each worker and each version of the filter, are added up.
    pub fn observe_filter(
        &self,
        filter: &str,
        sample: impl Fn() -> FilterSample + Send + Sync + 'static,
    ) -> FilterObservation {
        FilterObservation::begin(&self.filters, filter, Box::new(sample))
    }

    /// Asks `source` at every scrape for families of its own.
    pub fn add_source(&self, source: impl Fn(&mut Page<'_>) -> fmt::Result + Send + Sync + 'static) {
        lock(&self.sources).push(Box::new(source));
    }

    /// Notes how many workers serve.
    pub fn note_workers(&self, workers: usize) {
        self.server.note_workers(workers);
    }

    /// Notes that a configuration took effect now: the next generation, from 1.
    pub fn note_config(&self) {
        self.server.note_config();
    }

    /// Notes how an attempt to change the configuration ended.
    pub fn note_reload(&self, succeeded: bool) {
        self.server.note_reload(succeeded);
    }

    /// The filters that workers leave alone now, because they do nothing but fail, and how many workers do.
    pub fn filters_left_alone(&self) -> BTreeMap<String, u64> {
        let mut open: BTreeMap<_, _> = lock(&self.filters)
            .sum()
            .into_iter()
            .map(|(name, sample)| (name, sample.breakers_open))
            .collect();
        open.retain(|_, workers| *workers > 0);
        open
    }

    /// Notes which filters' modules could not be fetched yet.
    pub fn note_missing(&self, filters: Vec<String>) {
        self.server.note_missing(filters);
    }

    /// The proxy and its filters on one page.
    pub fn overview(&self) -> Overview {
        let mut overview = self.server.overview();
        for (name, sample) in &lock(&self.filters).sum() {
            let filter = overview.filters.entry(name.clone()).or_default();
            *filter = FilterOverview { module_missing: filter.module_missing, ..sample.into() };
        }
        let cells = lock(&self.cells);
        overview.requests = families::requests(&cells);
        for cell in cells.listeners.values().flat_map(BTreeMap::values) {
            overview.active_requests += cell.active_exchanges.value();
            overview.active_connections += cell.active_connections.value();
        }
        overview
    }

    /// Everything as text.
    ///
    /// # Errors
    /// Only a source can fail.
    pub fn render(self: &Arc<Self>, format: Format) -> Result<String, fmt::Error> {
        let mut exposition = prometheus_client::registry::Registry::default();
        exposition.register_collector(Box::new(Scrape { registry: Arc::clone(self), format }));
        let mut text = String::new();
        match format {
            Format::Prometheus => text::encode_registry(&mut text, &exposition)?,
            Format::OpenMetrics => text::encode(&mut text, &exposition)?,
        }
        Ok(text)
    }

    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        families::write(page, &lock(&self.cells))?;
        lock(&self.filters).write(page)?;
        for source in lock(&self.sources).iter() {
            source(page)?;
        }
        self.server.write(page)?;
        process::write(page)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// The cell for these labels and this worker, made where there is none.
fn cell<L: Ord, C: Default>(shards: &mut Shards<L, C>, labels: L, worker: usize) -> Arc<C> {
    Arc::clone(shards.entry(labels).or_default().entry(worker).or_default())
}

/// Numbers stay true when somebody panicked while reading them.
pub(in crate::telemetry) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The registry as the encoder's library wants it: something that it asks.
#[derive(Debug)]
struct Scrape {
    registry: Arc<Registry>,
    format: Format,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.registry.write(&mut Page::new(encoder, self.format))
    }
}
