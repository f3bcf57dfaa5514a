//! The filter, running on its workers, and the time.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::runtime::{LocalOptions, LocalRuntime};

use super::cluster::{Call, Callouts, Clusters};
use super::drive::Upstream;
use super::exchange::Exchange;
use super::message::{Request, Response};
use super::module::Module;
use super::panics::Panics;
use super::seen::{Forwarded, Seen};
use super::setup::{Refused, Setup};
use super::usage::Usage;
use super::world::{Journal, LogLine, Seeded, VirtualClock, WorkerLog};
use crate::filter::{Chain, Instance};
use crate::wasm::{Clock, Fault, FilterUsage, GuestMetrics, Plugin, Services, SharedData};

/// How often everything that is ready runs at one moment before it is taken for a filter that goes on for ever.
const MAX_ROUNDS: usize = 10_000;

/// A filter on its workers, in a world that the test controls.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use tidegate_test::{Kit, Request, Response};
/// # let module = tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
///
/// let kit = Kit::of(&module).start();
/// kit.upstream(|request| Response::new(200).body(request.header("x-tag").unwrap_or("none").to_owned()));
/// assert_eq!(kit.send(Request::get("/")).text(), "seen");
/// assert_eq!(kit.counter("requests"), 1);
/// ```
///
/// Time stands still, but for [`advance`](Kit::advance) and for as long as an exchange that is waited for has to wait:
/// then it jumps from one timer to the next. It goes in whole milliseconds.
pub struct Kit {
    pub(crate) workers: Vec<Worker>,
    pub(crate) setup: Setup,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clusters: Rc<Clusters>,
    pub(crate) panics: Rc<Panics>,
    pub(crate) exchanges: Cell<u64>,
    /// How long the instances took to start, in real time.
    pub(crate) started_in: Duration,
    upstream: RefCell<Upstream>,
    shared_data: Arc<SharedData>,
    pub(crate) metrics: Arc<GuestMetrics>,
    /// Last, so that it outlives what runs on it.
    runtime: LocalRuntime,
}

/// Something that does not come to an end.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stuck {
    /// There is always more to be done at one moment.
    #[error("the filter goes on and on while no time passes")]
    Busy,
    /// An exchange waits for ever: how long that was tried, and where it stands.
    #[error("the exchange does not end within {patience:?}: {standing}")]
    Waiting {
        /// How long that was tried, in virtual time.
        patience: Duration,
        /// Where it stands, and what was logged.
        standing: String,
    },
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) chain: Rc<Chain>,
    pub(crate) usage: Arc<FilterUsage>,
    instance: Rc<Instance>,
}

impl Kit {
    /// A kit for this module, to be configured and started.
    pub fn of(module: &Module) -> Setup {
        Setup::of(module)
    }

    pub(crate) fn start(setup: Setup) -> Result<Kit, Refused> {
        let kit = Kit::build(setup)?;
        kit.settle();
        Ok(kit)
    }

