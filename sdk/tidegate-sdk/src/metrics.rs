//! Metrics that a filter keeps: the host sums them over its workers and shows them with its own.
//!
//! The ABI knows no labels. A member of a [`Family`] has them in its name, as Prometheus writes them:
//! `denied{rule="admin",reason="no_token"}`. tidegate shows them as labels; in Envoy `stats_tags` can take them out of the
//! name.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use log::warn;
use proxy_wasm::types::MetricType;

use crate::host;

/// Counts events.
///
/// ```no_run
/// # use tidegate_sdk::Counter;
/// let denied = Counter::new("denied"); // in `Filter::new`
/// denied.increment();
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Counter(Stat);

/// A value that goes up and down, one for all workers: they add to the same.
///
/// ```no_run
/// # use tidegate_sdk::Gauge;
/// let waiting = Gauge::new("waiting");
/// waiting.add(1);
/// waiting.add(-1);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Gauge(Stat);

/// A distribution of values, in the host's buckets. Name the unit: `wait_ms`.
///
/// ```no_run
/// # use tidegate_sdk::Histogram;
/// # let waited = std::time::Duration::ZERO;
/// let waits = Histogram::new("wait_ms");
/// waits.observe(waited.as_millis() as u64);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Histogram(Stat);

impl Counter {
    /// Make it once, in [`Filter::new`](crate::Filter::new). The same name gives the same counter. One that the host does
    /// not define, as beyond its limit, counts nothing: that is logged.
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

    /// Its value over all workers; `None` where the host does not tell.
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
    members: RefCell<Members<M>>,
    overflowed: Cell<bool>,
}

/// By their full names.
#[derive(Debug)]
struct Members<M> {
    known: BTreeMap<String, M>,
    /// Where a name is put together, again and again.
    name: String,
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// The value of every label where there are too many.
    pub const OVERFLOW: &str = "_other";

    /// How many members there may be, unless [`at_most`](Family::at_most) says so.
    pub const USUAL_LIMIT: usize = 100;

    /// How much of a value counts, in bytes: they often come from outside.
    pub const LONGEST_VALUE: usize = 128;

    /// A family without members yet. Names of labels begin with a letter and go on with letters, digits and `_`.
    pub fn new(name: &str, labels: [&'static str; N]) -> Family<M, N> {
        let members = RefCell::new(Members { known: BTreeMap::new(), name: String::new() });
        let (most, overflowed) = (Self::USUAL_LIMIT, Cell::new(false));
        Family { name: name.to_owned(), labels, most, members, overflowed }
    }

    /// Lets it have so many members, and one for the others. The host has a limit of its own for all metrics of a filter.
    pub fn at_most(mut self, members: usize) -> Family<M, N> {
        self.most = members;
        self
    }

    /// The member with these values, in the order of the labels. Of a value count its first
    /// [`LONGEST_VALUE`](Family::LONGEST_VALUE) bytes, or fewer where that would cut a character.
    pub fn with(&self, values: [&str; N]) -> M {
        let Members { known, name } = &mut *self.members.borrow_mut();
        write_name(name, &self.name, &self.labels, values.map(|value| cut(value, Self::LONGEST_VALUE)));
        if let Some(member) = known.get(name) {
            return *member;
        }
        if known.len() >= self.most {
            self.warn_once();
            write_name(name, &self.name, &self.labels, [Self::OVERFLOW; N]);
        }
        *known.entry(name.clone()).or_insert_with_key(|name| M::named(name))
    }

    fn warn_once(&self) {
        if !self.overflowed.replace(true) {
            let (name, most) = (&self.name, self.most);
            warn!("metric {name} has its {most} members: others are counted as {}", Self::OVERFLOW);
        }
    }
}

fn cut(value: &str, len: usize) -> &str {
    &value[..value.floor_char_boundary(len)]
}

/// As in Prometheus' text format: in values a backslash, a quote and a line break are escaped.
fn write_name<const N: usize>(full: &mut String, name: &str, labels: &[&str; N], values: [&str; N]) {
    full.clear();
    full.push_str(name);
    for (index, (label, value)) in labels.iter().zip(values).enumerate() {
        full.push(if index > 0 { ',' } else { '{' });
        full.push_str(label);
        full.push_str("=\"");
        for part in value.split_inclusive(['\\', '"', '\n']) {
            push_escaped(full, part);
        }
        full.push('"');
    }
    full.push_str(if N > 0 { "}" } else { "{}" });
}

/// What is to be escaped can only be the last character.
fn push_escaped(full: &mut String, part: &str) {
    let (plain, escaped) = match part.as_bytes().last() {
        Some(b'\\') => (&part[..part.len() - 1], r"\\"),
        Some(b'"') => (&part[..part.len() - 1], "\\\""),
        Some(b'\n') => (&part[..part.len() - 1], r"\n"),
        _ => (part, ""),
    };
    full.push_str(plain);
    full.push_str(escaped);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_name<const N: usize>(labels: [&str; N], values: [&str; N]) -> String {
        let mut full = "what was there before".to_owned();
        write_name(&mut full, "denied", &labels, values);
        full
    }

    #[test]
    fn labels_are_written_as_prometheus_does() {
        let name = full_name(["rule", "why"], ["a\"b", "\\c\\d\ne\\"]);
        assert_eq!(name, r#"denied{rule="a\"b",why="\\c\\d\ne\\"}"#);
        assert_eq!(full_name(["rule"], ["\u{e9}\"\""]), "denied{rule=\"\u{e9}\\\"\\\"\"}");
        assert_eq!(full_name([], []), "denied{}");
    }

    #[test]
    fn values_cannot_pretend_to_be_other_values() {
        let names = [["a", "b"], ["a\",y=\"b", ""], ["", "a\",y=\"b"], ["a,b", ""], ["a\\", "b"]];
        let names: std::collections::BTreeSet<_> = names.map(|values| full_name(["x", "y"], values)).into();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn a_value_is_cut_between_characters() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\u{e9}", 2), "a");
        assert_eq!(cut("ab", 2), "ab");
    }
}
