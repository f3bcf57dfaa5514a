//! Token buckets, counters and values that the instances of a filter change exactly, across workers, and that expire.
//!
//! tidegate offers them as foreign functions. Where a host has none ([`Mode::SharedData`]) they are kept in shared data,
//! changed by compare-and-swap: nearly exact, and keys stay for good.

use std::cell::Cell;
use std::time::Duration;

use log::warn;

use crate::host::{self, Refused};

/// How often a change that others came before is tried again. Each failure is a success of another worker.
const MAX_TRIES: usize = 64;

/// What instances of a filter share, under a name that keeps filters apart. They share it with those of the same
/// `vm_id`.
///
/// ```no_run
/// # use std::time::Duration;
/// use tidegate_sdk::{Cells, TokenBucket};
///
/// let cells = Cells::new("my-filter");
/// let bucket = TokenBucket { burst: 20, tokens: 100, interval: Duration::from_secs(1) };
/// let taken = cells.take("ann", bucket, 1)?;
/// if let Some(wait) = taken.retry_after {
///     println!("come back in {wait:?}");
/// }
/// # Ok::<(), tidegate_sdk::CellError>(())
/// ```
#[derive(Debug)]
pub struct Cells {
    prefix: String,
    mode: Cell<Mode>,
}

/// Where cells are. See [`Cells::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The host's own: exact.
    Host,
    /// Values in shared data.
    SharedData,
}

/// A token bucket: it holds `burst` tokens at most, is full at first, and gains `tokens` evenly in each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// The most tokens that it holds: what can be taken at once.
    pub burst: u32,
    /// How many it gains; at least 1.
    pub tokens: u32,
    /// In which time; at least a nanosecond.
    pub interval: Duration,
}

/// What became of a request for tokens: what a refusal tells its client.
///
/// ```
/// # use tidegate_sdk::Taken;
/// fn retry_after_seconds(taken: &Taken) -> Option<u64> {
///     taken.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// `None`: the tokens were taken. Else none were, and there will be enough after this time; never, if it is
    /// [`Duration::MAX`].
    pub retry_after: Option<Duration>,
    /// How many whole tokens are left.
    pub remaining: u32,
    /// In which time the bucket is full, when nobody takes from it.
    pub reset: Duration,
}

/// A counter after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Its value.
    pub count: i64,
    /// When it expires; `None` for never.
    pub expires_in: Option<Duration>,
}

/// Why a cell was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CellError {
    /// The key has a cell of another kind, or the numbers are out of range.
    BadArgument,
    /// It does not fit into what the host lets the filter have.
    TooLarge,
    /// Other workers changed it all the time (shared data only).
    Contended,
    /// The host refused for another reason.
    Refused,
}

impl std::fmt::Display for CellError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CellError::BadArgument => "the key has a cell of another kind, or a number is out of range",
            CellError::TooLarge => "the cell does not fit into what the host lets this filter have",
            CellError::Contended => "other workers changed the cell all the time",
            CellError::Refused => "the host refused to change the cell",
        })
    }
}

impl std::error::Error for CellError {}

impl From<Refused> for CellError {
    fn from(refused: Refused) -> CellError {
        match refused {
            Refused::BAD_ARGUMENT => CellError::BadArgument,
            Refused::INTERNAL_FAILURE => CellError::TooLarge,
            Refused::CAS_MISMATCH => CellError::Contended,
            _ => CellError::Refused,
        }
    }
}

impl Cells {
    /// The cells under this name, which is to be without NUL: one ends it in the host's keys.
    pub fn new(name: &str) -> Cells {
        Cells { prefix: format!("{name}\0"), mode: Cell::new(Mode::Host) }
    }

    /// The cells of this filter: under the name that it has in the host's configuration, which its instances on all
    /// workers and listeners share. For [`Filter::new`](crate::Filter::new).
    pub fn of_this_filter() -> Cells {
        let name = host::property(&["plugin_name"]).unwrap_or_default();
        Cells::new(&String::from_utf8_lossy(&name))
    }

