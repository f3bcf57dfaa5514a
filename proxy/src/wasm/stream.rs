//! What the guests of one exchange see and change: the one value that the pipeline and the hostcalls share.
//!
//! It knows no I/O. The pipeline fills it in as the exchange goes on and takes out what guests asked for; hostcalls
//! read and change it while a guest runs. It is never borrowed across a guest call by the pipeline, nor across a
//! wait by anyone.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

pub use super::body::BodyBuffer;
use super::lazy_headers::LazyHeaders;
use super::properties::{ConnectionProperties, Declaration, LifeSpan, Properties, Refusal};
use crate::config::model::{Address, BUFFER_LIMIT, UnixAddress};

/// One exchange as its guests see it, shared by the pipeline and every filter instance that has a context for it.
pub type StreamRef = Rc<RefCell<Stream>>;

/// Which half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An HTTP request and its response.
    Exchange,
    /// A TCP connection: data in both directions, and nothing of what else an exchange has. Its head is an empty one,
    /// which guests are not shown.
    Connection,
}

/// The state of one exchange that guests can reach.
#[derive(Debug)]
pub struct Stream {
    /// Whether it is one, or a TCP connection.
    pub subject: Subject,
    /// The request's head.
    pub request: RequestHead,
    /// The response's head, once there is one.
    pub response: Option<ResponseHead>,
    /// Header changes that a guest made to the response before there was one: applied when it comes.
    pub staged_response_headers: Option<Box<HeaderMap>>,
    /// The request's trailers, once they were received or created.
    pub request_trailers: Option<Box<HeaderMap>>,
    /// The response's trailers, once they were received or created.
    pub response_trailers: Option<Box<HeaderMap>>,
    /// How far the request has gone: what may still be changed.
    pub request_progress: Progress,
    /// How far the response has gone: what may still be changed.
    pub response_progress: Progress,
    /// A guest changed what routing looks at, or asked for a new look.
    pub route_stale: bool,
    /// The endpoint that a guest wants the request to go to, if the route's cluster has it.
    pub preferred_endpoint: Option<SocketAddr>,
    /// How much longer the exchange may take than its route says: what guests made it wait on purpose.
    pub timeout_extension: Duration,
    /// How much of a body a guest may have held, by what it does outside the body's own callback, in bytes.
    pub buffer_limit: usize,
    /// For each filter of the chain, by its place in it.
    pub stages: Vec<Stage>,
    /// What guests asked of the stream, in order; the pipeline takes it after each guest call.
    pub actions: VecDeque<(usize, StreamAction)>,
    /// Who waits for an action, for each direction: both are woken when one is pushed.
    wakers: [Option<Waker>; 2],
    /// Written by `set_property`, read by `get_property` and the access log. Keys are raw property paths.
    pub properties: Properties,
    /// What guests store for as long as the connection lives, where there is one that outlives the exchange.
    pub connection: Option<Arc<ConnectionProperties>>,
    /// Facts about the exchange for `get_property`.
    pub info: StreamInfo,
}

/// How far a direction's head has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Its head is not sent yet: everything may be changed.
    Head,
    /// Its head was sent; its body and trailers may be changed.
    Body,
    /// Nothing may be changed any more.
    Done,
}

/// A request's line and headers. `host` stays an ordinary header and is what guests see as `:authority`.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:path` is its path and query; always in origin form.
    pub uri: Uri,
    /// `:scheme`: `http` or `https`.
    pub scheme: HeaderValue,
    /// The header fields, `host` included.
    pub headers: HeaderMap,
}

/// A response's status and headers.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// `:status`.
    pub status: StatusCode,
    /// The header fields.
    pub headers: LazyHeaders,
}

