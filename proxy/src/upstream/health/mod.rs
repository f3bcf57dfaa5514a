//! Asking endpoints how they are: one task for each of a cluster's, once for the whole process, whatever the workers.
//!
//! The first answer decides, so that a proxy that has just begun knows quickly; after it thresholds do. An endpoint that
//! joins a cluster which was asked before gets no requests until it has answered well. What is said in the log is
//! changes.

mod grpc;
mod http;
mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Cluster, Endpoint, HealthFlag, outlier};
use crate::config::model::{HealthCheck, Percent};
use crate::telemetry::metrics::ClusterCell;
use probe::{Sick, Well, probe};

/// Asks the endpoint of this address again and again, from `after` some time on, for as long as this is polled and the
/// cluster has it; the cluster may become another meanwhile. To be called by one task of the process; all that share
/// `cell` are on one thread.
pub(crate) async fn watch(
    mut clusters: watch::Receiver<Arc<Cluster>>,
    address: SocketAddr,
    cell: Arc<ClusterCell>,
    after: Duration,
) {
    let mut row = 0;
    sleep(after).await;
    loop {
        let cluster = clusters.borrow_and_update().clone();
        let Some((endpoint, check)) = look(&cluster, address) else { return };
        let outcome = timeout(check.timeout, probe(&cluster, endpoint, check));
        let outcome = outcome.await.unwrap_or_else(|_| Err(Sick("it took too long".to_owned())));
        match &outcome {
            Ok(_) => cell.checks_passed.increment(),
            Err(_) => cell.checks_failed.increment(),
        }
        Row { check, length: &mut row }.take(&cluster, endpoint, &outcome);
        if wait(&mut clusters, &cluster, address).await.is_none() {
            return;
        }
    }
}

/// What is asked of the endpoint of an address.
fn look(cluster: &Cluster, address: SocketAddr) -> Option<(&Endpoint, &HealthCheck)> {
    let endpoint = &cluster.endpoints()[cluster.place_of(address)?];
    Some((endpoint, cluster.config().recovery.health_check.as_ref()?))
}

/// Waits until the endpoint is to be asked again. Where something else is to be asked than was of `asked` that is at once,
/// otherwise a change of the cluster leaves the time as it is, by the interval that there is then. `None` when it is not
/// to be asked any more.
async fn wait(
    clusters: &mut watch::Receiver<Arc<Cluster>>,
    asked: &Cluster,
    address: SocketAddr,
) -> Option<()> {
    let (began, jitter) = (Instant::now(), fastrand::f32());
    loop {
        let cluster = clusters.borrow_and_update().clone();
        let (endpoint, check) = look(&cluster, address)?;
        let (_, former) = look(asked, address)?;
        if check.probe != former.probe || cluster.config().protocol != asked.config().protocol {
            return Some(());
        }
        tokio::select! {
            () = sleep_until(began + pause(&cluster, endpoint, check, jitter)) => return Some(()),
            changed = clusters.changed() => changed.ok()?,
        }
    }
}

/// An endpoint joins others that were asked before: it gets nothing until it has passed.
pub(crate) fn await_first(cluster: &Cluster, address: SocketAddr) {
    let endpoint = cluster.place_of(address).map(|place| &cluster.endpoints()[place]);
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_checked()) {
        endpoint.mark(HealthFlag::FailedCheck, true);
    }
}

/// Nobody is asked in this cluster. By another configuration they may have been.
pub(crate) fn leave(cluster: &Cluster) {
    for endpoint in cluster.endpoints() {
        endpoint.note_checked(false);
        endpoint.mark(HealthFlag::FailedCheck, false);
        endpoint.mark(HealthFlag::Degraded, false);
    }
}

/// Whether endpoints of a cluster were asked before.
pub(crate) fn is_under_way(cluster: &Cluster) -> bool {
    cluster.endpoints().iter().any(Endpoint::is_checked)
}

/// How many checks in a row have said other than what the endpoint is taken for.
struct Row<'a> {
    check: &'a HealthCheck,
    length: &'a mut u32,
}

impl Row<'_> {
    fn take(self, cluster: &Cluster, endpoint: &Endpoint, outcome: &Result<Well, Sick>) {
        let is_first = !endpoint.is_checked();
        let was_well = !endpoint.has(HealthFlag::FailedCheck);
        endpoint.note_checked(true);
        if let Ok(well) = outcome
            && endpoint.mark(HealthFlag::Degraded, well.is_degraded)
        {
            let is_degraded = well.is_degraded;
            tracing::info!(cluster = cluster.name(), %endpoint, is_degraded, "an endpoint says how degraded it is");
        }
        if outcome.is_ok() == was_well {
            *self.length = 0;
            return;
        }
        *self.length += 1;
        let threshold = if was_well { self.check.unhealthy_threshold } else { self.check.healthy_threshold };
        if *self.length < threshold && !is_first {
            return;
        }
        *self.length = 0;
        match outcome {
            Ok(_) => {
                endpoint.mark(HealthFlag::FailedCheck, false);
                tracing::info!(cluster = cluster.name(), %endpoint, "an endpoint passes its health check");
                if endpoint.has(HealthFlag::Ejected) {
                    outlier::restore(cluster, endpoint, "it passes its health check");
                }
            }
            Err(Sick(reason)) => {
                endpoint.mark(HealthFlag::FailedCheck, true);
                tracing::warn!(
                    cluster = cluster.name(),
                    %endpoint,
                    reason,
                    "an endpoint fails its health check: it gets no requests"
                );
            }
        }
    }
}

fn pause(cluster: &Cluster, endpoint: &Endpoint, check: &HealthCheck, jitter: f32) -> Duration {
    let interval = if endpoint.has(HealthFlag::FailedCheck) {
        check.unhealthy_interval
    } else if cluster.endpoints().iter().all(|endpoint| endpoint.requests() == 0) {
        check.no_traffic_interval
    } else {
        check.interval
    };
    let share = check.jitter.0 as f32 / Percent::ALL.0 as f32;
    interval.mul_f32(1.0 + share * jitter)
}