    /// Where they are; known after the first use.
    pub fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// Takes `cost` tokens out of a bucket, or none. More than 2^31 are a [`CellError::BadArgument`], and so are a bucket
    /// that gains nothing and a key of another kind.
    pub fn take(&self, key: impl AsRef<[u8]>, bucket: TokenBucket, cost: u32) -> Result<Taken, CellError> {
        self.move_tokens(key, bucket, i32::try_from(cost).map_err(|_| CellError::BadArgument)?)
    }

    /// Gives tokens back, as far as the bucket has room: for what was taken in vain. Errors as with
    /// [`take`](Cells::take).
    pub fn give_back(
        &self,
        key: impl AsRef<[u8]>,
        bucket: TokenBucket,
        tokens: u32,
    ) -> Result<Taken, CellError> {
        self.move_tokens(key, bucket, -i32::try_from(tokens).map_err(|_| CellError::BadArgument)?)
    }

    fn move_tokens(&self, key: impl AsRef<[u8]>, bucket: TokenBucket, cost: i32) -> Result<Taken, CellError> {
        let interval = nanoseconds(bucket.interval);
        if bucket.tokens == 0 || interval == 0 {
            return Err(CellError::BadArgument);
        }
        let mut numbers = [0; 20];
        let parts = [cost.cast_unsigned(), bucket.burst, bucket.tokens].map(u32::to_le_bytes);
        numbers[..12].copy_from_slice(parts.as_flattened());
        numbers[12..].copy_from_slice(&interval.to_le_bytes());
        match self.call("tidegate.bucket.take", &numbers, key.as_ref())? {
            Some(answer) => {
                let mut answer = Numbers(&answer);
                let (retry_after, reset) = (answer.u64()?, Duration::from_nanos(answer.u64()?));
                let retry_after = (retry_after > 0).then(|| wait(retry_after));
                Ok(Taken { retry_after, reset, remaining: answer.u32()? })
            }
            None => self.change(key.as_ref(), |old| shared::take(old, now(), bucket, cost)),
        }
    }

    /// Adds to a counter, which begins at 0 and lives for `ttl` from then; `None` is for ever. Adding 0 reads it, and makes
    /// none. It stays at the least and the greatest `i64`.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn seen(cells: &tidegate_sdk::Cells, user: &str) -> Result<(), tidegate_sdk::CellError> {
    /// let day = Duration::from_secs(86_400);
    /// let today = cells.add(user, 1, Some(day))?.count;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CellError::BadArgument`]: the key is a bucket's or a value's.
    pub fn add(
        &self,
        key: impl AsRef<[u8]>,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<Counted, CellError> {
        let ttl = ttl.map_or(0, |ttl| nanoseconds(ttl).max(1));
        let numbers = [delta.to_le_bytes(), ttl.to_le_bytes()];
        match self.call("tidegate.counter.add", numbers.as_flattened(), key.as_ref())? {
            Some(answer) => {
                let mut answer = Numbers(&answer);
                let count = answer.u64()?.cast_signed();
                let left = answer.u64()?;
                Ok(Counted { count, expires_in: (left > 0).then(|| Duration::from_nanos(left)) })
            }
            None => self.change(key.as_ref(), |old| shared::add(old, now(), delta, ttl)),
        }
    }

    /// A value, if there is one that has not expired.
    ///
    /// # Errors
    ///
    /// [`CellError::BadArgument`]: the key is a bucket's or a counter's.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, CellError> {
        match self.call("tidegate.kv.get", &[], key.as_ref())? {
            Some(answer) => Ok(answer.split_first().map(|(_, value)| value.to_vec())),
            None => {
                let (stored, _) = shared_data(&self.key(key.as_ref()))?;
                Ok(shared::value(&stored, now())?.map(<[u8]>::to_vec))
            }
        }
    }

