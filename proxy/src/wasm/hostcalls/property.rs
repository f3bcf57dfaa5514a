//! Properties: facts about the exchange, the connection and the filter, in Envoy's binary encodings; and what guests
//! store under names of their own.
//!
//! A path is its segments joined by NULs. Numbers are 8 bytes little-endian, times and durations are nanoseconds, a
//! boolean is one byte, a map is serialised as pairs. What is not known (yet) is `NotFound`, and so is what the filter may
//! not read. Headers are granted as headers, by whichever name they are asked for.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, REFERER, USER_AGENT};

use super::{Call, Outcome};
use crate::config::model::{Address, HEADER_PROPERTIES, UnixAddress};
use crate::wasm::abi::{MapType, Status};
use crate::wasm::grants::{Capability, Grants, property_name};
use crate::wasm::header_map::{View, path, view_of};
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, give, slice, view};
use crate::wasm::pairs;
use crate::wasm::services::nanoseconds;
use crate::wasm::stream::{Stream, StreamInfo, Subject};

/// `proxy_get_property` (0.1.0): gives the guest a property, in Envoy's encoding: texts and bytes as they are, numbers
/// as 8 bytes, times and durations as nanoseconds in 8 bytes, a truth value as one byte, a map as pairs. The path is
/// its parts with a NUL between them.
///
/// - `NotFound`: there is no such property, it is not known yet, or the filter may not read it.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn property(call: &mut Call<'_>, path: u32, path_len: u32, value: u32, value_len: u32) -> Outcome {
    let out = Out { pointer: value, len: value_len };
    let (memory, host) = view(call)?;
    out.check(memory)?;
    let path = slice(memory, path, path_len)?;
    let memory_size = memory.len() as u64;
    let restriction = match permission(host, path) {
        Permission::Granted => None,
        Permission::HeadersGranted(grants) => Some(grants),
        Permission::Denied => return Err(Status::NotFound.into()),
    };
    let stream = host.active.stream.as_ref().map(|(stream, _)| stream.clone());
    let Some(stream) = stream else {
        let found = filter_property(host, memory_size, path)
            .or_else(|| host.root().properties.get(stored_key(path)).cloned().map(Found::Shared));
        return give(call, out, &found.ok_or(Status::NotFound)?);
    };
    let stream = stream.borrow();
    if restriction.is_some() {
        let found = stream_property(&stream, path, restriction.as_deref());
        return give(call, out, &found.ok_or(Status::NotFound)?);
    }
    let found = filter_property(host, memory_size, path)
        .or_else(|| stream_property(&stream, path, None))
        .or_else(|| stream.properties.get(stored_key(path)).map(|value| Found::Borrowed(value)))
        .or_else(|| stream.connection_property(stored_key(path)).map(Found::Shared));
    give(call, out, &found.ok_or(Status::NotFound)?)
}

/// `proxy_set_property` (0.1.0): keeps bytes under a path for the filters behind this one and for the access log, as
/// long as the exchange lasts, or the connection, if that was declared (`declare_property`); without a stream on the
/// root, as long as that lasts. Under a path that the filter may not write nothing is kept.
///
/// - `BadArgument`: there is a value, and it was declared read-only.
/// - `InternalFailure`: the exchange, or the root, has 128 of them already, or 256 KiB.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn set_property(
    call: &mut Call<'_>,
    path: u32,
    path_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let (path, value) = (slice(memory, path, path_len)?, slice(memory, value, value_len)?);
    if host.grants().is_some()
        && !host.may(Capability::PropertiesWrite, &property_name(path).ok_or(Status::BadArgument)?)
    {
        return Ok(());
    }
    let declaration = host.root().declarations.of(path);
    match &host.active.stream {
        Some((stream, _)) => {
            stream.borrow_mut().set_property(path, value, declaration).map_err(Status::from)?
        }
        None => {
            let properties = &mut host.root_mut().properties;
            properties.set(path, value, declaration.read_only).map_err(Status::from)?
        }
    }
    Ok(())
}

/// Whether a filter may read a property.
enum Permission {
    Granted,
    /// It is a map of headers, of which the filter sees those that these grant.
    HeadersGranted(Arc<Grants>),
    Denied,
}