/// What one filter of the chain holds of an exchange.
#[derive(Debug, Default)]
pub struct Stage {
    /// What `get_buffer_bytes(HttpRequestBody)` shows, or `DownstreamData` of a connection: the chunk at hand, or all
    /// that is held.
    pub request_body: BodyBuffer,
    /// What `get_buffer_bytes(HttpResponseBody)` shows, or `UpstreamData` of a connection.
    pub response_body: BodyBuffer,
    /// What the guest has to say in the response beside what it does to what comes.
    pub injection: Injection,
}

/// Bytes that a guest puts into a response behind what it has let go on.
#[derive(Debug, Default)]
pub struct Injection {
    /// The bytes.
    pub data: BodyBuffer,
    /// Whether the response ends with them.
    pub end: bool,
}

/// What a guest asked of a stream. Performed after the callback returns, in order; idempotent.
#[derive(Debug)]
pub enum StreamAction {
    /// `proxy_continue_stream`: go on where this filter paused.
    Resume(Direction),
    /// `proxy_inject_encoded_data_to_filter_chain`: what to inject is in the filter's stage.
    Inject,
    /// `proxy_close_stream`: reset the exchange.
    Close,
    /// `proxy_send_local_response`.
    Reply(Box<LocalReply>),
    /// The filter's instance is lost: its fault policy decides.
    Fault,
}

/// `proxy_send_local_response`, checked.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// 200–599.
    pub status: StatusCode,
    /// Response code details, white space replaced by `_`.
    pub details: String,
    /// The body.
    pub body: Bytes,
    /// Added to the generated headers.
    pub headers: HeaderMap,
    /// 0–16, where the guest gave one.
    pub grpc_status: Option<u8>,
    /// Whether the filter may reply. Where it may not, nothing of its reply is here, and the exchange fails.
    pub is_granted: bool,
}

/// Facts about an exchange that `get_property` shows.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// When the request's head was received.
    pub start: SystemTime,
    /// `source.address`: the client (after trusted hops).
    pub source: SocketAddr,
    /// `destination.address`: the listener's side of the connection.
    pub destination: SocketAddr,
    /// `destination.address`, where the connection came in by a UNIX socket. Then `source` and `destination` are nowhere,
    /// and the client has no address.
    pub unix: Option<UnixAddress>,
    /// `connection.id`.
    pub connection_id: u64,
    /// What is known of the connection where it is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// `request.protocol`: `HTTP/1.1`.
    pub protocol: &'static str,
    /// `xds.listener_direction`: 0 unspecified, 1 inbound, 2 outbound.
    pub listener_direction: u8,
    /// By what it is decided which share of the requests it is one of, however often that is asked. Any number.
    pub chance: u32,
    /// `xds.route_name`, once a route is found.
    pub route_name: Option<Arc<str>>,
    /// `xds.cluster_name`, once a cluster is picked.
    pub cluster_name: Option<Arc<str>>,
    /// `upstream.address`, once an endpoint is picked.
    pub upstream: Option<Address>,
    /// `upstream.local_address`.
    pub upstream_local: Option<SocketAddr>,
    /// `response.code_details`.
    pub code_details: Option<Cow<'static, str>>,
    /// Bytes of request body received so far.
    pub request_bytes: u64,
    /// Bytes of response body received so far.
    pub response_bytes: u64,
    /// Time to the end of the exchange, once it has ended.
    pub duration: Option<std::time::Duration>,
}

/// What a downstream connection's handshake said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `connection.tls_version`: `TLSv1.3`; empty where the handshake is made elsewhere, and the connection passed on.
    pub version: String,
    /// `connection.requested_server_name`: the name that the client asked for, empty if it asked for none.
    pub server_name: String,
    /// The certificate that the client proved to have, if it was asked for one and had one.
    pub peer: Option<Certificate>,
    /// The listener's own.
    pub local: Option<Certificate>,
}

