//! A request's way to an endpoint and back.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::balance::{Balancer, Criteria, Latency, Slowest};
use super::body::Http1Body;
use super::breakers::{self, refuse};
use super::budget::Retrying;
use super::cluster::Cluster;
use super::connection::{Connection, Failure};
use super::endpoint::Endpoint;
use super::http2::{self, Http2Body};
use super::outlier;
use super::pool::{Chosen, Lease, Place, Pool, Shelf, Upkeep};
use super::queue::Turn;
use super::{RequestBody, ResponseBody, UpstreamError};
use crate::boxed;
use crate::config::model::{Address, ClusterProtocol, LoadBalancer, Retries};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{ClusterCell, Limit};

/// How often, at most and at least, unused connections are looked through.
const SWEEP_PERIODS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// One worker's connections to every cluster of one configuration.
///
/// Dropped, it closes the unused ones, but for those to clusters that its [successor](Upstreams::successor) has too;
/// those in use close when their responses end.
#[derive(Debug)]
pub struct Upstreams {
    clusters: Box<[Rc<Member>]>,
    keeper: Rc<Keeper>,
}

/// Looks after a worker's unused connections, whatever the configuration.
#[derive(Debug)]
struct Keeper {
    upkeep: Rc<Upkeep>,
    tasks: Rc<Tasks>,
    sweeper: AbortHandle,
    shelves: RefCell<Vec<Weak<Shelf>>>,
}

/// A cluster on this worker.
#[derive(Debug)]
struct Member {
    cluster: Arc<Cluster>,
    balancer: Balancer,
    pools: Box<[Rc<Pool>]>,
}

/// What becomes of a request on its way, known while it is there, and also when it failed or was given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint that was picked.
    pub endpoint: Option<Address>,
    /// This side's address of the connection that was used last.
    pub local: Option<SocketAddr>,
    /// Which of the process's HTTP/2 connections that was, if it was one.
    pub multiplexed: Option<u64>,
    /// Whether that connection had been used before.
    pub reused: bool,
    /// Since when the endpoint has been asked, where it matters how long it takes.
    pub since: Option<Instant>,
    /// Nothing is asked of the endpoint at the moment: it is the proxy that waits, for a connection that is free, or before
    /// it asks again.
    pub waits: bool,
    /// Since when it has been the endpoint that is waited for, for a connection or an answer, where that is
    /// [asked for](Criteria::timed).
    pub silent_since: Option<Instant>,
}

impl Upstreams {
    /// A worker's side of `clusters`, which are known by their place in it. No connection is made before it is
    /// needed. `cell` gives what this worker counts a cluster's connections and requests in. To be called in the
    /// worker's `LocalSet`.
    pub fn new(clusters: &[Arc<Cluster>], cell: impl Fn(&str) -> Arc<ClusterCell>) -> Rc<Upstreams> {
        let upstreams = Upstreams::made(Keeper::start(), clusters, &[], cell);
        upstreams.take_over();
        upstreams
    }

    /// The same worker's side of another configuration's clusters. Those that are the same ones are taken over; of one
    /// that has become another, the connections to the endpoints that stay. What is in use is left as it is until the
    /// successor [takes over](Upstreams::take_over).
    pub fn successor(
        &self,
        clusters: &[Arc<Cluster>],
        cell: impl Fn(&str) -> Arc<ClusterCell>,
    ) -> Rc<Upstreams> {
        Upstreams::made(self.keeper.clone(), clusters, &self.clusters, cell)
    }

    /// Unused connections are kept as this configuration says from now on.
    pub fn take_over(&self) {
        self.keeper.upkeep.period.set(sweep_period(self.clusters.iter().map(|member| &*member.cluster)));
        self.clusters.iter().flat_map(|member| &member.pools).for_each(|pool| pool.take_over());
    }

    fn made(
        keeper: Rc<Keeper>,
        clusters: &[Arc<Cluster>],
        former: &[Rc<Member>],
        cell: impl Fn(&str) -> Arc<ClusterCell>,
    ) -> Rc<Upstreams> {
        let former: HashMap<_, _> = former.iter().map(|member| (member.cluster.name(), member)).collect();
        let member = |cluster: &Arc<Cluster>| match former.get(cluster.name()) {
            Some(member) if Arc::ptr_eq(&member.cluster, cluster) => Rc::clone(member),
            former => {
                let former = former.map(|member| &***member);
                Rc::new(Member::new(cluster, former, &keeper.upkeep, &cell(cluster.name())))
            }
        };
        let members: Box<[_]> = clusters.iter().map(member).collect();
        keeper.keep(&members);
        Rc::new(Upstreams { clusters: members, keeper })
    }

