//! A configuration's way into service, the first one's and that of each after it.
//!
//! It is read, checked and compiled, its filters proved, its sockets bound, and every worker starts the guests that are
//! new: all of it beside what is served, which is not touched. Then all workers change to it. What cannot be done leaves
//! everything as it was, and says why.
//!
//! What asks for it is a signal, the admin listener, a file that is another now (see [`Watch`]), or a module that was
//! missing and has come (see `missing`).

mod missing;
mod preparing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::sync::{Notify, mpsc, oneshot};

use super::addresses::Addresses;
use super::crew::Orders;
use super::guards::Guards;
use super::notices::Notices;
use super::process::Timekeeper;
use super::relief::Relief;
use super::standing::Standing;
use super::status::{Attempt, Cause, Status};
use super::watch::Watch;
use super::worker::{Plan, Shared};
use super::{News, Tell};
use crate::admin::{Readiness, Reloaded};
use crate::config::{self, Loaded, Problems};
use crate::files::Footprint;
use crate::origin::Origins;
use crate::snapshot::{Missing, Snapshot};
use crate::wasm::Engine;
use missing::Patience;

/// Wishes that wait. Those of the admin listener are fewer, and one signal stands for all.
const MAX_WISHES: usize = 128;

/// Somebody wants the configuration read again.
pub(super) struct Wish {
    pub(super) cause: Cause,
    /// Who waits for how it went.
    pub(super) answer: Option<oneshot::Sender<Reloaded>>,
}

/// The way to have the configuration read again. Cheap to clone.
#[derive(Clone)]
pub(super) struct Wishes {
    send: mpsc::Sender<Wish>,
    /// Notified with each.
    news: Arc<Notify>,
}

impl Wishes {
    /// `news`: [`Reloader::news`].
    pub(super) fn new(news: Arc<Notify>) -> (Wishes, mpsc::Receiver<Wish>) {
        let (send, receive) = mpsc::channel(MAX_WISHES);
        (Wishes { send, news }, receive)
    }

    /// Asks for it. Wishes that come while it is read are one.
    pub(super) fn ask(&self, cause: Cause) {
        let _ = self.send.try_send(Wish { cause, answer: None }); // where so many wait, it is read anyway
        self.news.notify_one();
    }

    /// Asks for it, and waits until what is there now was read and is served, or was refused.
    pub(super) async fn ask_and_wait(&self, cause: Cause) -> Reloaded {
        let (answer, answered) = oneshot::channel();
        if self.send.send(Wish { cause, answer: Some(answer) }).await.is_err() {
            return Reloaded::Ending;
        }
        self.news.notify_one();
        answered.await.unwrap_or(Reloaded::Ending)
    }
}

/// Takes configurations into service, one after the other.
pub(super) struct Reloader {
    path: PathBuf,
    engine: Engine,
    origins: Origins,
    /// What is served, as it was read.
    loaded: Loaded,
    readiness: Arc<Readiness>,
    time: Arc<Timekeeper>,
    shared: Arc<Shared>,
    orders: Orders,
    status: Status,
    addresses: Addresses,
    notices: Notices,
    guards: Guards,
    relief: Relief,
    watch: Watch,
    tell: Option<Tell>,
    /// Notified when somebody wishes it to be read.
    news: Arc<Notify>,
    /// What was read last.
    footprint: Arc<Footprint>,
}