/// Whom a certificate names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// `connection.subject_*_certificate`, in the form of RFC 2253.
    pub subject: String,
    /// `connection.uri_san_*_certificate` is the first of them: a SPIFFE id.
    pub uri_sans: Vec<String>,
    /// `connection.dns_san_*_certificate` is the first of them.
    pub dns_sans: Vec<String>,
    /// `connection.sha256_peer_certificate_digest`: 64 digits, hexadecimal.
    pub sha256: String,
}

impl RequestHead {
    /// That of an exchange of which nothing is known.
    pub(crate) fn nothing() -> RequestHead {
        RequestHead {
            method: Method::GET,
            uri: Uri::default(),
            scheme: HeaderValue::from_static("http"),
            headers: HeaderMap::new(),
        }
    }
}

impl StreamInfo {
    /// What is known when a request's head has been received, at `start`.
    pub fn new(start: SystemTime, source: SocketAddr, destination: SocketAddr) -> StreamInfo {
        StreamInfo {
            start,
            source,
            destination,
            unix: None,
            connection_id: 0,
            tls: None,
            protocol: "HTTP/1.1",
            listener_direction: 0,
            chance: 0,
            route_name: None,
            cluster_name: None,
            upstream: None,
            upstream_local: None,
            code_details: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: None,
        }
    }
}

impl Stream {
    /// A stream at its beginning: nothing sent, no response yet, `stages` filters in the chain.
    pub fn new(request: RequestHead, info: StreamInfo, stages: usize) -> Stream {
        Stream {
            subject: Subject::Exchange,
            request,
            response: None,
            staged_response_headers: None,
            request_trailers: None,
            response_trailers: None,
            request_progress: Progress::Head,
            response_progress: Progress::Head,
            route_stale: false,
            preferred_endpoint: None,
            timeout_extension: Duration::ZERO,
            buffer_limit: BUFFER_LIMIT,
            stages: std::iter::repeat_with(Stage::default).take(stages).collect(),
            actions: VecDeque::new(),
            wakers: [None, None],
            properties: Properties::default(),
            connection: None,
            info,
        }
    }

    /// A TCP connection at its beginning, with `stages` filters in the chain.
    pub fn connection(info: StreamInfo, stages: usize) -> Stream {
        let nothing = RequestHead {
            method: Method::default(),
            uri: Uri::default(),
            scheme: HeaderValue::from_static(""),
            headers: HeaderMap::new(),
        };
        Stream { subject: Subject::Connection, ..Stream::new(nothing, info, stages) }
    }

    /// The request's head, which a connection has not.
    pub fn request_head(&self) -> Option<&RequestHead> {
        (self.subject == Subject::Exchange).then_some(&self.request)
    }

    /// How far a direction has gone.
    pub fn progress(&self, direction: Direction) -> Progress {
        match direction {
            Direction::Request => self.request_progress,
            Direction::Response => self.response_progress,
        }
    }

    /// All of a direction has gone.
    pub fn finish(&mut self, direction: Direction) {
        match direction {
            Direction::Request => self.request_progress = Progress::Done,
            Direction::Response => self.response_progress = Progress::Done,
        }
    }

    /// A direction's trailers, once there are any.
    pub fn trailers(&self, direction: Direction) -> Option<&HeaderMap> {
        match direction {
            Direction::Request => self.request_trailers.as_deref(),
            Direction::Response => self.response_trailers.as_deref(),
        }
    }

    /// Asks something of the stream for the filter at `stage`, and wakes the pipeline. Asking for the same again
    /// changes nothing, so that what is queued has a limit: of two local replies of a filter the first wins.
    pub fn push_action(&mut self, stage: usize, action: StreamAction) {
        if !self.actions.iter().any(|(by, queued)| *by == stage && queued.is_alike(&action)) {
            self.actions.push_back((stage, action));
        }
        self.wake();
    }

