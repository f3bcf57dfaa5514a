//! The change of an HTTP/1.1 connection to HTTP/2 (RFC 7540, 3.2), for listeners that allow it: RFC 9113 has taken it back, and
//! it lets clients go past what a proxy in front of this one would not pass on, where that does not know of it.
//!
//! The request that asks is the first of the new connection. It is written as the frames that the client would have sent for
//! it, behind what the client does send first, so that HTTP/2 has it like any other, and all checks of HTTP/2 are made of it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::observed::{Observed, PREFACE};
use crate::exchange::{ReplyBody, drop_hop_by_hop};
use crate::http2::frame::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Partial, SETTINGS};

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const H2C: HeaderValue = HeaderValue::from_static("h2c");

/// As large a frame as anybody takes who has not said otherwise (RFC 9113, 4.2).
const FRAME_BYTES: usize = 16 * 1024;

/// Where a request that asked leaves its connection to be found when HTTP/1.1 has ended on it.
#[derive(Clone, Default)]
pub(super) struct Change(Rc<RefCell<Option<Asked>>>);

/// A change that was agreed to.
pub(super) struct Asked {
    upgrade: OnUpgrade,
    /// The request, as frames.
    frames: Bytes,
}

impl Change {
    /// Agrees to change, if that is what the request asks in every respect. One with a body is served as it is.
    pub(super) fn agree<B: Body>(
        &self,
        request: &mut Request<B>,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Option<Response<ReplyBody>> {
        if !asks(request) {
            return None;
        }
        let frames = first_request(request)?;
        *self.0.borrow_mut() = Some(Asked { upgrade: upgrade.take()?, frames });
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, H2C);
        Some(response)
    }

    /// What was agreed to, if anything was.
    pub(super) fn take(&self) -> Option<Asked> {
        self.0.borrow_mut().take()
    }
}

impl Asked {
    /// Waits for what a client says first over HTTP/2, and puts the request behind it.
    ///
    /// # Errors
    ///
    /// The client left, or says something else.
    pub(super) async fn begin(self) -> io::Result<Observed> {
        let upgraded = self.upgrade.await.map_err(io::Error::other)?;
        let parts = upgraded.downcast::<TokioIo<Observed>>().map_err(|_| io::ErrorKind::Unsupported)?;
        let mut io = parts.io.into_inner();
        io.put_back(parts.read_buf);
        let mut first = BytesMut::zeroed(PREFACE.len() + frame::BYTES);
        io.read_exact(&mut first).await?;
        let (preface, mut rest) = first.split_at(PREFACE.len());
        let mut header = Partial::default();
        header.take(&mut rest);
        let header = header.whole().filter(|it| it.kind == SETTINGS && it.length <= FRAME_BYTES);
        let header = header.filter(|_| preface == PREFACE).ok_or(io::ErrorKind::InvalidData)?;
        let settings = first.len();
        first.resize(settings + header.length, 0);
        io.read_exact(&mut first[settings..]).await?;
        first.put(self.frames);
        io.put_back(first.freeze());
        Ok(io)
    }
}

/// Whether a request asks to go on in HTTP/2, as RFC 7540, 3.2 and 3.2.1 have it, and nothing of it is yet to come.
fn asks<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let settings = one(&HTTP2_SETTINGS).and_then(|value| BASE64_URL_SAFE_NO_PAD.decode(value).ok());
    let connection = headers.get_all(CONNECTION);
    let names = |wanted: &str| {
        let texts = connection.iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    request.version() == Version::HTTP_11
        && request.method() != Method::CONNECT
        && request.body().is_end_stream()
        && one(&UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
        && one(&HOST).is_some()
        && settings.is_some_and(|settings| settings.len().is_multiple_of(6))
        && names("upgrade")
        && names("http2-settings")
}

/// The request as the frames of stream 1. It has no more to say on it.
fn first_request<B>(request: &mut Request<B>) -> Option<Bytes> {
    let mut headers = std::mem::take(request.headers_mut());
    let host = headers.remove(HOST)?;
    drop_hop_by_hop(&mut headers);
    headers.remove(EXPECT); // there is no body to wait for
    let uri = request.uri();
    let authority = uri.authority().map_or(host.as_bytes(), |authority| authority.as_str().as_bytes());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut block = BytesMut::new();
    for (name, value) in [
        (":method", request.method().as_str().as_bytes()),
        (":scheme", b"http"),
        (":authority", authority),
        (":path", path.as_bytes()),
    ] {
        put_field(&mut block, name, value);
    }
    for (name, value) in &headers {
        put_field(&mut block, name.as_str(), value.as_bytes());
    }
    Some(frames(&block))
}

/// A block of header fields as HEADERS and as many CONTINUATION frames as it takes.
fn frames(block: &[u8]) -> Bytes {
    let mut frames = BytesMut::new();
    let count = block.len().div_ceil(FRAME_BYTES);
    for (at, piece) in block.chunks(FRAME_BYTES).enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let ends = if at + 1 == count { END_HEADERS } else { 0 };
        frames.put_uint(piece.len() as u64, 3);
        frames.put_u8(kind);
        frames.put_u8(if at == 0 { END_STREAM | ends } else { ends });
        frames.put_u32(1);
        frames.put_slice(piece);
    }
    frames.freeze()
}

/// A field that is in no table, and is to be put in none (RFC 7541, 6.2.2).
fn put_field(block: &mut BytesMut, name: &str, value: &[u8]) {
    block.put_u8(0);
    for text in [name.as_bytes(), value] {
        put_length(block, text.len());
        block.put_slice(text);
    }
}

/// A length, without Huffman's code (RFC 7541, 5.1 and 5.2).
fn put_length(block: &mut BytesMut, length: usize) {
    const FIRST: usize = 127;
    if length < FIRST {
        return block.put_u8(length as u8);
    }
    block.put_u8(FIRST as u8);
    let mut rest = length - FIRST;
    while rest >= 128 {
        block.put_u8((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let usual = [("host", "a.test"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")];
        let request = usual
            .iter()
            .chain(fields)
            .fold(Request::get("/a?b"), |it, (name, value)| it.header(*name, *value));
        request.body(Empty::new()).unwrap()
    }

    #[test]
    fn only_what_asks_in_every_respect_is_agreed_to() {
        let settings = ("http2-settings", "AAMAAABkAAQAAP__");
        assert!(asks(&request(&[settings])));
        assert!(asks(&request(&[("http2-settings", "")])), "they may be empty");
        for fields in [
            &[][..],
            &[settings, settings],
            &[("http2-settings", "AAMA")],
            &[("http2-settings", "AAM=")],
            &[settings, ("upgrade", "websocket")],
            &[settings, ("host", "b.test")],
        ] {
            assert!(!asks(&request(fields)), "{fields:?}");
        }
        let mut without = request(&[settings]);
        without.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        assert!(!asks(&without), "the settings are to be named by it");
        assert!(!asks(&request(&[settings]).map(|_| Full::new(Bytes::from_static(b"body")))));
    }

    #[test]
    fn a_large_request_is_several_frames() {
        let frames = frames(&vec![7; FRAME_BYTES + 3]);
        assert_eq!(frames.len(), FRAME_BYTES + 3 + 2 * frame::BYTES);
        assert_eq!(frames[..frame::BYTES], [0, 0x40, 0, HEADERS, END_STREAM, 0, 0, 0, 1]);
        let second = &frames[frame::BYTES + FRAME_BYTES..];
        assert_eq!(second[..frame::BYTES], [0, 0, 3, CONTINUATION, END_HEADERS, 0, 0, 0, 1]);
    }
}
