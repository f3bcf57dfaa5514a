//! One worker: a thread with its own runtime, sockets, connections and guests. Nothing on it is shared with another.

use std::collections::HashMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};

use super::observe;
use crate::exchange::{Callouts, Site};
use crate::filter::{Chain, Instance};
use crate::listener::{self, Drain, Open};
use crate::snapshot::Snapshot;
use crate::tasks::Tasks;
use crate::telemetry::Reporter;
use crate::telemetry::access_log::{AccessLog, Lane};
use crate::telemetry::metrics::{FilterObservation, Registry};
use crate::upstream::Upstreams;
use crate::wasm::{FilterUsage, GuestMetrics, Services, SharedData};

/// What all workers share.
pub(super) struct Shared {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) metrics: Arc<Registry>,
    pub(super) guest_metrics: Arc<GuestMetrics>,
    pub(super) shared_data: Arc<SharedData>,
    access_log: Mutex<AccessLog>,
    /// For each listener.
    open: Vec<Arc<Open>>,
    workers: usize,
}

impl Shared {
    pub(super) fn new(snapshot: Arc<Snapshot>, workers: usize) -> std::io::Result<Arc<Shared>> {
        let metrics = Registry::new();
        metrics.note_workers(workers);
        metrics.note_config();
        Ok(Arc::new(Shared {
            access_log: Mutex::new(AccessLog::start(std::io::stdout(), &metrics)?),
            metrics,
            guest_metrics: Arc::new(GuestMetrics::new(workers)),
            shared_data: Arc::default(),
            open: snapshot.config().listeners.iter().map(|_| Arc::default()).collect(),
            snapshot,
            workers,
        }))
    }

    fn lane(&self) -> Lane {
        self.access_log.lock().unwrap_or_else(PoisonError::into_inner).lane()
    }

    /// Writes out what is left to be written. When the workers have ended.
    pub(super) fn close(self: Arc<Self>) {
        if let Some(shared) = Arc::into_inner(self) {
            shared.access_log.into_inner().unwrap_or_else(PoisonError::into_inner).close();
        }
    }
}

/// What workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Be ready, accept nothing.
    Hold,
    /// Accept connections.
    Serve,
    /// Accept no more, end what is under way, end.
    Drain,
}

/// What a worker says.
enum Report {
    Started,
    Failed(anyhow::Error),
    Ended,
}

/// The workers.
pub(super) struct Crew {
    orders: watch::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    threads: Vec<JoinHandle<()>>,
    alive: usize,
}

impl Crew {
    /// Starts a worker for each socket of a listener, and waits until every one has its guests running.
    ///
    /// # Errors
    ///
    /// A worker could not start; the others end.
    pub(super) async fn start(shared: &Arc<Shared>, sockets: Vec<Vec<TcpListener>>) -> anyhow::Result<Crew> {
        let (orders, order) = watch::channel(Order::Hold);
        let (report, reports) = mpsc::channel(2 * shared.workers);
        let mut sockets: Vec<_> = sockets.into_iter().map(Vec::into_iter).collect();
        let mut threads = Vec::with_capacity(shared.workers);
        for index in 0..shared.workers {
            let seed = Seed {
                index,
                shared: shared.clone(),
                sockets: sockets.iter_mut().filter_map(Iterator::next).collect(),
                order: order.clone(),
                report: report.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || seed.run()).context("cannot start a worker thread")?);
        }
        let mut crew = Crew { orders, reports, threads, alive: shared.workers };
        for _ in 0..shared.workers {
            match crew.reports.recv().await {
                Some(Report::Started) => {}
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Ended) | None => return Err(anyhow!("a worker ended before it had started")),
            }
        }
        Ok(crew)
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }

    /// Waits for a worker to end although nobody told it to.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        loop {
            match self.reports.recv().await {
                Some(Report::Started) => {}
                Some(Report::Failed(error)) => {
                    self.alive -= 1;
                    return error;
                }
                Some(Report::Ended) | None => {
                    self.alive = self.alive.saturating_sub(1);
                    return anyhow!("a worker thread ended unexpectedly");
                }
            }
        }
    }

    /// Waits until every worker has ended.
    pub(super) async fn ended(&mut self) {
        while self.alive > 0 && self.reports.recv().await.is_some() {
            self.alive -= 1;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic was reported by its hook
        }
    }
}

/// What a worker begins with.
struct Seed {
    index: usize,
    shared: Arc<Shared>,
    /// For each listener.
    sockets: Vec<TcpListener>,
    order: watch::Receiver<Order>,
    report: mpsc::Sender<Report>,
}

/// Says that a worker has ended when it is dropped, also by a panic.
struct LastWord(mpsc::Sender<Report>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let _ = self.0.try_send(Report::Ended);
    }
}

impl Seed {
    fn run(self) {
        let report = self.report.clone();
        let ended = self.shared.clone();
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .context("cannot start a worker's runtime")
            .and_then(|runtime| {
                let _last_word = LastWord(report.clone());
                runtime.block_on(self.work())
            });
        drop(ended);
        if let Err(error) = result {
            let _ = report.try_send(Report::Failed(error));
        }
    }