    /// Writes a value that lives for `ttl` from now; `None` is for ever.
    ///
    /// # Errors
    ///
    /// [`CellError::BadArgument`]: the key is a bucket's or a counter's. [`CellError::TooLarge`]: it does not fit into what
    /// the host lets the filter have.
    pub fn set(&self, key: impl AsRef<[u8]>, value: &[u8], ttl: Option<Duration>) -> Result<(), CellError> {
        let ttl = ttl.map_or(0, |ttl| nanoseconds(ttl).max(1));
        let full = self.key(key.as_ref());
        let arguments = [&ttl.to_le_bytes()[..], &(full.len() as u32).to_le_bytes(), &full, value].concat();
        match self.call_with("tidegate.kv.set", &arguments)? {
            Some(_) => Ok(()),
            None => self.change(key.as_ref(), |old| shared::set(old, now(), value, ttl)),
        }
    }

    /// Removes a cell of any kind, and says whether there was one.
    ///
    /// # Errors
    ///
    /// Only what [`CellError`] says of shared data.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, CellError> {
        match self.call("tidegate.kv.delete", &[], key.as_ref())? {
            Some(answer) => Ok(answer == [1]),
            None => self.change(key.as_ref(), |old| Ok(shared::delete(old, now()))),
        }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), key].concat()
    }

    /// Calls a function whose last argument is the key. `None`: this host has none.
    fn call(&self, name: &str, numbers: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, CellError> {
        let mut arguments = Vec::with_capacity(numbers.len() + self.prefix.len() + key.len());
        [numbers, self.prefix.as_bytes(), key].iter().for_each(|part| arguments.extend_from_slice(part));
        self.call_with(name, &arguments)
    }

    fn call_with(&self, name: &str, arguments: &[u8]) -> Result<Option<Vec<u8>>, CellError> {
        if self.mode.get() == Mode::SharedData {
            return Ok(None);
        }
        match host::call_function(name, arguments) {
            Ok(answer) => Ok(Some(answer)),
            Err(Refused::NOT_FOUND | Refused::UNIMPLEMENTED) => {
                warn!(
                    "this host has no {name}: counting in shared data, which is less exact and never forgets a key"
                );
                self.mode.set(Mode::SharedData);
                Ok(None)
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Replaces what shared data has under a key by what `work` makes of it, which is nothing where it makes none.
    fn change<T>(
        &self,
        key: &[u8],
        work: impl Fn(&[u8]) -> Result<(Option<Vec<u8>>, T), CellError>,
    ) -> Result<T, CellError> {
        let key = self.key(key);
        for _ in 0..MAX_TRIES {
            // Two that find nothing at the same time both write: shared data cannot say "only if there is none".
            let (old, cas) = shared_data(&key)?;
            let (new, out) = work(&old)?;
            let Some(new) = new else { return Ok(out) };
            match host::set_shared_data(&key, &new, cas) {
                Ok(()) => return Ok(out),
                Err(Refused::CAS_MISMATCH) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(CellError::Contended)
    }
}

/// What shared data has under a key: nothing is an empty value that anyone may change.
fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32), CellError> {
    match host::shared_data(key) {
        Err(Refused::NOT_FOUND) => Ok((Vec::new(), 0)),
        other => Ok(other?),
    }
}

/// The same cells as values of shared data: each change makes a new value of an old one, and an empty one is none. The
/// first byte says of which kind it is. What is no cell, because another wrote it, counts as none.
mod shared {
    use std::time::Duration;

    use super::{CellError, Counted, Numbers, Taken, TokenBucket, wait};

    const BUCKET: u8 = b'b';
    const COUNTER: u8 = b'c';
    const VALUE: u8 = b'v';

    /// A cell that has not expired.
    enum Cell<'a> {
        /// When it will be full again.
        Bucket(u64),
        /// Its count, and when it expires, 0 for never.
        Counter(i64, u64),
        Value(&'a [u8]),
    }

    /// Times are in nanoseconds since 1970.
    fn read(stored: &[u8], now: u64) -> Option<Cell<'_>> {
        let (kind, content) = stored.split_first()?;
        let mut numbers = Numbers(content);
        let expires = numbers.u64().ok()?;
        let cell = match *kind {
            BUCKET if numbers.0.is_empty() => return (expires > now).then_some(Cell::Bucket(expires)),
            COUNTER => {
                let count = numbers.u64().ok()?.cast_signed();
                numbers.0.is_empty().then_some(Cell::Counter(count, expires))?
            }
            VALUE => Cell::Value(numbers.0),
            _ => return None,
        };
        (expires == 0 || expires > now).then_some(cell)
    }

    /// Takes tokens: what is kept is when the bucket will be full again (the generic cell rate algorithm, ITU-T I.371).
    pub(super) fn take(
        old: &[u8],
        now: u64,
        bucket: TokenBucket,
        cost: i32,
    ) -> Result<(Option<Vec<u8>>, Taken), CellError> {
        let interval = bucket.interval.as_nanos().max(1);
        // For so many tokens, in nanoseconds.
        let time_of = |tokens: u32| {
            let time = interval.saturating_mul(tokens.into()).div_ceil(bucket.tokens.max(1).into());
            u64::try_from(time).unwrap_or(u64::MAX)
        };
        let limit = now.saturating_add(time_of(bucket.burst));
        let stored = match read(old, now) {
            None => now,
            Some(Cell::Bucket(full_at)) => full_at,
            Some(_) => return Err(CellError::BadArgument),
        };
        // A bucket is never emptier than empty: the clock was set back, or the burst was larger.
        let full_at = stored.min(limit);
        let change = time_of(cost.unsigned_abs());
        let after =
            if cost < 0 { full_at.saturating_sub(change).max(now) } else { full_at.saturating_add(change) };
        let retry_after = match after.checked_sub(limit) {
            _ if cost < 0 => None,
            _ if cost.unsigned_abs() > bucket.burst => Some(Duration::MAX),
            None | Some(0) => None,
            Some(lack) => Some(wait(lack)),
        };
        let full_at = if retry_after.is_none() { after } else { full_at };
        let room = u128::from(limit.saturating_sub(full_at)).saturating_mul(bucket.tokens.into());
        let remaining = u32::try_from(room / interval).unwrap_or(u32::MAX).min(bucket.burst);
        let reset = Duration::from_nanos(full_at.saturating_sub(now));
        let is_new = retry_after.is_none() || full_at < stored;
        let new = is_new.then(|| [&[BUCKET][..], &full_at.to_le_bytes()].concat());
        Ok((new, Taken { retry_after, remaining, reset }))
    }

    pub(super) fn add(
        old: &[u8],
        now: u64,
        delta: i64,
        ttl: u64,
    ) -> Result<(Option<Vec<u8>>, Counted), CellError> {
        let (count, expires) = match read(old, now) {
            None if delta == 0 => return Ok((None, Counted { count: 0, expires_in: None })),
            None => (0, expiry(now, ttl)),
            Some(Cell::Counter(count, expires)) => (count, expires),
            Some(_) => return Err(CellError::BadArgument),
        };
        let count = count.saturating_add(delta);
        let expires_in = (expires > 0).then(|| Duration::from_nanos(expires.saturating_sub(now)));
        let stored = || [&[COUNTER][..], &expires.to_le_bytes(), &count.to_le_bytes()].concat();
        Ok(((delta != 0).then(stored), Counted { count, expires_in }))
    }

    pub(super) fn set(
        old: &[u8],
        now: u64,
        value: &[u8],
        ttl: u64,
    ) -> Result<(Option<Vec<u8>>, ()), CellError> {
        match read(old, now) {
            None | Some(Cell::Value(_)) => {
                Ok((Some([&[VALUE][..], &expiry(now, ttl).to_le_bytes(), value].concat()), ()))
            }
            Some(_) => Err(CellError::BadArgument),
        }
    }

    pub(super) fn value(stored: &[u8], now: u64) -> Result<Option<&[u8]>, CellError> {
        match read(stored, now) {
            None => Ok(None),
            Some(Cell::Value(value)) => Ok(Some(value)),
            Some(_) => Err(CellError::BadArgument),
        }
    }

    /// Shared data has no way to remove a key; an empty value is none.
    pub(super) fn delete(old: &[u8], now: u64) -> (Option<Vec<u8>>, bool) {
        ((!old.is_empty()).then(Vec::new), read(old, now).is_some())
    }

    fn expiry(now: u64, ttl: u64) -> u64 {
        if ttl == 0 { 0 } else { now.saturating_add(ttl) }
    }
}

fn now() -> u64 {
    nanoseconds(host::now())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn wait(nanoseconds: u64) -> Duration {
    if nanoseconds == u64::MAX { Duration::MAX } else { Duration::from_nanos(nanoseconds) }
}

/// What is left of numbers, little-endian, one behind the other. Too few are a fault of the host's.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CellError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(CellError::Refused)?;
        self.0 = rest;
        Ok(*number)
    }

    fn u32(&mut self) -> Result<u32, CellError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CellError> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BUCKET: TokenBucket = TokenBucket { burst: 3, tokens: 2, interval: Duration::from_secs(1) };

    #[test]
    fn a_bucket_in_shared_data_gives_its_burst_and_then_its_rate() {
        let (mut stored, mut now) = (Vec::new(), 100 * SECOND);
        let mut take = |now| {
            let (new, taken) = shared::take(&stored, now, BUCKET, 1).expect("it is a bucket");
            stored = new.unwrap_or(std::mem::take(&mut stored));
            taken
        };
        for left in [2, 1, 0] {
            assert_eq!((take(now).retry_after, left), (None, left));
        }
        let refused = take(now);
        assert_eq!(refused.retry_after, Some(Duration::from_millis(500)));
        assert_eq!((refused.remaining, refused.reset), (0, Duration::from_millis(1500)));
        now += SECOND / 2;
        assert_eq!((take(now).retry_after, take(now).retry_after), (None, Some(Duration::from_millis(500))));
        now += 100 * SECOND;
        assert_eq!(take(now).remaining, 2, "it never holds more than its burst");
        let take = |old: &[u8], cost| shared::take(old, now, BUCKET, cost).expect("it is a bucket");
        assert_eq!(take(&[], 4).1.retry_after, Some(Duration::MAX));
        let (emptied, _) = take(&[], 3);
        let (_, given) = take(&emptied.expect("tokens were taken"), -2);
        assert_eq!((given.retry_after, given.remaining), (None, 2), "given back");
    }

    #[test]
    fn a_bucket_in_shared_data_recovers_when_the_clock_was_set_back() {
        let take = |old: &[u8], now| shared::take(old, now, BUCKET, 1).expect("it is a bucket");
        let (stored, _) = take(&[], 1_000 * SECOND);
        let (stored, refused) = take(&stored.expect("it was taken"), 10 * SECOND);
        assert_eq!((refused.retry_after, refused.remaining), (Some(Duration::from_millis(500)), 0));
        let (stored, taken) = take(&stored.expect("it was set right"), 11 * SECOND);
        assert_eq!((taken.retry_after, taken.remaining), (None, 1));
        assert!(stored.is_some());
    }

    #[test]
    fn numbers_at_their_ends_neither_wrap_nor_panic() {
        let long = Duration::from_secs(u64::MAX);
        for bucket in [
            TokenBucket { burst: 10_000_000, tokens: 1, interval: Duration::from_secs(3600) },
            TokenBucket { burst: u32::MAX, tokens: 1, interval: long },
            TokenBucket { burst: u32::MAX, tokens: u32::MAX, interval: long },
            TokenBucket { burst: u32::MAX, tokens: u32::MAX, interval: Duration::from_nanos(1) },
        ] {
            for now in [0, 100 * SECOND, u64::MAX] {
                let taken = |cost| shared::take(&[], now, bucket, cost).expect("it is a bucket").1;
                assert_eq!(taken(1).retry_after, None, "{bucket:?} at {now}");
                assert_eq!(taken(i32::MIN).retry_after, None);
                taken(i32::MAX);
            }
        }
        let none = TokenBucket { burst: 0, tokens: 1, interval: Duration::from_secs(1) };
        let taken = shared::take(&[], SECOND, none, 1).expect("it is a bucket").1;
        assert_eq!((taken.retry_after, taken.remaining), (Some(Duration::MAX), 0));
        let (stored, counted) = shared::add(&[], u64::MAX, i64::MAX, u64::MAX).expect("a counter");
        assert_eq!(counted.count, i64::MAX);
        let counted = shared::add(&stored.expect("it changed"), 0, i64::MAX, 0).expect("a counter").1;
        assert_eq!(counted.count, i64::MAX);
    }

    #[test]
    fn a_key_in_shared_data_has_one_kind_until_it_expires() {
        let bucket = shared::take(&[], SECOND, BUCKET, 1).expect("a bucket").0.expect("it was taken");
        let counter = shared::add(&[], SECOND, 1, SECOND).expect("a counter").0.expect("it changed");
        let value =
            shared::set(&[], SECOND, b"12345678", SECOND).expect("a value").0.expect("it was written");
        let kinds = |stored: &[u8], now| {
            [
                shared::take(stored, now, BUCKET, 1).is_ok(),
                shared::add(stored, now, 1, 0).is_ok(),
                shared::value(stored, now).is_ok(),
                shared::set(stored, now, b"", 0).is_ok(),
            ]
        };
        assert_eq!(kinds(&bucket, SECOND), [true, false, false, false]);
        assert_eq!(kinds(&counter, SECOND), [false, true, false, false]);
        assert_eq!(kinds(&value, SECOND), [false, false, true, true]);
        for stored in [&bucket, &counter, &value] {
            assert!(shared::delete(stored, SECOND).1 && !shared::delete(stored, 2 * SECOND).1);
            assert_eq!(kinds(stored, 2 * SECOND), [true; 4], "it is over");
        }
    }

    #[test]
    fn what_another_wrote_into_shared_data_is_no_cell() {
        let mut random = fastrand::Rng::with_seed(3);
        for len in 0..40 {
            let stored: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            for kind in [b'b', b'c', b'v', b'x', 0] {
                let stored = [&[kind], &stored[..]].concat();
                let is_cell = shared::delete(&stored, 0).1;
                assert!(
                    !is_cell
                        || (kind == b'b' && len == 8)
                        || (kind == b'c' && len == 16)
                        || (kind == b'v' && len >= 8)
                );
                _ = (shared::take(&stored, SECOND, BUCKET, 1), shared::add(&stored, SECOND, 1, 1));
                _ = (shared::value(&stored, SECOND), shared::set(&stored, SECOND, b"", 1));
            }
        }
        assert_eq!(shared::delete(&[], SECOND), (None, false));
    }

    #[test]
    fn a_counter_in_shared_data_expires_counted_from_its_first_change() {
        let add = |old: &[u8], now, delta, ttl| shared::add(old, now, delta, ttl).expect("it is a counter");
        let (stored, counted) = add(&[], SECOND, 2, 10 * SECOND);
        assert_eq!(counted, Counted { count: 2, expires_in: Some(Duration::from_secs(10)) });
        let stored = stored.expect("it changed");
        let (read, counted) = add(&stored, 5 * SECOND, 0, 10 * SECOND);
        assert_eq!((read, counted.count, counted.expires_in), (None, 2, Some(Duration::from_secs(6))));
        let (_, counted) = add(&stored, 11 * SECOND, -1, 0);
        assert_eq!(counted, Counted { count: -1, expires_in: None });
        let (none, counted) = add(&[], SECOND, 0, SECOND);
        assert_eq!((none, counted), (None, Counted { count: 0, expires_in: None }));
    }

    #[test]
    fn a_value_in_shared_data_is_gone_when_it_has_expired() {
        let set = |ttl| shared::set(&[], SECOND, b"v", ttl).expect("a value").0.expect("it was written");
        assert_eq!(shared::value(&set(SECOND), SECOND), Ok(Some(&b"v"[..])));
        assert_eq!(shared::value(&set(SECOND), 2 * SECOND), Ok(None));
        assert_eq!(shared::value(&set(0), u64::MAX), Ok(Some(&b"v"[..])));
        assert_eq!(shared::value(&[], SECOND), Ok(None), "deleted");
    }
}
