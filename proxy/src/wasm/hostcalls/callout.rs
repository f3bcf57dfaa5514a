//! HTTP callouts: checked here, performed by the pipeline, owned by the root context.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{Method, Uri};

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::effect::{Effect, HttpCall};
use crate::wasm::grants::Capability;
use crate::wasm::grpc::TokenKind;
use crate::wasm::header_map::{append_plain, field_value, parse_method, parse_path, parse_scheme};
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, check, give, slice, store_u32, view};
use crate::wasm::pairs::{self, Pair};

/// `proxy_http_call` (0.1.0): asks a cluster and writes the token of the callout to `token`;
/// `proxy_on_http_call_response` of the root context hears of its end once, with the same token. `timeout_ms` is for
/// the whole of it, 0 for none. A `host` among the headers is `:authority`, which without one is the cluster's name;
/// those that belong to a connection, and `content-length`, are dropped.
///
/// - `BadArgument`: there is no such cluster, or the filter may not call it; there is no `:method` or no `:path`, or
///   one that is none; there is no `:authority` and the cluster's name cannot be one; headers or trailers are
///   malformed; the time is negative.
/// - `InternalFailure`: the filter has `limits.callouts` in flight, or its root has gone.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn http_call(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    head: u32,
    head_len: u32,
    body: u32,
    body_len: u32,
    trailers: u32,
    trailers_len: u32,
    timeout_ms: u32,
    token: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    // A guest that does not look at the status has no token then, as in Envoy.
    store_u32(memory, token, 0)?;
    let cluster = slice(memory, upstream, upstream_len)?;
    let body = slice(memory, body, body_len)?;
    let head = slice(memory, head, head_len)?;
    let trailers = slice(memory, trailers, trailers_len)?;
    let cluster = known_cluster(host, cluster)?;
    let head = read_head(&pairs::parse(head)?)?;
    let trailers = read_trailers(&pairs::parse(trailers)?)?;
    let timeout = read_timeout(timeout_ms)?;
    let authority = head.authority.map_or_else(|| authority_of(&cluster), Ok)?;
    let root = host.caller()?;
    let (new, abandoned) = host.begin_callout(TokenKind::Http, root);
    let http_call = Box::new(HttpCall {
        token: new,
        cluster,
        method: head.method,
        uri: head.uri,
        authority,
        scheme: head.scheme,
        headers: head.headers,
        body: Bytes::copy_from_slice(body),
        trailers,
        timeout,
    });
    let effect = Effect::HttpCall(http_call, abandoned);
    host.effects.push((root, effect));
    store_u32(memory, token, new)?;
    Ok(())
}

/// `proxy_get_status` (0.1.0): writes how the callout ended that ended last to `code`, and gives the guest the reason:
/// of an HTTP callout 0 for a response and 11 for none, of a gRPC one its gRPC status and what the service says of it.
///
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn status(call: &mut Call<'_>, code: u32, message: u32, message_len: u32) -> Outcome {
    let out = Out { pointer: message, len: message_len };
    let (memory, host) = view(call)?;
    check(memory, code, 4)?;
    out.check(memory)?;
    let status = &host.root().callout_status;
    store_u32(memory, code, status.code)?;
    let text = status.message.clone();
    give(call, out, text.as_bytes())
}

/// The cluster that a guest names, if there is one that the filter may call.
pub(super) fn known_cluster(host: &Host, name: &[u8]) -> Result<String, Status> {
    let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
    let (known, _) = host.services.clusters.get_key_value(name).ok_or(Status::BadArgument)?;
    if !host.may(Capability::Clusters, name.as_bytes()) {
        return Err(Status::BadArgument);
    }
    Ok(known.clone())
}

/// A cluster's name as `:authority`, where it can be one (RFC 3986, section 3.2); else the guest has to give one, as in
/// Envoy it always has to.
fn authority_of(cluster: &str) -> Result<HeaderValue, Status> {
    let authority = Authority::try_from(cluster).map_err(|_| Status::BadArgument)?;
    field_value(authority.as_str().as_bytes())
}

