//! What all workers know of a cluster: its configuration and how busy each endpoint is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::budget::Retries;
use crate::config::model;

/// A cluster, shared by all workers.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<model::Cluster>,
    endpoints: Box<[Endpoint]>,
    retries: Retries,
}

/// One address of a cluster.
// A cache line each, so that workers which are busy with different endpoints do not slow each other down.
#[derive(Debug)]
#[repr(align(64))]
pub struct Endpoint {
    address: SocketAddr,
    active: AtomicUsize,
}

impl Cluster {
    /// A cluster with nothing in flight.
    pub fn new(config: Arc<model::Cluster>) -> Cluster {
        let endpoints = config.endpoints.iter().map(|&address| Endpoint::new(address)).collect();
        Cluster { config, endpoints, retries: Retries::default() }
    }

    /// Those that are under way.
    pub(super) fn retries(&self) -> &Retries {
        &self.retries
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

    /// Requests that all workers have in flight to it.
    pub fn active(&self) -> usize {
        self.endpoints.iter().map(Endpoint::active).sum()
    }
}

impl Endpoint {
    fn new(address: SocketAddr) -> Endpoint {
        Endpoint { address, active: AtomicUsize::new(0) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that all workers have in flight to it, from the pick to the end of the response or of the tunnel, and
    /// TCP connections.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    // The count only guides a guess, so nothing needs to be ordered with it.

    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}
