//! Buffers: bodies and the data of connections, which may be changed, and configurations and callouts' bodies, which
//! may not.

use bytes::Bytes;

use super::{Call, Halt, Outcome};
use crate::wasm::abi::{BufferType, Callback, Status};
use crate::wasm::body::MAX_EDITED_LEN;
use crate::wasm::grants::Capability;
use crate::wasm::grpc::Shown;
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, check, give, give_with, slice, store_u32, view};
use crate::wasm::stream::{Direction, Progress, Subject};

/// What a buffer's number stands for at the moment.
enum Source {
    /// The active stream's body of that direction.
    Body(Direction),
    /// Bytes that do not change.
    Fixed(Bytes),
}

/// `proxy_get_buffer_bytes` (0.1.0): gives the guest at most `max` bytes of a buffer from `start` on; beyond the end
/// there is nothing, which is no error.
///
/// - `BadArgument`: the number names no buffer.
/// - `NotFound`: there is no such buffer now: a body is there in its own callback, and outside it while some of it is
///   held; a callout's in the callout's callback. Nor for a filter that may not read bodies.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn bytes(
    call: &mut Call<'_>,
    buffer: u32,
    start: u32,
    max: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let buffer = BufferType::try_from(buffer)?;
    let out = Out { pointer: value, len: value_len };
    let (memory, host) = view(call)?;
    out.check(memory)?;
    if is_of_stream(buffer) && !host.may(Capability::BodyRead, b"") {
        return Err(Status::NotFound.into());
    }
    match find(host, buffer)? {
        Source::Fixed(bytes) => {
            let (start, len) = clamp(bytes.len(), start, max);
            give(call, out, &bytes[start..start + len])
        }
        Source::Body(direction) => {
            let Some((stream, stage)) = host.active.stream.clone() else {
                return Err(Status::NotFound.into());
            };
            let stream = stream.borrow();
            let body = stream.stages.get(stage).ok_or(Status::InternalFailure)?.body(direction);
            let (start, len) = clamp(body.len(), start, max);
            give_with(call, out, len, |block| body.copy_range(start, block))
        }
    }
}

/// `proxy_get_buffer_status` (0.1.0): writes a buffer's length, in bytes, to `len`, and 0 to `flags`, of which no host
/// sets any.
///
/// - `BadArgument`: the number names no buffer.
/// - `NotFound`: there is no such buffer now.
/// - `InvalidMemoryAccess`: `len` or `flags` is not of the guest's memory.
pub(crate) fn status(call: &mut Call<'_>, buffer: u32, len: u32, flags: u32) -> Outcome {
    let buffer = BufferType::try_from(buffer)?;
    let (memory, host) = view(call)?;
    check(memory, len, 4)?;
    check(memory, flags, 4)?;
    if is_of_stream(buffer) && !host.may(Capability::BodyRead, b"") {
        return Err(Status::NotFound.into());
    }
    let found = match find(host, buffer)? {
        Source::Fixed(bytes) => bytes.len(),
        Source::Body(direction) => body_len(host, direction),
    };
    store_u32(memory, len, u32::try_from(found).unwrap_or(u32::MAX))?;
    store_u32(memory, flags, 0)?;
    Ok(())
}

