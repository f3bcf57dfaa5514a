//! A filter's two instances on a worker, and which of them an exchange has: its two versions, or the one that is watched
//! for a recording and the one that is not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::instance::{Chain, Instance};
use super::run::Run;
use super::shadow::{Progress, Shadow};
use crate::canary::{Canary, Cells, Comparison, Outcome, Turn, Version};
use crate::recording::{Session, Taken};
use crate::wasm::stream::{Direction, Stream, StreamAction};

/// Another instance beside a filter's own on this worker, and who gets it.
#[derive(Debug)]
pub struct Split {
    candidate: Rc<Instance>,
    purpose: Purpose,
}

/// What the other instance is there for.
#[derive(Debug)]
enum Purpose {
    /// It is the filter's second version.
    Canary(Box<Tried>),
    /// It is the filter, watched.
    Recording(Arc<Session>),
}

/// A second version, compared with the first.
#[derive(Debug)]
struct Tried {
    canary: Arc<Canary>,
    cells: Arc<Cells>,
    turn: Turn,
    /// A chain of the second version alone, where it is a shadow.
    alone: Option<Rc<Chain>>,
}

impl Split {
    /// `candidate` is an instance of the second version, on the worker of this index.
    pub fn new(canary: &Arc<Canary>, worker: usize, candidate: Rc<Instance>) -> Split {
        let alone = canary.is_shadow().then(|| Rc::new(Chain::new(vec![candidate.clone()])));
        let (cells, turn) = (canary.cells(worker), Turn::somewhere());
        let tried = Tried { canary: canary.clone(), cells, turn, alone };
        Split { candidate, purpose: Purpose::Canary(Box::new(tried)) }
    }

    /// `watched` is an instance of the filter that this recording is made of.
    pub fn recording(session: &Arc<Session>, watched: Rc<Instance>) -> Split {
        Split { candidate: watched, purpose: Purpose::Recording(session.clone()) }
    }

    pub(super) fn candidate(&self) -> &Rc<Instance> {
        &self.candidate
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.tried().is_some_and(|tried| tried.alone.is_some())
    }

    /// Whether what both do is compared.
    pub(super) fn compares(&self) -> bool {
        self.tried().is_some()
    }

    fn tried(&self) -> Option<&Tried> {
        match &self.purpose {
            Purpose::Canary(tried) => Some(tried),
            Purpose::Recording(_) => None,
        }
    }
}

/// Which version of a filter an exchange has, and what that did to it.
#[derive(Debug)]
pub(super) struct Trial {
    split: Rc<Split>,
    /// Decided when the filter is first called, and never again.
    version: Cell<Option<Version>>,
    /// Whether it was called before the exchange's end.
    seen: Cell<bool>,
    /// The request's head has gone on from it.
    passed: Cell<bool>,
    /// How it ended the exchange itself: the status, or a close.
    ended_it: Cell<Option<Ended>>,
    instructions: Cell<u64>,
    shadow: RefCell<Option<Box<Shadow>>>,
    /// Held for a recording that has taken it.
    taken: RefCell<Option<Taken>>,
}

/// How a filter ends an exchange itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It answers with this status.
    Replied(StatusCode),
    /// It closes the stream.
    Closed,
}

impl Ended {
    pub(super) fn of(action: &StreamAction) -> Option<Ended> {
        match action {
            StreamAction::Reply(reply) => Some(Ended::Replied(reply.status)),
            StreamAction::Close => Some(Ended::Closed),
            StreamAction::Resume(_) | StreamAction::Inject | StreamAction::Fault => None,
        }
    }

    /// Whether that keeps the client from what it asked for: an answer from a cache does not.
    pub(super) fn is_denial(self) -> bool {
        match self {
            Ended::Replied(status) => status.is_client_error() || status.is_server_error(),
            Ended::Closed => true,
        }
    }
}

impl Trial {
    pub(super) fn new(split: &Rc<Split>) -> Trial {
        Trial {
            split: split.clone(),
            version: Cell::new(None),
            seen: Cell::new(false),
            passed: Cell::new(false),
            ended_it: Cell::new(None),
            instructions: Cell::new(0),
            shadow: RefCell::new(None),
            taken: RefCell::new(None),
        }
    }

    /// The instance that the exchange has, where that is not the filter's own.
    pub(super) fn instance(&self, stream: &RefCell<Stream>, buffer_limit: usize) -> Option<&Rc<Instance>> {
        let version = match self.version.get() {
            Some(version) => version,
            None => self.decide(&stream.borrow(), buffer_limit),
        };
        (version == Version::Candidate).then(|| self.split.candidate())
    }

    fn decide(&self, stream: &Stream, buffer_limit: usize) -> Version {
        let (picked, alone) = match &self.split.purpose {
            Purpose::Canary(tried) => {
                (tried.canary.picks(&tried.turn, &stream.request), tried.alone.as_ref())
            }
            Purpose::Recording(session) => {
                let taken = session.take(stream.request_head());
                let is_taken = taken.is_some();
                *self.taken.borrow_mut() = taken;
                (is_taken, None)
            }
        };
        let version = match alone {
            None if picked => Version::Candidate,
            None => Version::Stable,
            Some(alone) => {
                if picked {
                    *self.shadow.borrow_mut() = Some(Box::new(Shadow::begin(alone, stream, buffer_limit)));
                }
                Version::Stable
            }
        };
        self.version.set(Some(version));
        version
    }