    /// Puts bytes into the response behind what the filter at `stage` has let go on; behind the end nothing comes.
    /// Whether there was room: what was not taken up yet may be as much as a body that is held.
    pub(crate) fn inject(&mut self, stage: usize, data: &[u8], end: bool) -> bool {
        let injection = &mut self.stages[stage].injection;
        if injection.end {
            return true;
        }
        if data.len() > self.buffer_limit.saturating_sub(injection.data.len()) {
            return false;
        }
        injection.data.splice(usize::MAX, 0, data);
        injection.end = end;
        self.push_action(stage, StreamAction::Inject);
        true
    }

    /// Takes the first action that is wanted.
    pub fn take_action(
        &mut self,
        wanted: impl Fn(usize, &StreamAction) -> bool,
    ) -> Option<(usize, StreamAction)> {
        if self.actions.is_empty() {
            return None; // nearly always
        }
        let at = self.actions.iter().position(|(stage, action)| wanted(*stage, action))?;
        self.actions.remove(at)
    }

    /// Has `waker` woken when there is something new for a direction.
    pub fn wait(&mut self, direction: Direction, waker: &Waker) {
        let slot = &mut self.wakers[direction as usize];
        if slot.as_ref().is_none_or(|there| !there.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Wakes whoever waits for something new for a direction.
    pub fn wake_for(&mut self, direction: Direction) {
        if let Some(waker) = self.wakers[direction as usize].take() {
            waker.wake();
        }
    }

    /// Wakes whoever waits.
    pub fn wake(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// What a guest stored for as long as the connection lives.
    pub(crate) fn connection_property(&self, path: &[u8]) -> Option<Bytes> {
        self.connection.as_ref()?.value(path)
    }

    /// Stores what a guest sets. A value stays where it is, whatever is declared of its name later.
    pub(crate) fn set_property(
        &mut self,
        path: &[u8],
        value: &[u8],
        declaration: Declaration,
    ) -> Result<(), Refusal> {
        if let Some(connection) = &self.connection
            && self.properties.get(path).is_none()
            && (declaration.span == LifeSpan::Connection || connection.value(path).is_some())
        {
            return connection.set(path, value, declaration.read_only);
        }
        self.properties.set(path, value, declaration.read_only)
    }

    /// A direction's headers, once there are any.
    pub fn headers(&self, direction: Direction) -> Option<&HeaderMap> {
        match direction {
            Direction::Request => Some(&self.request.headers),
            Direction::Response => self.response.as_ref().map(|head| &*head.headers),
        }
    }

    /// A direction's headers, to change them.
    pub fn headers_mut(&mut self, direction: Direction) -> Option<&mut HeaderMap> {
        match direction {
            Direction::Request => Some(&mut self.request.headers),
            Direction::Response => self.response.as_mut().map(|head| &mut *head.headers),
        }
    }

    /// A direction's trailers have come.
    pub fn set_trailers(&mut self, direction: Direction, trailers: HeaderMap) {
        *match direction {
            Direction::Request => &mut self.request_trailers,
            Direction::Response => &mut self.response_trailers,
        } = Some(Box::new(trailers));
    }
}

impl StreamAction {
    fn is_alike(&self, other: &StreamAction) -> bool {
        match (self, other) {
            (StreamAction::Resume(one), StreamAction::Resume(other)) => one == other,
            (StreamAction::Inject, StreamAction::Inject)
            | (StreamAction::Close, StreamAction::Close)
            | (StreamAction::Reply(_), StreamAction::Reply(_))
            | (StreamAction::Fault, StreamAction::Fault) => true,
            _ => false,
        }
    }
}

impl Stage {
    /// The piece of a direction's body.
    pub fn body(&self, direction: Direction) -> &BodyBuffer {
        match direction {
            Direction::Request => &self.request_body,
            Direction::Response => &self.response_body,
        }
    }

    /// The piece of a direction's body, to change it.
    pub fn body_mut(&mut self, direction: Direction) -> &mut BodyBuffer {
        match direction {
            Direction::Request => &mut self.request_body,
            Direction::Response => &mut self.response_body,
        }
    }
}
