//! What the proxy says by itself: failures, guests' replies, redirects and direct responses become responses here and
//! nowhere else.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::uri::{PathAndQuery, Uri};
use http_body_util::Full;

use super::ClientError;
use super::decompress::Undecodable;
use super::headers::{Refusal, drop_hop_by_hop};
use crate::config::model;
use crate::error::Failure;
use crate::filter::{FlowBody, FlowError, HeadError, Interrupt, Run};
use crate::grpc::{self, GRPC_STATUS};
use crate::overload::Excess;
use crate::path::{self, PathNormalization, Unnormalizable};
use crate::route;
use crate::telemetry::metrics::Limit;
use crate::upstream::UpstreamError;
use crate::wasm::stream::{Direction, LocalReply, RequestHead};

/// The details of an attempt whose own time was over.
pub(super) const PER_TRY_TIMEOUT: &str = "upstream_per_try_timeout";

const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
/// Envoy's word for that it is the proxy that has too much to do, and not the upstream.
const LOCAL_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-local-overloaded");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why an exchange does not end with the upstream's response.
#[derive(Debug)]
pub enum Ending {
    /// The proxy answers by itself.
    Answer(Box<Answer>),
    /// The connection is cut: there is nothing right to say, or no way to say it.
    Cut {
        /// Why.
        failure: Failure,
        /// More for the log, nothing for the client.
        details: String,
        /// The filter that is to blame, if one is.
        filter: Option<Arc<str>>,
    },
}

/// A response of the proxy's own.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The failure that it reports, if it reports one.
    pub failure: Option<Failure>,
    /// Response code details: what led to it.
    pub details: String,
    /// The filter that answered, if one did.
    pub filter: Option<Arc<str>>,
    grpc_status: Option<u8>,
    /// It is said in the listener's words already.
    pub(super) is_page: bool,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Ending {
        Ending::failed(failure, failure.reason().to_owned())
    }
}

impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Ending {
        Ending::failed(refusal.failure, refusal.details.to_owned())
    }
}

impl From<Unnormalizable> for Ending {
    fn from(why: Unnormalizable) -> Ending {
        let failure = match why {
            Unnormalizable::InvalidEscape
            | Unnormalizable::EncodedNul
            | Unnormalizable::EscapedSlash
            | Unnormalizable::HiddenDotSegment => Failure::AmbiguousPath,
            Unnormalizable::TooLong => Failure::UriTooLong,
        };
        Ending::failed(failure, format!("path_normalization_failed:{why}"))
    }
}

impl From<Interrupt> for Ending {
    fn from(interrupt: Interrupt) -> Ending {
        match interrupt {
            Interrupt::Reply { filter, reply } if !reply.is_granted => {
                Ending::from(Failure::ReplyNotGranted).by(filter)
            }
            Interrupt::Reply { filter, reply } => {
                Ending::Answer(Box::new(Answer::from_guest(filter, *reply)))
            }
            Interrupt::Close { filter } => {
                Ending::failed(Failure::FilterClosed, "filter_closed".to_owned()).by(filter)
            }
            Interrupt::Fault { filter, kind } => {
                Ending::failed(Failure::FilterFault, format!("wasm_fail_stream:{}", kind.word())).by(filter)
            }
            Interrupt::OverRate { filter } => {
                Ending::failed(Failure::FilterOverRate, "filter_over_rate".to_owned()).by(filter)
            }
            Interrupt::BodyTooLarge(Direction::Request) => Failure::RequestTooLarge.into(),
            Interrupt::BodyTooLarge(Direction::Response) => Failure::ResponseTooLarge.into(),
        }
    }
}

impl Ending {
    /// Why a request's head did not come out of the chain.
    pub(super) fn from_request(error: HeadError<ClientError>) -> Ending {
        match error {
            HeadError::Interrupted(interrupt) => interrupt.into(),
            HeadError::Source(error) => Ending::failed(request_body_failure(&error), error.to_string()),
        }
    }

