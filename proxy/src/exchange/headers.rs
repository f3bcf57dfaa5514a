//! What may pass from one connection to the next: cleaning heads on the way in and on the way out.
//!
//! A proxy speaks for itself on each of its connections (RFC 9110, 7.6.1): what a peer said about its connection stays
//! there, and what a message says about its own framing has to be unambiguous (RFC 9112, 6.3) before it is sent on.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, BytesMut};
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use sha1::{Digest as _, Sha1};

use super::peer::Peer;
use crate::config::model::Listener;
use crate::error::Failure;
use crate::wasm::stream::RequestHead;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The header that names an exchange across services.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What says to a service that a request is a copy: its value is the route's name.
pub(super) const MIRRORED_BY: HeaderName = HeaderName::from_static("x-tidegate-mirrored-by");

/// A request identifier that a peer sends is kept if it is no longer than this, in bytes.
const REQUEST_ID_LIMIT: usize = 128;

/// What a request's head said beyond what is sent on.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The protocol that the client wants to change to, if it does.
    pub(super) upgrade: Option<Wish>,
}

/// A client's wish to go on in another protocol.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Which, such as `websocket`.
    pub(super) protocol: HeaderValue,
    /// It was made by a CONNECT over HTTP/2, which concerns its stream only (RFC 8441): agreed to by 200 instead of 101.
    pub(super) extended: bool,
}

/// Why a request that hyper took is not taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// For the log.
    pub(super) details: &'static str,
}

/// Takes a request's head apart: refuses what could be read in two ways, and drops what was meant for this connection.
pub(super) fn receive<B>(
    request: Request<B>,
    listener: &Listener,
) -> (RequestHead, Result<Received, Refusal>, B) {
    let (mut parts, body) = request.into_parts();
    let extended = extended_connect(&mut parts, &listener.upgrades);
    let mut refusal = check(&parts.method, parts.version, &parts.uri, &parts.headers);
    if parts.version == Version::HTTP_2 && parts.headers.len() > listener.limits.headers {
        refusal = Err(Refusal { failure: Failure::RequestHeadTooLarge, details: "too_many_headers" });
    }
    let mut headers = parts.headers;
    let uri = origin_form(parts.uri, &mut headers);
    // HTTP/1.0 has no such thing (RFC 9110, 7.8).
    let asked = if parts.version >= Version::HTTP_11 { upgrade_wanted(&headers) } else { None };
    let wanted = asked.map(|protocol| Wish { protocol, extended: false });
    let upgrade = extended.or(wanted.filter(|wish| wish.is_allowed(&listener.upgrades)));
    drop_hop_by_hop(&mut headers);
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    headers.remove(EXPECT); // answered here, when the body is asked for
    let head = RequestHead { method: parts.method, uri, scheme: HeaderValue::from_static("http"), headers };
    (head, refusal.map(|()| Received { upgrade }), body)
}

/// A CONNECT over HTTP/2 that names a protocol is what a GET with `upgrade` is over HTTP/1.1, and is one from here on, as
/// in Envoy: routes, filters and upstreams need not know.
fn extended_connect(parts: &mut Parts, upgrades: &[String]) -> Option<Wish> {
    let protocol = parts.extensions.remove::<Protocol>()?;
    if parts.method != Method::CONNECT {
        return None;
    }
    let wish = Wish { protocol: HeaderValue::from_str(protocol.as_str()).ok()?, extended: true };
    if !wish.is_allowed(upgrades) {
        return None; // a CONNECT like any other
    }
    parts.method = Method::GET;
    parts.headers.remove(CONTENT_LENGTH); // what follows is the tunnel's
    Some(wish)
}

impl Wish {
    /// One that offers several protocols leaves the choice to the server, who may choose none.
    fn is_allowed(&self, upgrades: &[String]) -> bool {
        upgrades.iter().any(|allowed| self.is_for(allowed.as_bytes()))
    }

    /// Whether it is for this protocol, whose names have no case.
    pub(super) fn is_for(&self, protocol: &[u8]) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(protocol)
    }
}

