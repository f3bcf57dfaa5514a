//! The cells, as [`crate::wasm::cells`] keeps them, for guests.
//!
//! `BadArgument`: arguments that are too short or out of range, or a key that has a cell of another kind.
//! `InternalFailure`: a cell that does not fit into the filter's `limits.cells`.

use std::time::Instant;

use super::{Answer, Arguments};
use crate::wasm::abi::Status;
use crate::wasm::cells::{Bucket, Cells, Refusal};
use crate::wasm::grants::Capability;
use crate::wasm::host::Host;

/// `tidegate.bucket.take`
pub(super) fn take(host: &mut Host, arguments: &[u8]) -> Answer {
    let mut arguments = Arguments(arguments);
    let (cost, burst) = (arguments.u32()?.cast_signed(), arguments.u32()?);
    let bucket = Bucket { burst, tokens: arguments.u32()?, interval: arguments.u64()? };
    if bucket.tokens == 0 || bucket.interval == 0 {
        return Err(Status::BadArgument);
    }
    let (cells, now) = cells(host, arguments.0)?;
    let taken = cells.take(now, arguments.0, bucket, cost)?;
    let mut answer = Vec::with_capacity(20);
    answer.extend(taken.retry_after.to_le_bytes());
    answer.extend(taken.reset.to_le_bytes());
    answer.extend(taken.remaining.to_le_bytes());
    Ok(answer)
}

/// `tidegate.counter.add`
pub(super) fn add(host: &mut Host, arguments: &[u8]) -> Answer {
    let mut arguments = Arguments(arguments);
    let (delta, ttl) = (arguments.u64()?.cast_signed(), arguments.u64()?);
    let (cells, now) = cells(host, arguments.0)?;
    let (count, left) = cells.add(now, arguments.0, delta, ttl)?;
    let mut answer = Vec::with_capacity(16);
    answer.extend(count.to_le_bytes());
    answer.extend(left.to_le_bytes());
    Ok(answer)
}

/// `tidegate.kv.get`
pub(super) fn value_of(host: &mut Host, key: &[u8]) -> Answer {
    let (cells, now) = cells(host, key)?;
    let value = cells.value(now, key)?;
    Ok(value.map(|value| [&[1], &value[..]].concat()).unwrap_or_default())
}

/// `tidegate.kv.set`
pub(super) fn set(host: &mut Host, arguments: &[u8]) -> Answer {
    let mut arguments = Arguments(arguments);
    let (ttl, key_len) = (arguments.u64()?, arguments.u32()? as usize);
    let (key, value) = arguments.0.split_at_checked(key_len).ok_or(Status::BadArgument)?;
    let (cells, now) = cells(host, key)?;
    cells.set(now, key, value, ttl)?;
    Ok(Vec::new())
}

/// `tidegate.kv.delete`
pub(super) fn delete(host: &mut Host, key: &[u8]) -> Answer {
    let (cells, now) = cells(host, key)?;
    Ok(vec![u8::from(cells.delete(now, key))])
}

/// The cells that this guest shares with those of its `vm_id`, and the time. A filter that may have none finds no such
/// function; to one that may not use the key they are as if they were full.
fn cells<'a>(host: &'a Host, key: &[u8]) -> Result<(&'a Cells, Instant), Status> {
    if !host.may(Capability::SharedData, key) {
        // `NotFound` would have an SDK count elsewhere, where it could not either.
        return Err(Status::InternalFailure);
    }
    match host.root().filter.limits.cells {
        0 => Err(Status::NotFound),
        capacity => {
            let now = host.services.clock.monotonic();
            Ok((host.shared.cells(capacity, now), now))
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Kind => Status::BadArgument,
            Refusal::TooLarge => Status::InternalFailure,
        }
    }
}
