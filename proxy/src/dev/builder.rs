//! Builds the filter, and builds it again when what it is made of changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tidegate_build::{Build, BuildError, Cancel, Messages, Sources, Toolchain};
use tokio::sync::watch;

use super::stage::Stage;
use super::{Event, Source};
use crate::server::News;

/// After a change it is waited until nothing changes for this long: an editor may write several files.
const QUIET: Duration = Duration::from_millis(30);

/// The thread that builds, and what it watches with.
pub(super) struct Builder {
    wishes: Sender<Wish>,
    thread: Option<JoinHandle<()>>,
}

/// Why the thread wakes.
enum Wish {
    /// This file is another now.
    Changed(PathBuf),
    /// A build has ended.
    Done(Result<tidegate_build::Built, BuildError>),
    /// Nothing more is to be done.
    Stop,
}

impl Builder {
    /// Begins to build and to watch. `ready` counts modules that can be served.
    pub(super) fn start(
        source: &Source,
        stage: Arc<Stage>,
        events: Sender<Event>,
        ready: watch::Sender<u64>,
    ) -> anyhow::Result<Builder> {
        let (wishes, wished) = mpsc::channel();
        let changed = wishes.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                let _ = changed.send(Wish::Changed(path)); // the thread may have ended
            }
        });
        let mut watcher = watcher.context("files cannot be watched here")?;
        for folder in stage.settings().folders() {
            watcher.watch(&folder, RecursiveMode::NonRecursive).context("cannot watch the settings")?;
        }
        let work = match source {
            Source::Module(_) => {
                // The proxy itself watches it.
                ready.send_modify(|count| *count += 1);
                None
            }
            Source::Crate { folder, profile } => {
                let toolchain = Toolchain::find()?;
                let colours = crate::terminal::colours_wanted_on(&std::io::stderr());
                let build = Build::new(folder).profile(profile).separate_debug_info();
                Some(Work { build, colours, toolchain, sources: None })
            }
        };
        let mut site = Site {
            work,
            watcher,
            stage,
            events,
            ready,
            wishes: wishes.clone(),
            running: None,
            changed: None,
            built_before: false,
        };
        let thread = std::thread::Builder::new().name("builder".to_owned());
        let thread = thread.spawn(move || site.run(&wished))?;
        Ok(Builder { wishes, thread: Some(thread) })
    }
}

impl Drop for Builder {
    /// Ends a build that runs: nothing is left behind.
    fn drop(&mut self) {
        let _ = self.wishes.send(Wish::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is built, and with what.
struct Work {
    build: Build,
    colours: bool,
    toolchain: Toolchain,
    /// What it is made of, once that is known.
    sources: Option<Sources>,
}

/// Where it is built.
struct Site {
    work: Option<Work>,
    watcher: notify::RecommendedWatcher,
    stage: Arc<Stage>,
    events: Sender<Event>,
    ready: watch::Sender<u64>,
    wishes: Sender<Wish>,
    running: Option<Cancel>,
    /// When what the next build is for was changed.
    changed: Option<Instant>,
    built_before: bool,
}

impl Site {
    fn run(&mut self, wished: &Receiver<Wish>) {
        self.begin();
        while let Ok(wish) = wished.recv() {
            match wish {
                Wish::Stop => break,
                Wish::Done(outcome) => self.note(outcome),
                Wish::Changed(path) => {
                    let mut paths = vec![path];
                    let mut done = None;
                    loop {
                        match wished.recv_timeout(QUIET) {
                            Ok(Wish::Changed(path)) => paths.push(path),
                            Ok(Wish::Done(outcome)) => done = Some(outcome),
                            Ok(Wish::Stop) => return self.cancel(),
                            Err(RecvTimeoutError::Timeout) => break,
                            Err(RecvTimeoutError::Disconnected) => return self.cancel(),
                        }
                    }
                    if let Some(outcome) = done {
                        self.note(outcome);
                    }
                    self.look(&paths);
                }
            }
        }
        self.cancel();
    }

    /// Some files are others now.
    fn look(&mut self, paths: &[PathBuf]) {
        let is_config = |path: &PathBuf| self.stage.settings().has(path);
        if paths.iter().any(is_config) {
            if let Err(error) = self.stage.write_again() {
                self.say(Event::News(News::Refused(error)));
            }
            // Where nothing is served yet, another try is worth it.
            self.ready.send_modify(|count| *count += 1);
        }
        let sources = self.work.as_ref().and_then(|work| work.sources.as_ref());
        let is_own = |path: &PathBuf| is_config(path) || self.stage.writes(path);
        let concerns = |path: &PathBuf| !is_own(path) && sources.is_none_or(|sources| sources.concern(path));
        if self.work.is_some() && paths.iter().any(concerns) {
            self.changed.get_or_insert_with(Instant::now);
            self.begin();
        }
    }

    /// Begins a build, in the place of one that runs.
    fn begin(&mut self) {
        self.cancel();
        let Some(work) = &mut self.work else { return };
        watch_sources(work, &mut self.watcher);
        let _ = self.events.send(Event::Building);
        // The first may take long: cargo shows how far it is. Later ones are over in a moment.
        let messages = match self.built_before {
            true => Messages::Captured { colours: work.colours },
            false => Messages::Inherited,
        };
        match work.build.clone().messages(messages).start(&work.toolchain) {
            Ok(running) => {
                self.running = Some(running.cancel());
                let done = self.wishes.clone();
                std::thread::spawn(move || drop(done.send(Wish::Done(running.wait()))));
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn note(&mut self, outcome: Result<tidegate_build::Built, BuildError>) {
        match outcome {
            Err(BuildError::Cancelled { .. }) => return, // another one has begun
            Ok(built) => {
                self.built_before = true;
                self.stage.set_module(&built.module);
                let changed = self.changed.take();
                self.say(Event::Built { module: built.module, changed, messages: built.messages });
                self.ready.send_modify(|count| *count += 1);
            }
            Err(BuildError::Failed { messages, .. }) => {
                self.changed = None;
                self.say(Event::Failed { messages, reason: None });
            }
            Err(error) => {
                self.changed = None;
                self.say(Event::Failed { messages: String::new(), reason: Some(error.to_string()) });
            }
        }
        self.running = None;
    }

    fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.now();
        }
    }

    fn say(&self, event: Event) {
        let _ = self.events.send(event); // whoever shows it has ended
    }
}

/// Watches what a filter is made of, which its manifest may have changed. What cannot be watched is not: the build says
/// what is wrong with it.
fn watch_sources(work: &mut Work, watcher: &mut notify::RecommendedWatcher) {
    let Ok(sources) = work.build.sources(&work.toolchain) else { return };
    if work.sources.as_ref() != Some(&sources) {
        for folder in sources.folders() {
            let _ = watcher.watch(folder, RecursiveMode::Recursive);
        }
        work.sources = Some(sources);
    }
}
