//! Which endpoint a request goes to. It decides by what it is given, and knows nothing of connections.

use std::cell::Cell;

use super::cluster::Endpoint;
use crate::config::model::LoadBalancer;

/// One worker's view of a cluster's load balancing.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: LoadBalancer,
    /// Where the next turn is.
    next: Cell<usize>,
}

impl Balancer {
    /// `start` is where the first turn is. Workers that all began at 0 would send their first requests, the bulk of
    /// them where each worker sees few, to the same endpoints.
    pub(super) fn new(policy: LoadBalancer, start: usize) -> Balancer {
        Balancer { policy, next: Cell::new(start) }
    }

    /// The index of the endpoint for one request; `None` without endpoints.
    pub(super) fn pick(&self, endpoints: &[Endpoint]) -> Option<usize> {
        match endpoints.len() {
            0 => None,
            1 => Some(0),
            count => Some(match self.policy {
                LoadBalancer::RoundRobin => self.turn(count),
                LoadBalancer::LeastRequest => less_busy_of_two(endpoints),
            }),
        }
    }

    fn turn(&self, count: usize) -> usize {
        let next = self.next.get() % count;
        self.next.set(next + 1);
        next
    }
}

/// Two different endpoints at random, and of these the one with fewer requests in flight; the first when they have
/// as many, which is fair because either could have come first.
fn less_busy_of_two(endpoints: &[Endpoint]) -> usize {
    let first = fastrand::usize(..endpoints.len());
    let mut second = fastrand::usize(..endpoints.len() - 1);
    if second >= first {
        second += 1;
    }
    if endpoints[second].active() < endpoints[first].active() { second } else { first }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::Cluster;
    use crate::upstream::tests::cluster_config;

    fn cluster(endpoints: u16) -> Cluster {
        Cluster::new(Arc::new(cluster_config((1..=endpoints).map(|port| ([127, 0, 0, 1], port).into()))))
    }

    fn picks(balancer: &Balancer, cluster: &Cluster, count: usize) -> Vec<usize> {
        let mut picks = vec![0; cluster.endpoints().len()];
        for _ in 0..count {
            picks[balancer.pick(cluster.endpoints()).expect("there are endpoints")] += 1;
        }
        picks
    }

    #[test]
    fn nothing_is_picked_from_a_cluster_without_endpoints() {
        for policy in [LoadBalancer::RoundRobin, LoadBalancer::LeastRequest] {
            assert_eq!(Balancer::new(policy, 7).pick(cluster(0).endpoints()), None);
        }
    }

    #[test]
    fn round_robin_gives_every_endpoint_its_turn_from_where_it_starts() {
        let cluster = cluster(3);
        let balancer = Balancer::new(LoadBalancer::RoundRobin, usize::MAX);
        let turns: Vec<_> = (0..6).map(|_| balancer.pick(cluster.endpoints()).unwrap()).collect();
        let first = usize::MAX % 3;
        assert_eq!(turns, (0..6).map(|turn| (first + turn) % 3).collect::<Vec<_>>());
        assert_eq!(picks(&balancer, &cluster, 300), [100, 100, 100]);
    }

    #[test]
    fn least_request_avoids_the_busiest_endpoint() {
        let cluster = cluster(3);
        cluster.endpoints()[1].begin();
        let picks = picks(&Balancer::new(LoadBalancer::LeastRequest, 0), &cluster, 1000);
        assert_eq!(picks[1], 0, "of any two, the other one is less busy");
        cluster.endpoints()[1].end();
    }

    #[test]
    fn least_request_treats_equally_busy_endpoints_alike() {
        let picks = picks(&Balancer::new(LoadBalancer::LeastRequest, 0), &cluster(4), 8000);
        // 2000 each are expected; the standard deviation is below 40.
        assert!(picks.iter().all(|&count| (1700..2300).contains(&count)), "{picks:?}");
    }
}
