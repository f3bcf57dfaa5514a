//! What a replayed instance is given in the place of a proxy: exchanges in the state that they were in, a clock that
//! stands, randomness that repeats, and a log that nobody reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri};

use crate::wasm::stream::{BodyBuffer, Direction, RequestHead, ResponseHead, Stream, StreamInfo};
use crate::wasm::witness::{Change, Facts, Info, Piece, Request, header_map, progress};
use crate::wasm::{Clock, Fault, GuestLog, LogLevel, NoRandomness, Randomness};

/// A clock that stands where it is put.
#[derive(Debug)]
pub(super) struct Standing {
    wall: AtomicU64,
    began: Instant,
}

impl Standing {
    /// At so many nanoseconds since 1970.
    pub(super) fn at(wall: u64) -> Standing {
        Standing { wall: AtomicU64::new(wall), began: Instant::now() }
    }

    pub(super) fn set(&self, wall: u64) {
        self.wall.store(wall, Ordering::Relaxed);
    }
}

impl Clock for Standing {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.wall.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Instant {
        self.began
    }
}

/// Randomness for what was not asked when it was recorded.
#[derive(Debug)]
pub(super) struct Seeded(Mutex<fastrand::Rng>);

impl Default for Seeded {
    fn default() -> Seeded {
        Seeded(Mutex::new(fastrand::Rng::with_seed(0)))
    }
}

impl Randomness for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
        Ok(())
    }
}

/// A log that says which level it keeps.
#[derive(Debug)]
pub(super) struct Silence(pub(super) LogLevel);

impl GuestLog for Silence {
    fn level(&self) -> LogLevel {
        self.0
    }

    fn line(&self, _: &str, _: LogLevel, _: &str) {}

    fn dropped(&self, _: &str, _: u64) {}

    fn fault(&self, _: &str, _: &Fault) {}
}

/// An exchange before anything is known of it.
pub(super) fn stream(facts: &Facts) -> Stream {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let info = StreamInfo::new(UNIX_EPOCH, nowhere, nowhere);
    let stages = facts.stage + 1;
    let mut stream = match facts.tcp {
        true => Stream::connection(info, stages),
        false => Stream::new(RequestHead::nothing(), info, stages),
    };
    stream.buffer_limit = facts.buffer_limit;
    stream
}

/// Has happen to an exchange what happened to it.
pub(super) fn apply(stream: &mut Stream, stage: usize, change: &Change) {
    if let Some(request) = &change.request {
        stream.request = request_head(request);
    }
    if let Some(response) = &change.response {
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
        stream.response = Some(ResponseHead { status, headers: header_map(&response.headers).into() });
        stream.staged_response_headers = None;
    }
    if let Some(staged) = &change.staged_response_headers {
        stream.staged_response_headers = Some(Box::new(header_map(staged)));
    }
    if let Some(trailers) = &change.request_trailers {
        stream.request_trailers = Some(Box::new(header_map(trailers)));
    }
    if let Some(trailers) = &change.response_trailers {
        stream.response_trailers = Some(Box::new(header_map(trailers)));
    }
    if let Some(stage) = stream.stages.get_mut(stage) {
        let pieces =
            [(&change.request_body, Direction::Request), (&change.response_body, Direction::Response)];
        for (piece, direction) in pieces {
            put(stage.body_mut(direction), piece.as_ref());
        }
    }
    if let Some((request, response)) = change.progress {
        stream.request_progress = progress(request);
        stream.response_progress = progress(response);
    }
    let properties = change.properties.iter();
    stream.properties.extend(properties.map(|(path, value)| (path.0.to_vec(), value.0.clone())));
    if let Some(info) = &change.info {
        stream.info = stream_info(info, stream.info.tls.take());
    }
    if let Some(stale) = change.route_stale {
        stream.route_stale = stale;
    }
    if change.preferred_endpoint.is_some() {
        stream.preferred_endpoint = change.preferred_endpoint;
    }
    if let Some(nanoseconds) = change.timeout_extension {
        stream.timeout_extension = Duration::from_nanos(nanoseconds);
    }
}

fn request_head(request: &Request) -> RequestHead {
    let uri = std::str::from_utf8(&request.path.0).ok().and_then(|path| path.parse::<Uri>().ok());
    RequestHead {
        method: Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET),
        uri: uri.unwrap_or_default(),
        scheme: HeaderValue::from_str(&request.scheme).unwrap_or(HeaderValue::from_static("http")),
        headers: header_map(&request.headers),
    }
}

fn put(body: &mut BodyBuffer, piece: Option<&Piece>) {
    match piece {
        None => {}
        Some(Piece::Added(bytes)) => body.push(bytes.0.clone()),
        Some(Piece::Whole(bytes)) => {
            body.clear();
            body.push(Bytes::clone(&bytes.0));
        }
    }
}

fn stream_info(info: &Info, tls: Option<std::sync::Arc<crate::wasm::stream::Tls>>) -> StreamInfo {
    // Two protocols are told apart; the text has to live for ever.
    let protocol = match &*info.protocol {
        "HTTP/1.0" => "HTTP/1.0",
        "HTTP/2" => "HTTP/2",
        _ => "HTTP/1.1",
    };
    StreamInfo {
        start: UNIX_EPOCH + Duration::from_nanos(info.start),
        source: info.source,
        destination: info.destination,
        unix: None,
        connection_id: info.connection_id,
        tls,
        protocol,
        listener_direction: info.listener_direction,
        chance: 0,
        route_name: info.route_name.as_deref().map(Into::into),
        cluster_name: info.cluster_name.as_deref().map(Into::into),
        upstream: info.upstream.map(Into::into),
        upstream_local: info.upstream_local,
        code_details: info.code_details.clone().map(Into::into),
        request_bytes: info.request_bytes,
        response_bytes: info.response_bytes,
        duration: info.duration.map(Duration::from_nanos),
    }
}
