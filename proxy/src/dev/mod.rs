//! `tidegate dev`: a filter while it is written. It is built, served before a sample upstream, built again when its
//! sources change and swapped in; every request is shown with what the filter did and what that took.
//!
//! - `builder` watches the sources and builds; `stage` is the configuration that is served, and `settings` the files that
//!   it is made of, in which `places` finds what is wrong.
//! - `upstream` is the sample service.
//! - `blame` finds the source line of a fault.
//! - `scene` is one step that the proxy's witness saw, `story` makes one request's story of them, and `ends` adds what the
//!   client got; `flood` bounds what is shown.
//! - `show` says it, and all else, in `words` at an `outlet`.
//!
//! What is served is the proxy itself, on threads of this process: what one sees is what it does.

mod blame;
mod builder;
mod ends;
mod flood;
mod outlet;
mod places;
mod scene;
mod settings;
mod show;
mod stage;
mod story;
mod upstream;
mod words;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config;
use crate::files::Footprint;
use crate::recording::{Summary, Writer};
use crate::server::{self, News, Watch};
use crate::wasm::witness::{Beginning, Step, Witness};
use builder::Builder;
use ends::Ended;
use flood::{Backlog, Waiting};
pub(crate) use outlet::Form;
pub(crate) use settings::schema;
use show::Show;
use stage::Stage;

/// What is to be developed, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// The filter.
    pub(crate) source: Source,
    /// What it is configured with: a file that has what goes under `config`.
    pub(crate) config: Option<PathBuf>,
    /// What else it is given: a file that has what goes under the filter's name, and clusters.
    pub(crate) settings: Option<PathBuf>,
    /// Clusters that it may ask.
    pub(crate) clusters: Vec<Cluster>,
    /// Where the proxy listens; another port is taken where this one is in use.
    pub(crate) listen: SocketAddr,
    /// The service behind the proxy, HOST:PORT; a sample one, where none is named.
    pub(crate) upstream: Option<String>,
    /// Where to record what the filter sees and answers.
    pub(crate) record: Option<PathBuf>,
    /// Whether secrets are recorded as they are.
    pub(crate) keeps_secrets: bool,
    /// How it is shown.
    pub(crate) form: Form,
}

/// A service that the filter may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// What the filter calls it.
    pub(crate) name: String,
    /// HOST:PORT; the sample service where there is none.
    pub(crate) address: Option<String>,
}

/// A filter.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A crate in this folder, built with this profile of cargo.
    Crate {
        /// Where its `Cargo.toml` is.
        folder: PathBuf,
        /// The profile.
        profile: String,
    },
    /// A module that something else builds.
    Module(PathBuf),
}

/// What happens, in order.
#[derive(Debug)]
enum Event {
    /// A build begins.
    Building,
    /// It has made a module. When what led to it was changed.
    Built { module: PathBuf, changed: Option<Instant>, messages: String },
    /// It has not.
    Failed { messages: String, reason: Option<String> },
    /// What the server says.
    News(News),
    /// The proxy cannot start with what there is.
    CannotStart(anyhow::Error),
    /// An instance begins.
    Began(Box<Beginning>),
    /// Something happened in it.
    Did { instance: u64, step: Waiting<Box<Step>> },
    /// It has gone.
    Gone { instance: u64 },
    /// Exchanges ended for their clients.
    Ended(Waiting<Vec<Ended>>),
    /// The recording has ended by itself, for this reason.
    RecordingEnded(String),
    /// There is nothing more to show.
    End,
}

/// For how long the end waits for a reader who does not read what is shown.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Develops a filter until Ctrl-C.
///
/// # Errors
///
/// There is no crate or no module, nothing can be built here, a file cannot be written, or a port cannot be had.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    // Before there is anything that would be left behind.
    let mut signals = Signals::new()?;
    let (events, received) = mpsc::channel();
    let wants_sample = options.upstream.is_none() || options.clusters.iter().any(|it| it.address.is_none());
    let sample = if wants_sample { Some(upstream::Sample::start()?) } else { None };
    let stage = Arc::new(Stage::set_up(&options, sample.as_ref().map(upstream::Sample::address))?);
    let recording = match &options.record {
        Some(file) => {
            let ended = events.clone();
            let tell = move |why: &str| drop(ended.send(Event::RecordingEnded(why.to_owned())));
            let writer = Writer::create(file, !options.keeps_secrets, tell);
            Some(Arc::new(writer.with_context(|| format!("cannot record into {}", file.display()))?))
        }
        None => None,
    };
    let backlog = Arc::new(Backlog::default());
    let show = Show::start(&options, stage.name().to_owned(), received, backlog.clone())?;
    let developed = develop(&options, &stage, &events, recording.clone(), backlog, &mut signals);
    let _ = events.send(Event::End);
    finish(show);
    if let (Some(writer), Some(file)) = (recording, &options.record) {
        report_recording(&writer, file, !options.keeps_secrets)?;
    }
    developed
}

/// Waits until everything is shown, where somebody reads it.
fn finish(show: Show) {
    let (said, all) = mpsc::channel();
    std::thread::spawn(move || {
        show.finish();
        let _ = said.send(()); // nobody may wait any more
    });
    let _ = all.recv_timeout(LAST_WORDS);
}

fn report_recording(writer: &Writer, file: &Path, is_masked: bool) -> anyhow::Result<()> {
    let stopped = writer.finish().with_context(|| format!("cannot write {}", file.display()))?;
    if let Some(stopped) = stopped {
        let (exchanges, bytes, cut) = (stopped.exchanges, stopped.bytes, stopped.cut.as_deref());
        let summary = Summary { file, exchanges, bytes, is_masked, cut };
        let _ = writeln!(io::stderr(), "{summary}"); // a terminal that was closed reads nothing
    }
    Ok(())
}

