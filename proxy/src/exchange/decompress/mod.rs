//! Decompression: which bodies are, and what their heads say then.
//!
//! It is done before the first filter sees a request and before the last one sees a response, so that all of them read
//! what is meant, and what they write is not compressed either. What goes to the client may be compressed again: see
//! `compress`.

mod body;
mod decoder;

use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};
use http::{HeaderValue, StatusCode};

pub(super) use self::body::{Source, Undecodable};
use self::decoder::Coding;
use super::Exchange;
use super::compress::forbids_transforming;
use super::upload::Upload;
use crate::config::model::Decompression;
use crate::upstream::{ResponseBody, UpstreamError};

impl From<Undecodable> for UpstreamError {
    fn from(why: Undecodable) -> UpstreamError {
        UpstreamError::Undecodable(why.into())
    }
}

impl Exchange {
    /// The request's body as filters are to see it.
    pub(super) fn decode_request(&self, upload: Upload) -> Source<Upload> {
        let Some(terms) = self.decompression().filter(|terms| terms.requests) else {
            return Source::Plain(upload);
        };
        match take_coding(&mut self.run.stream().borrow_mut().request.headers) {
            Some(coding) => Source::decoded(upload, coding, terms),
            None => Source::Plain(upload),
        }
    }

    /// The response's body as filters are to see it, and its head.
    pub(super) fn decode_response(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        body: ResponseBody,
    ) -> Source<ResponseBody> {
        match self.take_response_coding(status, headers) {
            Some((coding, terms)) => Source::decoded(body, coding, terms),
            None => Source::Plain(body),
        }
    }

    /// Has the head of an answer to HEAD say what that of the answer to GET would, which has a body (RFC 9110, 9.3.2).
    pub(super) fn decode_response_head(&self, status: StatusCode, headers: &mut HeaderMap) {
        let has_none =
            matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
                || headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        if self.head_only && !has_none {
            self.take_response_coding(status, headers);
        }
    }

    fn take_response_coding(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Option<(Coding, &Decompression)> {
        let terms = self.decompression().filter(|terms| terms.responses)?;
        // What a server says of these is its own affair. A client must not hide from filters by them.
        if status == StatusCode::PARTIAL_CONTENT
            || headers.contains_key(CONTENT_RANGE)
            || forbids_transforming(headers)
        {
            return None;
        }
        Some((take_coding(headers)?, terms))
    }

    fn decompression(&self) -> Option<&Decompression> {
        self.site.listener().routes[self.route?].decompression.as_deref()
    }
}

/// The coding of a body that is to be undone, which its head does not speak of any more then.
fn take_coding(headers: &mut HeaderMap) -> Option<Coding> {
    let coding = only_coding(headers)?;
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    // The bytes are others than those that a strong validator speaks of (RFC 9110, 8.8.1).
    if let Some(etag) = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
    Some(coding)
}

/// The one coding that a body is in, if it is a known one.
fn only_coding(headers: &HeaderMap) -> Option<Coding> {
    let mut only = None;
    for field in headers.get_all(CONTENT_ENCODING) {
        let names = field.to_str().ok()?.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
            if only.replace(name).is_some() {
                return None;
            }
        }
    }
    Coding::named(only?)
}
