//! The proxy and its filters on one page: what `/filters` of the admin listener says, and `tidegate top` reads.
//!
//! Counts go up from the process's beginning, as in the metrics, so that whoever wants to know of a time reads twice
//! and subtracts. Fields are added, and never renamed: a reader takes what it does not find for zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::filter::{CallbackSample, FilterSample};

/// The proxy and its filters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// The proxy's version.
    pub version: String,
    /// When its process began, in seconds since the Unix epoch: another number, another process, whose counts began at
    /// zero.
    pub start_time_seconds: f64,
    /// How long ago that was.
    pub uptime_seconds: f64,
    /// Worker threads that serve.
    pub workers: u64,
    /// Configurations that took effect.
    pub config_generation: u64,
    /// Whether what the file said when it was last read is what is served.
    pub config_last_reload_successful: bool,
    /// Exchanges that have ended.
    pub requests: u64,
    /// Exchanges under way.
    pub active_requests: i64,
    /// Connections from clients that are open.
    pub active_connections: i64,
    /// The filters, by name. One that the configuration no longer has keeps its counts, and no worker runs it.
    pub filters: BTreeMap<String, FilterOverview>,
}

/// A filter, on all workers together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterOverview {
    /// Workers that run it.
    pub workers: u64,
    /// Instances alive: one for each worker, none for one that lost its own to a fault and has not made it anew, and one
    /// for each exchange that has an instance of its own.
    pub instances: u64,
    /// Linear memory of its instances; where filters share one, it is the first one's.
    pub memory_bytes: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What it was not called for, being over its `instructions_per_second`, by kind of work.
    pub rate_limited: BTreeMap<String, u64>,
    /// Whether its module could not be fetched yet, so that there is nothing to call.
    pub module_missing: bool,
    /// Workers that leave it alone now, because it did nothing but fail.
    pub breakers_open: u64,
    /// How often a worker began to.
    pub breaker_trips: u64,
    /// Exchanges that its `on_fault` was applied to: it failed, or could not be called.
    pub on_fault: u64,
    /// Instances made in place of faulty ones.
    pub rebuilds: u64,
    /// Log lines dropped at its `log_bytes`.
    pub dropped_log_lines: u64,
    /// What its callbacks cost, by name: those that were called.
    pub callbacks: BTreeMap<String, CallbackOverview>,
}

/// What a callback cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallbackOverview {
    /// How often it was entered.
    pub calls: u64,
    /// Wasm instructions run.
    pub instructions: u64,
    /// Time spent in it, hostcalls included; an estimate once calls are many.
    pub time_seconds: f64,
    /// Calls from it into the proxy.
    pub hostcalls: u64,
    /// Bytes copied into the filter's memory.
    pub bytes_in: u64,
    /// Bytes copied out of it.
    pub bytes_out: u64,
}

impl From<&FilterSample> for FilterOverview {
    fn from(sample: &FilterSample) -> FilterOverview {
        let named = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        FilterOverview {
            workers: sample.workers,
            instances: sample.instances,
            memory_bytes: sample.memory_bytes,
            faults: named(&sample.faults),
            rate_limited: named(&sample.rate_limited),
            module_missing: false, // that is known of a filter by its name
            breakers_open: sample.breakers_open,
            breaker_trips: sample.breaker_trips,
            on_fault: sample.policies,
            rebuilds: sample.rebuilds,
            dropped_log_lines: sample.dropped_log_lines,
            callbacks: sample
                .callbacks
                .iter()
                .map(|(name, cost)| ((*name).to_owned(), cost.into()))
                .collect(),
        }
    }
}

impl From<&CallbackSample> for CallbackOverview {
    fn from(sample: &CallbackSample) -> CallbackOverview {
        let CallbackSample { calls, instructions, time, hostcalls, bytes_in, bytes_out } = *sample;
        CallbackOverview {
            calls,
            instructions,
            time_seconds: time.as_secs_f64(),
            hostcalls,
            bytes_in,
            bytes_out,
        }
    }
}
