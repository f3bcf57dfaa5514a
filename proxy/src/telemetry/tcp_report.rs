//! Reports each TCP connection exactly once, however it ends: what [`report`](super::report) is for exchanges.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Reporter;
use super::access_log::{Ending, Entry};
use super::metrics::TcpCell;
use crate::error::{Failure, Outcome, StatusClass};

/// One connection's report: a guard, which writes the counters and the access-log line when it drops.
#[derive(Debug)]
pub struct TcpReport {
    reporter: Rc<Reporter>,
    cell: Arc<TcpCell>,
    began: Instant,
    failure: Option<Failure>,
    received_bytes: u64,
    sent_bytes: u64,
    entry: Option<Box<Entry>>,
}

impl TcpReport {
    /// Begins the report of a connection that was accepted now; `cell` is that of its listener and cluster.
    pub fn begin(reporter: &Rc<Reporter>, cell: &Arc<TcpCell>) -> TcpReport {
        TcpReport {
            cell: Arc::clone(cell),
            began: Instant::now(),
            failure: None,
            received_bytes: 0,
            sent_bytes: 0,
            entry: reporter.entry(),
            reporter: Rc::clone(reporter),
        }
    }

    /// It failed. The first failure counts: what follows from it is no news.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// So many bytes were received from the client, and so many sent to it, in all.
    pub fn count(&mut self, received_bytes: u64, sent_bytes: u64) {
        (self.received_bytes, self.sent_bytes) = (received_bytes, sent_bytes);
    }

    /// Notes facts for the access log; `note` is not called where it is off.
    pub fn log(&mut self, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            note(entry);
        }
    }

    /// How long it has lasted.
    pub fn lasted(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for TcpReport {
    fn drop(&mut self) {
        self.cell.count(self.failure);
        self.cell.received_bytes.add(self.received_bytes);
        self.cell.sent_bytes.add(self.sent_bytes);
        let ending = Ending {
            status: None,
            outcome: Outcome { class: StatusClass::NoResponse, failure: self.failure },
            grpc_status: None,
            duration: self.lasted(),
            request_bytes: self.received_bytes,
            response_bytes: self.sent_bytes,
        };
        self.reporter.append(self.entry.as_deref(), &ending);
    }
}