/// `proxy_set_buffer_bytes` (0.1.0): replaces `len` bytes of a body from `start` on, both clamped to what is there: 0
/// and 0 puts something in front, a `start` of the whole length behind, any other replaces that part. What is held is
/// bounded by the listener's `buffer_limit`: in the body's own callback when that has returned, elsewhere at once.
///
/// - `BadArgument`: the number names no buffer, or one that does not change, as configurations and the bodies of
///   callouts; the body has gone on, or the exchange is over; or it would become longer than 64 MiB,
///   or outside its own callback than `buffer_limit`.
/// - `NotFound`: there is no such buffer now.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn set_bytes(
    call: &mut Call<'_>,
    buffer: u32,
    start: u32,
    len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let buffer = BufferType::try_from(buffer)?;
    let (memory, host) = view(call)?;
    let value = slice(memory, value, value_len)?;
    if is_of_stream(buffer) && !host.may(Capability::BodyWrite, b"") {
        return Ok(());
    }
    let Source::Body(direction) = find(host, buffer)? else {
        return Err(Status::BadArgument.into());
    };
    let Some((stream, stage)) = &host.active.stream else {
        return Err(Status::NotFound.into());
    };
    let mut stream = stream.borrow_mut();
    if host.is_over() || stream.progress(direction) == Progress::Done {
        return Err(Status::BadArgument.into());
    }
    // In a body's own callback what is held is looked at when that has returned. Elsewhere nobody looks afterwards.
    let is_own = host.active_callback() == Some(Callback::content(stream.subject, direction));
    let most = if is_own { MAX_EDITED_LEN } else { stream.buffer_limit.min(MAX_EDITED_LEN) };
    let body = stream.stages.get_mut(*stage).ok_or(Status::InternalFailure)?.body_mut(direction);
    let (_, replaced) = clamp(body.len(), start, len);
    let after = body.len() - replaced + value.len();
    if after > most && after > body.len() {
        return Err(Status::BadArgument.into());
    }
    body.splice(start as usize, len as usize, value);
    Ok(())
}

/// Whether a buffer is a body or the data of a connection.
fn is_of_stream(buffer: BufferType) -> bool {
    match buffer {
        BufferType::RequestBody
        | BufferType::ResponseBody
        | BufferType::DownstreamData
        | BufferType::UpstreamData => true,
        BufferType::CalloutBody
        | BufferType::GrpcMessage
        | BufferType::VmConfiguration
        | BufferType::PluginConfiguration
        | BufferType::CallData => false,
    }
}

/// What `start` and `max` are of a buffer of that length: `u32::MAX` stands for everything.
fn clamp(len: usize, start: u32, max: u32) -> (usize, usize) {
    let start = (start as usize).min(len);
    (start, (len - start).min(max as usize))
}

fn body_len(host: &Host, direction: Direction) -> usize {
    let Some((stream, stage)) = &host.active.stream else { return 0 };
    stream.borrow().stages.get(*stage).map_or(0, |stage| stage.body(direction).len())
}

/// Whether the active stream is one of these.
fn is_about(host: &Host, subject: Subject) -> bool {
    host.active.stream.as_ref().is_some_and(|(stream, _)| stream.borrow().subject == subject)
}

/// A body is there in its own callback, and outside it while some of it is held.
fn find(host: &Host, buffer: BufferType) -> Result<Source, Halt> {
    let (subject, direction) = match buffer {
        BufferType::RequestBody => (Subject::Exchange, Direction::Request),
        BufferType::ResponseBody => (Subject::Exchange, Direction::Response),
        BufferType::DownstreamData => (Subject::Connection, Direction::Request),
        BufferType::UpstreamData => (Subject::Connection, Direction::Response),
        BufferType::CalloutBody => {
            let response = host.callout_response.as_ref().ok_or(Status::NotFound)?;
            return Ok(Source::Fixed(response.body.clone()));
        }
        BufferType::GrpcMessage => {
            let Some(Shown::Message(message)) = &host.grpc.shown else {
                return Err(Status::NotFound.into());
            };
            return Ok(Source::Fixed(message.clone()));
        }
        BufferType::CallData => {
            return Ok(Source::Fixed(host.call_data.clone().ok_or(Status::NotFound)?));
        }
        BufferType::VmConfiguration => return Ok(Source::Fixed(host.root().filter.vm_config.clone())),
        BufferType::PluginConfiguration => return Ok(Source::Fixed(host.root().filter.config.clone())),
    };
    let is_own_callback = host.active_callback() == Some(Callback::content(subject, direction));
    if !is_about(host, subject) {
        return Err(Status::NotFound.into());
    }
    if is_own_callback || body_len(host, direction) > 0 {
        Ok(Source::Body(direction))
    } else {
        Err(Status::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::clamp;

    #[test]
    fn a_range_is_clamped_to_the_buffer() {
        assert_eq!(clamp(10, 0, u32::MAX), (0, 10));
        assert_eq!(clamp(10, 4, 3), (4, 3));
        assert_eq!(clamp(10, 11, 1), (10, 0));
        assert_eq!(clamp(10, u32::MAX, u32::MAX), (10, 0));
    }
}
