//! Cells: token buckets, counters and values that guests of one `vm_id` change atomically across workers, and that
//! expire. Shared data has neither: a read and a write are two calls, and a key stays for good.
//!
//! What is kept has a limit in bytes. Beyond it cells go that were not used lately, those that expired among the first.
//! A cell is locked for one change, together with those that share its shard.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

/// What a cell costs beside its key's and its value's bytes, in bytes: its own, its place in the table, and what is
/// remembered of one that went. A million cells were seen to take less than they count for.
const OVERHEAD: usize = 192;

/// The mean size of a cell that the table is laid out for, in bytes.
const USUAL_SIZE: usize = 224;

/// How many cells that went are remembered by their hashes, as a share of those that are there: one of them that comes
/// back is kept longer.
const REMEMBERED: f64 = 0.25;

/// Fractions of a nanosecond, so that a rate that is no whole number of nanoseconds for a token does not drift: 2^-16.
const FRACTION_BITS: u32 = 16;

/// The cells of one `vm_id`.
#[derive(Debug)]
pub(crate) struct Cells {
    cache: Cache<Vec<u8>, Cell, Weight, RandomState, Evictions>,
    evicted: Arc<AtomicU64>,
    /// What times are counted from.
    began: Instant,
    /// How many bytes all may have, and one of them. Kept here because the cache takes a lock to say it.
    capacity: AtomicUsize,
    largest: AtomicU64,
}

#[derive(Debug, Clone)]
struct Cell {
    value: Value,
    /// Nanoseconds after [`Cells::began`].
    expires: u64,
}

#[derive(Debug, Clone)]
enum Value {
    /// When the bucket will be full again, in fractions of a nanosecond after [`Cells::began`].
    Bucket(u128),
    Counter(i64),
    Bytes(Bytes),
}

/// Why a cell was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key has a cell of another kind.
    Kind,
    /// It does not fit into what cells may have.
    TooLarge,
}

/// A token bucket: it holds `burst` tokens at most, is full at first, and gains `tokens` evenly in each `interval`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    pub(crate) burst: u32,
    pub(crate) tokens: u32,
    /// In nanoseconds.
    pub(crate) interval: u64,
}

/// What became of a request for tokens. Times are in nanoseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// 0: the tokens were taken. Else none were, and there will be enough after this time; never, if it is `u64::MAX`.
    pub(crate) retry_after: u64,
    /// When the bucket is full.
    pub(crate) reset: u64,
    /// How many whole tokens are left.
    pub(crate) remaining: u32,
}

