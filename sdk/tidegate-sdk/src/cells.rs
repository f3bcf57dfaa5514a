//! Token buckets, counters and values that the instances of a filter change exactly, across workers, and that expire.
//!
//! tidegate offers them as foreign functions. Where a host has none ([`Mode::SharedData`]) they are kept in shared data,
//! changed by compare-and-swap: nearly exact, and keys stay for good.

mod shared;

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
