//! The process: a control thread, worker threads, and how they start, change and end together.
//!
//! Everything that can fail fails before the first connection is accepted: the configuration is checked, filters are
//! compiled and proved, sockets are bound, and every worker has its guests running. Then the listeners open. A change
//! of the configuration takes the same way beside what is served: see `reload`.
//!
//! The control thread serves the admin listener, waits for signals and notices changed files; workers share with it only
//! what is immutable or atomic. SIGTERM and SIGINT begin a drain; a second one ends the process at once.

mod addresses;
mod canaries;
mod clusters;
mod crew;
mod guards;
mod notices;
mod observe;
mod process;
mod recordings;
mod relief;
mod reload;
mod standing;
mod status;
mod watch;
mod worker;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch as channel;

use crate::admin::{self, AdminState, Readiness, Trouble};
use crate::config::model::{Address, Config, OnFault};
use crate::config::{self, Loaded, Part};
use crate::files::Footprint;
use crate::inspect::Permissions;
use crate::origin::Origins;
use crate::overload::Stage;
use crate::snapshot::{Missing, Snapshot};
use crate::wasm::Engine;
use addresses::unbound;
use crew::{Crew, Orders};
#[cfg(feature = "kit")]
pub(crate) use process::compiled_folder;
use process::{EpochClock, Timekeeper};
use recordings::Recordings;
pub use recordings::Witnesses;
use reload::{Read, Reloader, Surroundings, Wishes};
use standing::Standing;
use status::{Cause, Status};
pub(crate) use watch::Watch;
#[cfg(feature = "kit")]
pub(crate) use watch::hint_for;
use worker::Shared;

/// What the command line adds to the configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// Worker threads, instead of the configuration's.
    pub workers: Option<usize>,
    /// Whether files are left unwatched: only a signal or the admin listener changes the configuration then.
    pub no_watch: bool,
    /// Who watches all instances of some filters.
    pub witnesses: Witnesses,
    /// Who is told what becomes of configurations.
    pub news: Option<Tell>,
    /// Whether SIGHUP ends it too, as it does a command whose terminal is closed, in the place of a reload.
    pub hangup_ends: bool,
    /// Who is given the lines of the access log, in the place of standard output.
    pub access_log: Option<Lines>,
}

/// Is given lines of the access log, several at a time, on a thread that no worker waits for.
pub type Lines = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Is told what becomes of configurations.
pub type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// What became of a configuration.
#[derive(Debug)]
pub enum News {
    /// It is served. The listeners that are new with it, and where they listen.
    Served(Vec<(String, Address)>),
    /// It is not, and what was served is served on: why.
    Refused(anyhow::Error),
}

/// What was found of a configuration that can be served, for each filter by its index.
#[derive(Debug)]
pub struct Checked {
    /// Where its module is from.
    pub modules: Vec<String>,
    /// What it asks for, and what it is granted.
    pub permissions: Vec<Permissions>,
}

/// Does everything that starting does short of binding a socket: what `check` finds right, `run` starts with. A module
/// that cannot be fetched is a problem here, where `run` would start without it.
///
/// # Errors
///
/// [`Problems`](config::Problems): every filter that cannot be used, each at its place in the file.
pub fn check(loaded: &Loaded) -> anyhow::Result<Checked> {
    let engine = Engine::new(process::compiled_folder())?;
    let origins = Origins::new(process::cache_folder().as_deref());
    let _clock = EpochClock::start(&engine)?;
    let footprint = &mut Footprint::default();
    let snapshot = Snapshot::prepare(loaded, &engine, &origins, None, Missing::Refused, footprint)?;
    let filters = 0..loaded.config.filters.len();
    Ok(Checked {
        modules: filters.map(|filter| snapshot.code(filter).0.to_owned()).collect(),
        permissions: snapshot.plugins().map(Permissions::of).collect(),
    })
}

/// Serves until a signal ends it, then drains. SIGHUP, a changed file or the admin listener have it read its
/// configuration again.
///
/// # Errors
///
/// Why it could not start: a filter that cannot be used, an address that cannot be bound, a thread that cannot be had.
pub fn run(loaded: Loaded, options: Options) -> anyhow::Result<()> {
    let mut footprint = loaded.footprint().clone();
    run_noting(loaded, options, &mut footprint)
}

