//! Bounds on what is shown: more requests than anybody reads, or than whoever shows them keeps up with.

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ends::Ended;
use crate::wasm::witness::{End, Op, Request, Step};

/// How much may wait to be shown, in bytes, about. Exchanges that begin while there is more are not shown.
const MAX_WAITING: usize = 64 << 20;

/// While there is so much, nothing more waits but that exchanges and instances end: a stream may be long, and whoever
/// reads may not read at all.
const MOST_WAITING: usize = 2 * MAX_WAITING;

/// What an exchange's end takes while it waits, about.
const ENDED: usize = 512;

/// How many requests are remembered that are not shown, until they have ended for their clients too.
const MAX_LEFT_OUT: usize = 65_536;

/// Requests that are shown one by one in a second; of more there is a sum.
const SHOWN_PER_SECOND: u32 = 20;

const SECOND: Duration = Duration::from_secs(1);

/// What waits to be shown. Shared by the workers, which never wait for whoever reads.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// How many bytes that is.
    waiting: AtomicUsize,
    missed: AtomicU64,
    left_out: Mutex<LeftOut>,
}

/// Exchanges that are not shown.
#[derive(Debug, Default)]
struct LeftOut {
    /// By instance and context, as long as the filter has them.
    exchanges: HashSet<(u64, u32)>,
    /// By the request's id, until the client has its answer.
    requests: HashSet<String>,
}

/// Something that waits to be shown, and counts as that until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    it: T,
    weight: usize,
    backlog: Arc<Backlog>,
}

impl<T> Deref for Waiting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.it
    }
}

impl<T: Default> Waiting<T> {
    /// What has waited, as it is shown now.
    pub(super) fn take(&mut self) -> T {
        std::mem::take(&mut self.it)
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.backlog.waiting.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

impl Backlog {
    /// A step, if it is to be shown: either an exchange is from its beginning on, or not at all.
    pub(super) fn take_step(self: &Arc<Self>, instance: u64, step: Step) -> Option<Waiting<Box<Step>>> {
        self.takes(instance, &step).then(|| self.waiting(step.weight(), Box::new(step)))
    }

    fn takes(&self, instance: u64, step: &Step) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let ends =
            matches!(step.op, Op::Release { .. } | Op::Shutdown) || matches!(step.end, End::Fault { .. });
        let Some(context) = step.op.context() else { return waiting <= MOST_WAITING || ends };
        let key = (instance, context);
        let mut left_out = self.left_out();
        if matches!(step.op, Op::Open { .. }) && waiting > MAX_WAITING {
            self.missed.fetch_add(1, Ordering::Relaxed);
            left_out.exchanges.insert(key);
        }
        if !left_out.exchanges.contains(&key) {
            return waiting <= MOST_WAITING || ends;
        }
        if let Some(id) = request_id(step).filter(|_| left_out.requests.len() < MAX_LEFT_OUT) {
            left_out.requests.insert(id);
        }
        if matches!(step.op, Op::Release { .. }) || step.ended().is_some() {
            left_out.exchanges.remove(&key);
        }
        false
    }

    /// How exchanges ended for their clients, but for those that are not shown.
    pub(super) fn take_ends(self: &Arc<Self>, mut ends: Vec<Ended>) -> Waiting<Vec<Ended>> {
        let mut left_out = self.left_out();
        ends.retain(|ended| !ended.request_id.as_ref().is_some_and(|id| left_out.requests.remove(id)));
        drop(left_out);
        if self.waiting.load(Ordering::Relaxed) > MOST_WAITING {
            self.missed.fetch_add(ends.len() as u64, Ordering::Relaxed);
            ends = Vec::new();
        }
        self.waiting(ends.len() * ENDED, ends)
    }

    fn waiting<T>(self: &Arc<Self>, weight: usize, it: T) -> Waiting<T> {
        self.waiting.fetch_add(weight, Ordering::Relaxed);
        Waiting { it, weight, backlog: self.clone() }
    }

    /// An instance has ended, and so has what it had.
    pub(super) fn forget(&self, instance: u64) {
        self.left_out().exchanges.retain(|(of, _)| *of != instance);
    }

    /// How many exchanges were left out since this was last asked.
    pub(super) fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    fn left_out(&self) -> MutexGuard<'_, LeftOut> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id that a request has when the filter first sees it.
fn request_id(step: &Step) -> Option<String> {
    let mut heads = step.streams.iter().filter_map(|stream| stream.before.request.as_ref());
    id_of(heads.next()?)
}

/// The id in a request's head.
pub(super) fn id_of(request: &Request) -> Option<String> {
    let id = request.headers.iter().find(|(name, _)| &*name.0 == b"x-request-id");
    id.map(|(_, value)| value.text().into_owned())
}

/// Lets so many requests through in a second, and sums up the others.
#[derive(Debug)]
pub(super) struct Flood {
    began: Instant,
    shown: u32,
    more: Sum,
}

/// Requests that were not shown one by one.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) requests: u64,
    /// By what the client got.
    pub(super) statuses: BTreeMap<String, u64>,
    pub(super) failed: u64,
    pub(super) instructions: u64,
}

impl Flood {
    pub(super) fn new() -> Flood {
        Flood { began: Instant::now(), shown: 0, more: Sum::default() }
    }

