//! The process: a control thread, worker threads, and how they start, change and end together.
//!
//! Everything that can fail fails before the first connection is accepted: the configuration is checked, filters are
//! compiled and proved, sockets are bound, and every worker has its guests running. Then the listeners open. A change
//! of the configuration takes the same way beside what is served: see `reload`.
//!
//! The control thread serves the admin listener and waits for signals; workers share with it only what is immutable
//! or atomic. SIGTERM and SIGINT begin a drain; a second one ends the process at once.

mod observe;
mod process;
mod reload;
mod worker;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::admin::{self, AdminState, Readiness, Stage};
use crate::config::{self, Loaded, Part};
use crate::origin::Origins;
use crate::snapshot::{Missing, Snapshot};
use crate::wasm::Engine;
use process::{EpochClock, Timekeeper};
use reload::{Current, Reloader, unbound};
use worker::{Crew, Shared};

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Worker threads, instead of the configuration's.
    pub workers: Option<usize>,
}

/// Does everything that starting does short of binding a socket: what `check` finds right, `run` starts with. A module
/// that cannot be fetched is a problem here, where `run` would start without it.
///
/// # Errors
///
/// [`Problems`](config::Problems): every filter that cannot be used, each at its place in the file.
pub fn check(loaded: &Loaded) -> anyhow::Result<()> {
    let engine = Engine::new(process::compiled_folder())?;
    let origins = Origins::new(process::cache_folder().as_deref());
    let _clock = EpochClock::start(&engine)?;
    Snapshot::prepare(loaded, &engine, &origins, None, Missing::Refused)?;
    Ok(())
}

/// Serves until a signal ends it, then drains. SIGHUP has it read its configuration again.
///
/// # Errors
///
/// Why it could not start: a filter that cannot be used, an address that cannot be bound, a thread that cannot be had.
pub fn run(loaded: &Loaded, options: Options) -> anyhow::Result<()> {
    process::raise_file_limit();
    let engine = Engine::new(process::compiled_folder())?;
    let time = Arc::new(Timekeeper::new(engine.clone()));
    time.run(true)?;
    let origins = Origins::new(process::cache_folder().as_deref());
    let snapshot = Arc::new(Snapshot::prepare(loaded, &engine, &origins, None, Missing::Tolerated)?);
    let workers = options.workers.or(snapshot.config().workers).unwrap_or_else(process::cores);
    let admin = bind_admin(loaded)?;

    let shared = Shared::new(workers)?;
    observe::export_guest_metrics(&shared.metrics, &shared.guest_metrics);
    observe::export_cells(&shared.metrics, &shared.shared_data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let signals = Signals::new()?; // before anybody is told that this is ready
        let crew = Crew::start(&shared)?;
        let reloader =
            Reloader::start(loaded, snapshot, (engine, origins), &time, &shared, crew.orders()).await?;
        if let Some(admin) = &admin {
            tracing::info!(listener = "admin", address = %admin.address(), "listening");
        }
        serve(crew, signals, admin, reloader, &shared).await
    });
    runtime.shutdown_background(); // a filter may be compiled that nobody waits for
    shared.close();
    result
}

/// Lets the workers serve, and waits for the end.
async fn serve(
    mut crew: Crew,
    mut signals: Signals,
    admin: Option<admin::Listener>,
    reloader: Reloader,
    shared: &Arc<Shared>,
) -> anyhow::Result<()> {
    let readiness = reloader.readiness();
    let (ended, mut end) = watch::channel(());
    let admin = admin.map(|listener| {
        let state = admin_state(shared, reloader.current(), &readiness);
        tokio::spawn(admin::serve(listener, state, async move {
            let _ = end.changed().await; // also when the sender is gone
        }))
    });
    let wanted = Arc::new(Notify::new());
    let reloading = tokio::spawn(reloader.run(wanted.clone()));

    let lost = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::End(signal) => {
                    tracing::info!(signal, "draining");
                    break None;
                }
                Wish::Reload => wanted.notify_one(),
            },
            lost = crew.lost() => break Some(lost), // its connections are gone; the others end in order
        }
    };
    reloading.abort();
    let _ = reloading.await; // it holds what the workers share
    readiness.enter(Stage::Draining);
    crew.orders().drain();
    tokio::select! {
        () = crew.ended() => {}
        signal = signals.end() => bail!("ended by a second {signal} before the drain was over"),
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

fn admin_state(shared: &Arc<Shared>, current: Current, readiness: &Arc<Readiness>) -> AdminState {
    let metrics = shared.metrics.clone();
    AdminState {
        metrics: Box::new(move |format| metrics.render(format)),
        readiness: readiness.clone(),
        config: Box::new(move || format!("{:#}\n", config::effective(current.snapshot().config()))),
    }
}

fn bind_admin(loaded: &Loaded) -> Result<Option<admin::Listener>, config::Problems> {
    let Some(admin) = &loaded.config.admin else { return Ok(None) };
    let bound = admin::bind(admin.address);
    bound.map(Some).map_err(|error| loaded.blame([unbound(Part::AdminAddress, admin.address, &error)]))
}

/// What a signal asks for.
enum Wish {
    /// To end; the signal's name.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that mean something here.
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

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// The name of the next signal that means to end.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Wish::End(signal) = self.next().await {
                return signal;
            }
        }
    }
}
