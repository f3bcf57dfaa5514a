//! `compress` and `uncompress`, as in Envoy: zlib streams (RFC 1950).
//!
//! They work in the host, so there is a limit to what one call does, and what it does counts as the guest's work.

use std::io::Read;

use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};

use super::Answer;
use crate::wasm::abi::Status;
use crate::wasm::host::Host;
use crate::wasm::tally;

/// How many bytes one call compresses, and how many it makes of a compressed stream, at most. (Envoy has no limit.)
const MAX_LEN: usize = 4 << 20;

/// How many bytes take as long as an instruction is let stand for.
const BYTES_PER_INSTRUCTION: u64 = 8;

/// More than 4 MiB is `InternalFailure`.
pub(super) fn compress(_: &mut Host, bytes: &[u8]) -> Answer {
    if bytes.len() > MAX_LEN {
        return Err(Status::InternalFailure);
    }
    tally::work(bytes.len() as u64 / BYTES_PER_INSTRUCTION);
    let mut stream = Vec::new();
    ZlibEncoder::new(bytes, Compression::default())
        .read_to_end(&mut stream)
        .map_err(|_| Status::SerializationFailure)?;
    Ok(stream)
}

/// What is no zlib stream, or is cut off, is `SerializationFailure`; one of more than 4 MiB `InternalFailure`. What
/// follows the stream is left alone.
pub(super) fn uncompress(_: &mut Host, stream: &[u8]) -> Answer {
    let mut bytes = Vec::new();
    ZlibDecoder::new(stream)
        .take(MAX_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Status::SerializationFailure)?;
    tally::work(bytes.len() as u64 / BYTES_PER_INSTRUCTION);
    if bytes.len() > MAX_LEN {
        return Err(Status::InternalFailure);
    }
    Ok(bytes)
}