    /// Whether one more is shown in this second.
    pub(super) fn passes(&mut self) -> bool {
        self.shown += 1;
        self.shown <= SHOWN_PER_SECOND
    }

    /// One was not shown.
    pub(super) fn leave_out(&mut self, status: String, failed: bool, instructions: u64) {
        self.more.requests += 1;
        *self.more.statuses.entry(status).or_default() += 1;
        self.more.failed += u64::from(failed);
        self.more.instructions += instructions;
    }

    /// The sum of those that were not shown, when a second is over or `now` is wanted.
    pub(super) fn sum(&mut self, now: bool) -> Option<Sum> {
        if !now && self.began.elapsed() < SECOND {
            return None;
        }
        (self.began, self.shown) = (Instant::now(), 0);
        (self.more.requests > 0).then(|| std::mem::take(&mut self.more))
    }
}

impl Sum {
    /// `503 ×2, 200 ×7`.
    pub(super) fn statuses(&self) -> String {
        let words: Vec<_> =
            self.statuses.iter().map(|(status, count)| format!("{status} ×{count}")).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wasm::witness::{Blob, Change, Piece, StreamChange};

    /// A step that takes so many bytes, of which none is touched.
    fn step(op: Op, bytes: usize) -> Step {
        let body = Some(Piece::Whole(Blob(Bytes::from(vec![0; bytes]))));
        let before = Change { request_body: body, ..Change::default() };
        let streams = vec![StreamChange { context: 2, before, after: Change::default() }];
        Step { at: 0, op, streams, calls: Vec::new(), end: End::Answer("continue".into()) }
    }

    fn ended(id: &str) -> Ended {
        let line = serde_json::json!({
            "outcome": "ok", "skipped": [], "duration_ms": 1.0, "request_bytes": 0, "response_bytes": 0, "request_id": id,
        });
        serde_json::from_value(line).expect("it has all fields")
    }

    #[test]
    fn beyond_the_most_that_may_wait_ends_of_exchanges_are_counted_and_not_kept() {
        let backlog = Arc::new(Backlog::default());
        let body = |backlog: &Arc<Backlog>| {
            let op =
                Op::Body { context: 2, direction: crate::wasm::witness::Side::Request, end_of_stream: false };
            backlog.take_step(1, step(op, MOST_WAITING))
        };
        assert_eq!(backlog.take_ends(vec![ended("a")]).take().len(), 1);
        let waits = body(&backlog).expect("it is the first");
        assert!(body(&backlog).is_none(), "a stream may be long");
        assert!(backlog.take_step(1, step(Op::Release { context: 2 }, 0)).is_some(), "its end is told");
        assert_eq!(backlog.take_ends(vec![ended("b"), ended("c")]).take().len(), 0);
        assert_eq!(backlog.missed(), 2);
        drop(waits);
        assert!(body(&backlog).is_some());
        assert_eq!(backlog.take_ends(vec![ended("d")]).take().len(), 1);
        assert_eq!(backlog.waiting.load(Ordering::Relaxed), 0, "what was shown does not wait");
    }
}
