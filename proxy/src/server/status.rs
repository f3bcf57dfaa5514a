//! What is served, and how the last attempt to change it went: what the admin listener shows of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::standing::Standing;
use crate::config;
use crate::snapshot::Snapshot;
use crate::telemetry::timestamp;

/// Why a configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// SIGHUP.
    Signal,
    /// A file that it was read from is another now.
    File,
    /// The admin listener was asked to.
    Admin,
    /// A module that was missing is there.
    Module,
}

impl Cause {
    /// Its word in logs and on the admin listener.
    pub(super) fn word(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::File => "file",
            Cause::Admin => "admin",
            Cause::Module => "module",
        }
    }
}

/// An attempt to change the configuration that has ended.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) cause: Cause,
    pub(super) at: SystemTime,
    pub(super) took: Duration,
    /// Why it changed nothing; none if it did.
    pub(super) refusal: Option<String>,
}

/// What is served now. Cheap to clone.
#[derive(Clone)]
pub(super) struct Status {
    state: Arc<Mutex<State>>,
    standing: Arc<Standing>,
}

struct State {
    snapshot: Arc<Snapshot>,
    /// From 1; 0 while the first one starts.
    generation: u64,
    since: SystemTime,
    watching: bool,
    last: Option<Attempt>,
}

impl Status {
    /// Before the first configuration is served.
    pub(super) fn new(snapshot: Arc<Snapshot>, standing: Arc<Standing>, watching: bool) -> Status {
        let state = State { snapshot, generation: 0, since: SystemTime::now(), watching, last: None };
        Status { state: Arc::new(Mutex::new(state)), standing }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state().snapshot.clone()
    }

    /// How many configurations were served so far.
    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Notes that a configuration is served from now on.
    pub(super) fn note_served(&self, snapshot: Arc<Snapshot>) {
        let mut state = self.state();
        state.snapshot = snapshot;
        state.generation += 1;
        state.since = SystemTime::now();
    }

    /// Notes how an attempt ended.
    pub(super) fn note_attempt(&self, attempt: Attempt) {
        self.state().last = Some(attempt);
    }

    /// The configuration in effect, as a JSON text: what takes a restart is as the process runs with it.
    pub(super) fn config_page(&self) -> String {
        format!("{:#}\n", config::effective(&self.standing.in_effect(self.snapshot().config())))
    }

    /// All of it, as a JSON text.
    pub(super) fn page(&self) -> String {
        let state = self.state();
        let last = state.last.as_ref().map(|last| {
            let mut shown = json!({
                "result": if last.refusal.is_none() { "success" } else { "failure" },
                "cause": last.cause.word(),
                "at": format!("{:.3}", timestamp(last.at)),
                "duration_ms": last.took.as_millis() as u64,
            });
            if let Some(refusal) = &last.refusal {
                shown["error"] = refusal.as_str().into();
            }
            shown
        });
        let page = json!({
            "generation": state.generation,
            "since": format!("{:.3}", timestamp(state.since)),
            "watching": state.watching,
            "modules": modules(&state.snapshot),
            "last_reload": last,
        });
        format!("{page:#}\n")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For each filter which module serves, and what is in it: null while it is missing.
fn modules(snapshot: &Snapshot) -> Map<String, Value> {
    let filters = snapshot.config().filters.iter().enumerate();
    let module = filters.map(|(index, filter)| {
        let (origin, digest) = snapshot.code(index);
        let digest = digest.map(|digest| digest.to_string());
        (filter.name.clone(), json!({ "file": origin, "sha256": digest }))
    });
    module.collect()
}