/// Builds and serves, until a signal ends it.
fn develop(
    options: &Options,
    stage: &Arc<Stage>,
    events: &Sender<Event>,
    recording: Option<Arc<Writer>>,
    backlog: Arc<Backlog>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let (ready, mut changes) = watch::channel(0u64);
    let _ = stage::free(options.listen)?; // said before a build that may take a minute
    let _builder = Builder::start(&options.source, stage.clone(), events.clone(), ready)?;
    let witness: Arc<dyn Witness> = Arc::new(Watcher {
        last: AtomicU64::new(0),
        events: events.clone(),
        recording,
        backlog: backlog.clone(),
    });
    // What the last try read: whatever it is that keeps it from being served, it is tried again when that is another.
    let (watch, mut footprint) = (Watch::new(true), Footprint::default());
    let has_served = Arc::new(AtomicBool::new(false));
    loop {
        // A build is waited for; the one that is there already is enough.
        if !signals.wait(&mut changes, &watch, &footprint)? {
            return Ok(());
        }
        footprint = Footprint::default();
        // Others may have taken the port since the last try, or since the build began.
        if let Err(error) = stage::free(options.listen).and_then(|listen| stage.write(listen)) {
            let _ = events.send(Event::CannotStart(error));
            continue;
        }
        let (news, ends, waiting, served) =
            (events.clone(), events.clone(), backlog.clone(), has_served.clone());
        let settings = stage.settings().clone();
        let serving = server::Options {
            workers: Some(1),
            no_watch: false,
            hangup_ends: true,
            witnesses: [(stage.name().to_owned(), witness.clone())].into(),
            news: Some(Arc::new(move |it| {
                served.fetch_or(matches!(it, News::Served(_)), Ordering::Relaxed);
                let it = match it {
                    News::Refused(error) => News::Refused(places::told(error, &settings)),
                    other => other,
                };
                let _ = news.send(Event::News(it)); // whoever shows it is there as long as anything happens
            })),
            access_log: Some(Arc::new(move |lines| {
                let ended = waiting.take_ends(Ended::all(lines).collect());
                let _ = ends.send(Event::Ended(ended)); // as above
            })),
        };
        let served = config::load_noting(&stage.file(), &mut footprint)
            .map_err(anyhow::Error::from)
            .and_then(|loaded| server::run_noting(loaded, serving, &mut footprint));
        match served {
            Ok(()) => return Ok(()),
            Err(error) if has_served.load(Ordering::Relaxed) => return Err(error),
            // What is wrong is the filter's or its configuration's: it is being written.
            Err(error) => drop(events.send(Event::CannotStart(places::told(error, stage.settings())))),
        }
    }
}

/// Ctrl-C, SIGTERM and the end of the terminal, from the beginning to the end. While the proxy serves it takes them too.
struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let hangup = signal(SignalKind::hangup())?;
        drop(entered);
        Ok(Signals { runtime, interrupt, terminate, hangup })
    }

    /// Waits until there is something new to serve, or one of these files is another. False if a signal came first.
    fn wait(
        &mut self,
        changes: &mut watch::Receiver<u64>,
        watch: &Watch,
        tried: &Footprint,
    ) -> anyhow::Result<bool> {
        self.runtime.block_on(async {
            while watch.follow(tried) {
                tokio::select! {
                    biased;
                    _ = self.interrupt.recv() => return Ok(false),
                    _ = self.terminate.recv() => return Ok(false),
                    _ = self.hangup.recv() => return Ok(false),
                    changed = changes.changed() => match changed {
                        Ok(()) => return Ok(true),
                        Err(_) => bail!("the filter is not built any more"),
                    },
                    () = watch.stirred() => {}
                }
            }
            Ok(true)
        })
    }
}

/// Sees what the filter's instances do, and says so.
struct Watcher {
    last: AtomicU64,
    events: Sender<Event>,
    recording: Option<Arc<Writer>>,
    backlog: Arc<Backlog>,
}

impl Witness for Watcher {
    fn begin(&self, beginning: Beginning) -> u64 {
        let instance = match &self.recording {
            Some(recording) => recording.begin(beginning.clone()),
            None => self.last.fetch_add(1, Ordering::Relaxed) + 1,
        };
        // Whoever shows it is there as long as anything happens.
        let _ = self.events.send(Event::Began(Box::new(beginning)));
        instance
    }

    fn see(&self, instance: u64, step: Step) {
        if let Some(recording) = &self.recording {
            recording.see(instance, step.clone());
        }
        if let Some(step) = self.backlog.take_step(instance, step) {
            let _ = self.events.send(Event::Did { instance, step });
        }
    }

    fn end(&self, instance: u64) {
        if let Some(recording) = &self.recording {
            recording.end(instance);
        }
        let _ = self.events.send(Event::Gone { instance }); // as above
    }

    fn give_up(&self, instance: u64, reason: &'static str) {
        if let Some(recording) = &self.recording {
            recording.give_up(instance, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shows_what_instances_do_is_told_that_one_has_gone() {
        let (events, received) = mpsc::channel();
        let (last, recording, backlog) = (AtomicU64::new(0), None, Arc::default());
        let watcher = Watcher { last, events, recording, backlog };
        watcher.end(7);
        assert!(matches!(received.try_recv(), Ok(Event::Gone { instance: 7 })));
    }
}
