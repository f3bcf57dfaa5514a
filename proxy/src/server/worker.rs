//! One worker: its own sockets, connections and guests. Nothing on it is shared with another.
//!
//! It prepares a configuration beside the one that it serves: the guests that are new start, those that are not are taken
//! over. Then it changes to it. An exchange ends under the configuration that it began with; the guests that only that had
//! end after the last of them.

mod guests;

use std::io::Write;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::guests::{Guest, Guests, Role, Roster, end_all};
use super::Lines;
use super::canaries::Canaries;
use super::recordings::Recordings;
use crate::exchange::{Callouts, Life, Site};
use crate::listener::{Door, Drain, Listening, Open};
use crate::overload::{Admission, Overload, keep_pace};
use crate::snapshot::Snapshot;
use crate::tasks::Tasks;
use crate::telemetry::Reporter;
use crate::telemetry::access_log::{AccessLog, Lane};
use crate::telemetry::metrics::Registry;
use crate::upstream::Upstreams;
use crate::wasm::{GuestMetrics, SharedData};

/// Between two replacements of guests that have served long enough, at least: each holds up its worker for as long as the
/// new guests take to start.
const RECYCLING_INTERVAL: Duration = Duration::from_millis(100);

/// What all workers share, whatever the configuration.
pub(super) struct Shared {
    pub(super) metrics: Arc<Registry>,
    pub(super) guest_metrics: Arc<GuestMetrics>,
    pub(super) shared_data: Arc<SharedData>,
    pub(super) canaries: Arc<Canaries>,
    pub(super) overload: Arc<Overload>,
    pub(super) recordings: Recordings,
    /// What shadows have in the place of the two: nothing of theirs reaches others.
    shadow_data: Arc<SharedData>,
    shadow_metrics: Arc<GuestMetrics>,
    access_log: Mutex<AccessLog>,
    workers: usize,
}

/// Whoever reads the access log, as something to write to.
struct Reader(Lines);