    /// The exchange ends: the filter's own instance is told, if nobody saw it before.
    pub(super) fn settle(&self) {
        if self.version.get().is_none() {
            self.version.set(Some(Version::Stable));
        }
    }

    pub(super) fn note_seen(&self) {
        self.seen.set(true);
    }

    pub(super) fn note_end(&self, action: &StreamAction) {
        self.ended_it.set(self.ended_it.get().or(Ended::of(action)));
    }

    pub(super) fn note_fault(&self) {
        if let Some(tried) = self.split.tried() {
            tried.cells.count_fault(self.version.get().unwrap_or(Version::Stable));
        }
    }

    /// Counts the instructions of `work`, which calls `instance`.
    pub(super) fn measure<R>(&self, instance: &Instance, work: impl FnOnce() -> R) -> R {
        let before = instance.instructions();
        let result = work();
        let spent = instance.instructions().wrapping_sub(before);
        self.instructions.set(self.instructions.get().wrapping_add(spent));
        result
    }

    /// Counts the exchange, which has ended. `answer`: how long it took to the response's head, and whether its status
    /// is 5xx.
    pub(super) fn count(&self, answer: Option<(Duration, bool)>, duration: Duration) {
        let Some(tried) = self.split.tried() else { return };
        if let Some(mut shadow) = self.shadow.take() {
            self.count_shadow(tried, &mut shadow, duration);
        }
        if !self.seen.get() {
            return;
        }
        let denied = self.ended_it.get().is_some_and(Ended::is_denial);
        let outcome = Outcome { answer, denied, instructions: self.instructions.get() };
        tried.cells.count(self.version.get().unwrap_or(Version::Stable), &outcome);
    }

    fn count_shadow(&self, tried: &Tried, shadow: &mut Shadow, duration: Duration) {
        let decided = shadow.finish(duration);
        let cells = &tried.cells;
        let comparison = match (decided, self.ended_it.get()) {
            (Progress::Failed, _) => Comparison::Fault,
            (Progress::Undecided | Progress::Lost, _) => Comparison::Unknown,
            (Progress::Ended(shadow), Some(first)) if shadow == first => Comparison::Same,
            (Progress::Passed { .. }, None) if !self.passed.get() => Comparison::Unknown,
            (Progress::Ended(_), None) if !self.passed.get() => Comparison::Unknown,
            (Progress::Ended(_), _) | (Progress::Passed { .. }, Some(_)) => Comparison::Decision,
            (Progress::Passed { differs: true }, None) => Comparison::Headers,
            (Progress::Passed { differs: false }, None) => Comparison::Same,
        };
        cells.count_comparison(comparison);
        let denied = matches!(decided, Progress::Ended(ended) if ended.is_denial());
        let instructions = shadow.instructions();
        cells.count(Version::Candidate, &Outcome { answer: None, denied, instructions });
        if decided == Progress::Failed {
            cells.count_fault(Version::Candidate);
        }
    }

    /// Does something with the exchange's shadow, if it has one.
    pub(super) fn with_shadow(&self, work: impl FnOnce(&mut Shadow)) {
        if let Some(shadow) = self.shadow.borrow_mut().as_deref_mut() {
            work(shadow);
        }
    }
}

/// What shadows are shown. Nothing of it costs anything where there is none.
impl Run {
    /// A direction's head is at a filter.
    pub(super) fn shadow_head(&self, stage: usize, direction: Direction, end: bool) {
        let Some(trial) = self.trial(stage) else { return };
        let _ = trial.instance(self.stream(), self.buffer_limit());
        trial.with_shadow(|shadow| shadow.see_head(self.stream(), direction, end));
    }

    /// A piece of a body is at a filter.
    pub(super) fn shadow_body<'a>(
        &self,
        stage: usize,
        direction: Direction,
        chunks: impl Iterator<Item = &'a bytes::Bytes>,
        end: bool,
    ) {
        let Some(trial) = self.trial(stage) else { return };
        trial.with_shadow(|shadow| shadow.see_body(direction, chunks.cloned(), end));
    }

    /// A direction's trailers are at a filter.
    pub(super) fn shadow_trailers(&self, stage: usize, direction: Direction) {
        let Some(trial) = self.trial(stage) else { return };
        trial.with_shadow(|shadow| shadow.see_trailers(self.stream(), direction));
    }

    /// The request's head goes on from a filter as it is now.
    pub(super) fn note_passed(&self, stage: usize) {
        let Some(trial) = self.trial(stage) else { return };
        if !trial.passed.replace(true) {
            trial.with_shadow(|shadow| shadow.compare(&self.stream().borrow().request));
        }
    }
}