fn read_timeout(milliseconds: u32) -> Result<Option<Duration>, Status> {
    match milliseconds.cast_signed() {
        0 => Ok(None),
        1.. => Ok(Some(Duration::from_millis(u64::from(milliseconds)))),
        ..0 => Err(Status::BadArgument),
    }
}

#[derive(Debug)]
struct Head {
    method: Method,
    uri: Uri,
    authority: Option<HeaderValue>,
    scheme: HeaderValue,
    headers: HeaderMap,
}

/// A request's head: `:method` and `:path` must be there. `host` is `:authority`; what belongs to a connection, and
/// the length, which the body says, are dropped.
fn read_head(pairs: &[Pair<'_>]) -> Result<Head, Status> {
    let (mut method, mut uri, mut authority) = (None, None, None);
    let mut scheme = HeaderValue::from_static("http");
    let mut fields = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        match *name {
            b":method" => method = Some(parse_method(value)?),
            b":path" => uri = Some(parse_path(value)?),
            b":scheme" => scheme = parse_scheme(value)?,
            b":authority" => authority = Some(field_value(value)?),
            _ => append_plain(&mut fields, name, value)?,
        }
    }
    if let Some(host) = fields.remove(HOST) {
        authority = Some(host);
    }
    drop_connection_fields(&mut fields);
    Ok(Head {
        method: method.ok_or(Status::BadArgument)?,
        uri: uri.ok_or(Status::BadArgument)?,
        authority: authority.filter(|authority| !authority.is_empty()),
        scheme,
        headers: fields,
    })
}

/// Removes what RFC 9110, section 7.6.1, says is for one connection only, and the length.
pub(super) fn drop_connection_fields(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let fixed = [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE];
    let fixed = fixed.into_iter().chain(["keep-alive", "proxy-connection"].map(HeaderName::from_static));
    for name in named.into_iter().chain(fixed) {
        fields.remove(name);
    }
}

fn read_trailers(pairs: &[Pair<'_>]) -> Result<Option<HeaderMap>, Status> {
    let mut trailers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        append_plain(&mut trailers, name, value)?;
    }
    Ok(Some(trailers).filter(|trailers| !trailers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: [Pair<'_>; 2] = [(b":method", b"GET"), (b":path", b"/a?b")];

    fn with(more: &[Pair<'static>]) -> Result<Head, Status> {
        read_head(&[&LINE[..], more].concat())
    }

    #[test]
    fn a_host_among_the_headers_is_the_authority() {
        let head = with(&[(b":authority", b"a"), (b"Host", b"b")]).expect("it is a head");
        assert_eq!(head.authority.as_ref().map(HeaderValue::as_bytes), Some(&b"b"[..]));
        assert!(head.headers.is_empty());
        assert_eq!(with(&[]).expect("the cluster's own will do").authority, None);
    }

    #[test]
    fn what_belongs_to_a_connection_is_dropped() {
        let head = with(&[
            (b"connection", b"close, X-Hop"),
            (b"x-hop", b"1"),
            (b"keep-alive", b"5"),
            (b"content-length", b"7"),
            (b"x-end", b"2"),
        ]);
        let names: Vec<_> = head.expect("it is a head").headers.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["x-end"]);
    }

    #[test]
    fn a_head_without_a_method_or_a_path_is_refused() {
        assert_eq!(read_head(&LINE[..1]).map(drop), Err(Status::BadArgument));
        assert_eq!(read_head(&LINE[1..]).map(drop), Err(Status::BadArgument));
        assert_eq!(with(&[(b"a b", b"")]).map(drop), Err(Status::BadArgument));
        assert_eq!(with(&[(b":status", b"200")]).map(drop), Err(Status::BadArgument));
    }

    #[test]
    fn no_timeout_is_zero_and_a_negative_one_is_refused() {
        assert_eq!(read_timeout(0), Ok(None));
        assert_eq!(read_timeout(5), Ok(Some(Duration::from_millis(5))));
        assert_eq!(read_timeout(u32::MAX), Err(Status::BadArgument));
    }
}
