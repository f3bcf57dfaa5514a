//! Who looks after the clusters that are served: their health checks and their outliers, once for the whole process, on
//! the control thread. A cluster that is the same one in the next configuration keeps its guards; those of one that is
//! gone end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{ClusterCell, Registry};
use crate::upstream::{Cluster, concurrency, health, outlier};

/// Where the control thread counts, among the workers.
const CONTROL: usize = usize::MAX;

/// The guards of what is served. Dropped, they end.
#[derive(Default)]
pub(super) struct Guards(HashMap<String, Guarded>);

struct Guarded {
    cluster: Arc<Cluster>,
    tasks: Vec<AbortHandle>,
}

impl Guards {
    /// Looks after the clusters of this configuration and no others. To be called on the control thread's runtime.
    pub(super) fn note_served(&mut self, snapshot: &Snapshot, metrics: &Registry) {
        let mut former = std::mem::take(&mut self.0);
        for cluster in snapshot.clusters() {
            let kept = former.remove(cluster.name()).filter(|it| Arc::ptr_eq(&it.cluster, cluster));
            let guarded =
                kept.unwrap_or_else(|| Guarded::begin(cluster, &metrics.cluster(CONTROL, cluster.name())));
            self.0.insert(cluster.name().to_owned(), guarded);
        }
    }
}

impl Guarded {
    fn begin(cluster: &Arc<Cluster>, cell: &Arc<ClusterCell>) -> Guarded {
        let recovery = &cluster.config().recovery;
        let mut tasks = Vec::new();
        match recovery.outlier_detection {
            Some(_) => tasks.push(tokio::spawn(outlier::watch(cluster.clone(), cell.clone())).abort_handle()),
            None => outlier::leave(cluster),
        }
        if recovery.concurrency.is_some() {
            tasks.push(tokio::spawn(concurrency::watch(cluster.clone(), cell.clone())).abort_handle());
        }
        match recovery.health_check {
            Some(_) => {
                let joins = health::is_under_way(cluster);
                let watch = |place| health::watch(cluster.clone(), place, cell.clone(), joins);
                let places = 0..cluster.endpoints().len();
                tasks.extend(places.map(|place| tokio::spawn(watch(place)).abort_handle()));
            }
            None => health::leave(cluster),
        }
        Guarded { cluster: cluster.clone(), tasks }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