    /// Why a response's head did not come out of the chain.
    pub(super) fn from_response<E: std::error::Error + 'static>(error: HeadError<E>) -> Ending {
        match error {
            HeadError::Interrupted(interrupt) => interrupt.into(),
            // Its head was held, so that there is still something to say.
            HeadError::Source(error) => {
                let source: &(dyn std::error::Error + 'static) = &error;
                let failure = match source.downcast_ref::<UpstreamError>() {
                    Some(UpstreamError::Undecodable(_)) => Failure::UpstreamMalformed,
                    _ => Failure::UpstreamReset,
                };
                Ending::failed(failure, error.to_string())
            }
        }
    }

    /// Why there is no response.
    pub(super) fn from_upstream(error: UpstreamError) -> Ending {
        let failure = match &error {
            UpstreamError::NoEndpoint => Failure::NoEndpoint,
            UpstreamError::Overflow(Limit::Concurrency) => Failure::UpstreamConcurrency,
            UpstreamError::Overflow(_) => Failure::UpstreamOverflow,
            UpstreamError::ConnectRefused(_) | UpstreamError::Connect(_) => Failure::ConnectFailed,
            UpstreamError::ConnectTimeout => Failure::ConnectTimeout,
            UpstreamError::Tls(_) => Failure::UpstreamTlsFailed,
            UpstreamError::Closed { .. } | UpstreamError::RefusedStream(_) | UpstreamError::Http2(_) => {
                Failure::UpstreamReset
            }
            UpstreamError::NoUpgrade => Failure::UpgradeFailed,
            UpstreamError::Malformed(_) => Failure::UpstreamMalformed,
            UpstreamError::HeadTooLarge(_) => Failure::UpstreamHeadTooLarge,
            UpstreamError::ResponseBody(_) => Failure::UpstreamBodyCut,
            UpstreamError::Undecodable(_) => Failure::UpstreamMalformed,
            UpstreamError::RequestBody(_) => match error.find::<FlowError<ClientError>>() {
                Some(FlowError::Source(error)) => request_body_failure(error),
                Some(FlowError::Length) => Failure::Unframable,
                Some(FlowError::Interrupted) | None => Failure::RequestBodyCut,
            },
        };
        let details = match &error {
            UpstreamError::Tls(source) => format!("{}: {source}", failure.reason()),
            error => format!("{}: {error}", failure.reason()),
        };
        let mut ending = Ending::failed(failure, details);
        if let (Ending::Answer(answer), UpstreamError::Overflow(_)) = (&mut ending, &error) {
            // Envoy's word to whoever would try again at once.
            answer.headers.insert(OVERLOADED, HeaderValue::from_static("true"));
        }
        ending
    }