/// [`run`], which notes which files the start took beside those of `loaded`, also where it fails.
///
/// # Errors
///
/// Those of [`run`].
pub(crate) fn run_noting(loaded: Loaded, options: Options, footprint: &mut Footprint) -> anyhow::Result<()> {
    process::raise_file_limit();
    let engine = Engine::new(process::compiled_folder())?;
    let time = Arc::new(Timekeeper::new(engine.clone()));
    time.run(true)?;
    let origins = Origins::new(process::cache_folder().as_deref());
    let read = Read::prepare(loaded, &engine, &origins, None, footprint)?;
    let admin = bind_admin(&read.loaded)?;
    let standing = Arc::new(Standing::new(read.snapshot.config(), &options));

    let shared = Shared::new(standing.workers(), Recordings::new(options.witnesses), options.access_log)?;
    observe::export_guest_metrics(&shared.metrics, &shared.guest_metrics);
    observe::export_cells(&shared.metrics, &shared.shared_data);
    observe::export_overload(&shared.metrics, &shared.overload);
    shared.canaries.export(&shared.metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let signals = Signals::new(options.hangup_ends)?; // before anybody is told that this is ready
        let crew = Crew::start(&shared)?;
        let surroundings = Surroundings {
            engine,
            origins,
            standing,
            time,
            shared: shared.clone(),
            orders: crew.orders(),
            watch: Watch::new(!options.no_watch),
            tell: options.news,
        };
        let reloader = Reloader::start(read, footprint.clone(), surroundings).await?;
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
    let (wishes, wished) = Wishes::new(reloader.news());
    let (ended, mut end) = channel::channel(());
    let admin = admin.map(|listener| {
        clusters::export_endpoints(&shared.metrics, &reloader.status());
        let state = admin_state(shared, crew.orders(), reloader.status(), wishes.clone(), &readiness);
        tokio::spawn(admin::serve(listener, state, async move {
            let _ = end.changed().await; // also when the sender is gone
        }))
    });
    let (canaries, alarm) = (shared.canaries.clone(), reloader.status().snapshot().alarm().clone());
    let canaries = tokio::spawn(async move { canaries.watch(&alarm).await });
    let reloading = tokio::spawn(reloader.run(wished));

    let lost = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::End(signal) => {
                    tracing::info!(signal, "draining");
                    break None;
                }
                Wish::Reload => wishes.ask(Cause::Signal),
            },
            lost = crew.lost() => break Some(lost), // its connections are gone; the others end in order
        }
    };
    reloading.abort();
    let _ = reloading.await; // it holds what the workers share
    canaries.abort();
    readiness.enter(admin::Stage::Draining);
    shared.recordings.end_all();
    crew.orders().drain();
    let drained = async {
        crew.ended().await;
        drop(ended);
        if let Some(admin) = admin {
            admin.await.context("the admin listener failed")?.context("the admin listener failed")?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::select! {
        drained = drained => drained?,
        signal = signals.end() => bail!("ended by a second {signal} before the drain was over"),
    }
    match lost {
        None => {
            tracing::info!("drained");
            Ok(())
        }
        Some(lost) => Err(lost),
    }
}

fn admin_state(
    shared: &Arc<Shared>,
    orders: Orders,
    status: Status,
    wishes: Wishes,
    readiness: &Arc<Readiness>,
) -> AdminState {
    let (canaries, steered) = (shared.canaries.clone(), shared.canaries.clone());
    let (metrics, overview, served) = (shared.metrics.clone(), shared.metrics.clone(), status.clone());
    let (observed, doubted) = (shared.clone(), status.clone());
    let (recorded, present, shown) = (shared.clone(), status.clone(), status.clone());
    AdminState {
        troubles: Box::new(move || troubles(&observed, &doubted.snapshot())),
        metrics: Box::new(move |format| metrics.render(format)),
        readiness: readiness.clone(),
        // Numbers and names are always JSON.
        filters: Box::new(move || serde_json::to_string(&overview.overview()).unwrap_or_default() + "\n"),
        clusters: Box::new(move || clusters::page(shown.snapshot().clusters())),
        config: Box::new(move || served.config_page()),
        canaries: Box::new(move || canaries.page()),
        steer: Box::new(move |filter, order| steered.steer(filter, order)),
        record: Box::new(move |filter, wanted| {
            recordings::record(&recorded, &orders, &present.snapshot(), filter, &wanted)
        }),
        status: Box::new(move || status.page()),
        reload: Box::new(move || {
            let wishes = wishes.clone();
            Box::pin(async move { wishes.ask_and_wait(Cause::Admin).await })
        }),
    }
}

/// The filters without their modules, and those of chains that do nothing but fail. One that no worker calls, and that requests are refused without, leaves
/// nothing to send traffic here for.
fn troubles(shared: &Shared, snapshot: &Snapshot) -> Vec<Trouble> {
    let missing = snapshot.lacks().map(|(filter, why)| Trouble {
        what: format!("filter {} is without its module: {why}", filter.name),
        is_severe: filter.on_fault == OnFault::Closed,
    });
    missing.chain(failing(shared, snapshot.config())).chain(overloaded(shared)).collect()
}

/// What the proxy refuses. Where it takes no connection there is nothing to send here.
fn overloaded(shared: &Shared) -> Option<Trouble> {
    let stage = shared.overload.stage();
    (stage >= Stage::Shedding).then(|| Trouble {
        what: format!("the memory runs out: the proxy is {}", stage.word()),
        is_severe: stage >= Stage::Refusing,
    })
}

fn failing(shared: &Shared, config: &Config) -> Vec<Trouble> {
    let left_alone = shared.metrics.filters_left_alone();
    let is_in_a_chain = |index| config.listeners.iter().any(|listener| listener.runs(index));
    let filters = config.filters.iter().enumerate().filter(|(index, _)| is_in_a_chain(*index));
    filters
        .filter_map(|(_, filter)| {
            let (alone, all) = (*left_alone.get(&filter.name)?, shared.workers());
            Some(Trouble {
                what: format!(
                    "filter {} fails again and again: {alone} of {all} workers do not call it",
                    filter.name
                ),
                is_severe: alone >= all as u64 && filter.on_fault == OnFault::Closed,
            })
        })
        .collect()
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
    hangup_ends: bool,
}

impl Signals {
    fn new(hangup_ends: bool) -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            hangup_ends,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => if self.hangup_ends { Wish::End("SIGHUP") } else { Wish::Reload },
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
