//! gRPC callouts over HTTP/2: framing, statuses, and what comes of them, in order, to the guest.
//!
//! A response is read only as fast as its guest takes it: the next piece is asked for when the guest has seen the last
//! one, and HTTP/2's flow control holds the service back.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{HeaderName, Method, Request, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::callout::LONGEST_CALLOUT;
use crate::filter::Instance;
use crate::grpc::GRPC_STATUS;
use crate::upstream::{BoxError, Http2Body, RequestBody, UpstreamError, Upstreams};
use crate::wasm::grpc::{GRPC_MESSAGE_LIMIT, Outgoing, Sent};
use crate::wasm::{GrpcCallout, GrpcEvent, GrpcKind};

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// gRPC's statuses, as far as they are made here (gRPC's "Status codes and their use").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Unknown = 2,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The guest that a callout is for, and how much of it the guest has heard of.
pub(super) struct Recipient {
    instance: Weak<Instance>,
    generation: u64,
    token: u32,
    heard: Cell<Heard>,
}

/// A stream's guest hears of each of these, in this order, before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Nothing,
    InitialMetadata,
    TrailingMetadata,
}

impl Recipient {
    pub(super) fn new(instance: &Rc<Instance>, generation: u64, token: u32) -> Recipient {
        Recipient { instance: Rc::downgrade(instance), generation, token, heard: Cell::new(Heard::Nothing) }
    }

    /// Gives the guest what came. Nothing more is wanted if that says so, or if the guest is gone.
    fn deliver(&self, event: GrpcEvent) -> Result<(), End> {
        match event {
            GrpcEvent::InitialMetadata(..) => self.heard.set(Heard::InitialMetadata),
            GrpcEvent::TrailingMetadata(..) => self.heard.set(Heard::TrailingMetadata),
            GrpcEvent::Message(_) | GrpcEvent::Close { .. } => {}
        }
        let instance = self.instance.upgrade().ok_or(End::Unwanted)?;
        if instance.deliver_grpc(self.generation, self.token, event) { Ok(()) } else { Err(End::Unwanted) }
    }

    /// Tells the guest of the end, and before it of what has to come before: where there is no metadata, of none. What
    /// ended before there was a response looks as if the response had been nothing but trailers, as in Envoy.
    fn close(&self, kind: GrpcKind, status: u32, message: String) -> Result<(), End> {
        if kind == GrpcKind::Stream && self.heard.get() < Heard::TrailingMetadata {
            let (mut head, mut trailers) = (None, HeaderMap::new());
            if self.heard.get() == Heard::Nothing {
                head = Some(StatusCode::OK);
                trailers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                trailers.insert(GRPC_STATUS, HeaderValue::from(status));
                if let Ok(message) = HeaderValue::from_str(&message) {
                    trailers.insert(GRPC_MESSAGE, message);
                }
                self.deliver(GrpcEvent::InitialMetadata(None, HeaderMap::new()))?;
            }
            self.deliver(GrpcEvent::TrailingMetadata(head, trailers))?;
        }
        self.deliver(GrpcEvent::Close { status, message })
    }
}

/// How a callout ends.
enum End {
    /// With a status, of the service or of our own.
    Status(u32, String),
    /// The guest wants no more of it.
    Unwanted,
}

impl End {
    fn with(code: Code, message: impl Into<String>) -> End {
        End::Status(code as u32, message.into())
    }
}

/// Performs a callout: to its end, its cancellation or its time limit.
pub(super) async fn perform(upstreams: Rc<Upstreams>, recipient: Recipient, callout: GrpcCallout) {
    let (kind, outgoing) = (callout.kind, callout.outgoing.clone());
    let limit = match kind {
        GrpcKind::Call => Some(callout.timeout.unwrap_or(LONGEST_CALLOUT)),
        GrpcKind::Stream => None,
    };
    let exchange = exchange(&upstreams, &recipient, callout);
    let end = tokio::select! {
        biased;
        () = outgoing.cancelled() => End::Unwanted,
        end = within(limit, exchange) => end,
    };
    if let End::Status(status, message) = end {
        // It is the end, whether anybody wants it or not.
        let _ = recipient.close(kind, status, message);
    }
}

async fn within(limit: Option<Duration>, exchange: impl Future<Output = Result<Infallible, End>>) -> End {
    let ended = match limit {
        Some(limit) => tokio::time::timeout(limit, exchange).await,
        None => Ok(exchange.await),
    };
    match ended {
        Ok(Err(end)) => end,
        // Not `DEADLINE_EXCEEDED`: filters know it from Envoy, whose router answers 504.
        Err(_elapsed) => End::with(Code::Unavailable, "the callout took too long"),
    }
}