/// What hyper's parser lets through although it is ambiguous, or not for a reverse proxy.
fn check(method: &Method, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let malformed = |details| Err(Refusal { failure: Failure::MalformedRequest, details });
    if method == Method::CONNECT {
        return Err(Refusal { failure: Failure::Unsupported, details: "connect" });
    }
    let is_of_server = uri.path() == "*" && method == Method::OPTIONS; // RFC 9112, 3.2.4
    if !uri.path().starts_with('/') && !is_of_server {
        return malformed("target_not_in_origin_form");
    }
    if !is_framed_plainly(headers) {
        return Err(Refusal { failure: Failure::Unsupported, details: "transfer_encoding" });
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if authority.is_some_and(|authority| !is_host(authority)) {
        return malformed("invalid_authority");
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => malformed("more_than_one_host"),
        (Some(host), None) if !is_host(host.as_bytes()) => malformed("invalid_host"),
        // RFC 9113, 8.3.1. Over HTTP/1.1 the authority counts, whatever the host is (RFC 9112, 3.2.2).
        (Some(host), None)
            if version == Version::HTTP_2
                && authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host.as_bytes())) =>
        {
            malformed("host_is_not_the_authority")
        }
        (None, _) if version >= Version::HTTP_11 && uri.authority().is_none() => malformed("no_host"),
        _ => Ok(()),
    }
}

/// Whether a message's body is as it is sent but for its chunks. What else a `transfer-encoding` says was done to it is
/// for its receiver to undo (RFC 9112, 6.1), which this proxy does not, and is not passed on: what is left would be taken
/// for something that it is not.
fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(|value| tokens(value.as_bytes()));
    codings.next().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Whether a `host` field could name a host: empty, or what RFC 3986, 3.2.2 allows, and a port (RFC 9112, 3.2). What is
/// more is not for a proxy to interpret: a host that two parties read differently is a way around a route.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|byte| {
        matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b':' | b'-')
            || b"_~!$&'()*+,;=[]%".contains(byte)
    })
}

/// The request target as an origin server gets it; the authority of an absolute one replaces `host` (RFC 9112, 3.2.2).
fn origin_form(uri: Uri, headers: &mut HeaderMap) -> Uri {
    let Some(authority) = uri.authority() else { return uri };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(HOST, host);
    }
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// Makes one field of the pieces that HTTP/2 may have of it (RFC 9113, 8.2.3): not everybody reads more than one.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// Drops what speaks of the connection that a message came on. `te: trailers` stays: it is true of this proxy too.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let mut te = None;
    // Most messages have one of these at most: looking at each name once is cheaper than looking each of these up.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        if name == CONNECTION {
            drop_named_by_connection(headers);
        }
        let value = headers.remove(&name);
        if name == TE {
            te = value;
        }
    }
    if te.is_some_and(|te| tokens(te.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"trailers"))) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a field speaks of the connection, whatever `connection` says (RFC 9110, 7.6.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        CONNECTION | TE | TRANSFER_ENCODING | UPGRADE => true,
        _ => matches!(name.as_str(), "http2-settings" | "keep-alive" | "proxy-connection"),
    }
}

fn drop_named_by_connection(headers: &mut HeaderMap) {
    let mut named: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        // What frames and routes the message is not a peer's to drop, and what is dropped anyway need not be named.
        named.extend(
            tokens(value.as_bytes())
                .filter(|token| {
                    !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
                })
                .filter_map(|token| HeaderName::from_bytes(token).ok())
                .filter(|name| !matches!(*name, HOST | CONTENT_LENGTH | TE | TRANSFER_ENCODING)),
        );
    }
    for name in named {
        headers.remove(name);
    }
}

/// The protocol to change to, where `connection` says that `upgrade` is meant (RFC 9110, 7.8).
pub(super) fn upgrade_wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let meant = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"upgrade")));
    meant.then(|| protocol.clone())
}

/// Says again, on the next connection, that a change of protocol is meant.
pub(super) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Says what only HTTP/1.1 asks of somebody who wants a WebSocket: the key that the server shows it has understood
/// (RFC 6455, 4.1). Over HTTP/2 there is none (RFC 8441, 5.1).
pub(super) fn add_websocket_key(headers: &mut HeaderMap) {
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes());
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.entry(SEC_WEBSOCKET_KEY).or_insert(key);
    }
}

