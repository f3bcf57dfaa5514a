//! What a guest does to a stream: resume it, close it, answer it. Everything is queued on the stream and performed by
//! the pipeline after the callback has returned; without a stream it has no effect and is no error.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Call, Outcome};
use crate::wasm::abi::{Status, StreamType};
use crate::wasm::grants::Capability;
use crate::wasm::header_map::append_plain;
use crate::wasm::host::Host;
use crate::wasm::memory::{slice, view};
use crate::wasm::pairs;
use crate::wasm::stream::{Direction, LocalReply, StreamAction, StreamRef, Subject};

/// gRPC's "no status", which is how a guest says that it gives none.
const NO_GRPC_STATUS: u32 = u32::MAX;

/// `proxy_continue_stream` (0.2.0): lets a stream go on where this filter paused it, when the callback has returned.
/// Resuming what is not paused has no effect, nor has resuming without a stream, or a kind of stream that is
/// not the context's.
///
/// - `BadArgument`: the number names no stream.
pub(crate) fn resume(call: &mut Call<'_>, stream: u32) -> Outcome {
    let (subject, direction) = side(StreamType::try_from(stream)?);
    push(call.data(), subject, StreamAction::Resume(direction));
    Ok(())
}

/// `proxy_continue_request` (0.1.0 only): `proxy_continue_stream` of the request.
pub(crate) fn resume_request(call: &mut Call<'_>) -> Outcome {
    push(call.data(), Subject::Exchange, StreamAction::Resume(Direction::Request));
    Ok(())
}

/// `proxy_continue_response` (0.1.0 only): `proxy_continue_stream` of the response.
pub(crate) fn resume_response(call: &mut Call<'_>) -> Outcome {
    push(call.data(), Subject::Exchange, StreamAction::Resume(Direction::Response));
    Ok(())
}

/// `proxy_close_stream` (0.2.0): breaks the exchange off when the callback has returned: the client's connection is
/// cut, without an answer if none has begun. Of a TCP connection both sides are closed, whichever is named, as in
/// Envoy, when what has passed the chain is written. Without a stream, or for a kind of stream that is not the
/// context's, it has no effect.
///
/// - `BadArgument`: the number names no stream.
pub(crate) fn close(call: &mut Call<'_>, stream: u32) -> Outcome {
    let (subject, _) = side(StreamType::try_from(stream)?);
    push(call.data(), subject, StreamAction::Close);
    Ok(())
}

/// What a kind of stream is a direction of.
fn side(stream: StreamType) -> (Subject, Direction) {
    match stream {
        StreamType::Request => (Subject::Exchange, Direction::Request),
        StreamType::Response => (Subject::Exchange, Direction::Response),
        StreamType::Downstream => (Subject::Connection, Direction::Request),
        StreamType::Upstream => (Subject::Connection, Direction::Response),
    }
}

/// `proxy_clear_route_cache` (0.1.0 only): lets the route be found anew before the request goes on. A change of the
/// request's headers does so by itself.
pub(crate) fn clear_route_cache(call: &mut Call<'_>) -> Outcome {
    if let Some((stream, _)) = &call.data().active.stream {
        stream.borrow_mut().route_stale = true;
    }
    Ok(())
}

/// `proxy_send_local_response` (0.1.0): answers the exchange when the callback has returned, whose own answer no longer
/// counts. Of two replies the first is sent. `details` goes to the access log, as one word; `grpc_status` is 0 to 16,
/// any other number is none. It has no effect without a stream, and when the exchange is over, as in `proxy_on_log`,
/// nor on a TCP connection. Of a filter that may not reply the client gets an empty 503 instead, and headers that it may
/// not write are left out.
///
/// - `BadArgument`: the status is not 200 to 599; the headers are malformed, or one of them cannot be a header.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn reply(
    call: &mut Call<'_>,
    status: u32,
    details: u32,
    details_len: u32,
    body: u32,
    body_len: u32,
    reply_headers: u32,
    headers_len: u32,
    grpc_status: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let details = slice(memory, details, details_len)?;
    let body = slice(memory, body, body_len)?;
    let pairs = pairs::parse(slice(memory, reply_headers, headers_len)?)?;
    let status = reply_status(status)?;
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        append_plain(&mut headers, name, value)?;
    }
    let answerable = host.active.stream.as_ref().is_some_and(|(stream, _)| is(stream, Subject::Exchange));
    if !answerable || host.is_over() {
        return Ok(());
    }
    let reply = LocalReply {
        status,
        details: reply_details(details),
        body: Bytes::copy_from_slice(body),
        headers,
        grpc_status: reply_grpc_status(grpc_status),
        is_granted: true,
    };
    let reply = if host.may_reply() { granted(host, reply) } else { LocalReply::denied() };
    push(host, Subject::Exchange, StreamAction::Reply(Box::new(reply)));
    host.replied |= host.active.context == host.current.context;
    Ok(())
}

/// A reply without the headers that the filter may not write.
fn granted(host: &Host, mut reply: LocalReply) -> LocalReply {
    if host.grants().is_some() {
        let names: Vec<_> = reply.headers.keys().cloned().collect();
        for name in names {
            if !host.may(Capability::HeadersWrite, name.as_str().as_bytes()) {
                reply.headers.remove(name);
            }
        }
    }
    reply
}

impl LocalReply {
    /// What is sent in the place of a reply that the filter may not give. To send the request on, or to hold it for
    /// ever, would be worse: the filter meant to refuse it.
    fn denied() -> LocalReply {
        LocalReply {
            status: StatusCode::SERVICE_UNAVAILABLE,
            details: String::new(),
            body: Bytes::new(),
            headers: HeaderMap::new(),
            grpc_status: None,
            is_granted: false,
        }
    }
}

fn reply_status(status: u32) -> Result<StatusCode, Status> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(Status::BadArgument)
}

/// They end up in access logs, where they are one word.
fn reply_details(details: &[u8]) -> String {
    let word = |c: char| if c.is_whitespace() || c.is_control() { '_' } else { c };
    String::from_utf8_lossy(details).chars().map(word).collect()
}

fn reply_grpc_status(status: u32) -> Option<u8> {
    const LAST: u32 = 16;
    if status == NO_GRPC_STATUS || status > LAST { None } else { u8::try_from(status).ok() }
}

/// Queues an action on the active stream, if it is what the action is for.
fn push(host: &Host, subject: Subject, action: StreamAction) {
    if let Some((stream, stage)) = &host.active.stream
        && is(stream, subject)
    {
        stream.borrow_mut().push_action(*stage, action);
    }
}

fn is(stream: &StreamRef, subject: Subject) -> bool {
    stream.borrow().subject == subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_reply_has_a_final_status_or_none() {
        assert_eq!(reply_status(403), Ok(StatusCode::FORBIDDEN));
        for status in [0, 100, 199, 600, 65_536 + 200, u32::MAX] {
            assert_eq!(reply_status(status), Err(Status::BadArgument), "{status}");
        }
    }

    #[test]
    fn details_are_one_word_and_a_grpc_status_is_one_of_the_standard() {
        assert_eq!(reply_details(b"not\tallowed here\n"), "not_allowed_here_");
        assert_eq!(reply_grpc_status(16), Some(16));
        assert_eq!(reply_grpc_status(17), None);
        assert_eq!(reply_grpc_status(u32::MAX), None);
    }
}
