//! One worker's unused connections to one endpoint, and the lease under which one of them is in use.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tokio::sync::{Mutex, Notify};

use super::UpstreamError;
use super::balance::{End, Latency};
use super::breakers::{Load, Slot};
use super::cluster::Cluster;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::http2::Http2;
use super::outlier::{self, Answer};
use super::queue::{Queue, Turn};
use crate::telemetry::metrics::{ClusterCell, Limit};
use crate::transport::BelowTls;

/// One worker's way to one endpoint of a cluster, as one configuration has it.
#[derive(Debug)]
pub(super) struct Pool {
    cluster: Arc<Cluster>,
    endpoint: usize,
    cell: Arc<ClusterCell>,
    shelf: Rc<Shelf>,
    /// How long the endpoint takes, where picks look at it.
    latency: Option<Rc<Latency>>,
}

/// One worker's unused connections to one endpoint: the last one in is the first one out, so that in a quiet time
/// the rest of them expire. Configurations that follow each other share it, so that what is in use under a former one
/// comes back to the next.
#[derive(Debug)]
pub(super) struct Shelf {
    upkeep: Rc<Upkeep>,
    /// How long a connection is kept.
    idle_timeout: Cell<Duration>,
    keeps_idle: Cell<bool>,
    /// Oldest first.
    idle: RefCell<VecDeque<Idle>>,
    /// HTTP/2 connections, used or not, which callouts share.
    http2: Http2,
    /// What the endpoint chose in its last handshake, where that decides, for as long as there is a connection.
    chosen: Cell<Option<Chosen>>,
    /// Connections that are open, or being made.
    open: Cell<usize>,
    /// How many of them are tunnels, which are not free for another request before they are closed.
    tunnels: Cell<usize>,
    /// One of them is more than the cluster may have.
    exceeds: Cell<bool>,
    /// What is in use of the cluster.
    load: Arc<Load>,
    /// How many connections there may be: these, and all of the cluster.
    most: Cell<(usize, usize)>,
    /// Who waits for one of them to be free, or closed.
    queue: Queue,
    /// Held by the one of those that looks out for what gets free elsewhere.
    lookout: Mutex<()>,
    /// Notified when there may be more connections here than before.
    roomier: Notify,
}

/// A version of HTTP that an endpoint chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Http1,
    Http2,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// Not before the time at which it was last used.
    since: Instant,
}

impl Pool {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        endpoint: usize,
        upkeep: Rc<Upkeep>,
        cell: Arc<ClusterCell>,
        latency: Option<Rc<Latency>>,
    ) -> Pool {
        let breakers = &cluster.config().recovery.breakers;
        let shelf = Shelf {
            upkeep,
            idle_timeout: Cell::new(cluster.config().idle_timeout),
            keeps_idle: Cell::new(cluster.config().idle_connections > 0),
            idle: RefCell::default(),
            http2: Http2::default(),
            chosen: Cell::default(),
            open: Cell::new(0),
            tunnels: Cell::new(0),
            exceeds: Cell::new(false),
            load: cluster.load().clone(),
            most: Cell::new((breakers.connections_per_endpoint, breakers.connections)),
            queue: Queue::default(),
            lookout: Mutex::default(),
            roomier: Notify::default(),
        };
        Pool { cluster, endpoint, cell, shelf: Rc::new(shelf), latency }
    }

    /// The way to the same endpoint as another configuration has it, with the connections. They are kept as the former one
    /// says until this [takes over](Pool::take_over): it may never be served.
    pub(super) fn successor(
        &self,
        cluster: Arc<Cluster>,
        endpoint: usize,
        latency: Option<Rc<Latency>>,
    ) -> Pool {
        Pool { cluster, endpoint, cell: self.cell.clone(), shelf: self.shelf.clone(), latency }
    }

    /// This is the one that is used from now on: its configuration says how many connections there may be, and how long they
    /// are kept.
    pub(super) fn take_over(&self) {
        let (shelf, config) = (&self.shelf, self.cluster.config());
        shelf.idle_timeout.set(config.idle_timeout);
        shelf.keeps_idle.set(config.idle_connections > 0);
        let breakers = &config.recovery.breakers;
        shelf.most.set((breakers.connections_per_endpoint, breakers.connections));
        shelf.make_more_room(); // for those that wait under the former one
    }

    pub(super) fn latency(&self) -> Option<&Rc<Latency>> {
        self.latency.as_ref()
    }

    pub(super) fn shelf(&self) -> &Rc<Shelf> {
        &self.shelf
    }

    pub(super) fn http2(&self) -> &Http2 {
        self.shelf.http2()
    }

    pub(super) fn upkeep(&self) -> &Upkeep {
        &self.shelf.upkeep
    }

    /// Where this worker counts what it does with the cluster.
    pub(super) fn cell(&self) -> &Arc<ClusterCell> {
        &self.cell
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.cluster.endpoints()[self.endpoint]
    }

    /// How many connections are unused and still open.
    pub(super) fn idle(&self) -> usize {
        let http1 = self.shelf.idle.borrow().iter().filter(|idle| !idle.connection.is_closed()).count();
        http1 + self.http2().idle()
    }

    /// The connection that was used last and can be used again.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.shelf.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop_back() {
            let upkeep = self.upkeep();
            upkeep.idle.set(upkeep.idle.get() - 1);
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives `connection` to the request that has waited longest, or keeps it for the next, at the cost of the oldest where
    /// there are enough; if it can take one.
    pub(super) fn put(&self, connection: Connection) {
        let (cap, upkeep) = (self.cluster.config().idle_connections, self.upkeep());
        if cap == 0 || !connection.is_ready() {
            return;
        }
        let Some(connection) = self.shelf.queue.give(connection) else { return };
        if upkeep.draining.get() {
            return;
        }
        let mut idle = self.shelf.idle.borrow_mut();
        if idle.len() >= cap {
            idle.pop_front();
        } else {
            upkeep.idle.set(upkeep.idle.get() + 1);
        }
        idle.push_back(Idle { connection, since: upkeep.at_latest() });
    }
}