/// Shows a client over HTTP/1.1 that the server has understood it (RFC 6455, 4.2.2), where the upstream is asked in a way
/// that has no key: agreeing is the same. Without a key it is another protocol.
pub(super) fn accept_websocket(request: &HeaderMap, response: &mut HeaderMap) {
    const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let Some(key) = request.get(SEC_WEBSOCKET_KEY) else { return };
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(SUFFIX).finalize();
    if let Ok(accept) = HeaderValue::try_from(BASE64_STANDARD.encode(digest)) {
        response.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// The parts of a comma-separated list, without the white space around them.
fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whose request this is: the peer, or what `hops` proxies in front of this one say (the `hops`-th address from the
/// right of `x-forwarded-for`). One that is not an address falls back to the peer.
pub(super) fn client_address(headers: &HeaderMap, peer: SocketAddr, hops: usize) -> SocketAddr {
    if hops == 0 {
        return peer;
    }
    let addresses: Vec<&[u8]> =
        headers.get_all(X_FORWARDED_FOR).iter().flat_map(|value| tokens(value.as_bytes())).collect();
    addresses
        .len()
        .checked_sub(hops)
        .and_then(|at| std::str::from_utf8(addresses[at]).ok())
        .and_then(|text| text.parse::<IpAddr>().ok())
        .map_or(peer, |ip| SocketAddr::new(ip, 0))
}

/// Whether it is only a proxy that says this of a request: that it is a copy, whose certificate its client has shown, and
/// what Envoy says of where it comes from.
fn is_word_of_proxies(name: &HeaderName) -> bool {
    *name == MIRRORED_BY
        || matches!(
            name.as_str(),
            "x-forwarded-client-cert" | "x-envoy-internal" | "x-envoy-external-address"
        )
}

/// Says for whom a request is sent: `x-forwarded-for` gains the peer, `x-forwarded-proto` is set unless a trusted proxy
/// set it, and a request without `x-request-id` gets one. What else proxies say of a request is dropped where none is
/// trusted.
pub(super) fn forward_headers(headers: &mut HeaderMap, peer: &Peer, trusted_hops: usize) {
    match (headers.contains_key(X_FORWARDED_FOR), peer.forwarded_for()) {
        (false, Some(peer)) => drop(headers.insert(X_FORWARDED_FOR, peer.clone())),
        (true, Some(peer)) => append_forwarded_for(headers, peer),
        (_, None) => {}
    }
    if trusted_hops == 0 || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, peer.scheme());
    }
    if trusted_hops == 0 {
        while let Some(name) = headers.keys().find(|name| is_word_of_proxies(name)).cloned() {
            headers.remove(name);
        }
    }
    if headers.get(X_REQUEST_ID).is_none_or(|id| id.is_empty() || id.len() > REQUEST_ID_LIMIT) {
        headers.insert(X_REQUEST_ID, new_request_id());
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut joined = BytesMut::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        joined.put_slice(value.as_bytes());
        joined.put_slice(b", ");
    }
    joined.put_slice(peer.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// A random UUID, version 4 (RFC 9562, 5.4).
fn new_request_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn a_host_has_what_rfc_3986_allows_and_nothing_else() {
        let rest = b"-._~!$&'()*+,;=:[]%";
        for byte in 0..=u8::MAX {
            let allowed = byte.is_ascii_alphanumeric() || rest.contains(&byte);
            assert_eq!(is_host(&[b'a', byte]), allowed, "{byte:#04x}");
        }
    }

    #[test]
    fn what_connection_names_is_dropped_with_it() {
        let mut map = headers(&[("connection", "x-private, close"), ("x-private", "1"), ("x-public", "2")]);
        drop_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("x-public", "2")]));
    }

    #[test]
    fn connection_cannot_drop_what_frames_the_message() {
        let mut map =
            headers(&[("connection", "content-length, host"), ("content-length", "5"), ("host", "a")]);
        drop_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-length", "5"), ("host", "a")]));
    }

    #[test]
    fn of_te_only_trailers_is_sent_on() {
        let mut map = headers(&[("te", "gzip, trailers;q=0.5")]);
        drop_hop_by_hop(&mut map);
        assert_eq!(map.get(TE), None);
        let mut map = headers(&[("te", "gzip, Trailers")]);
        drop_hop_by_hop(&mut map);
        assert_eq!(map.get(TE).unwrap(), "trailers");
    }

    #[test]
    fn the_client_is_who_the_trusted_hops_say() {
        let peer: SocketAddr = "10.0.0.9:1234".parse().unwrap();
        let map = headers(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3")]);
        assert_eq!(client_address(&map, peer, 0), peer);
        assert_eq!(client_address(&map, peer, 1).ip().to_string(), "3.3.3.3");
        assert_eq!(client_address(&map, peer, 3).ip().to_string(), "1.1.1.1");
        assert_eq!(client_address(&map, peer, 4), peer);
        assert_eq!(client_address(&headers(&[("x-forwarded-for", "nonsense")]), peer, 1), peer);
    }

    #[test]
    fn a_request_identifier_is_a_random_uuid() {
        let (a, b) = (new_request_id(), new_request_id());
        assert_ne!(a, b);
        let text = a.to_str().unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
        assert_eq!(text.matches('-').count(), 4);
    }
}
