//! How much of what a cluster is asked may be asked again: without a bound, retries are what turns an endpoint's trouble
//! into everybody's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cluster;
use crate::config::model::Percent;

/// A retry under way, from the decision to what comes of it. It counts until this is dropped.
#[derive(Debug)]
pub struct Retrying(Arc<Cluster>);

impl Retrying {
    /// Begins one, unless as many are under way as may be: `share` of the cluster's requests in flight, but `minimum` at
    /// least. The one that is to be sent again is one of those.
    pub fn begin(cluster: &Arc<Cluster>, share: Percent, minimum: usize) -> Option<Retrying> {
        let before = cluster.load().retries.fetch_add(1, Ordering::Relaxed);
        // Made now, so that it counts one less where it may not begin.
        let retrying = Retrying(cluster.clone());
        if before >= cluster.config().recovery.breakers.retries {
            return None;
        }
        if before < minimum {
            return Some(retrying);
        }
        let most = (cluster.load().requests() + 1).saturating_mul(share.0 as usize) / Percent::ALL.0 as usize;
        (before < most).then_some(retrying)
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.load().retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Limit;
    use crate::upstream::breakers::Slot;
    use crate::upstream::tests::cluster_config;

    #[test]
    fn a_budget_is_a_share_of_what_is_in_flight_and_never_less_than_its_minimum() {
        let endpoint = ([127, 0, 0, 1], 1).into();
        let cluster = Arc::new(Cluster::new(Arc::new(cluster_config([endpoint]))));
        let begin = |minimum| Retrying::begin(&cluster, Percent(2_000), minimum);
        let under_way: Vec<_> = (0..3).map(|_| begin(3).unwrap()).collect();
        assert!(begin(3).is_none(), "nothing is in flight: there is the minimum");
        let take = |_| Slot::take(cluster.load(), Limit::Requests, usize::MAX).unwrap();
        let _in_flight: Vec<_> = (0..24).map(take).collect();
        let more = [begin(3), begin(3)];
        assert!(more.iter().all(Option::is_some), "a fifth of 24, and of the one that is asked for");
        assert!(begin(3).is_none());
        drop(under_way);
        assert!(begin(3).is_some(), "what has ended does not count");
    }
}
