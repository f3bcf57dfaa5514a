//! Checks requests, answers and bodies.

use bytes::Bytes;
use http::HeaderName;

use super::super::model::{Answer, AnswerKind, Content};
use super::super::raw;
use super::{Matched, Reader};
use crate::config::Span;
use crate::config::check::{entries, items, whole};
use crate::config::decode::{Field, Located, Map, OneOrMany};
use crate::config::scalar::{Count, Scheme, Size, Text};
use crate::kit::{Request, Response};

/// Bytes that a body is made of at most.
const MAX_BODY: u64 = 64 << 20;

/// Bytes of a file that is a body.
const MAX_FILE: u64 = 16 << 20;

/// A message's header fields, as the user wrote them.
type Fields = Field<Map<Text<HeaderName>, OneOrMany<Text<http::HeaderValue>>>>;

/// A message's body in one piece, or in several.
enum Pieces {
    None,
    One(Bytes),
    Several(Vec<Bytes>),
}

impl Reader<'_> {
    pub(super) fn request(
        &mut self,
        request: Located<raw::Short<raw::Request>>,
        workers: usize,
    ) -> Option<Request> {
        let Located { value: raw::Short(raw), .. } = request;
        let method = raw.method.value().map_or(http::Method::GET, |Text(method)| method);
        let target = raw.path.value().map_or_else(|| "/".to_owned(), |Text(target)| target.0.to_string());
        let mut request = Request::new(method.as_str(), &target);
        // The body goes first: a length that is given is to stand.
        request = match self.pieces(raw.body, raw.chunks, raw.chunk_size) {
            Pieces::None => request,
            Pieces::One(body) => request.body(body),
            Pieces::Several(pieces) => request.chunks(pieces),
        };
        for (name, value) in fields(raw.headers) {
            request = request.field(name, value);
        }
        for (name, value) in fields(raw.trailers) {
            request = request.trailer(name.as_str(), value);
        }
        if let Some(identity) = raw.identity.value() {
            request = request.identity(&identity);
        }
        if let Some(Text(scheme)) = raw.scheme.value() {
            request = request.scheme(match scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            });
        }
        if let Some(Text(client)) = raw.client.value() {
            request = request.client(&client.to_string());
        }
        for (path, value) in entries(raw.properties) {
            let path: Vec<_> = path.value.split('.').collect();
            request = request.property(&path, value.value().unwrap_or_default());
        }
        if let Some(route) = raw.route.value() {
            request = request.route(&route);
        }
        if let Some(cluster) = raw.cluster.value() {
            request = request.cluster(&cluster);
        }
        if let Some(Located { value: Text(Count(worker)), span }) = raw.worker.given() {
            if worker >= workers as u64 {
                let message = format!("there is no worker {worker}");
                let hint = format!("they count from 0, and `workers` is {workers}");
                self.log.error_with_hint(span, message, hint);
                return None;
            }
            request = request.on_worker(whole(worker));
        }
        Some(request)
    }

    pub(super) fn answer(&mut self, answer: Located<raw::Answer>, is_cluster: bool) -> Option<Answer> {
        let Located { value: raw, .. } = answer;
        let matched = raw.r#match.given();
        let (mut method, mut path, mut headers) = (None, None, Vec::new());
        if let Some(Located { value: matched, .. }) = matched {
            method = matched.method.value().map(|Text(method)| method);
            path = matched.path.given().map(|path| self.matcher(path.value));
            headers = self.field_matchers(matched.headers).map(|(name, values, _)| (name, values)).collect();
        }
        if let Some(at) =
            [raw.never.span(), raw.unavailable.span()].into_iter().flatten().find(|_| !is_cluster)
        {
            let hint = "the kit's upstream always answers: give it a `status` of 503, or `after`";
            self.log.error_with_hint(at, "this is for `clusters`", hint);
            return None;
        }
        if raw.never.value() == Some(true) {
            return Some(Answer { method, path, headers, kind: AnswerKind::Never });
        }
        if let Some(why) = raw.unavailable.value() {
            return Some(Answer { method, path, headers, kind: AnswerKind::Unavailable(why) });
        }
        let status = raw.status.value().map_or(200, |Text(status)| status.as_u16());
        let mut response = Response::new(status);
        let echo = raw.echo.span().filter(|_| raw.echo.value() == Some(true));
        let pieces = self.pieces(raw.body, raw.chunks, raw.chunk_size);
        if let (Some(at), false) = (echo, matches!(pieces, Pieces::None)) {
            self.log.error_with_hint(at, "`echo` has a body already", "leave `body` and `chunks` out");
        }
        response = match pieces {
            Pieces::None => response,
            Pieces::One(body) => response.body(body),
            Pieces::Several(pieces) => response.chunks(pieces),
        };
        for (name, value) in fields(raw.headers) {
            response = response.field(name, value);
        }
        for (name, value) in fields(raw.trailers) {
            response = response.trailer(name.as_str(), value);
        }
        if raw.cut.value() == Some(true) {
            response = response.cut();
        }
        response = response.after(self.duration(raw.after).unwrap_or_default());
        Some(Answer { method, path, headers, kind: AnswerKind::Response(Box::new(response), echo.is_some()) })
    }

    fn pieces(
        &mut self,
        body: Field<raw::Body>,
        chunks: Field<Vec<Field<raw::Body>>>,
        chunk_size: Field<Text<Size>>,
    ) -> Pieces {
        let chunk_size = chunk_size.given();
        match (body.given(), chunks.given()) {
            (Some(_), Some(chunks)) => {
                let hint = "leave `body` out; `chunk_size` divides a `body`";
                self.log.error_with_hint(chunks.span, "`body` and `chunks` cannot be given together", hint);
                Pieces::None
            }
            (None, Some(chunks)) => {
                if let Some(size) = chunk_size {
                    self.log.error_with_hint(size.span, "`chunks` says this already", "it divides a `body`");
                }
                let pieces = items(chunks.value).map(|piece| self.content(piece).0);
                Pieces::Several(pieces.collect())
            }
            (Some(body), None) => {
                let Content(body) = self.content(body);
                match chunk_size.map(|size| size.value.0) {
                    None => Pieces::One(body),
                    Some(Size(size)) => {
                        let size = whole(size.max(1));
                        let starts = (0..body.len()).step_by(size);
                        let end = |start: usize| (start + size).min(body.len());
                        Pieces::Several(starts.map(|start| body.slice(start..end(start))).collect())
                    }
                }
            }
            (None, None) => {
                if let Some(size) = chunk_size {
                    self.log.error_with_hint(size.span, "there is no body to divide", "give a `body`");
                }
                Pieces::None
            }
        }
    }

    /// What a body is.
    pub(super) fn content(&self, body: Located<raw::Body>) -> Content {
        let Located { value, span } = body;
        match value {
            raw::Body::Text(text) | raw::Body::Plain(text) => {
                Content(text.value().unwrap_or_default().into())
            }
            raw::Body::Json(value) => Content::of_json(&value.value().unwrap_or_default()),
            raw::Body::Base64(bytes) => {
                Content(bytes.value().map_or_else(Bytes::new, |Text(bytes)| bytes.0.into()))
            }
            raw::Body::File(path) => Content(self.file(path).unwrap_or_default()),
            raw::Body::Repeat(repeat) => {
                let Some(Located { value: repeat, .. }) = repeat.given() else {
                    return Content(Bytes::new());
                };
                let text = self.checker.required(repeat.text, "text", span);
                let times = self.checker.required(repeat.times, "times", span);
                let (Some(text), Some(times)) = (text, times) else { return Content(Bytes::new()) };
                let Text(Count(count)) = times.value;
                if (text.value.len() as u64).saturating_mul(count) > MAX_BODY {
                    self.log.error_with_hint(times.span, "this is too often", "a body has 64 MiB at most");
                    return Content(Bytes::new());
                }
                Content(text.value.repeat(whole(count)).into())
            }
        }
    }

    /// A file's bytes.
    pub(super) fn file(&self, path: Field<String>) -> Option<Bytes> {
        let Located { value: path, span } = path.given()?;
        let path = self.folder.join(path);
        match crate::files::read_stream(&path, MAX_FILE) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                self.log.error_with_hint(span, message, "the path is relative to the folder of this file");
                None
            }
        }
    }

    /// Header fields to compare with, and where the file has each.
    pub(super) fn field_matchers(
        &self,
        fields: Field<Map<Text<HeaderName>, OneOrMany<raw::Matcher>>>,
    ) -> impl Iterator<Item = (HeaderName, Vec<Matched>, Span)> {
        let fields = entries(fields).into_iter().filter_map(|(name, values)| {
            let Located { value: OneOrMany(values), span } = values.given()?;
            let values = items(values).map(|value| self.matcher(value.value));
            Some((name.value.0, values.collect(), span))
        });
        fields.collect::<Vec<_>>().into_iter()
    }
}

/// Each value of each field.
fn fields(fields: Fields) -> impl Iterator<Item = (HeaderName, http::HeaderValue)> {
    entries(fields).into_iter().flat_map(|(name, values)| {
        let values = values.value().map_or_else(Vec::new, |OneOrMany(values)| values);
        let Text(name) = name.value;
        items(values).map(move |value| (name.clone(), value.value.0)).collect::<Vec<_>>()
    })
}