/// A connection that counts as one until this is dropped, from before it is made.
#[derive(Debug)]
pub(super) struct Place {
    /// Which keeps the connection, and must not be kept by it.
    shelf: Weak<Shelf>,
    /// Until this is dropped.
    slot: Option<Slot>,
}

impl Place {
    /// Takes one, unless the cluster has as many connections as may be. A worker that has none to an endpoint, or none but
    /// tunnels, gets one all the same: nobody would free one for it. It gets one so and no more, whatever becomes of that.
    pub(super) fn take(shelf: &Rc<Shelf>) -> Result<Place, UpstreamError> {
        let (_, of_cluster) = shelf.most.get();
        let is_first = shelf.open.get() == shelf.tunnels.get() && !shelf.exceeds.get();
        let slot = |most| Slot::take(&shelf.load, Limit::Connections, most);
        let within = || slot(of_cluster).map(|slot| (slot, false));
        let beyond = || is_first.then(|| slot(usize::MAX)).flatten().map(|slot| (slot, true));
        let taken = shelf.has_room().then(|| within().or_else(beyond)).flatten();
        let (slot, exceeds) = taken.ok_or(UpstreamError::Overflow(Limit::Connections))?;
        shelf.open.set(shelf.open.get() + 1);
        shelf.exceeds.set(shelf.exceeds.get() || exceeds);
        Ok(Place { shelf: Rc::downgrade(shelf), slot: Some(slot) })
    }

    /// Its connection is a tunnel until what this returns is dropped.
    pub(super) fn begin_tunnel(&self) -> InTunnel {
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.tunnels.set(shelf.tunnels.get() + 1);
            shelf.make_room();
        }
        InTunnel(self.shelf.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slot = None; // free before the next one is let in
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.open.set(shelf.open.get() - 1);
            shelf.exceeds.set(false); // there is one less, whichever was one too many
            shelf.make_more_room();
            // Whoever has just got room connects as was chosen. If nobody did, it may be another by the next time.
            if shelf.open.get() == 0 {
                shelf.chosen.set(None);
            }
        }
    }
}

/// A connection that is a tunnel.
#[derive(Debug)]
pub(super) struct InTunnel(Weak<Shelf>);

impl Drop for InTunnel {
    fn drop(&mut self) {
        if let Some(shelf) = self.0.upgrade() {
            shelf.tunnels.set(shelf.tunnels.get() - 1);
        }
    }
}

impl Shelf {
    /// Waits for a connection, or for a place for one, behind those that do so already, or as the `first`.
    pub(super) async fn wait(self: &Rc<Self>, first: bool) -> Option<Turn> {
        tokio::select! {
            biased;
            turn = self.queue.wait(first) => turn,
            never = self.look_out() => match never {},
        }
    }

