//! The one task of a cluster that compares its endpoints, and takes them back when their time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::compare::{Sample, outliers};
use super::{Record, eject};
use crate::telemetry::metrics::ClusterCell;
use crate::upstream::{Cluster, Endpoint, HealthFlag};

/// Looks after a cluster's endpoints for as long as it is polled; the cluster may become another meanwhile. To be called by
/// one task of the process, which alone writes `cell`.
pub(crate) async fn watch(mut clusters: watch::Receiver<Arc<Cluster>>, cell: Arc<ClusterCell>) {
    let mut compared = Instant::now();
    loop {
        let cluster = clusters.borrow_and_update().clone();
        let Some(terms) = &cluster.config().recovery.outlier_detection else { return };
        cluster.outliers().off.store(false, Relaxed);
        let comparison = compared + terms.interval;
        let back = cluster.endpoints().iter().filter_map(time_left).min();
        let back = back.map(|left| Instant::now() + left);
        tokio::select! {
            () = sleep_until(back.unwrap_or(comparison).min(comparison)) => {}
            () = cluster.outliers().changed.notified() => {}
            changed = clusters.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        for endpoint in cluster.endpoints().iter().filter(|it| time_left(it) == Some(Duration::ZERO)) {
            restore(&cluster, endpoint, "its time is over");
        }
        if comparison <= Instant::now() {
            compare(&cluster, &cell);
            compared = Instant::now();
        }
    }
}

/// Nobody is ejected in this cluster. By another configuration there may have been ejections.
pub(crate) fn leave(cluster: &Cluster) {
    cluster.outliers().off.store(true, Relaxed);
    for endpoint in cluster.endpoints() {
        endpoint.mark(HealthFlag::Ejected, false);
    }
}

/// How long an ejected endpoint is to be left alone yet.
fn time_left(endpoint: &Endpoint) -> Option<Duration> {
    let until = endpoint.outlier().until_ms.load(Relaxed);
    let left = Duration::from_millis(until.saturating_sub(endpoint.now_ms()));
    endpoint.has(HealthFlag::Ejected).then_some(left)
}

/// Takes an endpoint back, to see what comes of that.
pub(in crate::upstream) fn restore(cluster: &Cluster, endpoint: &Endpoint, why: &str) {
    let record = endpoint.outlier();
    record.clear();
    record.take();
    record.on_probation.store(true, Relaxed);
    if endpoint.mark(HealthFlag::Ejected, false) {
        tracing::info!(cluster = cluster.name(), %endpoint, why, "an endpoint is back from its ejection");
    }
}

fn compare(cluster: &Cluster, cell: &ClusterCell) {
    let Some(terms) = &cluster.config().recovery.outlier_detection else { return };
    let endpoints = cluster.endpoints();
    let samples: Vec<Sample> = endpoints.iter().map(|endpoint| endpoint.outlier().take()).collect();
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.has(HealthFlag::Ejected)) {
        // Whoever behaves for as long as this is forgiven one.
        let _ =
            endpoint.outlier().ejections.fetch_update(Relaxed, Relaxed, |ejections| ejections.checked_sub(1));
    }
    for (place, reason) in outliers(terms, &samples) {
        if !endpoints[place].has(HealthFlag::Ejected) {
            eject(cluster, &endpoints[place], terms, cell, reason);
        }
    }
}

impl Record {
    /// What was counted since the last time.
    fn take(&self) -> Sample {
        Sample {
            requests: self.requests.swap(0, Relaxed),
            successes: self.successes.swap(0, Relaxed),
            timed: self.timed.swap(0, Relaxed),
            time: Duration::from_micros(self.time_us.swap(0, Relaxed)),
        }
    }
}
