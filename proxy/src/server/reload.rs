//! A configuration's way into service, the first one's and that of each after it.
//!
//! It is read, checked and compiled, its filters proved, its sockets bound, and every worker starts the guests that are
//! new: all of it beside what is served, which is not touched. Then all workers change to it. What cannot be done leaves
//! everything as it was, and says why.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Notify;

use super::process::Timekeeper;
use super::worker::{Orders, Plan, Shared, WayIn};
use crate::admin::{Readiness, Stage};
use crate::config::model::{Config, Listener, OnFault};
use crate::config::{self, Finding, Loaded, Part, Problems};
use crate::listener::{self, Open};
use crate::origin::Origins;
use crate::snapshot::{Missing, Snapshot};
use crate::wasm::Engine;

/// The first wait between two looks for modules that are missing, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The configuration that is served. Cheap to clone.
#[derive(Clone)]
pub(super) struct Current(Arc<Mutex<Arc<Snapshot>>>);

impl Current {
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, snapshot: Arc<Snapshot>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
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
    current: Current,
    /// For each listener that is served.
    addresses: Vec<Bound>,
}

/// A file that was read, and what it became.
struct Read {
    loaded: Loaded,
    snapshot: Arc<Snapshot>,
}

/// An address that the process listens on.
#[derive(Clone)]
struct Bound {
    /// The configuration's.
    address: SocketAddr,
    /// The listener that had it first: port 0 is another port for each.
    first: String,
    open: Arc<Open>,
}

impl Bound {
    fn is_of(&self, listener: &Listener) -> bool {
        self.address == listener.address && (self.address.port() != 0 || self.first == listener.name)
    }
}

impl Reloader {
    /// Takes the first configuration into service.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, a filter that does not start on a worker.
    pub(super) async fn start(
        loaded: &Loaded,
        snapshot: Arc<Snapshot>,
        (engine, origins): (Engine, Origins),
        time: &Arc<Timekeeper>,
        shared: &Arc<Shared>,
        orders: Orders,
    ) -> anyhow::Result<Reloader> {
        let mut reloader = Reloader {
            path: loaded.path().to_owned(),
            engine,
            origins,
            loaded: loaded.clone(),
            readiness: Arc::default(),
            time: time.clone(),
            shared: shared.clone(),
            orders,
            current: Current(Arc::new(Mutex::new(snapshot.clone()))),
            addresses: Vec::new(),
        };
        reloader.take(loaded, snapshot).await?;
        reloader.rest();
        Ok(reloader)
    }

    /// What is served.
    pub(super) fn current(&self) -> Current {
        self.current.clone()
    }

    /// Whether what is served can serve.
    pub(super) fn readiness(&self) -> Arc<Readiness> {
        self.readiness.clone()
    }

    /// Reads the configuration again each time that it is `wanted`; wishes that come meanwhile are one. Modules that are
    /// missing are looked for in between, each time after a longer wait.
    pub(super) async fn run(mut self, wanted: Arc<Notify>) {
        let mut waits = 0;
        self.announce_readiness();
        loop {
            tokio::select! {
                () = wanted.notified() => {
                    waits = 0;
                    tracing::info!(path = %self.path.display(), "reading the configuration again");
                    let outcome = self.reload().await;
                    self.tell(outcome);
                }
                () = tokio::time::sleep(wait_after(waits)), if self.is_incomplete() => {
                    waits += 1;
                    match self.complete().await {
                        Ok(false) => {}
                        outcome => self.tell(outcome.map(|_| ())),
                    }
                }
            }
            self.announce_readiness();
        }
    }

    fn tell(&self, outcome: anyhow::Result<()>) {
        self.rest();
        self.shared.metrics.note_reload(outcome.is_ok());
        match outcome {
            Ok(()) => tracing::info!("the configuration is served"),
            Err(error) => tracing::error!(
                "the configuration is not taken over, what was served is served on: {}",
                describe(&error)
            ),
        }
    }

    fn is_incomplete(&self) -> bool {
        self.current.snapshot().missing().next().is_some()
    }

    /// Traffic is welcome as soon as nothing is missing without which it would be refused.
    fn announce_readiness(&self) {
        let snapshot = self.current.snapshot();
        let mut refusing = snapshot.missing().filter(|filter| filter.on_fault == OnFault::Closed);
        if refusing.next().is_none() && self.readiness.stage() == Stage::Starting {
            self.readiness.enter(Stage::Ready);
            tracing::info!("ready");
        }
    }

