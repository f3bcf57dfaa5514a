//! Builds the filter, and builds it again when what it is made of changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tidegate_build::{Build, BuildError, Built, Cancel, Messages, Sources, Toolchain};
use tokio::sync::watch;

use super::stage::Stage;
use super::{Event, Source};
use crate::server::{News, hint_for};

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
    /// For the build of this number it is known what the filter is made of, or that cargo cannot say it.
    Known(u64, Result<Sources, BuildError>),
    /// The build of this number has ended.
    Done(u64, Result<Built, BuildError>),
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
        let hinted = |error| {
            let hint = hint_for(&error);
            anyhow::Error::from(error).context(hint)
        };
        let mut watcher = watcher.map_err(hinted).context("files cannot be watched here")?;
        for folder in stage.settings().folders() {
            let watched = watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(hinted);
            watched.with_context(|| format!("cannot watch the settings in {}", folder.display()))?;
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
                Some(Work { build, colours, toolchain, sources: None, asks: true })
            }
        };
        let mut site = Site {
            work,
            watcher,
            stage,
            events,
            ready,
            wishes: wishes.clone(),
            number: 0,
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
    /// Whether the next build is to ask first what that is. It takes a tenth of a second, or as long as a network does.
    asks: bool,
}

/// Where it is built.
struct Site {
    work: Option<Work>,
    watcher: notify::RecommendedWatcher,
    stage: Arc<Stage>,
    events: Sender<Event>,
    ready: watch::Sender<u64>,
    wishes: Sender<Wish>,
    /// Which build is the last that was begun. What is heard of others is of no interest any more.
    number: u64,
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
                Wish::Changed(path) => {
                    let (mut paths, mut others) = (vec![path], Vec::new());
                    loop {
                        match wished.recv_timeout(QUIET) {
                            Ok(Wish::Changed(path)) => paths.push(path),
                            Ok(Wish::Stop) => return self.cancel(),
                            Ok(other) => others.push(other),
                            Err(RecvTimeoutError::Timeout) => break,
                            Err(RecvTimeoutError::Disconnected) => return self.cancel(),
                        }
                    }
                    others.into_iter().for_each(|other| self.hear(other));
                    self.look(&paths);
                }
                other => self.hear(other),
            }
        }
        self.cancel();
    }

    /// Something that was waited for is over.
    fn hear(&mut self, wish: Wish) {
        match wish {
            Wish::Known(number, sources) if number == self.number => {
                self.running = None;
                self.watch(sources);
                self.build();
            }
            Wish::Done(number, outcome) if number == self.number => {
                self.running = None;
                self.note(outcome);
            }
            // Another build has taken the place of that one.
            _ => {}
        }
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
        let Some(work) = &mut self.work else { return };
        let sources = work.sources.as_ref();
        let is_own = |path: &PathBuf| is_config(path) || self.stage.writes(path);
        let concerns = |path: &&PathBuf| !is_own(path) && sources.is_none_or(|sources| sources.concern(path));
        let changed: Vec<_> = paths.iter().filter(concerns).collect();
        if !changed.is_empty() {
            let depends = |path: &&PathBuf| sources.is_none_or(|sources| sources.depend_on(path));
            work.asks |= changed.iter().any(depends);
            self.changed.get_or_insert_with(Instant::now);
            self.begin();
        }
    }

    /// Begins a build, in the place of one that runs.
    fn begin(&mut self) {
        self.cancel();
        self.number += 1;
        let Some(work) = &self.work else { return };
        let _ = self.events.send(Event::Building);
        if !work.asks {
            return self.build();
        }
        match work.build.start_sources(&work.toolchain) {
            Ok(asking) => {
                self.running = Some(asking.cancel());
                let number = self.number;
                self.later(move || Wish::Known(number, asking.wait()));
            }
            // It cannot be built then either, and the build says why.
            Err(_) => self.build(),
        }
    }

    fn build(&mut self) {
        let Some(work) = &self.work else { return };
        // The first may take long: cargo shows how far it is. Later ones are over in a moment.
        let messages = match self.built_before {
            true => Messages::Captured { colours: work.colours },
            false => Messages::Inherited,
        };
        match work.build.clone().messages(messages).start(&work.toolchain) {
            Ok(running) => {
                self.running = Some(running.cancel());
                let number = self.number;
                self.later(move || Wish::Done(number, running.wait()));
            }
            Err(error) => self.note(Err(error)),
        }
    }

    /// Waits for something elsewhere: here it is heard that it is to be given up.
    fn later(&self, wait: impl FnOnce() -> Wish + Send + 'static) {
        let wishes = self.wishes.clone();
        std::thread::spawn(move || drop(wishes.send(wait())));
    }

    /// Watches what the filter is made of, which its manifest may have changed. Where cargo cannot say what that is, the
    /// build says what is wrong, and the next one asks again.
    fn watch(&mut self, sources: Result<Sources, BuildError>) {
        let (Some(work), Ok(sources)) = (&mut self.work, sources) else { return };
        work.asks = false;
        if work.sources.as_ref() == Some(&sources) {
            return;
        }
        let whole = sources.folders().map(|folder| (folder, RecursiveMode::Recursive));
        let shared = sources.shared_folders().map(|folder| (folder, RecursiveMode::NonRecursive));
        for (folder, mode) in whole.chain(shared) {
            // One that is not there is missed by the build.
            if let Err(error) = self.watcher.watch(folder, mode)
                && folder.is_dir()
            {
                let (folder, hint) = (folder.display(), hint_for(&error));
                tracing::warn!(%folder, %error, hint, "a folder of sources cannot be watched: a change in it is not noticed");
            }
        }
        work.sources = Some(sources);
    }

    fn note(&mut self, outcome: Result<Built, BuildError>) {
        match outcome {
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
