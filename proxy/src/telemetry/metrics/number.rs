//! Numbers with one writer and any number of readers.
//!
//! A cell belongs to one worker, so adding needs no atomic read-modify-write: a relaxed load and a relaxed store are
//! ordinary instructions. A reader may see a number a moment late, never torn. Two writers would lose counts, and that
//! is the contract of whoever holds a cell.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one. Its worker only.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `amount`. Its worker only.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// What it stands at. Anyone.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one. Its worker only.
    #[inline]
    pub fn increment(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Takes one away. Its worker only.
    #[inline]
    pub fn decrement(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Puts it at this. Its worker only.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// What it stands at. Anyone. Of a sum over workers only the sum means something: what one worker added another
    /// may have taken away.
    #[inline]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets of every duration, inclusive.
pub const DURATION_BOUNDS: [Duration; 15] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// The bounds as a worker compares them.
const BOUNDS_NS: [u64; DURATION_BOUNDS.len()] = {
    let mut bounds = [0; DURATION_BOUNDS.len()];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = nanoseconds(DURATION_BOUNDS[place]);
        place += 1;
    }
    bounds
};

/// Nanoseconds in 64 bits (584 years), without the 128-bit multiplication of `as_nanos`.
const fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

/// How many durations fell between two bounds, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is above the last.
    buckets: [Counter; DURATION_BOUNDS.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts a duration. Its worker only. Short ones cost least.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let ns = nanoseconds(duration);
        let bucket = BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS_NS.len());
        self.buckets[bucket].increment();
        self.sum_ns.add(ns);
    }

    /// Adds what it stands at to `sample`. Anyone.
    pub fn add_to(&self, sample: &mut HistogramSample) {
        let bounds = DURATION_BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        sample.buckets.resize(self.buckets.len(), (0.0, 0));
        for ((total, bound), bucket) in sample.buckets.iter_mut().zip(bounds).zip(&self.buckets) {
            let count = bucket.value();
            *total = (bound, total.1 + count);
            sample.count += count;
        }
        sample.sum += self.sum_ns.value() as f64 / 1e9;
    }
}

/// What a histogram stood at when somebody asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramSample {
    /// Upper bounds, ascending, the last infinite; and how many fell into each bucket (not cumulative).
    pub buckets: Vec<(f64, u64)>,
    /// The sum of what was observed: seconds for durations.
    pub sum: f64,
    /// How many were observed.
    pub count: u64,
}
