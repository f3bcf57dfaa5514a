//! Which endpoint a request goes to. It decides by what it is given, and knows nothing of connections.

use std::cell::Cell;
use std::net::SocketAddr;

use super::cluster::Cluster;
use super::endpoint::{Endpoint, Health};
use crate::config::model::LoadBalancer;

/// What is asked of the endpoint for a request. The default asks nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Criteria<'a> {
    /// By what requests that belong together are told from others, where the algorithm looks at it.
    pub hash: Option<u64>,
    /// The endpoint that is taken if the cluster has it and it is not one of `tried`.
    pub preferred: Option<SocketAddr>,
    /// Endpoints that this exchange was sent to before: none of these, as long as there is another.
    pub tried: &'a [SocketAddr],
}

/// One worker's view of a cluster's load balancing.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: LoadBalancer,
    /// Where the next turn is.
    next: Cell<usize>,
}

impl Balancer {
    pub(super) fn new(cluster: &Cluster) -> Balancer {
        // Workers that all began at 0 would send their first requests, the bulk of them where each worker sees few, to
        // the same endpoints.
        let start = fastrand::usize(..cluster.endpoints().len().max(1));
        Balancer { policy: cluster.config().load_balancer, next: Cell::new(start) }
    }

    /// The index of the endpoint for one request; `None` without endpoints.
    pub(super) fn pick(&self, cluster: &Cluster, criteria: &Criteria<'_>) -> Option<usize> {
        let endpoints = cluster.endpoints();
        let was_tried = |at: usize| criteria.tried.contains(&endpoints[at].address());
        let preferred = criteria.preferred.and_then(|address| cluster.place_of(address));
        if let Some(at) = preferred.filter(|&at| !was_tried(at)) {
            return Some(at);
        }
        let at = self.turn_of(endpoints)?;
        let is_well = |at: usize| endpoints[at].health() != Health::Unhealthy;
        if !was_tried(at) && is_well(at) {
            return Some(at);
        }
        let others = || (at..endpoints.len()).chain(0..at);
        let well = others().filter(|&at| is_well(at)).count();
        let panics = well * 2 < endpoints.len();
        let may = |at: &usize| panics || is_well(*at);
        let pick = others().filter(may).find(|&at| !was_tried(at));
        pick.or_else(|| others().find(may)).or(Some(at))
    }

    fn turn_of(&self, endpoints: &[Endpoint]) -> Option<usize> {
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
    use crate::config::model;
    use crate::upstream::HealthFlag;
    use crate::upstream::tests::cluster_config;

    fn cluster(endpoints: u16, load_balancer: LoadBalancer) -> Cluster {
        let addresses = (1..=endpoints).map(|port| ([127, 0, 0, 1], port).into());
        Cluster::new(Arc::new(model::Cluster { load_balancer, ..cluster_config(addresses) }))
    }

    fn picks(cluster: &Cluster, criteria: &Criteria<'_>, count: usize) -> Vec<usize> {
        let balancer = Balancer::new(cluster);
        let mut picks = vec![0; cluster.endpoints().len()];
        for _ in 0..count {
            picks[balancer.pick(cluster, criteria).expect("there are endpoints")] += 1;
        }
        picks
    }

    #[test]
    fn nothing_is_picked_from_a_cluster_without_endpoints() {
        for policy in [LoadBalancer::RoundRobin, LoadBalancer::LeastRequest] {
            let cluster = cluster(0, policy);
            assert_eq!(Balancer::new(&cluster).pick(&cluster, &Criteria::default()), None);
        }
    }

    #[test]
    fn least_request_avoids_the_busiest_endpoint() {
        let cluster = cluster(3, LoadBalancer::LeastRequest);
        cluster.endpoints()[1].begin();
        let picks = picks(&cluster, &Criteria::default(), 1000);
        assert_eq!(picks[1], 0, "of any two, the other one is less busy");
        cluster.endpoints()[1].end();
    }

    #[test]
    fn an_endpoint_that_was_tried_is_picked_only_where_there_is_no_other() {
        let cluster = cluster(3, LoadBalancer::RoundRobin);
        let [first, second, third] = [0, 1, 2].map(|at| cluster.endpoints()[at].address());
        let tried = [first, third];
        let criteria = Criteria { tried: &tried, preferred: Some(third), ..Criteria::default() };
        assert_eq!(picks(&cluster, &criteria, 10), [0, 10, 0]);
        let tried = [first, second, third];
        let criteria = Criteria { tried: &tried, ..Criteria::default() };
        assert_eq!(picks(&cluster, &criteria, 9).iter().sum::<usize>(), 9);
    }

    #[test]
    fn the_epoch_moves_when_a_flag_does_and_a_successor_knows_what_was_known() {
        let cluster = cluster(2, LoadBalancer::RoundRobin);
        let before = cluster.epoch();
        assert!(cluster.endpoints()[1].mark(HealthFlag::Ejected, true));
        assert!(!cluster.endpoints()[1].mark(HealthFlag::Ejected, true), "it was so before");
        assert_eq!(cluster.epoch(), before + 1);
        let config = cluster_config([2, 3].map(|port| ([127, 0, 0, 1], port).into()));
        let successor = cluster.successor(Arc::new(config));
        assert!(successor.endpoints()[0].has(HealthFlag::Ejected));
        assert!(!successor.endpoints()[1].has(HealthFlag::Ejected));
        successor.endpoints()[0].mark(HealthFlag::Ejected, false);
        assert_eq!(cluster.epoch(), successor.epoch(), "they have endpoints in common");
    }
}