impl Write for Reader {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        (self.0)(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// `lines` is given the access log in the place of standard output.
    pub(super) fn new(
        workers: usize,
        recordings: Recordings,
        lines: Option<Lines>,
    ) -> std::io::Result<Arc<Shared>> {
        let metrics = Registry::new();
        let sink: Box<dyn Write + Send> = match lines {
            Some(lines) => Box::new(Reader(lines)),
            None => Box::new(std::io::stdout()),
        };
        metrics.note_workers(workers);
        Ok(Arc::new(Shared {
            access_log: Mutex::new(AccessLog::start(sink, &metrics)?),
            metrics,
            guest_metrics: Arc::new(GuestMetrics::new(workers)),
            shared_data: Arc::default(),
            canaries: Arc::default(),
            overload: Arc::default(),
            recordings,
            shadow_data: Arc::default(),
            shadow_metrics: Arc::new(GuestMetrics::new(workers)),
            workers,
        }))
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
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

/// A configuration as one worker is to serve it.
pub(super) struct Plan {
    pub(super) snapshot: Arc<Snapshot>,
    /// For each of its listeners.
    pub(super) ways_in: Vec<WayIn>,
}

/// Where a listener's connections come from.
pub(super) struct WayIn {
    /// All workers' of one address, and no other's: the address is known by it.
    pub(super) open: Arc<Open>,
    /// The worker's own socket, unless it has it from the configuration before.
    pub(super) socket: Option<Listening>,
}

/// A worker and what it serves.
pub(super) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    lane: Option<Lane>,
    admission: Rc<Admission>,
    /// How late the worker may be, and who looks whether it is.
    pace: Option<(Duration, AbortHandle)>,
    tasks: Rc<Tasks>,
    /// The doors that were closed, until their last connection has ended.
    closing: Rc<Tasks>,
    /// Those doors.
    closed: Vec<Weak<Door>>,
    /// The configurations that were left, until their last guest has ended.
    retiring: Rc<Tasks>,
    serving: Option<Generation>,
    /// Notified when a guest is to be replaced.
    worn: Rc<Notify>,
    last_recycling: Option<Instant>,
}

/// A configuration on this worker.
struct Generation {
    snapshot: Arc<Snapshot>,
    doors: Vec<Rc<Door>>,
    guests: Roster,
    upstreams: Rc<Upstreams>,
    callouts: Rc<Callouts>,
    ended: Pin<Box<dyn Future<Output = ()>>>,
}

/// A configuration that could be served.
pub(super) struct Prepared {
    generation: Generation,
    /// For each of its doors: what it is to lead to, and the socket of one that is new.
    sites: Vec<(Rc<Site>, Option<Listening>)>,
    /// Doors that let in nobody, and what they are to lead to for as long as somebody is there who came in by them.
    closed: Vec<(Rc<Door>, Rc<Site>)>,
}

impl Worker {
    pub(super) fn new(index: usize, shared: Arc<Shared>) -> Worker {
        Worker {
            index,
            admission: Admission::new(shared.overload.clone()),
            pace: None,
            shared,
            lane: None,
            tasks: Rc::default(),
            closing: Rc::default(),
            closed: Vec::new(),
            retiring: Rc::default(),
            serving: None,
            worn: Rc::default(),
            last_recycling: None,
        }
    }

    /// Starts what a configuration needs and is not there yet. What is served is left as it is.
    pub(super) fn prepare(&mut self, plan: Plan) -> anyhow::Result<Prepared> {
        let Plan { snapshot, ways_in } = plan;
        let (index, shared) = (self.index, self.shared.clone());
        let cell = |name: &str| shared.metrics.cluster(index, name);
        let upstreams = match &self.serving {
            Some(serving) => serving.upstreams.successor(snapshot.clusters(), cell),
            None => Upstreams::new(snapshot.clusters(), cell),
        };
        let callouts = Callouts::new(upstreams.clone(), self.tasks.clone(), self.worn.clone());
        let former = self.serving.as_ref().map(|serving| &serving.guests);
        let mut guests = Guests::new(index, &shared, &snapshot, &callouts, former);
        let (life, ended) = Life::begin();
        let mut doors = Vec::with_capacity(ways_in.len());
        let mut sites = Vec::with_capacity(ways_in.len());
        let mut closed = Vec::new();
        for (at, WayIn { open, socket }) in ways_in.into_iter().enumerate() {
            let config = &snapshot.config().listeners[at];
            let chains = guests.chains(config)?;
            // Who came in by one that asked for less is not let stay.
            let keeps = |door: &&Rc<Door>| config.keeps_connections_of(door.site().listener());
            let door = self.door(&open).filter(keeps).cloned();
            let drain = door.as_ref().map_or_else(Rc::default, |door| door.drain().clone());
            let lane = config.access_log.then(|| self.lane.get_or_insert_with(|| shared.lane()).clone());
            let reporter = Reporter::new(&shared.metrics, index, &config.name, lane);
            let site = |drain: &Drain| {
                Site::new(
                    snapshot.clone(),
                    at,
                    chains.usual.clone(),
                    chains.own.clone(),
                    upstreams.clone(),
                    self.tasks.clone(),
                    drain.stage(),
                    &shared.metrics,
                    index,
                    reporter.clone(),
                    self.admission.clone(),
                    life.clone(),
                )
            };
            // What goes on there until it ends is not let past what holds now.
            let left =
                self.left(&open, door.as_ref()).filter(|left| config.speaks_as(left.site().listener()));
            closed.extend(left.map(|left| (left.clone(), site(left.drain()))));
            let site = site(&drain);
            doors.push(door.unwrap_or_else(|| Door::new(site.clone(), open, drain)));
            sites.push((site, socket));
        }
        let guests = guests.running;
        let ended = Box::pin(ended);
        let generation = Generation { snapshot, doors, guests, upstreams, callouts, ended };
        Ok(Prepared { generation, sites, closed })
    }

    fn door(&self, open: &Arc<Open>) -> Option<&Rc<Door>> {
        self.doors().find(|door| Arc::ptr_eq(door.open(), open))
    }

    /// The doors of an address by which nobody comes in who comes in by the one that is `kept`, if one is.
    fn left<'a>(&'a self, open: &'a Arc<Open>, kept: Option<&'a Rc<Door>>) -> impl Iterator<Item = Rc<Door>> {
        let closed = self.closed.iter().filter_map(Weak::upgrade);
        let former = closed.chain(self.door(open).cloned());
        former.filter(move |door| {
            Arc::ptr_eq(door.open(), open) && !kept.is_some_and(|kept| Rc::ptr_eq(kept, door))
        })
    }

    fn doors(&self) -> impl Iterator<Item = &Rc<Door>> {
        self.serving.iter().flat_map(|serving| &serving.doors)
    }

    /// Ends when a guest is to be replaced, and the last one was not just now.
    pub(super) async fn worn(&self) {
        while !self.guests().any(|guest| guest.instance.is_worn()) {
            self.worn.notified().await;
        }
        if let Some(last) = self.last_recycling {
            tokio::time::sleep_until(last + RECYCLING_INTERVAL).await;
        }
    }

    /// Puts new guests in the place of those that have served long enough. The old ones keep the exchanges that they
    /// have, and end with the last of them, as those of a former configuration do.
    pub(super) fn recycle(&mut self) {
        self.last_recycling = Some(Instant::now());
        let Some(plan) = self.plan() else { return };
        let worn: Vec<Guest> = self.guests().filter(|guest| guest.instance.is_worn()).cloned().collect();
        match self.prepare(plan) {
            Ok(prepared) => {
                // What routes configure is in the guest of its filter.
                let guests = worn.iter().filter(|guest| guest.role != Role::Variant);
                guests.for_each(|guest| guest.usage.record_recycle());
                drop(worn); // a guest that nobody else has is the one that ends
                self.adopt(prepared);
            }
            Err(error) => {
                tracing::warn!("a filter's instance could not be replaced, and serves on: {error:#}");
                worn.iter().for_each(|guest| guest.instance.renew());
            }
        }
    }

    /// What is served, once more.
    fn plan(&self) -> Option<Plan> {
        let serving = self.serving.as_ref()?;
        let ways_in = serving.doors.iter().map(|door| WayIn { open: door.open().clone(), socket: None });
        Some(Plan { snapshot: serving.snapshot.clone(), ways_in: ways_in.collect() })
    }

    /// Serves the same, with what is recorded now.
    pub(super) fn renew(&mut self) {
        let Some(plan) = self.plan() else { return };
        match self.prepare(plan) {
            Ok(prepared) => self.adopt(prepared),
            Err(error) => tracing::warn!("what is recorded cannot be changed: {error:#}"),
        }
    }

    fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.serving.iter().flat_map(|serving| serving.guests.values())
    }

