//! How long requests took, as a histogram that all workers add to.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each power of two has so many buckets, so that what is read is off by 3 % at most. A power of two.
const PARTS: u32 = 32;
const PART_BITS: u32 = PARTS.ilog2();

/// Longer ones count as this long: 2^36 µs are 19 hours.
const MOST: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(MOST) + 1;

/// Below two powers of the parts a bucket is one microsecond; above, each power of two has as many as the parts.
const fn bucket(micros: u64) -> usize {
    if micros < PARTS as u64 {
        return micros as usize;
    }
    let power = micros.ilog2();
    let part = (micros >> (power - PART_BITS)) as u32 - PARTS;
    ((power - PART_BITS + 1) * PARTS + part) as usize
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The least that a bucket is for, in microseconds.
fn begin_of(bucket: usize) -> u64 {
    let (power, part) = (bucket as u32 / PARTS, bucket as u64 % u64::from(PARTS));
    match power {
        0 => part,
        _ => (u64::from(PARTS) + part) << (power - 1),
    }
}

/// The times of a window. Moments are given by the time since something that whoever has this knows.
#[derive(Debug)]
pub(super) struct Samples {
    buckets: Box<[AtomicU32]>,
    count: AtomicU32,
    /// Requests that were sent before are of another time, in µs.
    since_us: AtomicU64,
}

impl Default for Samples {
    fn default() -> Samples {
        Samples {
            buckets: std::iter::repeat_with(AtomicU32::default).take(BUCKETS).collect(),
            count: AtomicU32::new(0),
            since_us: AtomicU64::new(0),
        }
    }
}

impl Samples {
    /// Adds that of a request that was sent at `sent`.
    pub(super) fn note(&self, sent: Duration, took: Duration) {
        if micros(sent) < self.since_us.load(Relaxed) {
            return;
        }
        let micros = micros(took).min(MOST);
        self.buckets[bucket(micros)].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Of the requests that were sent before `now` none counts, whenever it is answered. For one thread.
    pub(super) fn begin_anew(&self, now: Duration) {
        self.since_us.store(micros(now), Relaxed);
        self.clear();
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Begins a new window. The time within which this share of the requests of the former one were answered, in
    /// hundredths of a percent, if there were any. For one thread.
    pub(super) fn take(&self, share: u32) -> Option<Duration> {
        let counts = self.clear();
        let all: u64 = counts.iter().sum();
        let wanted = (all * u64::from(share)).div_ceil(10_000).max(1);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(u64::midpoint(begin_of(found), begin_of(found + 1))))
    }

    fn clear(&self) -> Vec<u64> {
        self.count.store(0, Relaxed);
        self.buckets.iter().map(|bucket| bucket.swap(0, Relaxed).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_that_is_at_most_a_thirtysecond_wide() {
        let mut micros = 0;
        while micros <= MOST {
            let (begin, end) = (begin_of(bucket(micros)), begin_of(bucket(micros) + 1));
            assert!(begin <= micros && micros < end, "{micros} is not from {begin} to {end}");
            assert!((end - begin) * u64::from(PARTS) <= begin.max(u64::from(PARTS)), "{micros}");
            micros += 1 + micros / 7;
        }
    }

    #[test]
    fn a_share_of_the_requests_was_answered_within_what_is_read() {
        let samples = Samples::default();
        (1..=100).for_each(|millis| samples.note(Duration::ZERO, Duration::from_millis(millis)));
        assert_eq!(samples.count(), 100);
        let read = samples.take(9_000).unwrap().as_secs_f64();
        assert!((read - 0.090).abs() < 0.003, "{read}");
        assert_eq!((samples.count(), samples.take(5_000)), (0, None), "a window is read once");
    }
}
