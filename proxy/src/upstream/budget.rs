//! How much of what a cluster is asked may be asked again: without a bound, retries are what turns an endpoint's trouble
//! into everybody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Cluster;
use crate::config::model::Percent;

/// The retries of a cluster that are under way, on all workers.
#[derive(Debug, Default)]
pub(super) struct Retries(AtomicUsize);

/// A retry under way, from the decision to what comes of it. It counts until this is dropped.
#[derive(Debug)]
pub struct Retrying(Arc<Cluster>);

impl Retrying {
    /// Begins one, unless as many are under way as may be: `share` of the cluster's requests in flight, but `minimum` at
    /// least. The one that is to be sent again is one of those.
    pub fn begin(cluster: &Arc<Cluster>, share: Percent, minimum: usize) -> Option<Retrying> {
        let retries = &cluster.retries().0;
        let before = retries.fetch_add(1, Ordering::Relaxed);
        // Made now, so that it counts one less where it may not begin.
        let retrying = Retrying(cluster.clone());
        if before < minimum {
            return Some(retrying);
        }
        let most = (cluster.active() + 1).saturating_mul(share.0 as usize) / Percent::ALL.0 as usize;
        (before < most).then_some(retrying)
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.retries().0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::cluster_config;

    #[test]
    fn a_budget_is_a_share_of_what_is_in_flight_and_never_less_than_its_minimum() {
        let endpoint = ([127, 0, 0, 1], 1).into();
        let cluster = Arc::new(Cluster::new(Arc::new(cluster_config([endpoint]))));
        let begin = |minimum| Retrying::begin(&cluster, Percent(2_000), minimum);
        let under_way: Vec<_> = (0..3).map(|_| begin(3).unwrap()).collect();
        assert!(begin(3).is_none(), "nothing is in flight: there is the minimum");
        for _ in 0..24 {
            cluster.endpoints()[0].begin();
        }
        let more = [begin(3), begin(3)];
        assert!(more.iter().all(Option::is_some), "a fifth of 24, and of the one that is asked for");
        assert!(begin(3).is_none());
        drop(under_way);
        assert!(begin(3).is_some(), "what has ended does not count");
    }
}
