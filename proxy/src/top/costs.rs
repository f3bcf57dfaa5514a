//! What happened between two looks.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::metrics::{CallbackOverview, FilterOverview, Overview};

/// What the filters cost in a time. As JSON, its fields are added and never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Costs {
    /// The proxy's version.
    pub(super) version: String,
    /// How long its process has run.
    pub(super) uptime_seconds: f64,
    /// Worker threads that serve.
    pub(super) workers: u64,
    /// Configurations that took effect.
    pub(super) config_generation: u64,
    /// Whether what the file said when it was last read is what is served.
    pub(super) config_last_reload_successful: bool,
    /// How long the time was. Since the process began, where it is another than the one before.
    pub(super) seconds: f64,
    /// Whether the proxy is another process than the one before, so that this is all that it has done.
    pub(super) restarted: bool,
    /// Exchanges that ended, a second.
    pub(super) requests_per_second: f64,
    /// Exchanges under way.
    pub(super) active_requests: i64,
    /// Connections from clients that are open.
    pub(super) active_connections: i64,
    /// The filters that are in use, and those that were until now.
    pub(super) filters: Vec<FilterCosts>,
}

/// What a filter cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FilterCosts {
    /// Its name.
    pub(super) name: String,
    /// How it does.
    pub(super) state: State,
    /// All of its callbacks.
    #[serde(flatten)]
    pub(super) total: CallCosts,
    /// Exchanges and TCP connections that it saw the beginning of, a second.
    pub(super) exchanges_per_second: f64,
    /// What it took for each of them, in microseconds; none where there was none.
    pub(super) microseconds_per_exchange: Option<f64>,
    /// Linear memory of its instances.
    pub(super) memory_bytes: u64,
    /// Workers that run it.
    pub(super) workers: u64,
    /// Its instances.
    pub(super) instances: u64,
    /// Whether its module is missing.
    pub(super) module_missing: bool,
    /// Workers that leave it alone, because it did nothing but fail.
    pub(super) breakers_open: u64,
    /// Exchanges that its `on_fault` was applied to, a second: it failed, or could not be called.
    pub(super) on_fault_per_second: f64,
    /// Faults in this time, and since the process began.
    pub(super) faults: u64,
    /// The same by kind.
    pub(super) faults_since_start: BTreeMap<String, u64>,
    /// What it was not called for in this time, being over its rate of instructions.
    pub(super) rate_limited: u64,
    /// The same since the process began, by kind of work.
    pub(super) rate_limited_since_start: BTreeMap<String, u64>,
    /// Instances made in place of faulty ones since the process began.
    pub(super) rebuilds_since_start: u64,
    /// Log lines dropped since the process began.
    pub(super) dropped_log_lines_since_start: u64,
    /// What each of its callbacks cost: those that were ever called.
    pub(super) callbacks: BTreeMap<String, CallCosts>,
}

/// How a filter did in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Its module could not be fetched yet: there is nothing to call.
    Missing,
    /// A worker at least leaves it alone, because it did nothing but fail.
    BreakerOpen,
    /// It failed, or no worker has had an instance of it since it did.
    Failing,
    /// It was over its rate of instructions.
    RateLimited,
    /// The configuration has it no more.
    Gone,
    /// Nothing of that.
    Ok,
}

impl State {
    /// The worst that is so: of now, and of a time with so many faults and so much withheld.
    fn of(now: &FilterOverview, faults: u64, rate_limited: u64) -> State {
        match now {
            _ if now.module_missing => State::Missing,
            _ if now.breakers_open > 0 => State::BreakerOpen,
            _ if faults > 0 || (now.workers > 0 && now.instances == 0) => State::Failing,
            _ if rate_limited > 0 => State::RateLimited,
            _ if now.workers == 0 && now.instances == 0 => State::Gone,
            _ => State::Ok,
        }
    }
}

/// What calls cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct CallCosts {
    /// The share of one processor that they took: 1 is all of it.
    pub(super) cpu: f64,
    /// How many there were, a second.
    pub(super) calls_per_second: f64,
    /// What one took, in microseconds; none where there was none.
    pub(super) microseconds_per_call: Option<f64>,
    /// Wasm instructions a second.
    pub(super) instructions_per_second: f64,
    /// Calls into the proxy, a second.
    pub(super) hostcalls_per_second: f64,
    /// Bytes copied into the filter's memory, a second.
    pub(super) bytes_in_per_second: f64,
    /// Bytes copied out of it, a second.
    pub(super) bytes_out_per_second: f64,
}

impl CallCosts {
    /// Bytes copied either way, a second.
    pub(super) fn bytes_per_second(&self) -> f64 {
        self.bytes_in_per_second + self.bytes_out_per_second
    }

