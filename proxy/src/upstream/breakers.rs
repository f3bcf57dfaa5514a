//! How much of a cluster may be in use at once, on all workers together: what is more is answered at once rather than
//! queued behind what does not get on (circuit breakers, in Envoy's words; bulkheads, in others').

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::pool::Pool;
use super::{Cluster, UpstreamError};
use crate::telemetry::metrics::Limit;

/// What is in use of a cluster. Configurations that follow each other share it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Load {
    requests: AtomicUsize,
    pending: AtomicUsize,
    connections: AtomicUsize,
    pub(super) retries: AtomicUsize,
}

impl Load {
    /// Requests in flight.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
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
    /// Takes one, unless there are as many as may be; `even_so` takes one all the same.
    pub(super) fn take(cluster: &Cluster, of: Limit, even_so: bool) -> Option<Slot> {
        let breakers = &cluster.config().recovery.breakers;
        let most = match of {
            Limit::Requests | Limit::Concurrency => cluster.request_limit().0,
            Limit::Pending => breakers.pending,
            Limit::Connections => breakers.connections,
        };
        let before = cluster.load().counter(of).fetch_add(1, Relaxed);
        // Made now, so that it counts one less where it may not be.
        let slot = Slot { load: cluster.load().clone(), of };
        (before < most || even_so).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.counter(self.of).fetch_sub(1, Relaxed);
    }
}

/// Counts what is refused, and says so.
pub(super) fn refuse(pool: &Pool, limit: Limit) -> UpstreamError {
    pool.cell().count_overflow(limit);
    UpstreamError::Overflow(limit)
}