/// What a filter's grants say of a property. What is known of the filter itself is its own.
fn permission(host: &Host, path: &[u8]) -> Permission {
    let Some(grants) = &host.root().grants else { return Permission::Granted };
    if path.starts_with(b"plugin_") {
        return Permission::Granted;
    }
    let Some(name) = property_name(stored_key(path)) else { return Permission::Denied };
    let granted = match header_of(&name) {
        HeaderOf::Map => return Permission::HeadersGranted(grants.clone()),
        HeaderOf::Field(header) => host.may(Capability::HeadersRead, header),
        HeaderOf::Known(header) if grants.allows(Capability::HeadersRead, header) => true,
        HeaderOf::Known(_) | HeaderOf::None => host.may(Capability::PropertiesRead, &name),
    };
    if granted { Permission::Granted } else { Permission::Denied }
}

/// What of an exchange's headers a property shows.
enum HeaderOf<'a> {
    /// All headers or trailers of a message.
    Map,
    /// The one that it names.
    Field(&'a [u8]),
    /// One that it shows under a name of its own, or a part of it.
    Known(&'static [u8]),
    /// Nothing.
    None,
}

fn header_of(name: &[u8]) -> HeaderOf<'_> {
    for map in HEADER_PROPERTIES {
        match name.strip_prefix(map.as_bytes()) {
            Some(b"" | b".") => return HeaderOf::Map,
            Some([b'.', header @ ..]) => return HeaderOf::Field(header),
            _ => {}
        }
    }
    match name {
        b"request.path" | b"request.url_path" | b"request.query" => HeaderOf::Known(b":path"),
        b"request.host" => HeaderOf::Known(b":authority"),
        b"request.scheme" => HeaderOf::Known(b":scheme"),
        b"request.method" => HeaderOf::Known(b":method"),
        b"request.referer" => HeaderOf::Known(b"referer"),
        b"request.useragent" => HeaderOf::Known(b"user-agent"),
        b"request.id" => HeaderOf::Known(b"x-request-id"),
        b"response.code" => HeaderOf::Known(b":status"),
        b"response.grpc_status" => HeaderOf::Known(b"grpc-status"),
        _ => HeaderOf::None,
    }
}

/// Envoy keeps what a guest stores as filter state under `wasm.`, and shows it by both names.
fn stored_key(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"filter_state\0wasm.").or_else(|| path.strip_prefix(b"wasm.")).unwrap_or(path)
}

/// A property's bytes.
enum Found<'a> {
    Borrowed(&'a [u8]),
    Number([u8; 8]),
    Bool([u8; 1]),
    Built(Vec<u8>),
    Shared(Bytes),
}

impl std::ops::Deref for Found<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Found::Borrowed(bytes) => bytes,
            Found::Number(bytes) => bytes,
            Found::Bool(bytes) => bytes,
            Found::Built(bytes) => bytes,
            Found::Shared(bytes) => bytes,
        }
    }
}

impl<'a> Found<'a> {
    /// A signed number whose values are never negative, or an unsigned one: the bytes are the same.
    fn number(value: impl Into<u64>) -> Found<'a> {
        Found::Number(value.into().to_le_bytes())
    }

    fn duration(value: Duration) -> Found<'a> {
        Found::number(nanoseconds(value))
    }

    fn text(value: &'a str) -> Found<'a> {
        Found::Borrowed(value.as_bytes())
    }

    fn address(address: SocketAddr) -> Found<'a> {
        Found::Built(address.to_string().into_bytes())
    }
}

/// What is known without an exchange.
fn filter_property(host: &Host, memory_size: u64, path: &[u8]) -> Option<Found<'static>> {
    let text = |text: &str| Found::Built(text.as_bytes().to_vec());
    Some(match path {
        b"plugin_name" => text(&host.root().filter.name),
        b"plugin_root_id" => text(&host.root().filter.root_id),
        b"plugin_vm_id" => text(&host.root().filter.vm_id),
        b"plugin_vm_memory" => Found::number(memory_size),
        _ => return None,
    })
}

/// What is known of an exchange. Of a whole map of headers, those are shown that `grants` grant.
fn stream_property<'a>(stream: &'a Stream, path: &[u8], grants: Option<&Grants>) -> Option<Found<'a>> {
    let info = &stream.info;
    let (root, rest) = first_segment(path);
    match root {
        b"request" | b"response" if stream.subject == Subject::Connection => data_property(info, root, rest),
        b"request" => request_property(stream, rest, grants),
        b"response" => response_property(stream, rest, grants),
        b"source" => endpoint_property(info.unix.map(|_| ""), info.source, rest),
        b"destination" => {
            endpoint_property(info.unix.as_ref().map(UnixAddress::name), info.destination, rest)
        }
        b"connection" => connection_property(info, rest),
        b"connection_id" if rest.is_empty() => Some(Found::number(info.connection_id)),
        b"upstream" => upstream_property(info, rest),
        // There is no dynamic metadata, which is an empty message.
        b"metadata" if rest.is_empty() => Some(Found::Borrowed(&[])),
        b"xds" => environment_property(info, rest),
        // Before Envoy 1.33 these were roots.
        _ => environment_property(info, path),
    }
}

