//! The hostcalls that the SDK makes itself, and their wire formats.
//!
//! The proxy-wasm crate panics on every status that it does not expect, which takes the whole instance down with all
//! its exchanges; and it cannot name a reply's details. Here a status is a value. This is the only place with
//! `unsafe`: pointers given to the host are to memory that outlives the call, and memory received from it was
//! allocated by the crate's own allocator, exactly as large as the host says (ABI 0.2.1, "Memory management").
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use proxy_wasm::types::{BufferType, MapType, MetricType, StreamType};

use crate::fields::into_text;

/// A hostcall was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(u32);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("not found"),
            2 => f.write_str("bad argument"),
            6 => f.write_str("invalid memory access"),
            8 => f.write_str("changed meanwhile"),
            10 => f.write_str("internal failure"),
            12 => f.write_str("unimplemented"),
            status => write!(f, "status {status}"),
        }
    }
}

impl std::error::Error for Refused {}

impl Refused {
    pub(crate) const NOT_FOUND: Refused = Refused(1);
    pub(crate) const BAD_ARGUMENT: Refused = Refused(2);
    pub(crate) const CAS_MISMATCH: Refused = Refused(8);
    pub(crate) const INTERNAL_FAILURE: Refused = Refused(10);
    pub(crate) const UNIMPLEMENTED: Refused = Refused(12);
}

/// Logs that the host did not do what it was asked for.
pub(crate) fn report(what: &str, result: Result<(), Refused>) {
    if let Err(refused) = result {
        log::warn!("the host refused to {what}: {refused}");
    }
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        key_len: usize,
        value: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        len: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        len: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_len: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        value: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(buffer: u32, start: usize, size: usize, value: *const u8, len: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_len: usize, value: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_len: usize, value: *const u8, len: usize) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_len: usize,
        body: *const u8,
        body_len: usize,
        headers: *const u8,
        headers_len: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_len: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_log(level: u32, message: *const u8, len: usize) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_len: usize,
        arguments: *const u8,
        arguments_len: usize,
        value: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_len: usize,
        value: *mut *mut u8,
        len: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_len: usize, value: *const u8, len: usize, cas: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(buffer: *mut u8, len: usize) -> u32;
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

fn check(status: u32) -> Result<(), Refused> {
    if status == 0 { Ok(()) } else { Err(Refused(status)) }
}

/// Runs a hostcall that answers with bytes.
fn try_bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Refused> {
    let (mut value, mut len) = (std::ptr::null_mut::<u8>(), 0);
    check(call(&mut value, &mut len))?;
    // SAFETY: the host had this module's allocator make a block of `len` bytes and gave it to us.
    Ok(if value.is_null() { Vec::new() } else { unsafe { Vec::from_raw_parts(value, len, len) } })
}

fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    try_bytes(call).ok()
}

pub(crate) fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    // SAFETY: see the module's documentation; this holds for every block below.
    bytes(|value, len| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), value, len)
    })
}

pub(crate) fn headers(map: MapType) -> Vec<(String, Vec<u8>)> {
    let encoded = bytes(|value, len| unsafe { proxy_get_header_map_pairs(map as u32, value, len) });
    decode_pairs(&encoded.unwrap_or_default())
}

/// The same, not taken apart.
pub(crate) fn header_block(map: MapType) -> Vec<u8> {
    bytes(|value, len| unsafe { proxy_get_header_map_pairs(map as u32, value, len) }).unwrap_or_default()
}

