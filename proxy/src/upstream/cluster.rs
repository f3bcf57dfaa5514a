//! What all workers know of a cluster: its configuration, and its endpoints with how they are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::affinity::Affinity;
use super::balance::Plan;
use super::breakers::Load;
use super::concurrency::Adaptive;
use super::endpoint::{Endpoint, Epoch};
use super::outlier::Outliers;
use crate::config::model;
use crate::telemetry::metrics::Limit;

/// A cluster, shared by all workers.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<model::Cluster>,
    endpoints: Box<[Endpoint]>,
    /// Where in `endpoints` an address is.
    places: HashMap<SocketAddr, usize>,
    plan: Arc<Plan>,
    affinity: Option<Affinity>,
    epoch: Arc<Epoch>,
    load: Arc<Load>,
    outliers: Arc<Outliers>,
    adaptive: Option<Arc<Adaptive>>,
}

impl Cluster {
    /// A cluster with nothing in flight, all of whose endpoints are healthy.
    pub fn new(config: Arc<model::Cluster>) -> Cluster {
        let plan = Arc::new(Plan::new(&config));
        Cluster::made(config, plan, Epoch::begin(), None, Arc::default(), Arc::default())
    }

    /// The same cluster by another configuration: of the endpoints that stay, what is known is kept.
    pub fn successor(&self, config: Arc<model::Cluster>) -> Cluster {
        let plan = match Plan::holds(&self.config, &config) {
            true => self.plan.clone(),
            false => Arc::new(Plan::new(&config)),
        };
        let cluster = Cluster::made(
            config,
            plan,
            self.epoch.clone(),
            Some(self),
            self.load.clone(),
            self.outliers.clone(),
        );
        self.epoch.advance();
        cluster
    }

    fn made(
        config: Arc<model::Cluster>,
        plan: Arc<Plan>,
        epoch: Arc<Epoch>,
        former: Option<&Cluster>,
        load: Arc<Load>,
        outliers: Arc<Outliers>,
    ) -> Cluster {
        let mut known: HashMap<_, _> = former
            .map_or(&[][..], |former| &former.endpoints)
            .iter()
            .map(|it| (it.address(), it.successor(it.spec().clone())))
            .collect();
        let endpoints: Box<[Endpoint]> = config
            .endpoints
            .iter()
            .map(|spec| {
                // An address that is there twice is one endpoint with two shares.
                let endpoint =
                    known.entry(spec.address).or_insert_with(|| Endpoint::new(spec.clone(), &epoch));
                endpoint.successor(spec.clone())
            })
            .collect();
        let places =
            endpoints.iter().enumerate().map(|(place, endpoint)| (endpoint.address(), place)).collect();
        let affinity = config.affinity.as_ref().map(|affinity| Affinity::new(affinity, &config));
        let kept = former.and_then(|former| former.adaptive.as_ref());
        let adaptive = Adaptive::of(config.recovery.concurrency.as_ref(), kept);
        Cluster { config, endpoints, places, plan, affinity, epoch, load, outliers, adaptive }
    }

    /// What is in use of it.
    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Whether it matters how long requests take.
    pub(super) fn times(&self) -> bool {
        let outliers = self.config.recovery.outlier_detection.as_ref();
        self.adaptive.is_some() || outliers.is_some_and(|terms| terms.latency.is_some())
    }

    /// Its limit that adapts, if it has one.
    pub(super) fn adaptive(&self) -> Option<&Adaptive> {
        self.adaptive.as_deref()
    }

    /// How many requests it may have in flight, and what says so.
    pub(super) fn request_limit(&self) -> (usize, Limit) {
        let fixed = self.config.recovery.breakers.requests;
        match self.adaptive().map(Adaptive::limit) {
            Some(adaptive) if adaptive < fixed => (adaptive, Limit::Concurrency),
            _ => (fixed, Limit::Requests),
        }
    }

    /// What it has for those that fail.
    pub(super) fn outliers(&self) -> &Outliers {
        &self.outliers
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What the configuration says of it.
    pub fn config(&self) -> &model::Cluster {
        &self.config
    }

    /// Its endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint with that address: an index into [`Cluster::endpoints`].
    pub fn place_of(&self, address: SocketAddr) -> Option<usize> {
        self.places.get(&address).copied()
    }

    /// The cookies that tie clients to its endpoints, if it has such.
    pub fn affinity(&self) -> Option<&Affinity> {
        self.affinity.as_ref()
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Requests that all workers have in flight to it.
    pub fn active(&self) -> usize {
        self.endpoints.iter().map(Endpoint::active).sum()
    }

    /// A number that is another whenever an endpoint's health is.
    pub fn epoch(&self) -> u64 {
        self.epoch.number()
    }
}