    fn of(cost: &CallbackOverview, seconds: f64) -> CallCosts {
        let rate = |count: u64| per_second(count, seconds);
        CallCosts {
            cpu: if seconds > 0.0 { cost.time_seconds / seconds } else { 0.0 },
            calls_per_second: rate(cost.calls),
            microseconds_per_call: each(cost.time_seconds * 1e6, cost.calls),
            instructions_per_second: rate(cost.instructions),
            hostcalls_per_second: rate(cost.hostcalls),
            bytes_in_per_second: rate(cost.bytes_in),
            bytes_out_per_second: rate(cost.bytes_out),
        }
    }
}

impl Costs {
    /// What happened from one look to the next. A process that is another than before has begun from nothing.
    pub(super) fn between(before: &Overview, now: &Overview) -> Costs {
        let restarted = before.start_time_seconds != now.start_time_seconds;
        let nothing = Overview::default();
        let before = if restarted { &nothing } else { before };
        let seconds = now.uptime_seconds - before.uptime_seconds;
        let filters = now.filters.iter().map(|(name, filter)| {
            let nothing = FilterOverview::default();
            FilterCosts::between(name, before.filters.get(name).unwrap_or(&nothing), filter, seconds)
        });
        let is_here = |filter: &FilterCosts| {
            filter.is_in_use() || filter.module_missing || filter.total.calls_per_second > 0.0
        };
        Costs {
            version: now.version.clone(),
            uptime_seconds: now.uptime_seconds,
            workers: now.workers,
            config_generation: now.config_generation,
            config_last_reload_successful: now.config_last_reload_successful,
            seconds,
            restarted,
            requests_per_second: per_second(now.requests.saturating_sub(before.requests), seconds),
            active_requests: now.active_requests,
            active_connections: now.active_connections,
            filters: filters.filter(is_here).collect(),
        }
    }
}

impl FilterCosts {
    /// A page of a proxy that does not say how many workers run it says how many instances there are.
    fn is_in_use(&self) -> bool {
        self.workers > 0 || self.instances > 0
    }

    fn between(name: &str, before: &FilterOverview, now: &FilterOverview, seconds: f64) -> FilterCosts {
        let nothing = CallbackOverview::default();
        let differences: BTreeMap<&String, CallbackOverview> = now
            .callbacks
            .iter()
            .map(|(name, now)| (name, since(before.callbacks.get(name).unwrap_or(&nothing), now)))
            .collect();
        let mut all = CallbackOverview::default();
        differences.values().for_each(|difference| add(&mut all, difference));
        let begun = ["on_request_headers", "on_new_connection"];
        let exchanges = begun.iter().filter_map(|name| differences.get(&(*name).to_owned()));
        let exchanges = exchanges.map(|difference| difference.calls).sum();
        let faults = sum(&now.faults).saturating_sub(sum(&before.faults));
        let rate_limited = sum(&now.rate_limited).saturating_sub(sum(&before.rate_limited));
        FilterCosts {
            name: name.to_owned(),
            state: State::of(now, faults, rate_limited),
            total: CallCosts::of(&all, seconds),
            exchanges_per_second: per_second(exchanges, seconds),
            microseconds_per_exchange: each(all.time_seconds * 1e6, exchanges),
            memory_bytes: now.memory_bytes,
            workers: now.workers,
            instances: now.instances,
            module_missing: now.module_missing,
            breakers_open: now.breakers_open,
            on_fault_per_second: per_second(now.on_fault.saturating_sub(before.on_fault), seconds),
            faults,
            faults_since_start: now.faults.clone(),
            rate_limited,
            rate_limited_since_start: now.rate_limited.clone(),
            rebuilds_since_start: now.rebuilds,
            dropped_log_lines_since_start: now.dropped_log_lines,
            callbacks: differences
                .into_iter()
                .map(|(name, difference)| (name.clone(), CallCosts::of(&difference, seconds)))
                .collect(),
        }
    }
}

fn since(before: &CallbackOverview, now: &CallbackOverview) -> CallbackOverview {
    CallbackOverview {
        calls: now.calls.saturating_sub(before.calls),
        instructions: now.instructions.saturating_sub(before.instructions),
        time_seconds: (now.time_seconds - before.time_seconds).max(0.0),
        hostcalls: now.hostcalls.saturating_sub(before.hostcalls),
        bytes_in: now.bytes_in.saturating_sub(before.bytes_in),
        bytes_out: now.bytes_out.saturating_sub(before.bytes_out),
    }
}

fn add(sum: &mut CallbackOverview, more: &CallbackOverview) {
    sum.calls += more.calls;
    sum.instructions += more.instructions;
    sum.time_seconds += more.time_seconds;
    sum.hostcalls += more.hostcalls;
    sum.bytes_in += more.bytes_in;
    sum.bytes_out += more.bytes_out;
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn each(amount: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| amount / count as f64)
}