pub(crate) fn add_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Refused> {
    check(unsafe {
        proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(crate) fn set_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Refused> {
    check(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(crate) fn remove_header(map: MapType, name: &str) -> Result<(), Refused> {
    check(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

pub(crate) fn buffer(buffer: BufferType) -> Vec<u8> {
    buffer_part(buffer, 0, usize::MAX)
}

pub(crate) fn buffer_part(buffer: BufferType, start: usize, size: usize) -> Vec<u8> {
    bytes(|value, len| unsafe { proxy_get_buffer_bytes(buffer as u32, start, size, value, len) })
        .unwrap_or_default()
}

pub(crate) fn set_buffer(buffer: BufferType, start: usize, size: usize, value: &[u8]) -> Result<(), Refused> {
    check(unsafe { proxy_set_buffer_bytes(buffer as u32, start, size, value.as_ptr(), value.len()) })
}

pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    bytes(|value, len| unsafe { proxy_get_property(path.as_ptr(), path.len(), value, len) })
}

pub(crate) fn set_property(path: &[&str], value: &[u8]) -> Result<(), Refused> {
    let path = path.join("\0");
    check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

pub(crate) fn resume(stream: StreamType) -> Result<(), Refused> {
    check(unsafe { proxy_continue_stream(stream as u32) })
}

pub(crate) fn close(stream: StreamType) -> Result<(), Refused> {
    check(unsafe { proxy_close_stream(stream as u32) })
}

/// A gRPC status of -1 is none.
pub(crate) fn reply(
    status: u32,
    details: &str,
    body: &[u8],
    headers: &[(String, String)],
    grpc_status: i32,
) -> Result<(), Refused> {
    let headers = encode_pairs(headers);
    check(unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

pub(crate) fn set_effective_context(context: u32) -> Result<(), Refused> {
    check(unsafe { proxy_set_effective_context(context) })
}

/// Zero stops the ticks.
pub(crate) fn set_tick_period(period: Duration) -> Result<(), Refused> {
    let period_ms = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    check(unsafe { proxy_set_tick_period_milliseconds(period_ms) })
}

/// Wall-clock time since 1970; zero when the host does not tell.
pub(crate) fn now() -> Duration {
    let mut time_ns = 0;
    let status = unsafe { proxy_get_current_time_nanoseconds(&mut time_ns) };
    check(status).map_or(Duration::ZERO, |()| Duration::from_nanos(time_ns))
}

/// Time since some moment, which never goes back; the wall clock's where the host has no other.
pub(crate) fn monotonic() -> Duration {
    const MONOTONIC: u32 = 1;
    let mut time_ns = 0;
    let status = unsafe { clock_time_get(MONOTONIC, 1, &mut time_ns) };
    if status == 0 { Duration::from_nanos(time_ns) } else { now() }
}

pub(crate) fn define_metric(kind: MetricType, name: &str) -> Result<u32, Refused> {
    let mut id = 0;
    check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) }).map(|()| id)
}

pub(crate) fn increment_metric(id: u32, offset: i64) -> Result<(), Refused> {
    check(unsafe { proxy_increment_metric(id, offset) })
}

pub(crate) fn record_metric(id: u32, value: u64) -> Result<(), Refused> {
    check(unsafe { proxy_record_metric(id, value) })
}

pub(crate) fn metric(id: u32) -> Result<u64, Refused> {
    let mut value = 0;
    check(unsafe { proxy_get_metric(id, &mut value) }).map(|()| value)
}

/// Levels 0–5: trace, debug, info, warn, error, critical. There is nobody to tell that a log line was refused.
pub(crate) fn log(level: u32, message: &str) {
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

pub(crate) fn call_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Refused> {
    let (name, name_len) = (name.as_ptr(), name.len());
    try_bytes(|value, len| unsafe {
        proxy_call_foreign_function(name, name_len, arguments.as_ptr(), arguments.len(), value, len)
    })
}

/// A value, and the number that says whether it was changed since.
pub(crate) fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32), Refused> {
    let mut cas = 0;
    let value = try_bytes(|value, len| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), value, len, &mut cas)
    })?;
    Ok((value, cas))
}

/// A `cas` of 0 writes whatever is there.
pub(crate) fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<(), Refused> {
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Randomness of the host's; `None` where it has none to give.
pub(crate) fn random_seed() -> Option<u64> {
    let mut seed = [0; 8];
    (unsafe { random_get(seed.as_mut_ptr(), seed.len()) } == 0).then(|| u64::from_le_bytes(seed))
}

/// ABI 0.2.1, "Serialization": a count, the lengths, then names and values, each ended by a NUL.
pub(crate) fn encode_pairs<T: AsRef<[u8]>>(pairs: &[(T, T)]) -> Vec<u8> {
    let texts = || pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]);
    let mut encoded = Vec::with_capacity(4 + texts().map(|text| 5 + text.len()).sum::<usize>());
    let number = |encoded: &mut Vec<u8>, n: usize| encoded.extend((n as u32).to_le_bytes());
    number(&mut encoded, pairs.len());
    for text in texts() {
        number(&mut encoded, text.len());
    }
    for text in texts() {
        encoded.extend(text);
        encoded.push(0);
    }
    encoded
}

/// The pairs up to the first that is cut off; an empty block is an empty map.
fn decode_pairs(encoded: &[u8]) -> Vec<(String, Vec<u8>)> {
    pairs(encoded).map(|(name, value)| (into_text(name.to_vec()), value.to_vec())).collect()
}

/// How many pairs a block says that it has, as far as there is room for their lengths.
pub(crate) fn pair_count(block: &[u8]) -> usize {
    let count = block.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count) as usize);
    count.min(block.len() / 8)
}

