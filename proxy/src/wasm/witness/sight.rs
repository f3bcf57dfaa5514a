//! An exchange as one instance sees it, copied, so that what others and what the guest did to it can be told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::blob::{Blob, Fields};
use super::step::{Change, Info, Piece, Request, Response};
use crate::config::model::Address;
use crate::wasm::body::BodyBuffer;
use crate::wasm::services::{nanoseconds, wall_nanoseconds};
use crate::wasm::stream::{Direction, Progress, Stream, StreamInfo};

/// A copy of what a guest can reach of an exchange.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    request: Option<Request>,
    response: Option<Response>,
    staged_response_headers: Option<Fields>,
    request_trailers: Option<Fields>,
    response_trailers: Option<Fields>,
    request_body: Vec<Bytes>,
    response_body: Vec<Bytes>,
    progress: Option<(u8, u8)>,
    properties: Vec<(Blob, Blob)>,
    info: Option<Info>,
    route_stale: bool,
    preferred_endpoint: Option<SocketAddr>,
    timeout_extension: Duration,
}

impl Sight {
    /// What the filter at `stage` sees now.
    pub(crate) fn of(stream: &Stream, stage: usize) -> Sight {
        let fields_of = |map: &Option<Box<HeaderMap>>| map.as_deref().map(fields);
        let body = |direction| {
            stream.stages.get(stage).map(|stage| pieces(stage.body(direction))).unwrap_or_default()
        };
        let mut properties: Vec<(Blob, Blob)> =
            stream.properties.iter().map(|(path, value)| (Blob::copy(path), Blob(value.clone()))).collect();
        properties.sort_unstable_by(|(one, _), (other, _)| one.0.cmp(&other.0));
        Sight {
            request: Some(Request {
                method: stream.request.method.to_string(),
                path: Blob::copy(crate::wasm::header_map::path(&stream.request.uri).as_bytes()),
                scheme: text(&stream.request.scheme),
                headers: fields(&stream.request.headers),
            }),
            response: stream
                .response
                .as_ref()
                .map(|head| Response { status: head.status.as_u16(), headers: fields(&head.headers) }),
            staged_response_headers: fields_of(&stream.staged_response_headers),
            request_trailers: fields_of(&stream.request_trailers),
            response_trailers: fields_of(&stream.response_trailers),
            request_body: body(Direction::Request),
            response_body: body(Direction::Response),
            progress: Some((
                number(stream.progress(Direction::Request)),
                number(stream.progress(Direction::Response)),
            )),
            properties,
            info: Some(info(&stream.info)),
            route_stale: stream.route_stale,
            preferred_endpoint: stream.preferred_endpoint,
            timeout_extension: stream.timeout_extension,
        }
    }

    /// What is new about it since `old`. What has gone since is not told of: nothing of an exchange goes, but for a
    /// piece of a body.
    pub(crate) fn since(&self, old: &Sight) -> Change {
        let new_properties = self.properties.iter().filter(|property| !old.properties.contains(property));
        Change {
            request: news(&self.request, &old.request),
            response: news(&self.response, &old.response),
            staged_response_headers: news(&self.staged_response_headers, &old.staged_response_headers),
            request_trailers: news(&self.request_trailers, &old.request_trailers),
            response_trailers: news(&self.response_trailers, &old.response_trailers),
            request_body: piece(&self.request_body, &old.request_body),
            response_body: piece(&self.response_body, &old.response_body),
            progress: news(&self.progress, &old.progress),
            properties: new_properties.cloned().collect(),
            info: news(&self.info, &old.info).map(Box::new),
            route_stale: (self.route_stale != old.route_stale).then_some(self.route_stale),
            preferred_endpoint: news(&self.preferred_endpoint, &old.preferred_endpoint),
            timeout_extension: (self.timeout_extension != old.timeout_extension)
                .then(|| nanoseconds(self.timeout_extension)),
        }
    }
}

fn news<T: Clone + PartialEq>(new: &Option<T>, old: &Option<T>) -> Option<T> {
    if new == old { None } else { new.clone() }
}

/// How a body at hand has changed: what is behind the same bytes was added.
fn piece(new: &[Bytes], old: &[Bytes]) -> Option<Piece> {
    let (new, old) = (joined(new), joined(old));
    if new == old {
        return None;
    }
    Some(match new.strip_prefix(&old[..]) {
        Some(added) if !old.is_empty() => Piece::Added(Blob(new.slice_ref(added))),
        _ => Piece::Whole(Blob(new)),
    })
}

fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

fn pieces(body: &BodyBuffer) -> Vec<Bytes> {
    body.chunks().cloned().collect()
}

/// Names and values in a map's order.
pub(crate) fn fields(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().into(), Blob::copy(value.as_bytes()))).collect()
}

/// The map that these make; what cannot be in one is left out.
pub(crate) fn header_map(fields: &Fields) -> HeaderMap {
    let parsed = fields.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(&name.0).ok()?, HeaderValue::from_bytes(&value.0).ok()?))
    });
    let mut map = HeaderMap::with_capacity(fields.len());
    parsed.for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn number(progress: Progress) -> u8 {
    match progress {
        Progress::Head => 0,
        Progress::Body => 1,
        Progress::Done => 2,
    }
}

/// The reverse of [`number`].
pub(crate) fn progress(number: u8) -> Progress {
    match number {
        0 => Progress::Head,
        1 => Progress::Body,
        _ => Progress::Done,
    }
}

fn info(info: &StreamInfo) -> Info {
    Info {
        start: wall_nanoseconds(info.start),
        source: info.source,
        destination: info.destination,
        connection_id: info.connection_id,
        protocol: info.protocol.into(),
        listener_direction: info.listener_direction,
        route_name: info.route_name.as_deref().map(str::to_owned),
        cluster_name: info.cluster_name.as_deref().map(str::to_owned),
        upstream: info.upstream.and_then(Address::ip),
        upstream_local: info.upstream_local,
        code_details: info.code_details.as_deref().map(str::to_owned),
        request_bytes: info.request_bytes,
        response_bytes: info.response_bytes,
        duration: info.duration.map(nanoseconds),
    }
}