async fn exchange(
    upstreams: &Upstreams,
    recipient: &Recipient,
    callout: GrpcCallout,
) -> Result<Infallible, End> {
    let kind = callout.kind;
    let Some(cluster) = upstreams.find(&callout.cluster) else {
        return Err(End::with(Code::Unavailable, "the cluster is gone"));
    };
    let response = upstreams.send_http2(cluster, request(callout)).await;
    let response = response.map_err(|error| End::with(Code::Unavailable, error.to_string()))?;
    let (head, body) = response.into_parts();
    match kind {
        GrpcKind::Call => call(recipient, head.status, head.headers, body).await,
        GrpcKind::Stream => stream(recipient, head.status, head.headers, body).await,
    }
}

fn request(callout: GrpcCallout) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::Stream(Box::pin(Messages(callout.outgoing))));
    *request.method_mut() = Method::POST;
    let mut uri = Uri::from(callout.path).into_parts();
    if callout.authority.is_some() {
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = callout.authority;
    }
    // A path, with or without scheme and authority together, is always a URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.headers_mut() = callout.metadata;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = callout.timeout {
        headers.insert(GRPC_TIMEOUT, timeout_value(timeout));
    }
    request
}

/// A `grpc-timeout`: eight digits at most, and a unit.
fn timeout_value(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let milliseconds = timeout.as_millis();
    let text = if milliseconds <= MOST {
        format!("{milliseconds}m")
    } else {
        format!("{}S", milliseconds.div_ceil(1000).min(MOST))
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("1m"))
}

/// The messages that a guest sends, as a request's body.
struct Messages(Outgoing);

impl Body for Messages {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(self.0.poll_next(cx)) {
            Sent::Message(message) => Some(Ok(Frame::data(framed(&message)))),
            Sent::End => None,
            // The stream is reset with this.
            Sent::Cancelled => Some(Err(h2::Error::from(h2::Reason::CANCEL).into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_over()
    }
}

/// A message in its frame: a byte that says that it is not compressed, its length, itself (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    // A guest's memory, of which a message is a part, has less than 4 GiB.
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}

const PREFIX: usize = 5;

/// Takes messages out of their frames.
#[derive(Debug, Default)]
struct Frames(BytesMut);

impl Frames {
    /// The next message, once it is whole.
    fn next(&mut self) -> Result<Option<Bytes>, End> {
        let Some((&[compressed, a, b, c, d], _)) = self.0.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        // An empty message has nothing that could be compressed.
        if compressed != 0 && len > 0 {
            return Err(End::with(Code::Internal, "a message that is compressed, or no gRPC"));
        }
        if len > GRPC_MESSAGE_LIMIT {
            return Err(End::with(
                Code::ResourceExhausted,
                format!("a message is larger than {GRPC_MESSAGE_LIMIT} bytes"),
            ));
        }
        if self.0.len() < PREFIX + len {
            return Ok(None);
        }
        self.0.advance(PREFIX);
        Ok(Some(self.0.split_to(len).freeze()))
    }
}

/// One step of a response.
enum Piece {
    Message(Bytes),
    Trailers(HeaderMap),
    End,
}

/// A response's messages, and then its trailers.
struct Pieces {
    body: Http2Body,
    frames: Frames,
}

impl Pieces {
    async fn next(&mut self) -> Result<Piece, End> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Piece::Message(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(Piece::End) };
            let frame = frame.map_err(|error| End::with(Code::Internal, describe(&error)))?;
            match frame.into_data() {
                Ok(data) => self.frames.0.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Ok(Piece::Trailers(trailers));
                    }
                }
            }
        }
    }
}