/// A path's first segment and the others.
fn first_segment(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == 0) {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => (path, &[]),
    }
}

fn request_property<'a>(stream: &'a Stream, path: &[u8], grants: Option<&Grants>) -> Option<Found<'a>> {
    let (head, info) = (&stream.request, &stream.info);
    let pseudo = |name: &[u8]| View::Request(head).pseudo(name).map(Found::Borrowed);
    let header = |name: HeaderName| head.headers.get(name).map(|value| Found::Borrowed(value.as_bytes()));
    let (member, rest) = first_segment(path);
    if member == b"headers" || member == b"headers_bytes" {
        return map_property(&View::Request(head), rest, grants);
    }
    match path {
        b"path" => pseudo(b":path"),
        b"url_path" => Some(Found::text(split_query(&head.uri).0)),
        b"query" => Some(Found::text(split_query(&head.uri).1)),
        b"host" => pseudo(b":authority"),
        b"scheme" => pseudo(b":scheme"),
        b"method" => pseudo(b":method"),
        b"referer" => header(REFERER),
        b"useragent" => header(USER_AGENT),
        b"id" => header(HeaderName::from_static("x-request-id")),
        b"protocol" => Some(Found::text(info.protocol)),
        b"time" => Some(Found::duration(info.start.duration_since(UNIX_EPOCH).unwrap_or_default())),
        b"duration" => info.duration.map(Found::duration),
        b"size" => Some(Found::number(content_length(&head.headers).unwrap_or(info.request_bytes))),
        b"total_size" => Some(Found::number(info.request_bytes + header_bytes(&View::Request(head)))),
        _ => None,
    }
}

/// What Envoy shows of a TCP connection under `request` and `response`: the facts that are not of HTTP.
fn data_property<'a>(info: &'a StreamInfo, root: &[u8], path: &[u8]) -> Option<Found<'a>> {
    match (root, path) {
        (b"request", b"time") => {
            Some(Found::duration(info.start.duration_since(UNIX_EPOCH).unwrap_or_default()))
        }
        // There is no map of headers, which is an empty one.
        (b"request", b"headers") => Some(Found::Borrowed(&[0; 4])),
        (b"request", b"duration") => info.duration.map(Found::duration),
        (b"request", b"size" | b"total_size") => Some(Found::number(info.request_bytes)),
        (b"response", b"flags") => Some(Found::number(0u8)),
        (b"response", b"size" | b"total_size") => Some(Found::number(info.response_bytes)),
        _ => None,
    }
}

/// A path and its query, which may be empty.
fn split_query(uri: &http::Uri) -> (&str, &str) {
    let whole = path(uri);
    whole.split_once('?').unwrap_or((whole, ""))
}

fn response_property<'a>(stream: &'a Stream, path: &[u8], grants: Option<&Grants>) -> Option<Found<'a>> {
    let info = &stream.info;
    let (member, rest) = first_segment(path);
    match member {
        b"headers" | b"headers_bytes" => {
            let head = stream.response.as_ref()?;
            return map_property(&View::Response(&head.status, &head.headers), rest, grants);
        }
        b"trailers" => return map_property(&view_of(stream, MapType::ResponseTrailers)?, rest, grants),
        _ => {}
    }
    match path {
        b"code" => stream.response.as_ref().map(|head| Found::number(head.status.as_u16())),
        b"code_details" => info.code_details.as_deref().map(Found::text),
        b"flags" => Some(Found::number(0u8)),
        b"grpc_status" => grpc_status(stream).map(Found::number),
        b"size" => Some(Found::number(info.response_bytes)),
        b"total_size" => {
            let head = stream
                .response
                .as_ref()
                .map(|head| header_bytes(&View::Response(&head.status, &head.headers)));
            Some(Found::number(info.response_bytes + head.unwrap_or(0)))
        }
        _ => None,
    }
}

