//! How much of a cluster may be in use at once, on all workers together: what is more is answered at once rather than
//! queued behind what does not get on (circuit breakers, in Envoy's words; bulkheads, in others').

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::UpstreamError;
use super::pool::Pool;
use crate::telemetry::metrics::{ClusterCell, Limit};

/// What is in use of a cluster. Configurations that follow each other share it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Load {
    requests: AtomicUsize,
    pending: AtomicUsize,
    connections: AtomicUsize,
    pub(super) retries: AtomicUsize,
    /// Notifies one of those that wait when there is a connection less.
    freed: Notify,
}

impl Load {
    /// Requests in flight.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// Waits until there is a connection less, from when this is [enabled](Notified::enable) or polled. One alone of those
    /// that wait is told of each: who cannot have it [passes it on](Load::pass_on).
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Tells another that there is a connection less.
    pub(super) fn pass_on(&self) {
        self.freed.notify_one();
    }

    fn counter(&self, limit: Limit) -> &AtomicUsize {
        match limit {
            Limit::Requests | Limit::Concurrency => &self.requests,
            Limit::Pending => &self.pending,
            Limit::Connections => &self.connections,
        }
    }
}

/// One request, wait or connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    load: Arc<Load>,
    of: Limit,
}

impl Slot {
    /// Takes one, unless there are `most` of them.
    pub(super) fn take(load: &Arc<Load>, of: Limit, most: usize) -> Option<Slot> {
        // Nobody else may find that one too many which is not taken: it would wait for nothing.
        let one_more = |count| (count < most).then_some(count + 1);
        load.counter(of).fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Slot { load: load.clone(), of })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.counter(self.of).fetch_sub(1, Relaxed);
        if self.of == Limit::Connections {
            self.load.pass_on();
        }
    }
}

/// A request that waits, for a connection to be free or to be made, until this is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    _slot: Slot,
    cell: Arc<ClusterCell>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.cell.pending_requests.decrement();
    }
}

/// Counts a request as one that waits.
///
/// # Errors
///
/// As many wait as may.
pub(super) fn wait(pool: &Pool) -> Result<Waiting, UpstreamError> {
    let most = pool.cluster().config().recovery.breakers.pending;
    let slot = Slot::take(pool.cluster().load(), Limit::Pending, most);
    let slot = slot.ok_or(UpstreamError::Overflow(Limit::Pending))?;
    pool.cell().pending_requests.increment();
    Ok(Waiting { _slot: slot, cell: pool.cell().clone() })
}

/// Counts what is refused, and says so.
pub(super) fn refuse(pool: &Pool, limit: Limit) -> UpstreamError {
    pool.cell().count_overflow(limit);
    UpstreamError::Overflow(limit)
}