    /// The place of the cluster of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.clusters.iter().position(|member| member.cluster.name() == name)
    }

    /// The cluster at `index`.
    pub fn cluster(&self, index: usize) -> Option<&Arc<Cluster>> {
        self.clusters.get(index).map(|member| &member.cluster)
    }

    /// Notes that an attempt is given up because its endpoint, of the cluster at index `cluster`, takes longer than whoever
    /// waits for it would.
    pub fn note_timeout(&self, cluster: usize, attempt: &Attempt) {
        self.note_slow(cluster, attempt);
        self.note_given_up(cluster, attempt);
    }

    /// Notes that its endpoint takes longer, whether it is given up or not. Says whether that is so: it may be the proxy
    /// that waits.
    pub fn note_slow(&self, cluster: usize, attempt: &Attempt) -> bool {
        let Some(member) = self.clusters.get(cluster) else { return false };
        let endpoint = attempt.endpoint.filter(|_| !attempt.waits);
        let Some(place) = endpoint.and_then(|endpoint| member.cluster.place_of(endpoint)) else {
            return false;
        };
        let pool = &member.pools[place];
        pool.endpoint().fail();
        let after = attempt.since.map(|since| since.elapsed());
        outlier::note(&member.cluster, pool.endpoint(), pool.cell(), outlier::Answer::Local, after);
        true
    }

    /// Notes for how long its endpoint has not answered: it would have taken that long at least.
    pub fn note_given_up(&self, cluster: usize, attempt: &Attempt) {
        let adaptive = self.clusters.get(cluster).and_then(|member| member.cluster.adaptive());
        if let (Some(adaptive), Some(since), false) = (adaptive, attempt.since, attempt.waits) {
            adaptive.note(since, since.elapsed());
        }
    }

    /// Where this worker counts what it does with the cluster at `index`, if that has endpoints.
    pub(crate) fn cell(&self, index: usize) -> Option<&Arc<ClusterCell>> {
        self.clusters.get(index)?.pools.first().map(|pool| pool.cell())
    }

    /// This worker's open but unused connections to the cluster at `index`.
    pub fn idle(&self, index: usize) -> usize {
        self.clusters.get(index).map_or(0, |member| member.pools.iter().map(|pool| pool.idle()).sum())
    }

    /// Sends `request` to an endpoint of the cluster at index `cluster`, as the `criteria` ask, and waits for the
    /// response's head. `attempt` says how far it came, also where this fails or is dropped.
    ///
    /// The request's URI is sent as it is, so it has to be in origin form; the caller sees to `host` and to hop-by-hop
    /// fields. To give up, drop the future: the connection is closed. Requests and responses come in a box because they
    /// pass through several futures, each of which would copy them.
    ///
    /// A connection that was used before may turn out to be closed. Then the request goes out on another, as often as that
    /// is so if nothing of it was sent yet, and once if no byte of a response came and the request is idempotent and has
    /// no streamed body ([RFC 9112 section 9.3.1], [RFC 9110 section 9.2.2]). In the second case the request is gone and
    /// `again` is asked for it; a caller that cannot make it again returns `None`.
    ///
    /// A 101 response has a [`hyper::upgrade::OnUpgrade`], and what is below its TLS, or over HTTP/2 its body is the tunnel; either way the body has to
    /// be kept for as long as the tunnel lasts.
    ///
    /// [RFC 9110 section 9.2.2]: https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2
    /// [RFC 9112 section 9.3.1]: https://www.rfc-editor.org/rfc/rfc9112#section-9.3.1
    pub async fn send(
        &self,
        cluster: usize,
        criteria: &Criteria<'_>,
        mut request: Box<Request<RequestBody>>,
        again: impl FnOnce() -> Option<Box<Request<RequestBody>>>,
        attempt: &Cell<Attempt>,
    ) -> Result<Box<Response<ResponseBody>>, UpstreamError> {
        attempt.set(Attempt::default());
        let mut lease = self.pick(cluster, criteria)?;
        attempt.set(Attempt {
            endpoint: Some(lease.pool().endpoint().address()),
            silent_since: criteria.timed.then(Instant::now),
            ..Attempt::default()
        });
        let (version, made) = match lease.pool().cluster().config().protocol {
            ClusterProtocol::Http1 => (Chosen::Http1, None),
            ClusterProtocol::Http2 => (Chosen::Http2, None),
            ClusterProtocol::Auto => {
                let asked = Box::pin(http2::ask(lease.pool(), &self.keeper.tasks)).await;
                asked.map_err(|error| lease.failed(error))?
            }
        };
        if version == Chosen::Http2 {
            if request.headers().contains_key(UPGRADE) {
                let sent = Box::pin(http2::tunnel::send(lease, &self.keeper.tasks, *request, attempt)).await;
                return sent.map(Box::new);
            }
            let sending =
                boxed::pin(|| self.send_multiplexed((cluster, criteria), lease, request, again, attempt));
            return Ok(Box::new(sending.await?.map(ResponseBody::Http2)));
        }

        let mut found = match made {
            Some(connection) => Some((connection, false)),
            None => lease.pool().take().map(|connection| (connection, true)),
        };
        let repeatable = is_repeatable(&request);
        let mut again = repeatable.then_some(again);
        loop {
            let (connection, reused) = match found.take() {
                Some(found) => found,
                // Connecting is rare and its future large; it would be moved with every request.
                None => {
                    Box::pin(self.connection(&lease, attempt)).await.map_err(|error| lease.failed(error))?
                }
            };
            attempt.update(|it| it.on(connection.local(), reused, lease.sent()));
            match lease.hold(connection).exchange(request).await {
                Ok(response) => return Ok(respond(response, lease)),
                // One that was used before may have been closed since, as often as one is found: nothing was sent.
                Err(Failure::NotTaken(back, _)) if reused => request = back,
                Err(Failure::Failed(error @ UpstreamError::Closed { mid_head: false, .. })) if reused => {
                    let next = again.take().and_then(|again| again());
                    request = next.ok_or_else(|| lease.failed(error))?;
                }
                Err(Failure::NotTaken(_, error) | Failure::Failed(error)) => return Err(lease.failed(error)),
            }
        }
    }

    /// A connection for a request that found none unused: a new one, or where there may be no more the one that is free
    /// when those that came before have theirs.
    async fn connection(
        &self,
        lease: &Lease,
        attempt: &Cell<Attempt>,
    ) -> Result<(Connection, bool), UpstreamError> {
        let pool = lease.pool();
        let _waits = breakers::wait(pool)?;
        let shelf = pool.shelf();
        let mut has_waited = false;
        let place = loop {
            let may_have_one = has_waited || shelf.make_room();
            if let Some(place) = may_have_one.then(|| Place::take(shelf).ok()).flatten() {
                break place;
            }
            attempt.update(|it| Attempt { waits: true, ..it });
            let turn = shelf.wait(has_waited).await;
            attempt.update(Attempt::has_waited);
            match turn {
                Some(Turn::Place(place)) => break place,
                Some(Turn::Connection(connection)) => {
                    // Whoever had it has just read its last byte, and nobody looked yet whether an end came with that.
                    tokio::task::yield_now().await;
                    if connection.is_ready() {
                        return Ok((connection, true));
                    }
                    has_waited = true;
                }
                None => return Err(UpstreamError::Overflow(Limit::Connections)), // nobody is left who could give it one
            }
        };
        let opened = Connection::open(pool, place, &self.keeper.tasks).await?;
        if pool.cluster().config().protocol == ClusterProtocol::Auto {
            pool.shelf().note_chosen(Some(Chosen::Http1));
        }
        Ok((opened, false))
    }

    /// Sends a request whose cluster speaks HTTP/2. One that was refused goes out once more, within the budget that retries
    /// have by default, if nothing of it was streamed: nobody has begun with it. It goes to another endpoint, or where
    /// there is no other on another connection; not where whoever sends it sees to that.
    async fn send_multiplexed(
        &self,
        (cluster, criteria): (usize, &Criteria<'_>),
        lease: Lease,
        request: Box<Request<RequestBody>>,
        again: impl FnOnce() -> Option<Box<Request<RequestBody>>>,
        attempt: &Cell<Attempt>,
    ) -> Result<Response<Http2Body>, UpstreamError> {
        let is_whole = request.body().is_end_stream();
        match http2::send(lease, &self.keeper.tasks, request, attempt, None).await {
            Err(UpstreamError::RefusedStream(error)) if is_whole && !criteria.retried => {
                Box::pin(self.send_refused((cluster, criteria), error, again, attempt)).await
            }
            sent => sent,
        }
    }

    /// Sends once more what was refused with `error`.
    async fn send_refused(
        &self,
        (cluster, criteria): (usize, &Criteria<'_>),
        error: h2::Error,
        again: impl FnOnce() -> Option<Box<Request<RequestBody>>>,
        attempt: &Cell<Attempt>,
    ) -> Result<Response<Http2Body>, UpstreamError> {
        let first = attempt.get();
        let criteria = Criteria { tried: first.endpoint.as_slice(), ..*criteria };
        let other = self.resend(cluster, &criteria).and_then(|lease| Some((lease, again()?)));
        let Some(((lease, _retrying), request)) = other else {
            return Err(UpstreamError::RefusedStream(error));
        };
        let endpoint = Some(lease.pool().endpoint().address());
        attempt.set(Attempt { endpoint, ..first });
        match http2::send(lease, &self.keeper.tasks, request, attempt, first.multiplexed).await {
            // Nothing was asked for a second time.
            Err(UpstreamError::Overflow(_)) => {
                attempt.set(first);
                Err(UpstreamError::RefusedStream(error))
            }
            sent => sent,
        }
    }

    /// Sends `request` over HTTP/2 to an endpoint of the cluster at index `cluster`, whatever the cluster's protocol is,
    /// and waits for the response's head. It has to be known that the endpoint speaks HTTP/2 ([RFC 9113 section 3.3]).
    ///
    /// A request's URI without an authority gets the endpoint's address as one. Its body is read and sent while the
    /// future is polled and the response's body is there. To give up, drop those: the stream is reset. A connection that is known
    /// to be closed, or about to be, is not used; nothing is sent again.
    ///
    /// [RFC 9113 section 3.3]: https://www.rfc-editor.org/rfc/rfc9113#section-3.3
    pub async fn send_http2(
        &self,
        cluster: usize,
        request: Request<RequestBody>,
    ) -> Result<Response<Http2Body>, UpstreamError> {
        let lease = self.pick(cluster, &Criteria::default())?;
        http2::send(lease, &self.keeper.tasks, Box::new(request), &Cell::default(), None).await
    }

    /// Another endpoint for a request that was refused, if it may be sent again.
    fn resend(&self, cluster: usize, criteria: &Criteria<'_>) -> Option<(Lease, Retrying)> {
        let (usual, made) = (Retries::default(), &self.clusters.get(cluster)?.cluster);
        let retrying = Retrying::begin(made, usual.budget, usual.budget_minimum)?;
        Some((Lease::begin(self.pool(cluster, criteria).ok()?).ok()?, retrying))
    }

    fn pick(&self, cluster: usize, criteria: &Criteria<'_>) -> Result<Lease, UpstreamError> {
        let pool = self.pool(cluster, criteria)?;
        Lease::begin(pool.clone()).map_err(|limit| refuse(&pool, limit))
    }

    /// The pool of the endpoint that is picked.
    pub(super) fn pool(&self, cluster: usize, criteria: &Criteria<'_>) -> Result<Rc<Pool>, UpstreamError> {
        let member = self.clusters.get(cluster).ok_or(UpstreamError::NoEndpoint)?;
        let picked = member.balancer.pick(&member.cluster, criteria).ok_or(UpstreamError::NoEndpoint)?;
        let pool = &member.pools[picked.endpoint];
        if picked.panics {
            pool.cell().panic_picks.increment();
        }
        if picked.fell_back {
            pool.cell().subset_fallbacks.increment();
        }
        Ok(pool.clone())
    }

    /// Closes unused connections, keeps none from now on, and waits until the last one in use is closed.
    ///
    /// Exchanges may go on and even send, but one that has no connection yet is not waited for: a drain waits for those
    /// first.
    pub async fn drain(&self) {
        self.keeper.stop();
        self.keeper.for_each_shelf(Shelf::clear);
        self.keeper.tasks.ended().await;
    }
}

impl Keeper {
    fn start() -> Rc<Keeper> {
        let upkeep = Rc::new(Upkeep::new(SWEEP_PERIODS.1));
        let tasks = Rc::new(Tasks::default());
        Rc::new_cyclic(|this| Keeper {
            sweeper: tasks.spawn(keep_sweeping(this.clone(), upkeep.clone())),
            upkeep,
            tasks,
            shelves: RefCell::default(),
        })
    }

    /// From now on these are looked after too.
    fn keep(&self, members: &[Rc<Member>]) {
        let mut shelves = self.shelves.borrow_mut();
        shelves.retain(|shelf| shelf.strong_count() > 0);
        let known: HashSet<_> = shelves.iter().map(Weak::as_ptr).collect();
        let all = members.iter().flat_map(|member| &member.pools).map(|pool| pool.shelf());
        shelves.extend(all.filter(|shelf| !known.contains(&Rc::as_ptr(shelf))).map(Rc::downgrade));
    }

    /// No connection is kept from now on.
    fn stop(&self) {
        self.upkeep.draining.set(true);
        self.sweeper.abort();
    }

    fn sweep(&self) {
        let now = self.upkeep.begin_sweep();
        self.for_each_shelf(|shelf| shelf.sweep(now));
    }

    fn for_each_shelf(&self, work: impl Fn(&Shelf)) {
        self.shelves.borrow().iter().filter_map(Weak::upgrade).for_each(|shelf| work(&shelf));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Member {
    /// What `former` knows of the endpoints that stay is kept.
    fn new(
        cluster: &Arc<Cluster>,
        former: Option<&Member>,
        upkeep: &Rc<Upkeep>,
        cell: &Arc<ClusterCell>,
    ) -> Member {
        let kept: HashMap<_, _> = former
            .filter(|former| cluster.config().connects_as(former.cluster.config()))
            .map(|former| former.pools.iter().map(|pool| (pool.endpoint().identity(), pool)).collect())
            .unwrap_or_default();
        let slowest = match cluster.config().balancing.algorithm {
            LoadBalancer::PeakEwma(settings) => {
                let mut known = kept.values().filter_map(|pool| pool.latency());
                let known = known.find(|latency| latency.of_cluster().is_by(&settings));
                Some(known.map_or_else(|| Slowest::new(settings), |latency| latency.of_cluster().clone()))
            }
            _ => None,
        };
        let now = Instant::now();
        let latency = |known: Option<&Rc<Latency>>| {
            let slowest = slowest.as_ref()?;
            let known = known.filter(|latency| Rc::ptr_eq(latency.of_cluster(), slowest));
            Some(known.map_or_else(|| Latency::new(slowest, now), Rc::clone))
        };
        let pool = |(place, endpoint): (usize, &Endpoint)| match kept.get(&endpoint.identity()) {
            Some(pool) => Rc::new(pool.successor(cluster.clone(), place, latency(pool.latency()))),
            None => Rc::new(Pool::new(cluster.clone(), place, upkeep.clone(), cell.clone(), latency(None))),
        };
        let pools: Box<[_]> = cluster.endpoints().iter().enumerate().map(pool).collect();
        let latencies = pools.iter().filter_map(|pool| pool.latency().cloned()).collect();
        Member { cluster: cluster.clone(), balancer: Balancer::knowing(cluster, latencies), pools }
    }
}

impl Attempt {
    /// It is on a connection, on which the endpoint is asked `since` then.
    pub(super) fn on(self, local: Option<SocketAddr>, reused: bool, since: Option<Instant>) -> Attempt {
        Attempt { local, reused, since, ..self }
    }

    /// The endpoint's time begins now: before, it was asked for nothing.
    fn has_waited(self) -> Attempt {
        let silent_since = self.silent_since.map(|_| Instant::now());
        Attempt { waits: false, silent_since, ..self }
    }
}

fn respond(mut response: Response<Incoming>, mut lease: Lease) -> Box<Response<ResponseBody>> {
    let upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    lease.answered(response.status(), response.headers(), upgrade || response.body().is_end_stream());
    if upgrade {
        // The connection is the tunnel's from now on.
        response.extensions_mut().insert(lease.detach());
    }
    Box::new(response.map(|incoming| {
        let body = if upgrade { Http1Body::tunnel(incoming, lease) } else { Http1Body::new(incoming, lease) };
        ResponseBody::Http1(body)
    }))
}

/// Whether nobody can tell if the request was received twice, and all of it can be made again.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent && !matches!(request.body(), RequestBody::Stream(_))
}

/// Often enough for the shortest `idle_timeout`.
fn sweep_period<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> Duration {
    let (shortest, longest) = SWEEP_PERIODS;
    clusters
        .map(|cluster| cluster.config().idle_timeout / 4)
        .min()
        .unwrap_or(longest)
        .clamp(shortest, longest)
}

/// Sweeps the pools for as long as there is an unused connection in one, and waits for the next.
async fn keep_sweeping(keeper: Weak<Keeper>, upkeep: Rc<Upkeep>) {
    loop {
        upkeep.wanted.notified().await;
        loop {
            sleep(upkeep.period.get()).await;
            let Some(keeper) = keeper.upgrade() else { return };
            keeper.sweep();
            if !upkeep.end_sweep() {
                break;
            }
        }
    }
}