    /// Serves what was prepared, from the next request on.
    pub(super) fn adopt(&mut self, prepared: Prepared) {
        let Prepared { generation, sites, closed } = prepared;
        generation.upstreams.take_over();
        for guest in generation.guests.values() {
            let performer = guest.role.performer(&generation.callouts);
            guest.instance.move_to(generation.snapshot.endpoints(), performer);
        }
        self.keep_pace(generation.snapshot.config().overload.lag);
        closed.into_iter().for_each(|(door, site)| door.lead_to(site));
        for (door, (site, socket)) in generation.doors.iter().zip(sites) {
            door.lead_to(site);
            match (socket, self.door(door.open())) {
                (Some(socket), _) => door.let_in(socket),
                (None, Some(former)) if !Rc::ptr_eq(former, door) => door.let_in_instead_of(former),
                (None, _) => {}
            }
        }
        if let Some(former) = self.serving.replace(generation) {
            self.retire(former);
        }
    }

    /// Looks whether the worker is late by `limit`, or not at all any more.
    fn keep_pace(&mut self, limit: Option<Duration>) {
        if self.pace.as_ref().map(|(limit, _)| *limit) == limit {
            return;
        }
        if let Some((_, former)) = self.pace.take() {
            former.abort();
        }
        self.pace = limit.map(|limit| {
            (limit, tokio::task::spawn_local(keep_pace(self.admission.clone(), limit)).abort_handle())
        });
    }

    /// Has connections look how far it has come with the memory.
    pub(super) fn relieve(&self) {
        self.doors().for_each(|door| door.drain().stir());
    }

    /// Closes the doors that only a former configuration had, and ends its guests when its last exchange has ended.
    fn retire(&mut self, former: Generation) {
        let Generation { snapshot, doors, guests, callouts, ended, .. } = former;
        let limit = snapshot.config().drain_timeout;
        self.closed.retain(|door| door.strong_count() > 0);
        let stays = |door: &Rc<Door>| self.doors().any(|other| Rc::ptr_eq(other, door));
        let left: Vec<_> = doors.into_iter().filter(|door| !stays(door)).collect();
        for door in left {
            self.closed.push(Rc::downgrade(&door));
            self.closing.spawn(async move { door.close(limit).await });
        }
        self.retiring.spawn(async move {
            ended.await;
            // What another configuration has too goes on.
            let last = guests.into_values().filter(|guest| Rc::strong_count(&guest.instance) == 1);
            let last: Vec<Guest> = last.collect();
            end_all(&last).await;
            callouts.ended().await;
        });
    }

    /// Ends what is under way, for as long as the configuration allows, then the guests, then the connections.
    pub(super) async fn end(mut self) {
        let Some(Generation { snapshot, doors, guests, upstreams, callouts, .. }) = self.serving.take()
        else {
            return;
        };
        doors.iter().for_each(|door| door.drain().begin());
        let limit = snapshot.config().drain_timeout;
        let guests: Vec<Guest> = guests.into_values().collect();
        let drained = async {
            for door in &doors {
                door.ended().await;
            }
            self.closing.ended().await;
            self.tasks.ended().await;
            end_all(&guests).await;
            // What a configuration that was left still has may be a stream of a guest that was taken over from it.
            self.retiring.ended().await;
            callouts.ended().await;
            upstreams.drain().await;
        };
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!(
                limit_ms = limit.as_millis() as u64,
                "the drain's time is over: cutting what is left"
            );
            doors.iter().for_each(|door| door.drain().give_up());
            guests.iter().for_each(|guest| guest.instance.stop());
        }
    }
}