fn describe(error: &UpstreamError) -> String {
    error.find::<h2::Error>().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// A call's response: one message, or the status that says why there is none.
async fn call(
    recipient: &Recipient,
    status: StatusCode,
    headers: HeaderMap,
    body: Http2Body,
) -> Result<Infallible, End> {
    if let Some(end) = end_of_head(status, &headers, body.is_end_stream()) {
        return Err(without_message(end));
    }
    let mut pieces = Pieces { body, frames: Frames::default() };
    let mut last = None;
    loop {
        match pieces.next().await? {
            Piece::Message(message) => last = Some(message),
            Piece::Trailers(trailers) => match (read_status(&trailers), last) {
                (End::Status(0, _), Some(message)) => {
                    recipient.deliver(GrpcEvent::Message(message))?;
                    return Err(End::Unwanted);
                }
                (end, _) => return Err(without_message(end)),
            },
            Piece::End => return Err(no_status()),
        }
    }
}

/// A call that ended well without a message did not end well.
fn without_message(end: End) -> End {
    match end {
        End::Status(0, _) => End::with(Code::Internal, "the response has no message"),
        end => end,
    }
}

/// A stream's response: everything, in order.
async fn stream(
    recipient: &Recipient,
    status: StatusCode,
    headers: HeaderMap,
    body: Http2Body,
) -> Result<Infallible, End> {
    let is_all = body.is_end_stream();
    if let Some(end) = end_of_head(status, &headers, is_all) {
        let has_trailers = is_all && (status == StatusCode::OK || headers.contains_key(GRPC_STATUS));
        let nothing = (None, HeaderMap::new());
        let (initial, trailing) = match (is_all, has_trailers) {
            (false, _) => ((Some(status), headers), nothing),
            (true, true) => (nothing, (Some(status), headers)),
            (true, false) => (nothing.clone(), nothing),
        };
        recipient.deliver(GrpcEvent::InitialMetadata(initial.0, initial.1))?;
        recipient.deliver(GrpcEvent::TrailingMetadata(trailing.0, trailing.1))?;
        return Err(end);
    }
    recipient.deliver(GrpcEvent::InitialMetadata(Some(status), headers))?;
    let mut pieces = Pieces { body, frames: Frames::default() };
    loop {
        // A service that sends many small messages must not have the worker to itself.
        tokio::task::coop::consume_budget().await;
        match pieces.next().await? {
            Piece::Message(message) => recipient.deliver(GrpcEvent::Message(message))?,
            Piece::Trailers(trailers) => {
                let end = read_status(&trailers);
                recipient.deliver(GrpcEvent::TrailingMetadata(None, trailers))?;
                return Err(end);
            }
            Piece::End => return Err(no_status()),
        }
    }
}

/// How a callout ends whose response's head says all there is to say: one that is not 200, or that nothing follows.
fn end_of_head(status: StatusCode, headers: &HeaderMap, is_all: bool) -> Option<End> {
    if is_all && headers.contains_key(GRPC_STATUS) {
        return Some(read_status(headers));
    }
    if status != StatusCode::OK {
        return Some(End::with(code_of(status), format!("the service answered with HTTP status {status}")));
    }
    is_all.then(no_status)
}

fn no_status() -> End {
    End::with(Code::Unknown, "the response has no gRPC status")
}

/// What trailers say of how it ended. A status that is none of gRPC's is unknown.
fn read_status(trailers: &HeaderMap) -> End {
    const LAST: u32 = Code::Unauthenticated as u32;
    let Some(status) = trailers.get(GRPC_STATUS) else { return no_status() };
    let status = status.to_str().ok().and_then(|text| text.parse().ok()).filter(|status| *status <= LAST);
    let message = trailers.get(GRPC_MESSAGE).map(|message| decode_message(message.as_bytes()));
    End::Status(status.unwrap_or(Code::Unknown as u32), message.unwrap_or_default())
}

/// A `grpc-message` is percent-encoded (gRPC over HTTP/2, "Status-Message"); what is not is taken as it is.
fn decode_message(bytes: &[u8]) -> String {
    percent_encoding::percent_decode(bytes).decode_utf8_lossy().into_owned()
}

/// What an HTTP status means where there is no gRPC status (gRPC's "HTTP to gRPC Status Code Mapping").
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_their_frames_however_these_are_cut() {
        let wire = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for cut in 0..=wire.len() {
            let mut frames = Frames::default();
            let mut messages = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                frames.0.extend_from_slice(part);
                while let Ok(Some(message)) = frames.next() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b"one"[..], b"", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn a_timeout_fits_into_eight_digits() {
        assert_eq!(timeout_value(Duration::from_millis(250)), "250m");
        assert_eq!(timeout_value(Duration::from_millis(99_999_999)), "99999999m");
        assert_eq!(timeout_value(Duration::from_millis(u64::from(u32::MAX))), "4294968S");
    }

    #[test]
    fn a_message_is_decoded_as_far_as_it_is_encoded() {
        let cases = [("plain", "plain"), ("a%20b%C3%A9", "a bé"), ("50%", "50%"), ("%zz%2", "%zz%2")];
        for (wire, text) in cases {
            assert_eq!(decode_message(wire.as_bytes()), text);
        }
    }
}
