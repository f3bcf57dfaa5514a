//! Foreign functions: calls by name that a host may have or not. An unknown one is `NotFound`.
//!
//! Those of this host's own begin with `tidegate.`; their arguments and answers are little-endian numbers, one after the
//! other, and the key or the value last. A guest that is to run elsewhere too asks for one and has another way where it
//! gets `NotFound`. `BadArgument`: arguments that are too short or out of range, or a key that has a cell of another kind.
//! `InternalFailure`: a cell that does not fit into the filter's `limits.cells`.

use std::time::{Duration, Instant};

use super::{Call, Outcome, log};
use crate::wasm::abi::Status;
use crate::wasm::cells::{Bucket, Cells, Refusal};
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, give, slice, view};

/// `proxy_call_foreign_function`. A null place for the value means that the guest does not want it.
pub(crate) fn call_function(
    call: &mut Call<'_>,
    name: u32,
    name_len: u32,
    arguments: u32,
    arguments_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let out = (value != 0 && value_len != 0).then_some(Out { pointer: value, len: value_len });
    let name = slice(memory, name, name_len)?;
    let arguments = Arguments(slice(memory, arguments, arguments_len)?);
    if let Some(out) = out {
        out.check(memory)?;
    }
    let answer = match name {
        b"clear_route_cache" => clear_route_cache(host),
        b"get_log_level" => (log::current_level(host) as u32).to_le_bytes().to_vec(),
        b"tidegate.bucket.take" => take(host, arguments)?,
        b"tidegate.counter.add" => add(host, arguments)?,
        b"tidegate.kv.get" => value_of(host, arguments)?,
        b"tidegate.kv.set" => set(host, arguments)?,
        b"tidegate.kv.delete" => delete(host, arguments)?,
        b"tidegate.timeout.extend" => extend_timeout(host, arguments)?,
        _ => return Err(Status::NotFound.into()),
    };
    match out {
        Some(out) => give(call, out, &answer),
        None => Ok(()),
    }
}

fn clear_route_cache(host: &Host) -> Vec<u8> {
    if let Some((stream, _)) = &host.active.stream {
        stream.borrow_mut().route_stale = true;
    }
    Vec::new()
}

/// `cost: i32, burst: u32, tokens: u32, interval: u64 (ns), key` → `retry_after: u64 (ns), reset: u64 (ns),
/// remaining: u32`.
fn take(host: &Host, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    let (cost, burst) = (arguments.u32()?.cast_signed(), arguments.u32()?);
    let bucket = Bucket { burst, tokens: arguments.u32()?, interval: arguments.u64()? };
    if bucket.tokens == 0 || bucket.interval == 0 {
        return Err(Status::BadArgument);
    }
    let (cells, now) = cells(host)?;
    let taken = cells.take(now, arguments.0, bucket, cost)?;
    let mut answer = Vec::with_capacity(20);
    answer.extend(taken.retry_after.to_le_bytes());
    answer.extend(taken.reset.to_le_bytes());
    answer.extend(taken.remaining.to_le_bytes());
    Ok(answer)
}

/// `delta: i64, ttl: u64 (ns; 0: for ever), key` → `count: i64, expires in: u64 (ns; 0: never)`.
fn add(host: &Host, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    let (delta, ttl) = (arguments.u64()?.cast_signed(), arguments.u64()?);
    let (cells, now) = cells(host)?;
    let (count, left) = cells.add(now, arguments.0, delta, ttl)?;
    let mut answer = Vec::with_capacity(16);
    answer.extend(count.to_le_bytes());
    answer.extend(left.to_le_bytes());
    Ok(answer)
}

/// `key` → nothing, or 1 and the value.
fn value_of(host: &Host, arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    let (cells, now) = cells(host)?;
    let value = cells.value(now, arguments.0)?;
    Ok(value.map(|value| [&[1], &value[..]].concat()).unwrap_or_default())
}

/// `ttl: u64 (ns; 0: for ever), length of the key: u32, key, value` → nothing.
fn set(host: &Host, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    let (ttl, key_len) = (arguments.u64()?, arguments.u32()? as usize);
    let (key, value) = arguments.0.split_at_checked(key_len).ok_or(Status::BadArgument)?;
    let (cells, now) = cells(host)?;
    cells.set(now, key, value, ttl)?;
    Ok(Vec::new())
}

/// `key` → one byte: 1 if there was a value, 0 if not.
fn delete(host: &Host, arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    let (cells, now) = cells(host)?;
    Ok(vec![u8::from(cells.delete(now, arguments.0))])
}

/// `by: u64 (ns)` → nothing. What the guests of one exchange ask for together has a limit, up to which it is given.
fn extend_timeout(host: &Host, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Status> {
    const MOST: Duration = Duration::from_secs(3600);
    let by = Duration::from_nanos(arguments.u64()?);
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::BadArgument)?;
    let extension = &mut stream.borrow_mut().timeout_extension;
    *extension = extension.saturating_add(by).min(MOST);
    Ok(Vec::new())
}

/// The cells that this guest shares with those of its `vm_id`, and the time. A filter that may have none finds no such
/// function.
fn cells(host: &Host) -> Result<(&Cells, Instant), Status> {
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

/// What is left of the arguments.
struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Status> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Status::BadArgument)?;
        self.0 = rest;
        Ok(*number)
    }

    fn u32(&mut self) -> Result<u32, Status> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Status> {
        self.take().map(u64::from_le_bytes)
    }
}
