//! How many requests a cluster may have at once, found out from how long they take.
//!
//! The limit is one for all workers: it is the service's, and one worker's requests alone would be too few to measure by.
//! Workers add the time of each answer to a histogram and look the limit up, an addition and a load; the control thread
//! reads the histogram at the end of each window.

mod gradient;
mod samples;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use self::gradient::Gradient;
use self::samples::Samples;
use super::Cluster;
use crate::config::model::AdaptiveConcurrency;
use crate::telemetry::metrics::ClusterCell;

/// A cluster's limit. Configurations that follow each other with the same terms share it.
#[derive(Debug)]
pub(super) struct Adaptive {
    terms: AdaptiveConcurrency,
    limit: AtomicUsize,
    samples: Samples,
    began: Instant,
    /// For the control thread.
    gradient: Mutex<Gradient>,
}

impl Adaptive {
    /// Without requests so far.
    fn new(terms: &AdaptiveConcurrency) -> Adaptive {
        Adaptive {
            terms: terms.clone(),
            limit: AtomicUsize::new(terms.min),
            samples: Samples::default(),
            began: Instant::now(),
            gradient: Mutex::new(Gradient::new(terms)),
        }
    }

    /// That of a cluster with these terms, where `former` is what it had before.
    pub(super) fn of(
        terms: Option<&AdaptiveConcurrency>,
        former: Option<&Arc<Adaptive>>,
    ) -> Option<Arc<Adaptive>> {
        let terms = terms?;
        let kept = former.filter(|former| former.terms == *terms).cloned();
        Some(kept.unwrap_or_else(|| Arc::new(Adaptive::new(terms))))
    }

    /// How many requests there may be.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// An endpoint that was asked at `asked` took so long to answer, or to not answer.
    pub(super) fn note(&self, asked: Instant, took: Duration) {
        if let Some(sent) = asked.checked_duration_since(self.began) {
            self.samples.note(sent, took);
        }
    }

    fn step(&self, cell: &ClusterCell) {
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        gradient.step(&self.terms, &self.samples, self.began.elapsed(), fastrand::f64());
        self.limit.store(gradient.limit, Relaxed);
        cell.concurrency_limit.set(gradient.limit as i64);
        cell.concurrency_base_us.set(gradient.base.unwrap_or_default().as_micros() as i64);
        cell.concurrency_gradient_thousandths.set((gradient.gradient * 1e3) as i64);
    }
}

/// No limit of the cluster that `cell` counts adapts any more.
pub(crate) fn leave(cell: &ClusterCell) {
    cell.concurrency_limit.set(0);
    cell.concurrency_base_us.set(0);
    cell.concurrency_gradient_thousandths.set(0);
}

/// Adapts a cluster's limit for as long as it is polled; the cluster may become another meanwhile. To be called by one task
/// of the process, which alone writes `cell`.
pub(crate) async fn watch(mut clusters: watch::Receiver<Arc<Cluster>>, cell: Arc<ClusterCell>) {
    let mut next = Instant::now();
    loop {
        let cluster = clusters.borrow_and_update().clone();
        let Some(adaptive) = cluster.adaptive() else { return };
        tokio::select! {
            () = sleep_until(next.into()) => {
                adaptive.step(&cell);
                next = Instant::now() + adaptive.terms.window;
            }
            changed = clusters.changed() => if changed.is_err() { return },
        }
    }
}