    async fn work(mut self) -> anyhow::Result<()> {
        let worker = Worker::start(self.index, &self.shared)?;
        let _ = self.report.try_send(Report::Started);
        if self.order.wait_for(|order| *order != Order::Hold).await.is_err() {
            return Ok(()); // another could not start
        }
        for (index, socket) in self.sockets.into_iter().enumerate() {
            let listener = tokio::net::TcpListener::from_std(socket)?;
            let accepting = listener::accept(
                listener,
                worker.site(index),
                self.shared.open[index].clone(),
                worker.drain.clone(),
            );
            worker.tasks.spawn(accepting);
        }
        let _ = self.order.wait_for(|order| *order == Order::Drain).await;
        worker.end(&self.shared).await;
        Ok(())
    }
}

/// A worker that has everything it needs.
struct Worker {
    sites: Vec<Rc<Site>>,
    instances: Vec<Rc<Instance>>,
    upstreams: Rc<Upstreams>,
    tasks: Rc<Tasks>,
    callouts: Rc<Callouts>,
    drain: Rc<Drain>,
    _observations: Vec<FilterObservation>,
}

impl Worker {
    fn start(index: usize, shared: &Arc<Shared>) -> anyhow::Result<Worker> {
        let snapshot = &shared.snapshot;
        let upstreams = Upstreams::new(snapshot.clusters(), |name| shared.metrics.cluster(index, name));
        let tasks = Rc::new(Tasks::default());
        let drain = Rc::new(Drain::default());
        let callouts = Callouts::new(upstreams.clone(), tasks.clone());
        let mut guests = Guests {
            index,
            shared,
            callouts: callouts.clone(),
            running: HashMap::new(),
            observations: Vec::new(),
        };
        let mut sites = Vec::new();
        for (at, config) in snapshot.config().listeners.iter().enumerate() {
            let chain =
                config.filters.iter().map(|filter| guests.instance(*filter)).collect::<Result<_, _>>()?;
            let lane = config.access_log.then(|| shared.lane());
            sites.push(Site::new(
                snapshot.clone(),
                at,
                Rc::new(Chain::new(chain)),
                upstreams.clone(),
                tasks.clone(),
                drain.stage(),
                &shared.metrics,
                index,
                Reporter::new(&shared.metrics, index, &config.name, lane),
            ));
        }
        let Guests { running, observations, .. } = guests;
        let instances = running.into_values().collect();
        Ok(Worker { sites, instances, upstreams, tasks, callouts, drain, _observations: observations })
    }

    fn site(&self, listener: usize) -> Rc<Site> {
        self.sites[listener].clone()
    }

    /// Ends what is under way, for as long as the configuration allows, then the guests, then the connections.
    async fn end(&self, shared: &Shared) {
        self.drain.begin();
        let limit = shared.snapshot.config().drain_timeout;
        let drained = async {
            self.tasks.ended().await;
            self.end_guests().await;
            self.callouts.ended().await;
            self.upstreams.drain().await;
        };
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!(
                limit_ms = limit.as_millis() as u64,
                "the drain's time is over: cutting what is left"
            );
            self.drain.give_up();
            self.instances.iter().for_each(|instance| instance.stop());
        }
    }
}

impl Worker {
    /// Ends all filters side by side: none waits for another.
    async fn end_guests(&self) {
        let mut ending: Vec<_> = self.instances.iter().map(|instance| Box::pin(instance.end())).collect();
        std::future::poll_fn(|cx| {
            ending.retain_mut(|end| end.as_mut().poll(cx).is_pending());
            if ending.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A worker's guests as they are started: one for each filter that a chain names.
struct Guests<'a> {
    index: usize,
    shared: &'a Arc<Shared>,
    callouts: Rc<Callouts>,
    running: HashMap<usize, Rc<Instance>>,
    observations: Vec<FilterObservation>,
}

impl Guests<'_> {
    fn instance(&mut self, filter: usize) -> anyhow::Result<Rc<Instance>> {
        if let Some(instance) = self.running.get(&filter) {
            return Ok(instance.clone());
        }
        let plugin = self.shared.snapshot.plugin(filter).clone();
        let name = plugin.filter().name.clone();
        let usage = Arc::new(FilterUsage::new());
        let services = Services {
            shared_data: self.shared.shared_data.clone(),
            metrics: self.shared.guest_metrics.clone(),
            worker: self.index,
            usage: usage.clone(),
            clusters: self.shared.snapshot.endpoints().clone(),
            ..Services::new()
        };
        let other = self.running.values().find(|running| running.plugin().shares(&plugin));
        let instance = match other {
            Some(other) => Instance::join(other, plugin, services, self.callouts.clone()),
            None => Instance::start(plugin, services, self.callouts.clone()),
        };
        let instance =
            instance.with_context(|| format!("filter `{name}` does not start on worker {}", self.index))?;
        self.observations.push(observe::observe_filter(&self.shared.metrics, &name, &usage));
        self.running.insert(filter, instance.clone());
        Ok(instance)
    }
}