    /// The filter is started; what it asked for then has not been done yet.
    pub(crate) fn build(setup: Setup) -> Result<Kit, Refused> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .unwrap_or_else(|error| panic!("this machine gives no runtime: {error}"));
        let clock = Arc::new(runtime.block_on(async { VirtualClock::begin(setup.wall) }));
        let mut kit = Kit {
            workers: Vec::new(),
            clock,
            journal: Arc::default(),
            clusters: Rc::new(Clusters::new(setup.scripts.clone(), setup.order)),
            panics: Rc::default(),
            exchanges: Cell::default(),
            started_in: Duration::ZERO,
            upstream: RefCell::new(setup.upstream.clone()),
            shared_data: Arc::default(),
            metrics: Arc::new(GuestMetrics::new(setup.workers)),
            runtime,
            setup,
        };
        let plugin = Plugin::new(kit.setup.shared_filter(), kit.setup.module.compiled.clone());
        let began = Instant::now();
        for index in 0..kit.setup.workers {
            let worker = kit.start_worker(index, plugin.clone());
            let worker = worker.map_err(|fault| Refused { fault, logs: kit.journal.lines() })?;
            kit.workers.push(worker);
        }
        kit.started_in = began.elapsed();
        Ok(kit)
    }

    fn start_worker(&self, index: usize, plugin: Plugin) -> Result<Worker, Fault> {
        let usage = Arc::new(FilterUsage::new());
        let log = WorkerLog { journal: self.journal.clone(), level: self.setup.log_level, worker: index };
        let services = Services {
            witness: None,
            clock: self.setup.clock.clone().unwrap_or_else(|| self.clock.clone()),
            randomness: Arc::new(Seeded::new(self.setup.seed.wrapping_add(index as u64))),
            log: Arc::new(log),
            shared_data: self.shared_data.clone(),
            metrics: self.metrics.clone(),
            worker: index,
            usage: usage.clone(),
            clusters: Arc::new(self.clusters.scripts.keys().map(|name| (name.clone(), Vec::new())).collect()),
        };
        let callouts =
            Callouts { worker: index, clusters: self.clusters.clone(), panics: self.panics.clone() };
        let instance =
            self.runtime.block_on(async { Instance::start(plugin, services, Rc::new(callouts)) })?;
        let chain = Rc::new(Chain::new(vec![instance.clone()]));
        Ok(Worker { chain, usage, instance })
    }

    /// How the service behind the proxy answers a request from now on, which it sees as the filter left it.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
    /// use tidegate_test::{Request, Response};
    ///
    /// kit.upstream(|_| Response::new(503));
    /// assert_eq!(kit.send(Request::get("/")).status(), 503);
    /// ```
    pub fn upstream(&self, answer: impl FnMut(&Forwarded) -> Response + 'static) {
        *self.upstream.borrow_mut() = Rc::new(RefCell::new(answer));
    }

    /// Takes a request through the filter, has the upstream answer, and takes the answer back. As much time passes as
    /// it takes.
    ///
    /// # Panics
    ///
    /// When it does not end: with where it stands.
    #[track_caller]
    pub fn send(&self, request: Request) -> Seen {
        self.open(request).finish()
    }

    /// Begins an exchange that goes on step by step.
    #[track_caller]
    pub fn open(&self, request: Request) -> Exchange<'_> {
        Exchange::begin(self, request)
    }

    /// Lets time pass, and with it whatever has its time.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Request};
    /// # let kit = Kit::of(&tidegate_test::Module::bytes("tagger",
    /// &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start(); kit.advance(std::time::Duration::from_secs(60));
    /// assert_eq!(kit.elapsed(), std::time::Duration::from_secs(60));
    /// ```
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.try_advance(time).unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    /// How much time has passed since the kit was started.
    pub fn elapsed(&self) -> Duration {
        let _time = self.runtime.enter();
        self.clock.elapsed()
    }

    /// Sets the wall clock, as an operator or NTP does. Timers go on as they were: they do not depend on it.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Kit;
    /// # let kit = Kit::of(&tidegate_test::Module::bytes("tagger",
    /// &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start(); let an_hour_ago = kit.now() -
    /// std::time::Duration::from_secs(3600); kit.set_clock(an_hour_ago); assert_eq!(kit.now(), an_hour_ago);
    /// ```
    pub fn set_clock(&self, wall: SystemTime) {
        let _time = self.runtime.enter();
        self.clock.set(wall);
    }

    /// What the wall clock says.
    pub fn now(&self) -> SystemTime {
        let _time = self.runtime.enter();
        self.clock.wall()
    }

    /// Everything that the filter logged, on every worker, from its start on.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
    /// kit.send(tidegate_test::Request::get("/"));
    /// assert_eq!(kit.logs().last().unwrap().to_string(), "debug: tagging");
    /// ```
    pub fn logs(&self) -> Vec<LogLine> {
        self.journal.lines()
    }

    /// Whether the filter ever logged a line that has `text` in it.
    pub fn logged(&self, text: &str) -> bool {
        self.journal.lines().iter().any(|line| line.text.contains(text))
    }

    /// Every failure of the filter.
    pub fn faults(&self) -> Vec<Fault> {
        self.journal.faults()
    }

    /// Everything that the filter asked of other services.
    pub fn callouts(&self) -> Vec<Call> {
        self.clusters.calls.borrow().clone()
    }

    /// A value in the data that the filter's instances share.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
    /// kit.set_shared_data("blocked", "ann");
    /// assert_eq!(kit.shared_data("blocked").as_deref(), Some(&b"ann"[..]));
    /// ```
    pub fn shared_data(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.shared_data.value(&self.setup.filter.vm_id, key.as_ref())
    }

    /// Writes a value into the data that the filter's instances share, as another filter might have.
    pub fn set_shared_data(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.shared_data.set(&self.setup.filter.vm_id, key.as_ref(), value.as_ref());
    }

    /// Puts an item into a queue that the filter registered, as another filter might. The filter is told of it at once.
    ///
    /// # Panics
    ///
    /// When nobody registered the queue, or it is full.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("worker", &wat::parse_file("../sdk/tidegate-test/tests/guests/worker.wat").unwrap())).start();
    /// kit.enqueue("jobs", "first");
    /// assert!(kit.logged("told of an item"));
    /// assert_eq!(kit.dequeue("jobs").as_deref(), Some(&b"first"[..]), "it was not taken out");
    /// assert_eq!(kit.dequeue("jobs"), None);
    /// ```
    #[track_caller]
    pub fn enqueue(&self, queue: &str, item: impl AsRef<[u8]>) {
        let done = self.shared_data.enqueue(&self.setup.filter.vm_id, queue.as_bytes(), item.as_ref());
        assert!(done, "there is no queue {queue:?}, or it is full");
        self.settle();
    }

    /// Takes the first item out of a queue that the filter registered, if there is one.
    pub fn dequeue(&self, queue: &str) -> Option<Bytes> {
        self.shared_data.dequeue(&self.setup.filter.vm_id, queue.as_bytes())
    }

    /// Calls the filter's root on a worker by a number that both agree on (`proxy_on_foreign_function`), as who embeds
    /// the host may do. The proxy never does.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("worker", &wat::parse_file("../sdk/tidegate-test/tests/guests/worker.wat").unwrap())).start();
    /// kit.call_foreign_function(0, 7, "arguments");
    /// assert!(kit.logged("called with arguments"));
    /// ```
    #[track_caller]
    pub fn call_foreign_function(&self, worker: usize, function: u32, arguments: impl Into<Bytes>) {
        let instance = &self.worker(worker).instance;
        // A fault is among the kit's, like any other.
        let _ = self.within(|| instance.call_foreign_function(function, arguments.into()));
        self.settle();
    }

    /// Forgets what was logged, how the filter failed and what it asked of clusters. Not while an exchange is under way.
    pub(crate) fn forget(&self) {
        self.journal.forget();
        self.clusters.calls.borrow_mut().clear();
    }

    /// The instructions that all instances have used, their starts included.
    pub fn instructions(&self) -> u64 {
        self.workers.iter().map(|worker| worker.usage.instructions()).sum()
    }

    /// Linear memory of a worker's instance, in bytes.
    #[track_caller]
    pub fn memory(&self, worker: usize) -> u64 {
        self.worker(worker).usage.memory_bytes()
    }

    /// Ends the instances, as a proxy does that shuts down.
    pub fn stop(&self) {
        let _time = self.runtime.enter();
        self.workers.iter().for_each(|worker| worker.instance.stop());
    }

    #[track_caller]
    pub(crate) fn worker(&self, index: usize) -> &Worker {
        let count = self.workers.len();
        self.workers.get(index).unwrap_or_else(|| panic!("there is no worker {index}: the kit has {count}"))
    }

    pub(crate) fn answering(&self) -> Upstream {
        self.upstream.borrow().clone()
    }

    /// Runs `work` where tasks can be spawned.
    pub(crate) fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        self.runtime.block_on(async { work() })
    }

    /// Runs everything that is ready, and what becomes ready by it, while time stands still.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.try_settle().unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    /// The same, for those who go on where it does not come to an end.
    pub(crate) fn try_settle(&self) -> Result<(), Stuck> {
        let settled = self.runtime.block_on(async {
            for _ in 0..MAX_ROUNDS {
                let before = self.activity();
                for _ in 0..16 {
                    tokio::task::yield_now().await;
                }
                if before == self.activity() || self.panics.has_any() {
                    return !self.clusters.is_beset();
                }
            }
            false
        });
        self.panics.resume();
        if settled { Ok(()) } else { Err(Stuck::Busy) }
    }

    /// As [`send`](Kit::send), for those who go on where it does not come to an end.
    pub(crate) fn try_send(&self, request: Request) -> Result<Seen, Stuck> {
        let exchange = Exchange::enter(self, request);
        self.try_settle()?;
        exchange.try_finish()
    }

    /// As [`advance`](Kit::advance), for those who go on where it does not come to an end.
    pub(crate) fn try_advance(&self, time: Duration) -> Result<(), Stuck> {
        self.try_settle()?;
        self.runtime.block_on(super::cluster::pass(time));
        self.try_settle()
    }

    /// Goes up with everything that happens in and by the filter.
    fn activity(&self) -> (u64, usize) {
        let calls = self.workers.iter().map(|worker| Usage::of(&worker.usage).all_calls()).sum();
        (calls, self.clusters.calls.borrow().len())
    }

    /// Lets time pass until something has happened. Whether it did in time.
    pub(crate) fn wait_until(&self, happened: impl Fn() -> bool) -> bool {
        let happening = poll_fn(|cx| {
            self.panics.wait(cx.waker());
            let is_over = happened() || self.panics.has_any() || self.clusters.is_beset();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        });
        let patience = self.setup.patience;
        let waited = self.runtime.block_on(async { tokio::time::timeout(patience, happening).await });
        self.panics.resume();
        waited.is_ok()
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit").field("module", &self.setup.module.name()).finish_non_exhaustive()
    }
}
