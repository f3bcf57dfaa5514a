//! Compression of responses: which are, with what, and what their heads say of it.
//!
//! The rules are those that Envoy's compressor and nginx have in common. What is compressed goes on as soon as the upstream
//! has nothing more at hand, so that a stream of events stays one.

mod encoder;
mod negotiation;

use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
};
use smallvec::SmallVec;

use self::encoder::Encoder;
pub(super) use self::encoder::{Broken, Encoded};
use super::Exchange;
use super::cors::vary_by;
use crate::config::model::{Coding, Compression};

impl Exchange {
    /// What the response's body is compressed with, if it is; then its head says so. So does that of an answer to HEAD, which
    /// is what the answer to GET would be (RFC 9110 section 9.3.2).
    pub(super) fn choose_coding(&self, status: StatusCode, headers: &mut HeaderMap) -> Option<Box<Encoded>> {
        let compression = self.site.listener().routes[self.route?].compression.as_deref()?;
        if !may_be_compressed(compression, status, headers) {
            return None;
        }
        vary_by(headers, "accept-encoding");
        let stream = self.run.stream().borrow();
        let accepted: SmallVec<[_; 2]> = stream.request.headers.get_all(ACCEPT_ENCODING).iter().collect();
        let coding = negotiation::choose(&compression.algorithms, &accepted)?;
        mark(headers, coding);
        if self.head_only {
            return None;
        }
        Some(Box::new(Encoded::new(Encoder::new(coding, compression.level))))
    }
}

/// Whether a response would be compressed for a client that takes it.
fn may_be_compressed(compression: &Compression, status: StatusCode, headers: &HeaderMap) -> bool {
    let is_whole = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        )
        && !headers.contains_key(CONTENT_RANGE);
    is_whole
        && !headers.contains_key(CONTENT_ENCODING)
        && is_long_enough(compression, headers)
        && has_type(compression, headers)
        && !forbids_transforming(headers)
}

fn is_long_enough(compression: &Compression, headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length >= compression.min_length.max(1))
}

/// gRPC compresses its messages by itself.
fn has_type(compression: &Compression, headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let value = value.split(';').next().unwrap_or_default().trim();
    if value.len() >= 16 && value.as_bytes()[..16].eq_ignore_ascii_case(b"application/grpc") {
        return false;
    }
    compression.content_types.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(kind) => {
            value.len() > kind.len() && value.as_bytes()[..kind.len()].eq_ignore_ascii_case(kind.as_bytes())
        }
        None => value.eq_ignore_ascii_case(wanted),
    })
}

/// RFC 9111 section 5.2.2.6.
pub(super) fn forbids_transforming(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|value| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|one| one.trim().eq_ignore_ascii_case("no-transform"))
    })
}

/// The bytes are others than those that a strong validator speaks of (RFC 9110 section 8.8.1), and than those that a range
/// would be of.
fn mark(headers: &mut HeaderMap, coding: Coding) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(negotiation::token(coding)));
    if let Some(etag) = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")) {
        let weak = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat());
        match weak {
            Ok(weak) => headers.insert(ETAG, weak),
            Err(_) => headers.remove(ETAG),
        };
    }
}