    /// What went wrong, if anything.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self {
            Ending::Answer(answer) => answer.failure,
            Ending::Cut { failure, .. } => Some(*failure),
        }
    }

    /// What is said where the proxy has too much to do.
    pub(super) fn overloaded(excess: Excess, retry_after: Duration) -> Ending {
        let details = format!("{}: {}", Failure::Overloaded.reason(), excess.word());
        let mut ending = Ending::failed(Failure::Overloaded, details);
        if let Ending::Answer(answer) = &mut ending {
            answer.headers.insert(LOCAL_OVERLOADED, HeaderValue::from_static("true"));
            answer.headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
        }
        ending
    }

    /// Whether the time in which the upstream had to answer is over. An attempt whose own time was is noted where that is
    /// known.
    pub(super) fn is_of_slow_upstream(&self) -> bool {
        let Ending::Answer(answer) = self else { return false };
        let is_slow = matches!(answer.failure, Some(Failure::UpstreamTimeout | Failure::ResponseIdle));
        is_slow && answer.details != PER_TRY_TIMEOUT
    }

    fn by(mut self, name: Arc<str>) -> Ending {
        match &mut self {
            Ending::Answer(answer) => answer.filter = Some(name),
            Ending::Cut { filter, .. } => *filter = Some(name),
        }
        self
    }

    /// What a failure becomes, with more about it for the log.
    pub fn failed(failure: Failure, details: String) -> Ending {
        match failure.status() {
            None => Ending::Cut { failure, details, filter: None },
            Some(status) => Ending::Answer(Box::new(Answer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::from_static(failure.client_text().as_bytes()),
                failure: Some(failure),
                details,
                filter: None,
                grpc_status: None,
                is_page: false,
            })),
        }
    }

    /// A direct response of a route.
    pub(super) fn respond(respond: &model::Respond) -> Ending {
        let mut answer = Answer::plain(respond.status, "direct_response");
        answer.body = respond.body.clone();
        answer.headers.extend(respond.headers.iter().cloned());
        Ending::Answer(Box::new(answer))
    }

    /// An answer without a body.
    pub(super) fn answer(status: StatusCode, headers: HeaderMap, details: &str) -> Ending {
        let mut answer = Answer::plain(status, details);
        answer.headers = headers;
        Ending::Answer(Box::new(answer))
    }

    /// A redirect to the normal form of the path that the client asked for. gRPC clients follow none.
    pub(super) fn normalized(uri: &Uri, request: &RequestHead) -> Ending {
        if grpc::is_call(&request.headers) {
            return Unnormalizable::EscapedSlash.into();
        }
        let mut answer = Answer::plain(StatusCode::TEMPORARY_REDIRECT, "path_normalized");
        // Two slashes at the beginning would name another host (RFC 3986, 4.2).
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let guard = if target.starts_with("//") { "/." } else { "" };
        if let Ok(location) = HeaderValue::from_maybe_shared(Bytes::from(format!("{guard}{target}"))) {
            answer.headers.insert(LOCATION, location);
        }
        Ending::Answer(Box::new(answer))
    }

    /// A redirect of a route. A filter may have written a path that is not in its normal form: the client is not led to one.
    pub(super) fn redirect(
        redirect: &model::Redirect,
        matched: &model::PathMatch,
        request: &RequestHead,
        rules: &PathNormalization,
    ) -> Ending {
        let normalized = match path::normalize(&request.uri, rules) {
            Ok(normalized) => normalized.map(|normalized| normalized.uri),
            Err(why) => return why.into(),
        };
        let uri = normalized.as_ref().unwrap_or(&request.uri);
        let host =
            request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let scheme = request.scheme.to_str().unwrap_or("http");
        let location = route::location(redirect, matched, scheme, host, uri);
        let mut answer = Answer::plain(redirect.status, "redirect");
        if let Ok(location) = HeaderValue::from_maybe_shared(Bytes::from(location)) {
            answer.headers.insert(LOCATION, location);
        }
        Ending::Answer(Box::new(answer))
    }
}

