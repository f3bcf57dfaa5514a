//! What the filter measured.

use super::running::Kit;
use crate::wasm::metrics::{BUCKETS, MetricType, MetricValue};

/// What a histogram says: see [`Kit::histogram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// How many values it has.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    counts: [u64; BUCKETS.len() + 1],
}

impl Histogram {
    /// How many values fell into buckets up to this bound: one of Envoy's, which are 1, 5, 10, 25, 50 and so on.
    pub fn up_to(&self, bound: u64) -> u64 {
        let buckets = BUCKETS.iter().zip(&self.counts);
        buckets.filter(|(upper, _)| **upper <= bound).map(|(_, count)| count).sum()
    }
}

impl Kit {
    /// What a counter of the filter says, over all workers.
    ///
    /// # Panics
    ///
    /// When the filter has defined none of this name: with what it has defined.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module};
    /// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
    /// kit.send(tidegate_test::Request::get("/"));
    /// assert_eq!(kit.counter("requests"), 1);
    /// ```
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        match self.metric(name, MetricType::Counter) {
            MetricValue::Counter(value) => value,
            other => panic!("{name} is {other:?}"),
        }
    }

    /// What a gauge of the filter says. Panics as [`counter`](Kit::counter) does.
    #[track_caller]
    pub fn gauge(&self, name: &str) -> u64 {
        match self.metric(name, MetricType::Gauge) {
            MetricValue::Gauge(value) => value,
            other => panic!("{name} is {other:?}"),
        }
    }

    /// What a histogram of the filter says, over all workers. Panics as [`counter`](Kit::counter) does.
    #[track_caller]
    pub fn histogram(&self, name: &str) -> Histogram {
        match self.metric(name, MetricType::Histogram) {
            MetricValue::Histogram { counts, sum } => Histogram { count: counts.iter().sum(), sum, counts },
            other => panic!("{name} is {other:?}"),
        }
    }

    #[track_caller]
    fn metric(&self, name: &str, kind: MetricType) -> MetricValue {
        let defined = self.metrics.collect();
        let found = defined.iter().find(|metric| metric.name() == name && metric.kind() == kind);
        found.map(|metric| metric.value()).unwrap_or_else(|| {
            let defined: Vec<_> =
                defined.iter().map(|metric| format!("{:?} {}", metric.kind(), metric.name())).collect();
            panic!("the filter has defined no {kind:?} `{name}`; there are: {}", defined.join(", "))
        })
    }
}