impl Cells {
    /// No cells yet, and room for `capacity` bytes of them.
    pub(crate) fn new(capacity: usize, now: Instant) -> Cells {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity / USUAL_SIZE)
            .weight_capacity(capacity as u64)
            .ghost_allocation(REMEMBERED)
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are given"));
        // Keys are often what a client sent, so the hash is one that it cannot guess.
        let evicted = Arc::<AtomicU64>::default();
        let cache = Cache::with_options(options, Weight, RandomState::new(), Evictions(evicted.clone()));
        let largest = AtomicU64::new(cache.shard_capacity());
        Cells { cache, evicted, began: now, capacity: AtomicUsize::new(capacity), largest }
    }

    /// How many there are, those that expired and were not needed since among them, and what became of others.
    pub(crate) fn usage(&self) -> CellsUsage {
        CellsUsage {
            cells: self.cache.len() as u64,
            bytes: self.cache.weight(),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// Makes room for at least `capacity` bytes.
    pub(crate) fn widen(&self, capacity: usize) {
        let is_wide = self.capacity.load(Ordering::Relaxed) >= capacity; // nearly always
        if !is_wide && self.capacity.fetch_max(capacity, Ordering::Relaxed) < capacity {
            self.cache.set_capacity(capacity as u64);
            self.largest.store(self.cache.shard_capacity(), Ordering::Relaxed);
        }
    }

    /// Takes `cost` tokens out of a bucket, or none (the generic cell rate algorithm, ITU-T I.371, as a virtual
    /// schedule); a negative cost gives tokens back, as far as there is room. The bucket is forgotten once it is full.
    pub(crate) fn take(&self, now: Instant, key: &[u8], bucket: Bucket, cost: i32) -> Result<Taken, Refusal> {
        let now = self.nanoseconds(now);
        let each =
            (u128::from(bucket.interval) << FRACTION_BITS).div_ceil(u128::from(bucket.tokens.max(1))).max(1);
        let present = u128::from(now) << FRACTION_BITS;
        let limit = present + each * u128::from(bucket.burst);
        self.change(now, key, |cell| {
            let full_at = match cell {
                None => present,
                Some(Cell { value: Value::Bucket(full_at), .. }) => full_at.max(present),
                Some(_) => return Err(Refusal::Kind),
            };
            let change = each * u128::from(cost.unsigned_abs());
            let after = if cost < 0 { full_at.saturating_sub(change).max(present) } else { full_at + change };
            let (full_at, retry_after) = match after.checked_sub(limit) {
                _ if cost < 0 => (after, 0),
                None | Some(0) => (after, 0),
                Some(_) if cost.unsigned_abs() > bucket.burst => (full_at, u64::MAX),
                Some(lack) => (full_at, whole_nanoseconds(lack)),
            };
            let taken = Taken {
                retry_after,
                reset: whole_nanoseconds(full_at - present),
                // A bucket that was filled for a larger burst may owe more than this one holds.
                remaining: (limit.saturating_sub(full_at) / each).try_into().unwrap_or(u32::MAX),
            };
            let expires = now.saturating_add(taken.reset);
            Ok((Some(Cell { value: Value::Bucket(full_at), expires }), taken))
        })
    }

    /// Adds to a counter, which begins at 0, and says what it is then and in how many nanoseconds it expires. `ttl`, from
    /// when the counter is made, is in nanoseconds; 0 is for ever. Adding 0 makes no counter.
    pub(crate) fn add(&self, now: Instant, key: &[u8], delta: i64, ttl: u64) -> Result<(i64, u64), Refusal> {
        let now = self.nanoseconds(now);
        self.change(now, key, |cell| {
            let (count, expires) = match cell {
                None if delta == 0 => return Ok((None, (0, 0))),
                None => (0, expiry(now, ttl)),
                Some(Cell { value: Value::Counter(count), expires }) => (count, expires),
                Some(_) => return Err(Refusal::Kind),
            };
            let count = count.saturating_add(delta);
            let left = if expires == u64::MAX { 0 } else { expires - now };
            Ok((Some(Cell { value: Value::Counter(count), expires }), (count, left)))
        })
    }

    /// A value, if there is one.
    pub(crate) fn value(&self, now: Instant, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let now = self.nanoseconds(now);
        match self.cache.get(key).filter(|cell| cell.expires > now) {
            None => Ok(None),
            Some(Cell { value: Value::Bytes(bytes), .. }) => Ok(Some(bytes)),
            Some(_) => Err(Refusal::Kind),
        }
    }

    /// Writes a value. `ttl` is in nanoseconds from now; 0 is for ever.
    pub(crate) fn set(&self, now: Instant, key: &[u8], value: &[u8], ttl: u64) -> Result<(), Refusal> {
        let now = self.nanoseconds(now);
        self.change(now, key, |cell| match cell {
            None | Some(Cell { value: Value::Bytes(_), .. }) => {
                let value = Value::Bytes(Bytes::copy_from_slice(value));
                Ok((Some(Cell { value, expires: expiry(now, ttl) }), ()))
            }
            Some(_) => Err(Refusal::Kind),
        })
    }

    /// Removes a cell of any kind, and says whether there was one.
    pub(crate) fn delete(&self, now: Instant, key: &[u8]) -> bool {
        let now = self.nanoseconds(now);
        self.cache.remove(key).is_some_and(|(_, cell)| cell.expires > now)
    }

    /// Replaces a cell by what `work` makes of it. Nobody sees it in between.
    fn change<T>(
        &self,
        now: u64,
        key: &[u8],
        work: impl FnOnce(Option<Cell>) -> Result<(Option<Cell>, T), Refusal>,
    ) -> Result<T, Refusal> {
        // What follows runs under the lock of the cell's shard: it must not ask the cache anything.
        let fits = |cell: &Cell| weight(key, cell) <= self.largest.load(Ordering::Relaxed);
        let mut work = Some(work);
        let mut perform = |old: Option<Cell>| {
            let work = work.take().unwrap_or_else(|| unreachable!("a cell is there or not"));
            let (new, out) = work(old)?;
            if new.as_ref().is_some_and(|new| !fits(new)) { Err(Refusal::TooLarge) } else { Ok((new, out)) }
        };
        let entry = self.cache.entry(key, None, |_, cell| {
            let old = (cell.expires > now).then(|| cell.clone());
            EntryAction::Retain(perform(old).map(|(new, out)| {
                match new {
                    Some(new) => *cell = new,
                    None => cell.expires = 0, // as good as gone
                }
                out
            }))
        });
        match entry {
            EntryResult::Retained(result) => result,
            EntryResult::Vacant(place) => {
                let (new, out) = perform(None)?;
                if let Some(new) = new {
                    let _ = place.insert(new); // refused only where the key was removed meanwhile
                }
                Ok(out)
            }
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
                unreachable!("none of these was asked for")
            }
        }
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn expiry(now: u64, ttl: u64) -> u64 {
    if ttl == 0 { u64::MAX } else { now.saturating_add(ttl) }
}

fn whole_nanoseconds(fractions: u128) -> u64 {
    u64::try_from(fractions.div_ceil(1 << FRACTION_BITS)).unwrap_or(u64::MAX)
}

fn weight(key: &[u8], cell: &Cell) -> u64 {
    let value = if let Value::Bytes(bytes) = &cell.value { bytes.len() } else { 0 };
    (key.len() + value + OVERHEAD) as u64
}

/// What the cells of a `vm_id` take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellsUsage {
    /// How many there are.
    pub cells: u64,
    /// What they count for against `limits.cells`, in bytes.
    pub bytes: u64,
    /// How many went for want of room.
    pub evicted: u64,
}

/// Counts the cells that go for want of room.
#[derive(Debug, Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Vec<u8>, Cell> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: Vec<u8>, _: Cell) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a cell counts for against the limit.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Vec<u8>, Cell> for Weight {
    fn weight(&self, key: &Vec<u8>, cell: &Cell) -> u64 {
        weight(key, cell)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn cells() -> (Cells, Instant) {
        let now = Instant::now();
        (Cells::new(1 << 20, now), now)
    }

    #[test]
    fn tokens_that_are_given_back_can_be_taken_again_and_never_exceed_the_burst() {
        let (cells, now) = cells();
        let bucket = Bucket { burst: 3, tokens: 1, interval: SECOND };
        let take = |cost| cells.take(now, b"k", bucket, cost).expect("it is a bucket");
        assert_eq!((take(3).retry_after, take(1).retry_after), (0, SECOND));
        assert_eq!(take(-2), Taken { retry_after: 0, reset: SECOND, remaining: 2 });
        assert_eq!((take(2).retry_after, take(1).retry_after), (0, SECOND));
        assert_eq!(take(i32::MIN), Taken { retry_after: 0, reset: 0, remaining: 3 });
        assert_eq!(take(4).retry_after, u64::MAX);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (cells, began) = cells();
        let bucket = Bucket { burst: 5, tokens: 3, interval: SECOND };
        let mut admitted = 0;
        for millisecond in 0..10_000 {
            let now = began + Duration::from_millis(millisecond);
            admitted += u32::from(cells.take(now, b"k", bucket, 1).unwrap().retry_after == 0);
        }
        assert_eq!(admitted, 5 + 29, "the thirtieth is due at 10 s");
    }

    #[test]
    fn a_refusal_says_when_to_come_again_and_takes_nothing() {
        let (cells, now) = cells();
        let bucket = Bucket { burst: 2, tokens: 1, interval: SECOND };
        let taken = |retry_after, reset, remaining| Ok(Taken { retry_after, reset, remaining });
        assert_eq!(cells.take(now, b"k", bucket, 2), taken(0, 2 * SECOND, 0));
        for _ in 0..2 {
            assert_eq!(cells.take(now, b"k", bucket, 1), taken(SECOND, 2 * SECOND, 0));
        }
        assert_eq!(cells.take(now, b"k", bucket, 3), taken(u64::MAX, 2 * SECOND, 0));
        let later = now + Duration::from_nanos(SECOND - 1);
        assert_eq!(cells.take(later, b"k", bucket, 1), taken(1, SECOND + 1, 0));
        assert_eq!(cells.take(now + Duration::from_secs(1), b"k", bucket, 1), taken(0, 2 * SECOND, 0));
        assert_eq!(cells.take(now, b"other", bucket, 1), taken(0, SECOND, 1));
    }

    #[test]
    fn a_counter_lives_from_when_it_was_made() {
        let (cells, now) = cells();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(cells.add(now, b"k", 0, SECOND), Ok((0, 0)));
        assert_eq!(cells.add(now, b"k", 2, 10 * SECOND), Ok((2, 10 * SECOND)));
        assert_eq!(cells.add(at(4), b"k", -5, 10 * SECOND), Ok((-3, 6 * SECOND)));
        assert_eq!(cells.add(at(10), b"k", 1, 0), Ok((1, 0)));
        assert_eq!(cells.add(at(1000), b"k", i64::MAX, 0), Ok((i64::MAX, 0)));
    }

    #[test]
    fn a_value_is_there_until_it_expires_or_is_deleted() {
        let (cells, now) = cells();
        cells.set(now, b"k", b"v", SECOND).unwrap();
        let value = |at: Duration| cells.value(now + at, b"k").unwrap();
        assert_eq!(value(Duration::from_nanos(SECOND - 1)).as_deref(), Some(&b"v"[..]));
        assert_eq!(value(Duration::from_secs(1)), None);
        assert!(!cells.delete(now + Duration::from_secs(1), b"k"));
        cells.set(now, b"k", b"w", 0).unwrap();
        assert_eq!(value(Duration::from_secs(1 << 30)).as_deref(), Some(&b"w"[..]));
        assert!(cells.delete(now, b"k") && !cells.delete(now, b"k"));
    }

    #[test]
    fn a_key_has_one_kind_of_cell_at_a_time() {
        let (cells, now) = cells();
        let bucket = Bucket { burst: 1, tokens: 1, interval: SECOND };
        cells.add(now, b"k", 1, SECOND).unwrap();
        assert_eq!(cells.take(now, b"k", bucket, 1), Err(Refusal::Kind));
        assert_eq!(cells.set(now, b"k", b"", 0), Err(Refusal::Kind));
        assert_eq!(cells.value(now, b"k"), Err(Refusal::Kind));
        assert_eq!(cells.add(now, b"k", 1, 0), Ok((2, SECOND)), "and is unharmed");
        let later = now + Duration::from_secs(1);
        assert_eq!(cells.set(later, b"k", b"", 0), Ok(()));
    }

    #[test]
    fn what_is_kept_has_a_limit_whatever_is_asked() {
        let now = Instant::now();
        let cells = Cells::new(64 << 10, now);
        assert_eq!(cells.set(now, b"k", &vec![0; 64 << 10], 0), Err(Refusal::TooLarge));
        for key in 0..100_000u32 {
            cells.add(now, &key.to_le_bytes(), 1, 0).unwrap();
        }
        assert!(cells.cache.weight() <= 64 << 10, "{}", cells.cache.weight());
        assert_eq!(Cells::new(0, now).add(now, b"k", 1, 0), Err(Refusal::TooLarge));
    }

    #[test]
    fn every_key_can_be_changed_again_whatever_shard_it_is_in() {
        let (cells, now) = cells();
        for round in 1..=2 {
            for key in 0..1_000u32 {
                assert_eq!(cells.add(now, &key.to_le_bytes(), 1, 0), Ok((round, 0)));
            }
        }
        cells.widen(2 << 20);
        assert_eq!(cells.set(now, b"k", &vec![0; 200 << 10], 0), Ok(()), "there is more room for each");
    }

    #[test]
    fn threads_lose_no_addition_and_share_a_bucket() {
        const THREADS: u32 = 4;
        const ROUNDS: u32 = 5_000;
        let (cells, now) = cells();
        let bucket = Bucket { burst: ROUNDS, tokens: 1, interval: 3600 * SECOND };
        let admitted: u32 = std::thread::scope(|scope| {
            let work = || {
                (0..ROUNDS).fold(0, |admitted, _| {
                    cells.add(now, b"count", 1, 0).unwrap();
                    admitted + u32::from(cells.take(now, b"bucket", bucket, 1).unwrap().retry_after == 0)
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(cells.add(now, b"count", 0, 0), Ok((i64::from(THREADS * ROUNDS), 0)));
        assert_eq!(admitted, ROUNDS);
    }
}