    /// Lets as many as there is room for make a connection. Whether nobody waits then.
    pub(super) fn make_room(self: &Rc<Self>) -> bool {
        self.queue.make_room(|| Place::take(self).ok())
    }

    /// Lets them where there may be more connections to this endpoint than before.
    fn make_more_room(self: &Rc<Self>) {
        self.make_room();
        self.roomier.notify_one();
    }

    /// Whether there may be one more to this endpoint, whatever there is of the cluster.
    fn has_room(&self) -> bool {
        self.open.get() < self.most.get().0
    }

    /// Makes room when a connection of the cluster is closed, to whichever endpoint, on whichever worker. One of those that
    /// wait does it for all, until it has its turn; it is told of none where it could not have it, so that another is.
    async fn look_out(self: &Rc<Self>) -> Infallible {
        let _lookout = self.lookout.lock().await;
        loop {
            if !self.has_room() {
                self.roomier.notified().await;
                continue;
            }
            let mut freed = pin!(self.load.freed());
            freed.as_mut().enable(); // what is closed from here on is not missed
            self.make_room();
            freed.await;
            if !self.has_room() {
                self.load.pass_on();
            }
        }
    }

    pub(super) fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    pub(super) fn http2(&self) -> &Http2 {
        &self.http2
    }

    /// What the endpoint chose, where that is known.
    pub(super) fn chosen(&self) -> Option<Chosen> {
        self.chosen.get()
    }

    pub(super) fn note_chosen(&self, chosen: Option<Chosen>) {
        self.chosen.set(chosen);
    }

    /// Whether connections stay that nobody uses.
    pub(super) fn keeps_idle(&self) -> bool {
        self.keeps_idle.get()
    }

    /// Drops the connections that are closed, or that nobody used for the cluster's `idle_timeout` before `now`.
    pub(super) fn sweep(&self, now: Instant) {
        let timeout = self.idle_timeout.get();
        self.retain(|idle| {
            !idle.connection.is_closed() && now.saturating_duration_since(idle.since) < timeout
        });
        self.http2.sweep(&self.upkeep, now, timeout);
    }

    /// Drops all of them.
    pub(super) fn clear(&self) {
        self.retain(|_| false);
        self.http2.clear(&self.upkeep);
    }

    fn retain(&self, keep: impl FnMut(&Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(keep);
        self.upkeep.idle.set(self.upkeep.idle.get() - (before - idle.len()));
    }
}

impl Drop for Shelf {
    /// No configuration has its endpoint any more, and the last request to it has ended.
    fn drop(&mut self) {
        self.clear();
    }
}

/// What the pools of one worker share with the task that sweeps them.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// The time as of the last sweep: reading it costs nothing.
    now: Cell<Instant>,
    /// How often pools are swept while there is anything to sweep.
    pub(super) period: Cell<Duration>,
    /// Whether they are being swept.
    sweeping: Cell<bool>,
    /// Asks for sweeps to begin.
    pub(super) wanted: Notify,
    /// Unused connections in all pools.
    pub(super) idle: Cell<usize>,
    /// No connection is kept any more.
    pub(super) draining: Cell<bool>,
}

impl Upkeep {
    pub(super) fn new(period: Duration) -> Upkeep {
        Upkeep {
            now: Cell::new(Instant::now()),
            period: Cell::new(period),
            sweeping: Cell::new(false),
            wanted: Notify::new(),
            idle: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    /// A time that is not before now, and at most a period after it. Sees to it that sweeps go on.
    pub(super) fn at_latest(&self) -> Instant {
        if !self.sweeping.replace(true) {
            self.now.set(Instant::now());
            self.wanted.notify_one();
        }
        self.now.get() + self.period.get()
    }

    /// The time, at the beginning of a sweep.
    pub(super) fn begin_sweep(&self) -> Instant {
        self.now.set(Instant::now());
        self.now.get()
    }

    /// Whether there has to be another sweep.
    pub(super) fn end_sweep(&self) -> bool {
        self.sweeping.set(self.idle.get() > 0);
        self.sweeping.get()
    }
}

/// A request in flight: it counts at its endpoint, once, until this is dropped, and holds its connection.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Rc<Pool>,
    connection: Option<Connection>,
    /// When the endpoint was asked, where that matters. What the proxy waited for before is none of the endpoint's.
    asked: Cell<Option<Instant>>,
    /// What the head of the answer said, and how long it took, until it is known how it ends.
    said: Cell<Option<(StatusCode, Answer, Option<Duration>)>>,
    _slot: Slot,
    /// When it began, where somebody looks at how long it takes, until it is known.
    clock: Cell<Option<Instant>>,
}

impl Lease {
    /// A request begins that has no connection yet.
    ///
    /// # Errors
    ///
    /// As many are in flight as may be.
    pub(super) fn begin(pool: Rc<Pool>) -> Result<Lease, Limit> {
        let (most, limit) = pool.cluster.request_limit();
        let slot = Slot::take(pool.cluster.load(), limit, most).ok_or(limit)?;
        pool.endpoint().begin();
        pool.cell.requests.increment();
        pool.cell.active_requests.increment();
        let clock = Cell::new(pool.latency.as_ref().map(|_| Instant::now()));
        Ok(Lease {
            pool,
            connection: None,
            asked: Cell::default(),
            said: Cell::default(),
            clock,
            _slot: slot,
        })
    }

    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The request is on its way from now on. When that was is said where it matters.
    pub(super) fn sent(&self) -> Option<Instant> {
        let asked = self.pool.cluster.times().then(Instant::now);
        self.asked.set(asked);
        asked
    }