/// What follows the lengths.
pub(crate) fn pair_content(block: &[u8]) -> &[u8] {
    block.get(4 + pair_count(block) * 8..).unwrap_or_default()
}

/// The pairs where they lie.
pub(crate) fn pairs(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fn field<'a>(rest: &mut &'a [u8], len: &[u8; 4]) -> Option<&'a [u8]> {
        let (field, after) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *rest = after.get(1..)?;
        Some(field)
    }
    let lengths = block.get(4..4 + pair_count(block) * 8).unwrap_or_default();
    let mut rest = pair_content(block);
    lengths.as_chunks::<4>().0.as_chunks::<2>().0.iter().map_while(move |[name, value]| {
        let name = field(&mut rest, name)?;
        Some((name, field(&mut rest, value)?))
    })
}

/// The values that have this name. Of the other names only the length is looked at, nearly always.
pub(crate) fn pair_values<'a>(block: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lengths = block.get(4..4 + pair_count(block) * 8).unwrap_or_default();
    let content = pair_content(block);
    let mut next = 0_usize;
    lengths.as_chunks::<4>().0.as_chunks::<2>().0.iter().filter_map(move |lengths| {
        let [name_len, value_len] = lengths.map(|length| u32::from_le_bytes(length) as usize);
        let name = next;
        let value = name.wrapping_add(name_len).wrapping_add(1);
        next = value.wrapping_add(value_len).wrapping_add(1);
        if name_len != wanted.len() || content.get(name..)?.get(..name_len)? != wanted {
            return None;
        }
        content.get(value..)?.get(..value_len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_name() {
        let block = encode_pairs(&[("a", "1"), ("b", "2"), ("a", "3"), ("ab", "4"), ("", "5")]);
        let values = |name: &'static str| pair_values(&block, name.as_bytes()).collect::<Vec<_>>();
        assert_eq!(values("a"), [b"1", b"3"]);
        assert_eq!((values("ab"), values(""), values("c")), (vec![&b"4"[..]], vec![&b"5"[..]], vec![]));
        for end in 0..block.len() {
            assert!(pair_values(&block[..end], b"a").count() <= 2, "at {end}");
        }
        let endless = [&2_u32.to_le_bytes()[..], &[0xff; 16]].concat();
        assert_eq!(pair_values(&endless, b"a").count(), 0);
    }

    #[test]
    fn pairs_survive_the_wire() {
        let pairs = [("a", "1"), ("empty", ""), ("nul", "x\0y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let decoded = decode_pairs(&encode_pairs(&pairs));
        assert_eq!(decoded, pairs.map(|(k, v)| (k, v.into_bytes())));
    }

    #[test]
    fn a_cut_off_block_gives_the_pairs_before_the_cut() {
        let pairs = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let encoded = encode_pairs(&pairs);
        for end in 0..encoded.len() {
            assert!(decode_pairs(&encoded[..end]).len() <= 1, "at {end}");
        }
        assert_eq!(decode_pairs(&u32::MAX.to_le_bytes()), []);
    }
}
