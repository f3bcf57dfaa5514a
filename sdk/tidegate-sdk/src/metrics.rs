//! Metrics that a filter keeps: the host sums them over its workers and shows them with its own.
//!
//! The ABI knows no labels. A member of a [`Family`] has them in its name, as Prometheus writes them:
//! `denied{rule="admin",reason="no_token"}`. tidegate shows them as labels; in Envoy `stats_tags` can take them out of the
//! name.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;

use log::warn;
use proxy_wasm::types::MetricType;

use crate::host;

/// Counts events.
#[derive(Debug, Clone, Copy)]
pub struct Counter(Stat);

/// A value that goes up and down.
#[derive(Debug, Clone, Copy)]
pub struct Gauge(Stat);

/// A distribution of values.
#[derive(Debug, Clone, Copy)]
pub struct Histogram(Stat);

impl Counter {
    /// Make it once, in [`Filter::new`](crate::Filter::new). The same name gives the same counter.
    pub fn new(name: &str) -> Counter {
        Counter(Stat::define(MetricType::Counter, name))
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
        Gauge(Stat::define(MetricType::Gauge, name))
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
        Histogram(Stat::define(MetricType::Histogram, name))
    }

    /// One more value.
    pub fn observe(&self, value: u64) {
        self.0.record(value);
    }
}

/// A metric that the host refused to define is there all the same, and does nothing: a filter must not fail for it.
#[derive(Debug, Clone, Copy)]
struct Stat {
    id: Option<u32>,
}

impl Stat {
    fn define(kind: MetricType, name: &str) -> Stat {
        let id = host::define_metric(kind, name);
        Stat { id: id.inspect_err(|refused| warn!("metric {name} is not kept: {refused}")).ok() }
    }

    /// A failure has nobody to tell that could do anything about it.
    fn change(self, amount: i64) {
        let _ = self.id.map(|id| host::increment_metric(id, amount));
    }

    fn record(self, value: u64) {
        let _ = self.id.map(|id| host::record_metric(id, value));
    }
}

/// What families are made of.
pub trait Metric: Copy {
    /// The metric of this name; the same name gives the same metric.
    fn named(name: &str) -> Self;
}

impl Metric for Counter {
    fn named(name: &str) -> Counter {
        Counter::new(name)
    }
}

impl Metric for Gauge {
    fn named(name: &str) -> Gauge {
        Gauge::new(name)
    }
}

impl Metric for Histogram {
    fn named(name: &str) -> Histogram {
        Histogram::new(name)
    }
}

/// Counters with labels.
pub type CounterFamily<const N: usize> = Family<Counter, N>;

/// Gauges with labels.
pub type GaugeFamily<const N: usize> = Family<Gauge, N>;

/// Histograms with labels.
pub type HistogramFamily<const N: usize> = Family<Histogram, N>;

/// Metrics of one name that labels tell apart. Their number has a limit, because values often come from outside: what
/// would go beyond is counted together, with every label [`OVERFLOW`](Family::OVERFLOW).
///
/// ```no_run
/// use tidegate_sdk::CounterFamily;
///
/// let denied = CounterFamily::new("denied", ["rule", "reason"]);
/// denied.with(["admin", "no_token"]).increment();
/// ```
#[derive(Debug)]
pub struct Family<M, const N: usize> {
    name: String,
    labels: [&'static str; N],
    most: usize,
    members: RefCell<HashMap<[String; N], M>>,
    overflowed: Cell<bool>,
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// The value of every label where there are too many.
    pub const OVERFLOW: &str = "_other";

    /// How many members there may be, unless [`at_most`](Family::at_most) says so.
    pub const USUAL_LIMIT: usize = 100;

    /// A family without members yet. Names of labels begin with a letter and go on with letters, digits and `_`.
    pub fn new(name: &str, labels: [&'static str; N]) -> Family<M, N> {
        let (most, members) = (Self::USUAL_LIMIT, RefCell::default());
        Family { name: name.to_owned(), labels, most, members, overflowed: Cell::new(false) }
    }

    /// Lets it have so many members. The host has a limit of its own for all metrics of a filter.
    pub fn at_most(mut self, members: usize) -> Family<M, N> {
        self.most = members;
        self
    }

    /// The member with these values, in the order of the labels.
    pub fn with(&self, values: [&str; N]) -> M {
        let values = values.map(str::to_owned);
        let mut members = self.members.borrow_mut();
        if let Some(member) = members.get(&values) {
            return *member;
        }
        let values = if members.len() < self.most { values } else { self.overflow() };
        *members
            .entry(values)
            .or_insert_with_key(|values| M::named(&full_name(&self.name, &self.labels, values)))
    }

    fn overflow(&self) -> [String; N] {
        if !self.overflowed.replace(true) {
            warn!(
                "metric {} has its {} members: others are counted as {}",
                self.name,
                self.most,
                Self::OVERFLOW
            );
        }
        std::array::from_fn(|_| Self::OVERFLOW.to_owned())
    }
}

/// As in Prometheus' text format: in values a backslash, a quote and a line break are escaped.
fn full_name(name: &str, labels: &[&str], values: &[String]) -> String {
    let mut full = format!("{name}{{");
    for (index, (label, value)) in labels.iter().zip(values).enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        // Writing to a string does not fail.
        let _ = write!(full, "{comma}{label}=\"{value}\"");
    }
    full.push('}');
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_prometheus_does() {
        let values = ["a\"b".to_owned(), "c\\d\ne".to_owned()];
        assert_eq!(full_name("denied", &["rule", "why"], &values), r#"denied{rule="a\"b",why="c\\d\ne"}"#);
    }
}