fn grpc_status(stream: &Stream) -> Option<u64> {
    const NAME: &str = "grpc-status";
    let trailers = stream.response_trailers.as_ref().and_then(|trailers| trailers.get(NAME));
    let value = trailers.or_else(|| stream.response.as_ref()?.headers.get(NAME))?;
    value.to_str().ok()?.parse().ok()
}

/// The whole map, or one of its values; several values of a name are joined by commas.
fn map_property<'a>(map: &View<'a>, key: &[u8], grants: Option<&Grants>) -> Option<Found<'a>> {
    let is_granted = |name: &[u8]| grants.is_none_or(|grants| grants.allows(Capability::HeadersRead, name));
    if !key.is_empty() {
        return joined(map, key).map(|value| match value {
            Cow::Borrowed(value) => Found::Borrowed(value),
            Cow::Owned(value) => Found::Built(value),
        });
    }
    let mut entries: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::with_capacity(map.len());
    for (name, _) in map.iter() {
        if is_granted(name) && !entries.iter().any(|(known, _)| *known == name) {
            entries.push((name, joined(map, name)?));
        }
    }
    let pairs = || entries.iter().map(|(name, value)| (*name, &**value));
    let mut bytes = vec![0; pairs::serialised_len(pairs())];
    pairs::write(&mut bytes, entries.len(), pairs());
    Some(Found::Built(bytes))
}

fn joined<'a>(map: &View<'a>, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    match map.values(name).as_slice() {
        [] => None,
        [value] => Some(Cow::Borrowed(value)),
        values => Some(Cow::Owned(values.join(&b","[..]))),
    }
}

/// Of a UNIX socket there is its name, as in Envoy, and no port.
fn endpoint_property<'a>(unix: Option<&'a str>, address: SocketAddr, path: &[u8]) -> Option<Found<'a>> {
    match (path, unix) {
        (b"address", Some(name)) => return Some(Found::text(name)),
        (_, Some(_)) => return None,
        _ => {}
    }
    match path {
        b"address" => Some(Found::address(address)),
        b"port" => Some(Found::number(address.port())),
        _ => None,
    }
}

/// Without TLS there is no name that the client asked for, and no certificate.
fn connection_property<'a>(info: &'a StreamInfo, path: &[u8]) -> Option<Found<'a>> {
    let tls = info.tls.as_deref();
    let peer = || tls?.peer.as_ref();
    let local = || tls?.local.as_ref();
    match path {
        b"id" => Some(Found::number(info.connection_id)),
        b"mtls" => Some(Found::Bool([u8::from(peer().is_some())])),
        b"requested_server_name" => Some(Found::text(tls.map_or("", |tls| &tls.server_name))),
        b"tls_version" => tls.filter(|tls| !tls.version.is_empty()).map(|tls| Found::text(&tls.version)),
        b"subject_local_certificate" => local().map(|certificate| Found::text(&certificate.subject)),
        b"subject_peer_certificate" => peer().map(|certificate| Found::text(&certificate.subject)),
        b"dns_san_local_certificate" => first(&local()?.dns_sans),
        b"dns_san_peer_certificate" => first(&peer()?.dns_sans),
        b"uri_san_local_certificate" => first(&local()?.uri_sans),
        b"uri_san_peer_certificate" => first(&peer()?.uri_sans),
        b"sha256_peer_certificate_digest" => peer().map(|certificate| Found::text(&certificate.sha256)),
        _ => None,
    }
}

fn first(names: &[String]) -> Option<Found<'_>> {
    names.first().map(|name| Found::text(name))
}

fn upstream_property<'a>(info: &'a StreamInfo, path: &[u8]) -> Option<Found<'a>> {
    match path {
        b"address" => Some(match info.upstream.as_ref()? {
            Address::Ip(address) => Found::address(*address),
            Address::Unix(address) => Found::text(address.name()),
        }),
        b"port" => Some(Found::number(info.upstream?.ip()?.port())),
        b"local_address" => info.upstream_local.map(Found::address),
        b"request_attempt_count" => info.upstream.map(|_| Found::number(1u8)),
        _ => None,
    }
}

/// What the configuration says of the exchange's surroundings.
fn environment_property<'a>(info: &'a StreamInfo, path: &[u8]) -> Option<Found<'a>> {
    match path {
        b"cluster_name" => info.cluster_name.as_deref().map(Found::text),
        b"route_name" => info.route_name.as_deref().map(Found::text),
        b"listener_direction" => Some(Found::number(info.listener_direction)),
        _ => None,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn header_bytes(map: &View<'_>) -> u64 {
    map.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}