/// A file that was read, and what it became.
pub(super) struct Read {
    pub(super) loaded: Loaded,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Read {
    /// Fetches, compiles and proves what was loaded. It may take as long as a network does.
    ///
    /// # Errors
    ///
    /// Every filter that cannot be used, at its place in the file.
    pub(super) fn prepare(
        loaded: Loaded,
        engine: &Engine,
        origins: &Origins,
        former: Option<&Snapshot>,
        footprint: &mut Footprint,
    ) -> Result<Read, Problems> {
        let snapshot = Snapshot::prepare(&loaded, engine, origins, former, Missing::Tolerated, footprint)?;
        Ok(Read { loaded, snapshot: Arc::new(snapshot) })
    }
}

/// What came of reading the configuration again.
enum Change {
    /// It is served.
    Served,
    /// It was given up, since there is another by now.
    Outdated,
}

/// What all configurations have in common.
pub(super) struct Surroundings {
    pub(super) engine: Engine,
    pub(super) origins: Origins,
    pub(super) standing: Arc<Standing>,
    pub(super) time: Arc<Timekeeper>,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Orders,
    pub(super) watch: Watch,
    /// Who is told what becomes of configurations.
    pub(super) tell: Option<Tell>,
}

impl Reloader {
    /// Takes the first configuration into service, and watches its files.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, a filter that does not start on a worker.
    pub(super) async fn start(
        read: Read,
        footprint: Footprint,
        surroundings: Surroundings,
    ) -> anyhow::Result<Reloader> {
        let Surroundings { engine, origins, standing, time, shared, orders, watch, tell } = surroundings;
        let mut reloader = Reloader {
            path: read.loaded.path().to_owned(),
            engine,
            origins,
            loaded: read.loaded.clone(),
            readiness: Arc::default(),
            time,
            shared,
            orders,
            status: Status::new(read.snapshot.clone(), standing.clone(), watch.is_on()),
            addresses: Addresses::default(),
            notices: Notices::new(standing),
            guards: Guards::default(),
            relief: Relief::default(),
            watch,
            tell,
            news: Arc::default(),
            footprint: Arc::new(footprint),
        };
        reloader.take(&read).await?;
        reloader.stop_idle_clock();
        reloader.follow_anew().await;
        Ok(reloader)
    }

    /// What is served.
    pub(super) fn status(&self) -> Status {
        self.status.clone()
    }

    /// To be notified with each wish.
    pub(super) fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// Whether what is served can serve.
    pub(super) fn readiness(&self) -> Arc<Readiness> {
        self.readiness.clone()
    }

    /// Reads the configuration again each time that it is wished, and when a file of it has changed. Modules that are
    /// missing are looked for in between, each time after a longer wait.
    pub(super) async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut patience = Patience::new();
        self.announce_readiness();
        loop {
            tokio::select! {
                biased;
                wish = wishes.recv() => match wish {
                    Some(wish) => {
                        self.fulfil(wish, &mut wishes).await;
                        patience = Patience::new();
                    }
                    None => return,
                },
                () = self.watch.stirred() => {
                    if self.look().await {
                        patience = Patience::new();
                    }
                }
                () = patience.over(), if self.is_incomplete() => {
                    self.look_for_missing().await;
                    patience.wait_longer();
                }
            }
            self.announce_readiness();
        }
    }

    /// Reads it once for all who wish it now. Whoever comes later may mean what was written meanwhile.
    async fn fulfil(&mut self, wish: Wish, wishes: &mut mpsc::Receiver<Wish>) {
        let cause = wish.cause;
        let all: Vec<Wish> =
            std::iter::once(wish).chain(std::iter::from_fn(|| wishes.try_recv().ok())).collect();
        let outcome = loop {
            let (began, waited) = (Instant::now(), self.origins.waited());
            match self.reload(cause).await {
                Some(outcome) => break outcome,
                None => self.spend(began, waited),
            }
        };
        for answer in all.into_iter().filter_map(|wish| wish.answer) {
            let _ = answer.send(outcome.clone()); // who has left does not hear it
        }
        self.follow_anew().await;
    }

    /// Reads it if a file that was read is another now. Whether one is.
    async fn look(&mut self) -> bool {
        let (began, waited) = (Instant::now(), self.origins.waited());
        let is_as_it_was = self.follow().await;
        if is_as_it_was {
            tracing::debug!("files were touched, and nothing in them has changed");
        } else {
            self.reload(Cause::File).await;
            self.follow_anew().await;
        }
        self.spend(began, waited);
        !is_as_it_was
    }

    /// Charges the work since `began` to who changes files. Who waits for a server does not work: `waited` is for how
    /// long that had been done by then.
    fn spend(&self, began: Instant, waited: Duration) {
        self.watch.spend(began.elapsed().saturating_sub(self.origins.waited().saturating_sub(waited)));
    }

    /// Watches what was read last. Whether it is as it was.
    async fn follow(&self) -> bool {
        if !self.watch.is_on() {
            return true;
        }
        let (watch, footprint) = (self.watch.clone(), self.footprint.clone());
        tokio::task::spawn_blocking(move || watch.follow(&footprint)).await.unwrap_or(true)
    }

    /// The same after reading: what changed before its folder was watched was noticed by nobody.
    async fn follow_anew(&self) {
        if !self.follow().await {
            self.watch.look_again();
        }
    }

