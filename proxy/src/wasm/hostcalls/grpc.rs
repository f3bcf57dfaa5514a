//! gRPC callouts: checked here, performed by the pipeline, owned by the root context.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST, HeaderMap};
use http::uri::{Authority, PathAndQuery};

use super::callout::{drop_connection_fields, known_cluster};
use super::{Call, Halt, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::effect::Effect;
use crate::wasm::grpc::{GrpcCallout, GrpcKind, Outbox, Refused, TokenKind, queue};
use crate::wasm::grpc_service::GrpcService;
use crate::wasm::header_map::append_plain;
use crate::wasm::host::Host;
use crate::wasm::memory::{OutOfBounds, check, slice, store_u32, view};
use crate::wasm::pairs::{self, Pair};

/// `proxy_grpc_call` (0.1.0): sends one message to `/service/method` and waits for one; what comes of it is told to the
/// root, once (`proxy_on_grpc_receive`, or `proxy_on_grpc_close` if it failed). `timeout_ms` is in milliseconds, 0 for
/// the longest that there is, five minutes. The token is written to `token` only if there is a callout.
///
/// - `ParseFailure`: the upstream is neither a cluster that the filter may call nor a `GrpcService` of Envoy's API that
///   names one in `envoy_grpc`, or service and method make no path.
/// - `BadArgument`: the metadata are malformed, or one of them cannot be sent.
/// - `InternalFailure`: as many callouts are in flight as the filter's `limits.callouts` says, the message is longer
///   than 4 MiB, or the root has gone.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn call(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    service: u32,
    service_len: u32,
    method: u32,
    method_len: u32,
    metadata: u32,
    metadata_len: u32,
    message: u32,
    message_len: u32,
    timeout_ms: u32,
    token: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, token, 4)?;
    let parts =
        [(upstream, upstream_len), (service, service_len), (method, method_len), (metadata, metadata_len)];
    let request = Request::read(memory, parts)?;
    let message = slice(memory, message, message_len)?;
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(u64::from(timeout_ms)));
    let new = open(host, GrpcKind::Call, &request, timeout, |outbox| {
        outbox.send(message)?;
        outbox.end();
        Ok(())
    })?;
    store_u32(memory, token, new)?;
    Ok(())
}

/// `proxy_grpc_stream` (0.1.0): opens a stream to `/service/method`, with any number of messages each way until either
/// side ends; everything that comes is told to the root. It has no limit of time. The token is written to `token` only
/// if there is a stream.
///
/// - `ParseFailure`: the upstream is neither a cluster that the filter may call nor a `GrpcService` of Envoy's API that
///   names one in `envoy_grpc`, or service and method make no path.
/// - `BadArgument`: the metadata are malformed, or one of them cannot be sent.
/// - `InternalFailure`: as many callouts are in flight as the filter's `limits.callouts` says, or the root has gone.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn stream(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    service: u32,
    service_len: u32,
    method: u32,
    method_len: u32,
    metadata: u32,
    metadata_len: u32,
    token: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, token, 4)?;
    let parts =
        [(upstream, upstream_len), (service, service_len), (method, method_len), (metadata, metadata_len)];
    let request = Request::read(memory, parts)?;
    let new = open(host, GrpcKind::Stream, &request, None, |_| Ok(()))?;
    store_u32(memory, token, new)?;
    Ok(())
}

/// `proxy_grpc_send` (0.1.0): sends one more message on a stream, which may be empty, and the last one if
/// `end_of_stream` is not 0.
///
/// - `BadArgument`: the token is not a stream's; the last message was sent before; this one is longer than 4 MiB, or
///   would have more than 4 MiB wait to be sent.
/// - `NotFound`: the stream has ended, never was, or is another root's.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn send(
    call: &mut Call<'_>,
    token: u32,
    message: u32,
    message_len: u32,
    end_of_stream: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let message = slice(memory, message, message_len)?;
    if TokenKind::of(token) != Some(TokenKind::GrpcStream) {
        return Err(Status::BadArgument.into());
    }
    let outbox = host.grpc.outbox(token, host.root().id).ok_or(Status::NotFound)?;
    outbox.send(message).map_err(|_refused| Status::BadArgument)?;
    if end_of_stream != 0 {
        outbox.end();
    }
    Ok(())
}

