//! A health check's request over HTTP/2, and gRPC's health service in it.
//!
//! The service's two messages have one field each (`grpc/health/v1/health.proto`), so that there is no need for more than
//! is written here.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Uri, response};

use super::http::{drive, introduce};
use super::probe::{ANSWER_LIMIT, Sick, Well};
use crate::config::model::Address;
use crate::grpc::GRPC_STATUS;
use crate::transport::Transport;

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// What came back.
pub(super) struct Answer {
    pub(super) head: response::Parts,
    data: BytesMut,
    trailers: Option<HeaderMap>,
}

/// The request that asks the service.
pub(super) fn request(
    host: Option<&HeaderValue>,
    headers: &[(HeaderName, HeaderValue)],
    endpoint: Address,
) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(CHECK);
    let fields = request.headers_mut();
    introduce(fields, host, headers, endpoint);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// A `HealthCheckRequest` in its frame.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // field 1, of the kind that has a length
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

/// Sends a request over HTTP/2, with this body if there is one, and reads the answer.
pub(super) async fn ask(
    stream: Transport,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<Answer, Sick> {
    let (sender, connection) = client::handshake(stream).await?;
    let exchange = async move {
        let mut sender = sender.ready().await?;
        let (response, mut stream) = sender.send_request(absolute(request), body.is_none())?;
        if let Some(body) = body {
            stream.send_data(body, true)?;
        }
        let (head, mut incoming) = response.await?.into_parts();
        let mut data = BytesMut::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece?;
            incoming.flow_control().release_capacity(piece.len())?;
            data.extend_from_slice(&piece);
            if data.len() > ANSWER_LIMIT {
                return Err(Sick("its answer is too long".to_owned()));
            }
        }
        let trailers = incoming.trailers().await?;
        Ok(Answer { head, data, trailers })
    };
    drive(exchange, connection).await
}

/// HTTP/2 has the authority in the place of `host`.
fn absolute(mut request: Request<()>) -> Request<()> {
    let host = request.headers_mut().remove(HOST);
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// What a `HealthCheckResponse` says.
pub(super) fn judge(answer: &Answer) -> Result<Well, Sick> {
    if answer.head.status != http::StatusCode::OK {
        return Err(Sick(format!("it answered {}", answer.head.status.as_u16())));
    }
    let status = |headers: &HeaderMap| headers.get(GRPC_STATUS).cloned();
    let status = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.head.headers));
    match status.as_ref().map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(other) => {
            return Err(Sick(format!("its gRPC status is {}", String::from_utf8_lossy(other))));
        }
        None => return Err(Sick("it answered without a gRPC status".to_owned())),
    }
    match serving_status(&answer.data) {
        Some(SERVING) => Ok(Well { is_degraded: false }),
        Some(other) => Err(Sick(format!("it says that it is not serving ({other})"))),
        None => Err(Sick("its answer is no HealthCheckResponse".to_owned())),
    }
}

/// The one field of the message, which is left out where it is 0.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (prefix, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    let message = message.get(..length)?;
    match message.split_first() {
        None => Some(0),
        Some((0x08, value)) => varint(value),
        Some(_) => None,
    }
}

fn varint(bytes: &[u8]) -> Option<u64> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        bytes.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_those_of_the_protocol() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(question(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(serving_status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x02"), Some(2));
        for wrong in [&b""[..], b"\0\0\0\0\x05\x08", b"\0\0\0\0\x02\x10\x01", b"\0\0\0\0\x01\x08"] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
    }
}
