//! Reports each exchange exactly once, however it ends.
//!
//! [`ExchangeReport`] is a guard: made when a request's head is there, told the facts as they come, it writes the
//! counters, the duration and the access-log line when it drops. An exchange that is cancelled, because its client
//! left, drops its guard like any other, so nothing can be forgotten and nothing counted twice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::access_log::{Ending, Entry, Lane};
use super::metrics::{ExchangeCell, ListenerCell, Registry};
use crate::error::{Failure, Outcome, StatusClass};
use crate::grpc;

/// What every report of one listener on one worker has in common.
#[derive(Debug)]
pub struct Reporter {
    name: Arc<str>,
    cell: Arc<ListenerCell>,
    /// For exchanges that find no route.
    unrouted: Arc<ExchangeCell>,
    log: Option<Lane>,
}

impl Reporter {
    /// For the listener of this name on this worker; with a lane where its access log is on.
    pub fn new(metrics: &Registry, worker: usize, listener: &str, log: Option<Lane>) -> Rc<Reporter> {
        Rc::new(Reporter {
            name: Arc::from(listener),
            cell: metrics.listener(worker, listener),
            unrouted: metrics.exchange(worker, listener, "", ""),
            log,
        })
    }

    /// The listener's cell, for its connections.
    pub fn cell(&self) -> &ListenerCell {
        &self.cell
    }

    pub(super) fn entry(&self) -> Option<Box<Entry>> {
        self.log.as_ref().map(|_| Box::new(Entry::begin(&self.name)))
    }

    pub(super) fn append(&self, entry: Option<&Entry>, ending: &Ending) {
        if let (Some(entry), Some(lane)) = (entry, &self.log) {
            lane.append(entry, ending);
        }
    }
}

/// One exchange's report. See the module.
///
/// Where the access log is off it allocates nothing; it reads the clock once, when it [stops](ExchangeReport::stop).
#[derive(Debug)]
pub struct ExchangeReport {
    reporter: Rc<Reporter>,
    routed: Option<Arc<ExchangeCell>>,
    began: Instant,
    duration: Option<Duration>,
    status: Option<StatusCode>,
    failure: Option<Failure>,
    complete: bool,
    /// Whether it is a gRPC call, and how that ended, once it is known.
    call: Option<Option<grpc::Status>>,
    request_bytes: u64,
    response_bytes: u64,
    entry: Option<Box<Entry>>,
}

impl ExchangeReport {
    /// Begins the report of an exchange whose request's head was received at `began`.
    pub fn begin(reporter: &Rc<Reporter>, began: Instant) -> ExchangeReport {
        reporter.cell.active_exchanges.increment();
        ExchangeReport {
            routed: None,
            began,
            duration: None,
            status: None,
            failure: None,
            complete: false,
            call: None,
            request_bytes: 0,
            response_bytes: 0,
            entry: reporter.entry(),
            reporter: Rc::clone(reporter),
        }
    }

    /// It took a route to a cluster, whose cell this is. The last one counts, where a filter made it take another.
    pub fn route(&mut self, cell: &Arc<ExchangeCell>) {
        self.routed = Some(Arc::clone(cell));
    }

    /// The client is sent this status (the final one: neither 100 nor 103).
    pub fn answer(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// It is a gRPC call.
    pub fn begin_call(&mut self) {
        self.call = Some(None);
    }

    /// These fields, of the response's head or its trailers, may say how the call ended, if it is one.
    pub fn end_call(&mut self, fields: &HeaderMap) {
        if let Some(status) = &mut self.call {
            *status = grpc::Status::of(fields).or(*status);
        }
    }

    /// It failed. The first failure counts: what follows from it is no news. The status sent for it, if one was, is
    /// told by [`answer`](Self::answer) as any other.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// So many more request body bytes were received.
    pub fn receive(&mut self, bytes: u64) {
        self.request_bytes += bytes;
    }

    /// So many more response body bytes were sent.
    pub fn send(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// The response's last frame was handed over. A report that drops before, without a failure, says that the client
    /// left.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// The exchange is over: how long it took. What still follows, such as guests' last callbacks, is not of it. The first
    /// call counts; what drops without one stops then.
    pub fn stop(&mut self) -> Duration {
        let began = self.began;
        *self.duration.get_or_insert_with(|| began.elapsed())
    }

    /// Notes facts for the access log; `note` is not called where it is off.
    pub fn log(&mut self, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            note(entry);
        }
    }

    /// The status told so far.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// How it ended, or would if it dropped now.
    pub fn outcome(&self) -> Outcome {
        let left = if self.complete { None } else { Some(Failure::ClientLeft) };
        Outcome { class: StatusClass::of(self.status), failure: self.failure.or(left) }
    }
}

impl Drop for ExchangeReport {
    fn drop(&mut self) {
        let outcome = self.outcome();
        let duration = self.stop();
        let cell = self.routed.as_ref().unwrap_or(&self.reporter.unrouted);
        cell.count(outcome);
        if let Some(status) = self.call {
            cell.count_call(status);
        }
        cell.duration.observe(duration);
        cell.request_bytes.add(self.request_bytes);
        cell.response_bytes.add(self.response_bytes);
        self.reporter.cell.active_exchanges.decrement();
        let ending = Ending {
            status: self.status,
            outcome,
            grpc_status: self.call.flatten(),
            duration,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        };
        self.reporter.append(self.entry.as_deref(), &ending);
    }
}