/// `proxy_grpc_close` (0.1.0): says that nothing more is sent on a stream; cancels a call.
///
/// - `NotFound`: the callout has ended, never was, or is another root's.
pub(crate) fn close(call: &mut Call<'_>, token: u32) -> Outcome {
    let host = call.data_mut();
    let outbox = host.grpc.outbox(token, host.root().id).ok_or(Status::NotFound)?;
    match TokenKind::of(token) {
        Some(TokenKind::GrpcStream) => outbox.end(),
        _ => host.end_grpc(token),
    }
    Ok(())
}

/// `proxy_grpc_cancel` (0.1.0): gives a call or a stream up; the guest hears of it no more.
///
/// - `NotFound`: the callout has ended, never was, or is another root's.
pub(crate) fn cancel(call: &mut Call<'_>, token: u32) -> Outcome {
    let host = call.data_mut();
    host.grpc.outbox(token, host.root().id).ok_or(Status::NotFound)?;
    host.end_grpc(token);
    Ok(())
}

/// What a guest asks for, in its own bytes.
struct Request<'a> {
    upstream: &'a [u8],
    service: &'a [u8],
    method: &'a [u8],
    metadata: &'a [u8],
}

impl<'a> Request<'a> {
    /// From where each part lies, and how long it is.
    fn read(memory: &'a [u8], parts: [(u32, u32); 4]) -> Result<Request<'a>, OutOfBounds> {
        let part = |(start, len)| slice(memory, start, len);
        let [upstream, service, method, metadata] = parts;
        Ok(Request {
            upstream: part(upstream)?,
            service: part(service)?,
            method: part(method)?,
            metadata: part(metadata)?,
        })
    }
}

/// Checks everything, then opens the callout and lets `begin` send what goes with it. Its token.
fn open(
    host: &mut Host,
    kind: GrpcKind,
    request: &Request<'_>,
    timeout: Option<Duration>,
    begin: impl FnOnce(&Outbox) -> Result<(), Refused>,
) -> Result<u32, Halt> {
    let Target { cluster, mut authority, mut metadata } = find_upstream(host, request.upstream)?;
    let path = read_path(request.service, request.method)?;
    if let Some(own) = read_metadata(&pairs::parse(request.metadata)?, &mut metadata)? {
        authority = Some(own);
    }
    let root = host.caller()?;
    let (outbox, outgoing) = queue();
    begin(&outbox).map_err(|_refused| Status::InternalFailure)?;
    let (token, _) = host.begin_callout(kind.token_kind(), root);
    host.grpc.open(token, root, outbox);
    let callout = GrpcCallout { token, kind, cluster, authority, path, metadata, timeout, outgoing };
    host.effects.push((root, Effect::Grpc(Box::new(callout))));
    Ok(token)
}

/// Where a callout goes, and what its upstream's description adds to it.
struct Target {
    cluster: String,
    authority: Option<Authority>,
    metadata: HeaderMap,
}

/// A cluster's name comes first: some would be read as a `GrpcService` of unknown fields.
fn find_upstream(host: &Host, upstream: &[u8]) -> Result<Target, Status> {
    let mut metadata = HeaderMap::new();
    if let Ok(cluster) = known_cluster(host, upstream) {
        return Ok(Target { authority: cluster.parse().ok(), cluster, metadata });
    }
    let service = GrpcService::parse(upstream).map_err(|_| Status::ParseFailure)?;
    let cluster = known_cluster(host, service.cluster).map_err(|_| Status::ParseFailure)?;
    let mut authority = cluster.parse().ok();
    if !service.authority.is_empty() {
        authority = Some(Authority::try_from(service.authority).map_err(|_| Status::ParseFailure)?);
    }
    if let Some(own) = read_metadata(&service.metadata, &mut metadata).map_err(|_| Status::ParseFailure)? {
        authority = Some(own);
    }
    Ok(Target { cluster, authority, metadata })
}

/// `/service/method` (gRPC over HTTP/2, "Requests").
fn read_path(service: &[u8], method: &[u8]) -> Result<PathAndQuery, Status> {
    let path = [b"/", service, b"/", method].concat();
    let parsed = PathAndQuery::try_from(&path[..]).map_err(|_| Status::ParseFailure)?;
    // A fragment or a query would be no part of the name.
    if parsed.path().len() == path.len() { Ok(parsed) } else { Err(Status::ParseFailure) }
}

/// What the name of metadata with binary values ends with; these are sent as base64 (gRPC over HTTP/2,
/// "Custom-Metadata"), as Envoy does it for a guest.
const BINARY: &[u8] = b"-bin";

/// Adds what a guest sends with a callout to `metadata`, without what gRPC and HTTP/2 put there themselves. What it
/// gives as `:authority` or `host`, if anything.
fn read_metadata(pairs: &[Pair<'_>], metadata: &mut HeaderMap) -> Result<Option<Authority>, Status> {
    // Compressed messages are not read, so a service must not be told that they would be.
    const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
    let mut authority = None;
    for (name, value) in pairs {
        match *name {
            b":authority" => authority = Some(*value),
            name if name.ends_with(BINARY) => append_plain(metadata, name, BASE64.encode(value).as_bytes())?,
            name => append_plain(metadata, name, value)?,
        }
    }
    let host = metadata.remove(HOST);
    let authority = host.as_ref().map(http::HeaderValue::as_bytes).or(authority);
    drop_connection_fields(metadata);
    metadata.remove(CONTENT_TYPE);
    metadata.remove(ACCEPT_ENCODING);
    let authority = authority.filter(|authority| !authority.is_empty());
    authority.map(|authority| Authority::try_from(authority).map_err(|_| Status::BadArgument)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_without_what_grpc_puts_there_itself() {
        let mut metadata = HeaderMap::new();
        let pairs: [Pair<'_>; 7] = [
            (b"X-Key", b"k"),
            (b"trace-bin", b"\x00\xff"),
            (b"content-type", b"text/plain"),
            (b"te", b"gzip"),
            (b"grpc-accept-encoding", b"gzip"),
            (b":authority", b"a.test"),
            (b"connection", b"close"),
        ];
        let authority = read_metadata(&pairs, &mut metadata).expect("it can be sent");
        assert_eq!(authority.as_ref().map(Authority::as_str), Some("a.test"));
        let names: Vec<_> = metadata.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-key", "trace-bin"]);
        assert_eq!(metadata["trace-bin"], "AP8=");
    }

    #[test]
    fn metadata_that_cannot_be_sent_is_refused() {
        for pair in [(&b":path"[..], &b"/"[..]), (b"a b", b""), (b"a", b"\n"), (b"host", b"a b")] {
            assert_eq!(read_metadata(&[pair], &mut HeaderMap::new()), Err(Status::BadArgument), "{pair:?}");
        }
    }

    #[test]
    fn a_path_is_made_of_service_and_method() {
        assert_eq!(read_path(b"a.B", b"C").as_ref().map(PathAndQuery::as_str), Ok("/a.B/C"));
        assert_eq!(read_path(b"a b", b"C"), Err(Status::ParseFailure));
        assert_eq!(read_path(b"a", b"\n"), Err(Status::ParseFailure));
        assert_eq!(read_path(b"a", b"b#c"), Err(Status::ParseFailure));
        assert_eq!(read_path(b"a", b"b?c"), Err(Status::ParseFailure));
    }
}
