//! What is made once, when the process starts, and stays as it is whatever is read later.

use std::net::SocketAddr;

use super::{Options, process};
use crate::config::model::{Admin, Config};

/// What the process was started with and runs with.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// The command line's word on the workers, which goes before any configuration's.
    ordered: Option<usize>,
    /// How many there are where nobody says: the processors may be others by now.
    cores: usize,
    workers: usize,
    admin: Option<SocketAddr>,
}

/// A field that says something else than what the process runs with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    pub(super) field: &'static str,
    /// What the process runs with.
    pub(super) runs: String,
    /// What it would run with, were it started again.
    pub(super) wanted: String,
}

impl Standing {
    /// What a process runs with that is started with these.
    pub(super) fn new(config: &Config, options: &Options) -> Standing {
        let mut standing = Standing {
            ordered: options.workers,
            cores: process::cores(),
            workers: 0,
            admin: config.admin.as_ref().map(|admin| admin.address),
        };
        standing.workers = standing.wanted_workers(config);
        standing
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// A configuration as it is in effect: with what stays in the place of what it says of that.
    pub(super) fn in_effect(&self, config: &Config) -> Config {
        let admin = self.admin.map(|address| Admin { address });
        Config { workers: Some(self.workers), admin, ..config.clone() }
    }

    /// What a restart with a configuration would change.
    pub(super) fn deviations(&self, config: &Config) -> Vec<Deviation> {
        let shown = |address: Option<SocketAddr>| address.map_or("none".to_owned(), |it| it.to_string());
        let wanted = config.admin.as_ref().map(|admin| admin.address);
        [
            ("workers", self.workers.to_string(), self.wanted_workers(config).to_string()),
            ("admin", shown(self.admin), shown(wanted)),
        ]
        .into_iter()
        .filter(|(_, runs, wanted)| runs != wanted)
        .map(|(field, runs, wanted)| Deviation { field, runs, wanted })
        .collect()
    }

    fn wanted_workers(&self, config: &Config) -> usize {
        self.ordered.or(config.workers).unwrap_or(self.cores)
    }
}
