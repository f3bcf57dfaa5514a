//! The same cells as values of shared data: each change makes a new value of an old one, and an empty one is none. The
//! first byte says of which kind it is. What is no cell, because another wrote it, counts as none.

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

pub(super) fn set(old: &[u8], now: u64, value: &[u8], ttl: u64) -> Result<(Option<Vec<u8>>, ()), CellError> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::cells::{Counted, TokenBucket, shared};

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