    /// The endpoint has answered, with a response's head; `is_whole` is whether that is all there is.
    pub(super) fn answered(&self, status: StatusCode, headers: &HeaderMap, is_whole: bool) {
        if status.is_server_error() {
            self.pool.endpoint().fail();
        }
        self.note(if status.is_server_error() { End::Failed } else { End::Answered });
        let asked = self.asked.get();
        let took = asked.map(|asked| asked.elapsed());
        if let (Some(adaptive), Some(asked), Some(took)) = (self.pool.cluster.adaptive(), asked, took) {
            adaptive.note(asked, took);
        }
        if !outlier::looks_at(&self.pool.cluster) {
            return;
        }
        let answer = Answer::of(status, headers);
        // A success is one when it has ended so; a failure is one at once.
        match is_whole || answer.is_failure() {
            true => self.observe(answer, took),
            false => self.said.set(Some((status, answer, took))),
        }
    }

    /// The response has ended as its head and its framing said, with these trailers if it had any.
    pub(super) fn ended(&self, trailers: Option<&HeaderMap>) {
        if let Some((status, answer, took)) = self.said.take() {
            self.observe(trailers.map_or(answer, |trailers| Answer::of(status, trailers)), took);
        }
    }

    /// The endpoint has cut the response.
    pub(super) fn cut(&self) {
        if self.said.take().is_some() {
            self.observe(Answer::Failed, None);
        }
        self.pool.endpoint().fail();
    }

    /// Tells outlier detection.
    fn observe(&self, answer: Answer, took: Option<Duration>) {
        let Pool { cluster, cell, .. } = &*self.pool;
        outlier::note(cluster, self.pool.endpoint(), cell, answer, took);
    }

    /// There will be no response. Returns why.
    pub(super) fn failed(&self, error: UpstreamError) -> UpstreamError {
        if error.blames_endpoint() {
            self.pool.endpoint().fail();
            self.observe(if error.is_local() { Answer::Local } else { Answer::Failed }, None);
            self.note(End::Failed);
        } else if matches!(error, UpstreamError::RefusedStream(_)) {
            self.note(End::Failed); // who refuses at once is not fast
        } else if let UpstreamError::Overflow(limit) = error {
            self.pool.cell.count_overflow(limit);
        }
        error
    }

    fn note(&self, end: End) {
        if let (Some(latency), Some(began)) = (&self.pool.latency, self.clock.take()) {
            let now = Instant::now();
            latency.note(now.saturating_duration_since(began), end, now);
        }
    }

    /// Puts the request on `connection`; one that it had before is closed.
    pub(super) fn hold(&mut self, connection: Connection) -> &mut Connection {
        self.connection.insert(connection)
    }

    /// The request has ended well: its connection may be used again.
    pub(super) fn give_back(mut self) {
        self.ended(None);
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }

    /// The connection is no longer one for requests: its task is left alone. The request goes on.
    pub(super) fn detach(&mut self) -> BelowTls {
        self.connection.take().map(Connection::detach).unwrap_or_default()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.note(End::GivenUp);
        self.ended(None); // nobody wanted the rest
        self.pool.endpoint().end();
        self.pool.cell.active_requests.decrement();
    }
}
