//! The process: a control thread, worker threads, and how they start and end together.
//!
//! Everything that can fail fails before the first connection is accepted: the configuration is checked, filters are
//! compiled and proved, sockets are bound, and every worker has its guests running. Then the listeners open.
//!
//! The control thread serves the admin listener and waits for signals; workers share with it only what is immutable
//! or atomic. SIGTERM and SIGINT begin a drain; a second one ends the process at once.

mod observe;
mod process;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, AdminState, Readiness, Stage};
use crate::config::model::Config;
use crate::config::{self, Finding, Loaded, Part};
use crate::listener;
use crate::snapshot::Snapshot;
use crate::wasm::Engine;
use process::EpochClock;
use worker::{Crew, Order, Shared};

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Worker threads, instead of the configuration's.
    pub workers: Option<usize>,
}

/// A configuration whose filters are compiled and have started once.
#[derive(Debug)]
pub struct Prepared {
    snapshot: Arc<Snapshot>,
    engine: Engine,
}

/// Does everything that starting does short of binding a socket: what `check` finds right, `run` starts with.
///
/// # Errors
///
/// [`Problems`](config::Problems): every filter that cannot be used, each at its place in the file.
pub fn prepare(loaded: &Loaded) -> anyhow::Result<Prepared> {
    let engine = Engine::new(process::cache_folder())?;
    let _clock = EpochClock::start(&engine)?;
    let snapshot = Arc::new(Snapshot::prepare(loaded, &engine)?);
    Ok(Prepared { snapshot, engine })
}

/// Serves until a signal ends it, then drains.
///
/// # Errors
///
/// Why it could not start: a filter that cannot be used, an address that cannot be bound, a thread that cannot be had.
pub fn run(loaded: Loaded, options: Options) -> anyhow::Result<()> {
    process::raise_file_limit();
    let Prepared { snapshot, engine } = prepare(&loaded)?;
    let config = snapshot.config();
    let workers = options.workers.or(config.workers).unwrap_or_else(process::cores);
    let admin = bind_admin(&loaded)?;
    let sockets = bind_listeners(&loaded, workers)?;
    let addresses = addresses(config, &sockets)?;

    let shared = Shared::new(snapshot.clone(), workers)?;
    observe::export_guest_metrics(&shared.metrics, &shared.guest_metrics);
    observe::export_cells(&shared.metrics, &shared.shared_data);
    // Without filters there is nothing to time, and an idle proxy is to sleep.
    let clock = (!config.filters.is_empty()).then(|| EpochClock::start(&engine)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let signals = Signals::new()?; // before anybody is told that this is ready
        let crew = Crew::start(&shared, sockets).await?;
        announce(&addresses, admin.as_ref());
        serve(crew, signals, admin, &shared).await
    });
    drop(clock);
    shared.close();
    result
}

/// Lets the workers serve, and waits for the end.
async fn serve(
    mut crew: Crew,
    mut signals: Signals,
    admin: Option<admin::Listener>,
    shared: &Arc<Shared>,
) -> anyhow::Result<()> {
    let readiness = Arc::new(Readiness::default());
    let (ended, mut end) = watch::channel(());
    let admin = admin.map(|listener| {
        let state = admin_state(shared, &readiness);
        tokio::spawn(admin::serve(listener, state, async move {
            let _ = end.changed().await; // also when the sender is gone
        }))
    });
    crew.order(Order::Serve);
    readiness.enter(Stage::Ready);
    tracing::info!("ready");

    let lost = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            None
        }
        lost = crew.lost() => Some(lost), // its connections are gone; the others end in order
    };
    readiness.enter(Stage::Draining);
    crew.order(Order::Drain);
    tokio::select! {
        () = crew.ended() => {}
        signal = signals.next() => bail!("ended by a second {signal} before the drain was over"),
    }
    drop(ended);
    if let Some(admin) = admin {
        admin.await.context("the admin listener failed")?.context("the admin listener failed")?;
    }
    match lost {
        None => {
            tracing::info!("drained");
            Ok(())
        }
        Some(lost) => Err(lost),
    }
}

fn admin_state(shared: &Arc<Shared>, readiness: &Arc<Readiness>) -> AdminState {
    let metrics = shared.metrics.clone();
    let snapshot = shared.snapshot.clone();
    AdminState {
        metrics: Box::new(move |format| metrics.render(format)),
        readiness: readiness.clone(),
        config: Box::new(move || format!("{:#}\n", config::effective(snapshot.config()))),
    }
}

/// For each listener a socket for each worker.
fn bind_listeners(loaded: &Loaded, workers: usize) -> Result<Vec<Vec<TcpListener>>, config::Problems> {
    let mut findings = Vec::new();
    let mut sockets = Vec::new();
    for (index, listener) in loaded.config.listeners.iter().enumerate() {
        match listener::bind(listener.address, workers) {
            Ok(bound) => sockets.push(bound),
            Err(error) => findings.push(unbound(Part::ListenerAddress(index), listener.address, &error)),
        }
    }
    if findings.is_empty() { Ok(sockets) } else { Err(loaded.blame(findings)) }
}

fn bind_admin(loaded: &Loaded) -> Result<Option<admin::Listener>, config::Problems> {
    let Some(admin) = &loaded.config.admin else { return Ok(None) };
    let bound = admin::bind(admin.address);
    bound.map(Some).map_err(|error| loaded.blame([unbound(Part::AdminAddress, admin.address, &error)]))
}

fn unbound(part: Part, address: SocketAddr, error: &io::Error) -> Finding {
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

/// Where each listener really listens.
fn addresses(config: &Config, sockets: &[Vec<TcpListener>]) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let address = |(listener, sockets): (&crate::config::model::Listener, &Vec<TcpListener>)| {
        let first = sockets.first().context("a listener has no socket")?;
        Ok((listener.name.clone(), first.local_addr()?))
    };
    config.listeners.iter().zip(sockets).map(address).collect()
}

fn announce(addresses: &[(String, SocketAddr)], admin: Option<&admin::Listener>) {
    for (listener, address) in addresses {
        tracing::info!(listener, %address, "listening");
    }
    if let Some(admin) = admin {
        tracing::info!(listener = "admin", address = %admin.address(), "listening");
    }
}

/// The signals that end the process. SIGHUP is taken too, so that it does not: there is nothing to reload yet.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next signal that means to end.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => tracing::warn!("SIGHUP is ignored: restart to change the configuration"),
            }
        }
    }
}