    /// Looks for the modules that are missing. Whether one was found, and is served.
    async fn complete(&mut self) -> anyhow::Result<bool> {
        let (loaded, engine, origins) = (self.loaded.clone(), self.engine.clone(), self.origins.clone());
        let former = self.current.snapshot();
        let completed = tokio::task::spawn_blocking(move || former.complete(&loaded, &engine, &origins));
        let Some(snapshot) = completed.await.context("the modules could not be looked for")?? else {
            return Ok(false);
        };
        let loaded = self.loaded.clone();
        self.take(&loaded, Arc::new(snapshot)).await?;
        Ok(true)
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        self.time.run(true).context("no thread can be had for the clock of filters' limits")?;
        let (path, engine, former) = (self.path.clone(), self.engine.clone(), self.current.snapshot());
        let origins = self.origins.clone();
        // It may take seconds.
        let read = tokio::task::spawn_blocking(move || {
            let loaded = config::load(&path)?;
            let snapshot = Snapshot::prepare(&loaded, &engine, &origins, Some(&former), Missing::Tolerated)?;
            let snapshot = Arc::new(snapshot);
            Ok(Read { loaded, snapshot })
        });
        let read: Result<Read, Problems> = read.await.context("the configuration could not be read")?;
        self.change(read?).await
    }

    async fn change(&mut self, Read { loaded, snapshot }: Read) -> anyhow::Result<()> {
        if !loaded.warnings.is_empty() {
            tracing::warn!("{}", loaded.warnings.render(false));
        }
        let former = self.current.snapshot();
        self.take(&loaded, snapshot.clone()).await?;
        warn_of_what_stays(former.config(), snapshot.config());
        Ok(())
    }

    /// Binds what is not bound yet, has the workers prepare, and has them change over.
    async fn take(&mut self, loaded: &Loaded, snapshot: Arc<Snapshot>) -> anyhow::Result<()> {
        let workers = self.shared.workers();
        let (addresses, mut sockets) = self.bind(loaded, workers)?;
        let announced = announced(&addresses, &sockets)?;
        let plans = (0..workers).map(|_| {
            let ways_in = addresses
                .iter()
                .zip(&mut sockets)
                .map(|(bound, sockets)| WayIn { open: bound.open.clone(), socket: sockets.pop() });
            Plan { snapshot: snapshot.clone(), ways_in: ways_in.collect() }
        });
        let plans = plans.collect();
        self.orders.prepare(plans).await?;
        self.orders.adopt().await;
        self.addresses = addresses;
        self.loaded = loaded.clone();
        self.shared.metrics.note_missing(snapshot.missing().map(|filter| filter.name.clone()).collect());
        self.current.replace(snapshot);
        self.shared.metrics.note_config();
        for (listener, address) in announced {
            tracing::info!(listener, %address, "listening");
        }
        Ok(())
    }

    /// For each listener where it listens, and if that is new a socket for each worker.
    fn bind(&self, loaded: &Loaded, workers: usize) -> Result<(Vec<Bound>, Vec<Vec<TcpListener>>), Problems> {
        let mut findings = Vec::new();
        let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
        for (index, listener) in loaded.config.listeners.iter().enumerate() {
            if let Some(bound) = self.addresses.iter().find(|bound| bound.is_of(listener)) {
                addresses.push(bound.clone());
                sockets.push(Vec::new());
                continue;
            }
            match listener::bind(listener.address, workers) {
                Ok(bound) => sockets.push(bound),
                Err(error) => findings.push(unbound(Part::ListenerAddress(index), listener.address, &error)),
            }
            let (address, first) = (listener.address, listener.name.clone());
            addresses.push(Bound { address, first, open: Arc::default() });
        }
        if findings.is_empty() { Ok((addresses, sockets)) } else { Err(loaded.blame(findings)) }
    }

    /// Stops the clock where there is nothing to time.
    fn rest(&self) {
        if self.current.snapshot().config().filters.is_empty() {
            let _ = self.time.run(false); // stopping does not fail
        }
    }
}

/// Where each new listener really listens.
fn announced(addresses: &[Bound], sockets: &[Vec<TcpListener>]) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let new = addresses.iter().zip(sockets).filter_map(|(bound, sockets)| Some((bound, sockets.first()?)));
    new.map(|(bound, socket)| {
        Ok((bound.first.clone(), socket.local_addr().context("a socket has no address")?))
    })
    .collect()
}

/// Some things are made once, when the process starts.
fn warn_of_what_stays(former: &Config, new: &Config) {
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    for (field, differs) in
        [("workers", former.workers != new.workers), ("admin", address(former) != address(new))]
    {
        if differs {
            tracing::warn!(field, "a change of this takes a restart: it stays as it was");
        }
    }
}

/// Between two looks for modules that are missing: a second at first, a minute at most, and by up to a half shorter by
/// chance.
fn wait_after(waits: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(waits)).min(LONGEST_WAIT);
    whole.mul_f64(1.0 - fastrand::f64() / 2.0)
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.render(false),
        None => format!("{error:#}"),
    }
}

pub(super) fn unbound(part: Part, address: SocketAddr, error: &io::Error) -> Finding {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => Some(format!("`ss -ltnp` shows who has port {}", address.port())),
        io::ErrorKind::PermissionDenied => Some("ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()),
        io::ErrorKind::AddrNotAvailable => {
            Some("`ip address` shows which addresses this machine has".to_owned())
        }
        _ => None,
    };
    Finding { part, message: format!("cannot listen on {address}: {error}"), hint }
}
