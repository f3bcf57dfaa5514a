//! Metrics that a filter keeps: the host sums them over its workers and shows them with its own.

use log::warn;
use proxy_wasm::types::MetricType;

use crate::host;

/// Counts events.
#[derive(Debug, Clone, Copy)]
pub struct Counter(Metric);

/// A value that goes up and down.
#[derive(Debug, Clone, Copy)]
pub struct Gauge(Metric);

/// A distribution of values.
#[derive(Debug, Clone, Copy)]
pub struct Histogram(Metric);

impl Counter {
    /// Make it once, in [`Filter::new`](crate::Filter::new). The same name gives the same counter.
    pub fn new(name: &str) -> Counter {
        Counter(Metric::define(MetricType::Counter, name))
    }

    /// One more.
    pub fn increment(&self) {
        self.0.change(1);
    }

    /// That many more.
    pub fn add(&self, events: u32) {
        if events > 0 {
            self.0.change(events.into());
        }
    }
}

impl Gauge {
    /// Make it once, in [`Filter::new`](crate::Filter::new). The same name gives the same gauge.
    pub fn new(name: &str) -> Gauge {
        Gauge(Metric::define(MetricType::Gauge, name))
    }

    /// Moves it up, or down by a negative amount.
    pub fn add(&self, amount: i64) {
        self.0.change(amount);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.record(value);
    }

    /// Its value over all workers, where the host tells.
    pub fn value(&self) -> Option<u64> {
        host::metric(self.0.id?).ok()
    }
}

impl Histogram {
    /// Make it once, in [`Filter::new`](crate::Filter::new). The same name gives the same histogram.
    pub fn new(name: &str) -> Histogram {
        Histogram(Metric::define(MetricType::Histogram, name))
    }

    /// One more value.
    pub fn observe(&self, value: u64) {
        self.0.record(value);
    }
}

/// A metric that the host refused to define is there all the same, and does nothing: a filter must not fail for it.
#[derive(Debug, Clone, Copy)]
struct Metric {
    id: Option<u32>,
}

impl Metric {
    fn define(kind: MetricType, name: &str) -> Metric {
        let id = host::define_metric(kind, name);
        Metric { id: id.inspect_err(|refused| warn!("metric {name} is not kept: {refused}")).ok() }
    }

    /// A failure has nobody to tell that could do anything about it.
    fn change(self, amount: i64) {
        let _ = self.id.map(|id| host::increment_metric(id, amount));
    }

    fn record(self, value: u64) {
        let _ = self.id.map(|id| host::record_metric(id, value));
    }
}