    /// Reads it. Nothing comes of it where its files changed again while a server was waited for: what they say now is to
    /// be read instead.
    async fn reload(&mut self, cause: Cause) -> Option<Reloaded> {
        let (at, began) = (SystemTime::now(), Instant::now());
        tracing::info!(path = %self.path.display(), cause = cause.word(), "reading the configuration again");
        let outcome = self.read_and_change().await;
        let took = began.elapsed();
        let milliseconds = took.as_millis() as u64;
        if matches!(outcome, Ok(Change::Outdated)) {
            tracing::info!(
                milliseconds,
                "the files have changed again while a module was fetched: it is given up, and they are read again"
            );
            return None;
        }
        let outcome = outcome.map(drop);
        let refusal = self.note(cause, at, took, &outcome);
        Some(match (outcome, refusal) {
            (Err(error), Some(text)) => {
                tracing::error!(
                    milliseconds,
                    "the configuration is not taken over, what was served is served on: {text}"
                );
                let is_the_files = error.is::<Problems>();
                self.tell(|| News::Refused(error));
                if is_the_files { Reloaded::Refused(text) } else { Reloaded::Failed(text) }
            }
            _ => {
                let generation = self.status.generation();
                tracing::info!(generation, milliseconds, "the configuration is served");
                Reloaded::Served(self.status.page())
            }
        })
    }

    /// Notes how an attempt went: why it changed nothing, if so.
    fn note(
        &self,
        cause: Cause,
        at: SystemTime,
        took: Duration,
        outcome: &anyhow::Result<()>,
    ) -> Option<String> {
        self.stop_idle_clock();
        self.shared.metrics.note_reload(outcome.is_ok());
        let refusal = outcome.as_ref().err().map(describe);
        self.status.note_attempt(Attempt { cause, at, took, refusal: refusal.clone() });
        refusal
    }

    async fn read_and_change(&mut self) -> anyhow::Result<Change> {
        self.time.run(true).context("no thread can be had for the clock of filters' limits")?;
        let path = self.path.clone();
        let loading = tokio::task::spawn_blocking(move || {
            let mut footprint = Footprint::default();
            (config::load_noting(&path, &mut footprint), footprint)
        });
        let (loaded, footprint) = loading.await.context("the configuration could not be read")?;
        self.footprint = Arc::new(footprint);
        let Some(read) = self.prepare(loaded?).await? else { return Ok(Change::Outdated) };
        self.warn_of_what_is_new(&read.loaded);
        self.take(&read).await?;
        Ok(Change::Served)
    }

    /// Binds what is not bound yet, has the workers prepare, and has them change over.
    async fn take(&mut self, Read { loaded, snapshot }: &Read) -> anyhow::Result<()> {
        let workers = self.shared.workers();
        let (addresses, mut sockets) = self.addresses.successor(loaded, workers)?;
        let announced = addresses.announced(&sockets)?;
        let plans = (0..workers)
            .map(|_| Plan { snapshot: snapshot.clone(), ways_in: addresses.ways_in(&mut sockets) })
            .collect();
        self.orders.prepare(plans).await?;
        if let Err(problems) = addresses.permit(loaded) {
            self.orders.forget();
            return Err(problems.into());
        }
        self.orders.adopt().await;
        self.addresses = addresses;
        self.loaded = loaded.clone();
        self.shared.metrics.note_missing(snapshot.missing().map(|filter| filter.name.clone()).collect());
        self.status.note_served(snapshot.clone());
        self.shared.canaries.note_served(snapshot);
        self.shared.recordings.note_served(snapshot);
        self.guards.note_served(snapshot, &self.shared.metrics);
        let memory = snapshot.config().overload.memory.as_ref();
        self.relief.follow(memory, &self.shared.overload, &self.orders);
        self.shared.metrics.note_config();
        for (listener, address) in &announced {
            tracing::info!(listener, %address, "listening");
        }
        self.notices.tell(snapshot);
        self.tell(|| News::Served(announced));
        Ok(())
    }

    fn tell(&self, news: impl FnOnce() -> News) {
        if let Some(tell) = &self.tell {
            tell(news());
        }
    }

    /// Stops the clock of guests' limits where there is nothing to time.
    fn stop_idle_clock(&self) {
        if self.status.snapshot().config().filters.is_empty() {
            let _ = self.time.run(false); // stopping does not fail
        }
    }
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.render(false),
        None => format!("{error:#}"),
    }
}
