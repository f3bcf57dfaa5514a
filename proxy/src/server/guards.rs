//! Who looks after the clusters that are served: their health checks and their outliers, once for the whole process, on
//! the control thread. A cluster that the next configuration has too keeps its guards, which go on as they were with the
//! endpoints that stay; those of one that is gone end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::model::Address;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{ClusterCell, Registry};
use crate::upstream::{Cluster, concurrency, health, outlier};

/// Between the first checks of two endpoints: thousands of them are not asked at the same moment.
const FIRST_CHECKS_APART: Duration = Duration::from_millis(1);

/// Where the control thread counts, among the workers.
const CONTROL: usize = usize::MAX;

/// The guards of what is served. Dropped, they end.
#[derive(Default)]
pub(super) struct Guards(HashMap<String, Guarded>);

struct Guarded {
    cell: Arc<ClusterCell>,
    /// The cluster as the configuration that is served has it.
    cluster: watch::Sender<Arc<Cluster>>,
    outliers: Option<Guard>,
    concurrency: Option<Guard>,
    checks: HashMap<Address, Guard>,
}

/// A task that ends with this.
struct Guard(AbortHandle);

impl Guard {
    fn begin(task: impl Future<Output = ()> + Send + 'static) -> Guard {
        Guard(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Guards {
    /// Looks after the clusters of this configuration and no others. To be called on the control thread's runtime.
    pub(super) fn note_served(&mut self, snapshot: &Snapshot, metrics: &Registry) {
        let mut former = std::mem::take(&mut self.0);
        for cluster in snapshot.clusters() {
            let guarded = match former.remove(cluster.name()) {
                Some(mut guarded) => {
                    if !Arc::ptr_eq(&guarded.cluster.borrow(), cluster) {
                        guarded.cluster.send_replace(cluster.clone());
                        guarded.follow(cluster);
                    }
                    guarded
                }
                None => Guarded::begin(cluster, metrics.cluster(CONTROL, cluster.name())),
            };
            self.0.insert(cluster.name().to_owned(), guarded);
        }
        former.values().for_each(|gone| concurrency::leave(&gone.cell));
    }
}

impl Guarded {
    fn begin(cluster: &Arc<Cluster>, cell: Arc<ClusterCell>) -> Guarded {
        let (sender, _) = watch::channel(cluster.clone());
        let mut guarded =
            Guarded { cell, cluster: sender, outliers: None, concurrency: None, checks: HashMap::new() };
        guarded.follow(cluster);
        guarded
    }

    /// Begins what the cluster asks for and is not under way, and ends what it does not ask for.
    fn follow(&mut self, cluster: &Arc<Cluster>) {
        let recovery = &cluster.config().recovery;
        if recovery.outlier_detection.is_none() {
            self.outliers = None;
            outlier::leave(cluster);
        } else if self.outliers.is_none() {
            let watch = outlier::watch(self.cluster.subscribe(), self.cell.clone());
            self.outliers = Some(Guard::begin(watch));
        }
        if recovery.concurrency.is_none() {
            self.concurrency = None;
            concurrency::leave(&self.cell);
        } else if self.concurrency.is_none() {
            let watch = concurrency::watch(self.cluster.subscribe(), self.cell.clone());
            self.concurrency = Some(Guard::begin(watch));
        }
        match &recovery.health_check {
            Some(check) => self.check(cluster, check.interval),
            None => {
                self.checks.clear();
                health::leave(cluster);
            }
        }
    }

    fn check(&mut self, cluster: &Arc<Cluster>, interval: Duration) {
        let addresses: HashSet<_> = cluster.endpoints().iter().map(|endpoint| endpoint.address()).collect();
        self.checks.retain(|address, _| addresses.contains(address));
        let joins = health::is_under_way(cluster);
        let new: Vec<_> = addresses.into_iter().filter(|it| !self.checks.contains_key(it)).collect();
        let apart = FIRST_CHECKS_APART.min(interval / u32::try_from(new.len().max(1)).unwrap_or(u32::MAX));
        let mut first = Duration::ZERO;
        for address in new {
            if joins {
                health::await_first(cluster, address);
            }
            let watch = health::watch(self.cluster.subscribe(), address, self.cell.clone(), first);
            self.checks.insert(address, Guard::begin(watch));
            first += apart;
        }
    }
}
