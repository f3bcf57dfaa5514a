//! Metrics that guests define (`proxy_define_metric`, ABI 0.2.1): process-wide, one statistic for a kind and a name
//! however many instances define it.
//!
//! Counters and histograms are sharded by worker and summed when read. A gauge is one cell, because `record` sets it
//! for the whole process. Defining takes a lock; counting does not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use super::abi::MetricType;

/// The upper bounds of a histogram's buckets, those of Envoy; one more bucket holds what is above.
pub const BUCKETS: [u64; 18] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
];

/// The longest name, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 1024;

/// All metrics that guests defined.
#[derive(Debug)]
pub struct GuestMetrics {
    workers: usize,
    defined: Mutex<Defined>,
}

#[derive(Debug, Default)]
struct Defined {
    stats: HashMap<(MetricType, String), Arc<Stat>>,
    /// How many each filter was the first to define.
    by_filter: HashMap<String, usize>,
}

/// One statistic.
#[derive(Debug)]
pub struct Stat {
    name: String,
    kind: MetricType,
    filter: String,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Counter(Box<[Shard<AtomicU64>]>),
    Gauge(AtomicU64),
    Histogram(Box<[Shard<Buckets>]>),
}

/// One worker's part, on a cache line that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard<T>(T);

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS.len() + 1],
    sum: AtomicU64,
}

/// What a statistic says at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricValue {
    /// A counter's sum.
    Counter(u64),
    /// A gauge's value.
    Gauge(u64),
    /// A histogram's observations.
    Histogram {
        /// How many fell into each bucket of [`BUCKETS`], and above the last. Not cumulated.
        counts: [u64; BUCKETS.len() + 1],
        /// The sum of all.
        sum: u64,
    },
}

impl GuestMetrics {
    /// None yet, for this many workers (at least one).
    pub fn new(workers: usize) -> GuestMetrics {
        GuestMetrics { workers: workers.max(1), defined: Mutex::default() }
    }

    /// The statistic of this kind and name, made if there is none. `None` if `filter` has made `quota` already.
    pub(crate) fn define(
        &self,
        filter: &str,
        kind: MetricType,
        name: &str,
        quota: usize,
    ) -> Option<Arc<Stat>> {
        let mut defined = self.lock();
        if let Some(stat) = defined.stats.get(&(kind, name.to_owned())) {
            return Some(stat.clone());
        }
        let count = defined.by_filter.entry(filter.to_owned()).or_default();
        if *count >= quota {
            return None;
        }
        *count += 1;
        let stat = Arc::new(Stat {
            name: name.to_owned(),
            kind,
            filter: filter.to_owned(),
            cells: Cells::new(kind, self.workers),
        });
        defined.stats.insert((kind, name.to_owned()), stat.clone());
        Some(stat)
    }

    /// Every statistic, by name, for whoever exports them.
    pub fn collect(&self) -> Vec<Arc<Stat>> {
        let mut stats: Vec<_> = self.lock().stats.values().cloned().collect();
        stats.sort_by(|a, b| (&a.name, a.kind as u32).cmp(&(&b.name, b.kind as u32)));
        stats
    }

    fn lock(&self) -> MutexGuard<'_, Defined> {
        self.defined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stat {
    /// Its name, as the guest gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The filter that was the first to define it.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// What it says now.
    pub fn value(&self) -> MetricValue {
        match &self.cells {
            Cells::Counter(shards) => {
                let sum =
                    shards.iter().map(|shard| shard.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
                MetricValue::Counter(sum)
            }
            Cells::Gauge(cell) => MetricValue::Gauge(cell.load(Ordering::Relaxed)),
            Cells::Histogram(shards) => {
                let mut counts = [0u64; BUCKETS.len() + 1];
                let mut sum = 0u64;
                for Shard(buckets) in shards {
                    for (total, cell) in counts.iter_mut().zip(&buckets.counts) {
                        *total = total.wrapping_add(cell.load(Ordering::Relaxed));
                    }
                    sum = sum.wrapping_add(buckets.sum.load(Ordering::Relaxed));
                }
                MetricValue::Histogram { counts, sum }
            }
        }
    }

    /// Adds to a counter or a gauge.
    pub(crate) fn add(&self, worker: usize, amount: u64) {
        match &self.cells {
            Cells::Counter(shards) => {
                shards[worker % shards.len()].0.fetch_add(amount, Ordering::Relaxed);
            }
            Cells::Gauge(cell) => change(cell, |value| value.saturating_add(amount)),
            Cells::Histogram(_) => {}
        }
    }

    /// Takes from a gauge, down to 0.
    pub(crate) fn subtract(&self, amount: u64) {
        if let Cells::Gauge(cell) = &self.cells {
            change(cell, |value| value.saturating_sub(amount));
        }
    }

    /// Adds to a counter, sets a gauge, observes in a histogram.
    pub(crate) fn record(&self, worker: usize, value: u64) {
        match &self.cells {
            Cells::Counter(_) => self.add(worker, value),
            Cells::Gauge(cell) => cell.store(value, Ordering::Relaxed),
            Cells::Histogram(shards) => {
                let Shard(buckets) = &shards[worker % shards.len()];
                let bucket = BUCKETS.partition_point(|bound| *bound < value);
                buckets.counts[bucket].fetch_add(1, Ordering::Relaxed);
                buckets.sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }
}

impl Cells {
    fn new(kind: MetricType, workers: usize) -> Cells {
        match kind {
            MetricType::Counter => Cells::Counter(shards(workers)),
            MetricType::Gauge => Cells::Gauge(AtomicU64::new(0)),
            MetricType::Histogram => Cells::Histogram(shards(workers)),
        }
    }
}

fn shards<T: Default>(workers: usize) -> Box<[Shard<T>]> {
    std::iter::repeat_with(|| Shard(T::default())).take(workers).collect()
}

fn change(cell: &AtomicU64, change: impl Fn(u64) -> u64) {
    // The closure always gives a value, so this cannot fail.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(change(value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_into_one_statistic() {
        let metrics = GuestMetrics::new(2);
        let counter = metrics.define("f", MetricType::Counter, "requests", 10).expect("within the quota");
        counter.add(0, 2);
        counter.add(1, 3);
        counter.record(7, 1);
        assert_eq!(counter.value(), MetricValue::Counter(6));
        let gauge = metrics.define("f", MetricType::Gauge, "requests", 10).expect("a kind is a name space");
        gauge.record(1, 5);
        gauge.subtract(9);
        assert_eq!(gauge.value(), MetricValue::Gauge(0));
        assert_eq!(metrics.collect().len(), 2);
    }

    #[test]
    fn a_value_on_a_buckets_bound_falls_into_it() {
        let metrics = GuestMetrics::new(1);
        let histogram = metrics.define("f", MetricType::Histogram, "h", 10).expect("within the quota");
        for value in [0, 1, 2, u64::MAX] {
            histogram.record(0, value);
        }
        let MetricValue::Histogram { counts, .. } = histogram.value() else { panic!("it is a histogram") };
        assert_eq!((counts[0], counts[1], counts[BUCKETS.len()]), (2, 1, 1));
    }

    #[test]
    fn a_filter_may_define_as_many_as_its_quota_says() {
        let metrics = GuestMetrics::new(1);
        assert!(metrics.define("f", MetricType::Counter, "a", 1).is_some());
        assert!(metrics.define("f", MetricType::Counter, "b", 1).is_none());
        assert!(metrics.define("f", MetricType::Counter, "a", 1).is_some());
        assert!(metrics.define("g", MetricType::Counter, "b", 1).is_some());
    }
}