impl Answer {
    fn plain(status: StatusCode, details: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            failure: None,
            details: details.to_owned(),
            filter: None,
            grpc_status: None,
            is_page: false,
        }
    }

    /// A page in the place of an upstream's response.
    pub(super) fn replacing(status: StatusCode, headers: HeaderMap) -> Answer {
        Answer { headers, is_page: true, ..Answer::plain(status, "error_page") }
    }

    fn from_guest(filter: Arc<str>, mut reply: LocalReply) -> Answer {
        drop_hop_by_hop(&mut reply.headers);
        reply.headers.remove(CONTENT_LENGTH); // the body says it better
        Answer {
            status: reply.status,
            headers: reply.headers,
            body: reply.body,
            failure: None,
            details: if reply.details.is_empty() { "filter_reply".to_owned() } else { reply.details },
            filter: Some(filter),
            grpc_status: reply.grpc_status,
            is_page: false,
        }
    }

    /// Takes the response's place in an exchange. Before there was a response it goes through the response side of the
    /// chain as one would; an answer to the response itself goes out directly, as in Envoy.
    pub fn enter(mut self, run: &Rc<Run>, head_only: bool) -> FlowBody<Full<Bytes>> {
        if run.stream().borrow().response.is_some() {
            run.step_aside();
        }
        self.speak_to(&run.stream().borrow().request);
        if head_only && !self.body.is_empty() {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        run.take_response(self.status, self.headers);
        // A HEAD gets the length of the body and none of it.
        let source = (!self.body.is_empty() && !head_only).then(|| Full::new(self.body));
        FlowBody::new(run.clone(), Direction::Response, source)
    }

    /// Says it in the words of the request's protocol: a gRPC client gets a trailers-only response, whose status is in
    /// a header (gRPC over HTTP/2, "Responses"); others get text.
    fn speak_to(&mut self, request: &RequestHead) {
        if grpc::is_call(&request.headers) {
            self.speak_grpc();
        } else if !self.body.is_empty() && !self.headers.contains_key(CONTENT_TYPE) {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
    }

    fn speak_grpc(&mut self) {
        let code = self.grpc_status.unwrap_or_else(|| grpc_status(self.status));
        self.status = StatusCode::OK;
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        self.headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
        let message = std::mem::take(&mut self.body);
        if let Some(message) = grpc_message(&message) {
            self.headers.insert(GRPC_MESSAGE, message);
        }
    }
}

/// Whose fault it is that a request's body does not come to its end.
fn request_body_failure(error: &ClientError) -> Failure {
    let error = match error {
        ClientError::Http1(error) => error,
        ClientError::Http2(_) => return Failure::RequestBodyCut,
        ClientError::Base64 => return Failure::RequestBodyMalformed,
        ClientError::Undecodable(Undecodable::Malformed(_)) => return Failure::RequestBodyMalformed,
        ClientError::Undecodable(Undecodable::TooLarge) => return Failure::RequestTooLarge,
    };
    // hyper's decoder says by the kind of an I/O error whether what it read was wrong, or there was nothing to read.
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match source.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Failure::RequestBodyMalformed,
        _ => Failure::RequestBodyCut,
    }
}

/// Says in a response's head what its status means to a gRPC client, with this message.
pub(super) fn explain(status: StatusCode, message: &[u8], headers: &mut HeaderMap) {
    // A success of another kind is none of the call's.
    let code = if status == StatusCode::OK { 2 } else { grpc_status(status) };
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    match grpc_message(message) {
        Some(message) => headers.insert(GRPC_MESSAGE, message),
        None => headers.remove(GRPC_MESSAGE),
    };
}

/// The status with which a gRPC call ends whose response has begun, where this is told: who closes a stream wants nothing
/// said.
pub(super) fn call_status(failure: Failure) -> Option<u8> {
    match failure {
        Failure::UpstreamTimeout | Failure::DurationExceeded => Some(4),
        Failure::UpstreamBodyCut => Some(14),
        failure => failure.status().map(grpc_status),
    }
}

/// The trailers that say so.
pub(super) fn end_call(status: u8, failure: Option<Failure>) -> HeaderMap {
    let text = failure.map(Failure::client_text).filter(|text| !text.is_empty());
    let message = grpc_message(text.unwrap_or("the response was cut short").as_bytes());
    let status = (GRPC_STATUS, HeaderValue::from(u16::from(status)));
    [Some(status), message.map(|message| (GRPC_MESSAGE, message))].into_iter().flatten().collect()
}

/// The gRPC status for an HTTP one ("HTTP to gRPC Status Code Mapping").
fn grpc_status(status: StatusCode) -> u8 {
    match status.as_u16() {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A message percent-encoded as gRPC asks: printable ASCII as it is, the rest and `%` by their bytes.
fn grpc_message(text: &[u8]) -> Option<HeaderValue> {
    use std::fmt::Write as _;
    if text.is_empty() {
        return None;
    }
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(encoded)).ok()
}
