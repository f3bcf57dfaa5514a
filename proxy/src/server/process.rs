//! What the process needs of the machine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wasm::{EPOCH_PERIOD, Engine};

/// The folder for compiled and fetched modules, in place of the user's cache folder. Empty: none.
const CACHE_VARIABLE: &str = "TIDEGATE_CACHE_DIR";

/// How many workers there are where nobody says.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Where modules are kept: `TIDEGATE_CACHE_DIR`, or `tidegate` in the user's cache folder (XDG Base Directory
/// Specification), or nowhere.
pub(super) fn cache_folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(CACHE_VARIABLE) {
        return (!named.is_empty()).then(|| named.into());
    }
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(user.join("tidegate"))
}

/// Where compiled modules are kept. The compiler removes from its folder what it does not know, so it has its own.
pub(crate) fn compiled_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("compiled"))
}

/// Asks for as many open files as the process may have: every connection is two of them.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, current = limit.current, "cannot raise the limit on open files");
        }
    }
}

/// Moves the clock of guests' time limits. A thread of its own, so that nothing that is busy can hold it up.
pub(super) struct EpochClock {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EpochClock {
    pub(super) fn start(engine: &Engine) -> std::io::Result<EpochClock> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("epochs".to_owned()).spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(EPOCH_PERIOD);
                    engine.advance_epoch();
                }
            }
        })?;
        Ok(EpochClock { stop, thread: Some(thread) })
    }
}

/// The clock of guests' time limits, while there are guests: an idle proxy is to sleep.
pub(super) struct Timekeeper {
    engine: Engine,
    clock: Mutex<Option<EpochClock>>,
}

impl Timekeeper {
    pub(super) fn new(engine: Engine) -> Timekeeper {
        Timekeeper { engine, clock: Mutex::default() }
    }

    /// Has it run, or not.
    pub(super) fn run(&self, wanted: bool) -> std::io::Result<()> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*clock, wanted) {
            (None, true) => *clock = Some(EpochClock::start(&self.engine)?),
            (Some(_), false) => *clock = None,
            _ => {}
        }
        Ok(())
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it cannot panic, and takes one period at most
        }
    }
}
