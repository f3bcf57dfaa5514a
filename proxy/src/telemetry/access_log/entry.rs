//! What a line of the access log says, and how it is written.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Serialize, Serializer};

use crate::config::model::Address;
use crate::error::Outcome;
use crate::grpc;
use crate::telemetry::timestamp;
use crate::wasm::stream::Tls;

/// The facts of an exchange as far as they are known. What stays `None` is `null` in the line.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When the request's head was received.
    pub time: SystemTime,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that was picked.
    pub upstream: Option<Address>,
    /// How often it was sent to an endpoint, or tried to be.
    pub attempts: Option<u32>,
    /// The client (after trusted hops).
    pub client: Option<SocketAddr>,
    /// As the client sent it, before filters and rewrites.
    pub method: Option<Method>,
    /// Path and query, as the client sent them.
    pub uri: Option<Uri>,
    /// `host`, as the client sent it.
    pub host: Option<HeaderValue>,
    /// `HTTP/1.1`.
    pub protocol: Option<&'static str>,
    /// What the handshake said, where the client speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// `x-request-id`: the client's, or the one that the proxy gave the request.
    pub request_id: Option<HeaderValue>,
    /// `user-agent`.
    pub user_agent: Option<HeaderValue>,
    /// `x-forwarded-for`, as the client sent it.
    pub forwarded_for: Option<HeaderValue>,
    /// More about how it ended than the outcome says: a fault's kind, what a filter gave with its reply.
    pub details: Option<String>,
    /// The filter that answered in the upstream's place, or closed the stream, or failed.
    pub filter: Option<Arc<str>>,
    /// The filters that it went on without: they failed on it, were left alone or were over their rate, and their policy
    /// for that is `open`. In the order of the chain.
    pub skipped: Vec<Arc<str>>,
}

/// `x-forwarded-for` is no standard header, so the `http` crate has no name for it.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Entry {
    /// An entry that knows its listener and that it begins now.
    pub fn begin(listener: &Arc<str>) -> Entry {
        Entry {
            time: SystemTime::now(),
            listener: Arc::clone(listener),
            route: None,
            cluster: None,
            upstream: None,
            attempts: None,
            client: None,
            method: None,
            uri: None,
            host: None,
            protocol: None,
            tls: None,
            request_id: None,
            user_agent: None,
            forwarded_for: None,
            details: None,
            filter: None,
            skipped: Vec::new(),
        }
    }

    /// Notes a request's head, without copying it: before anybody changes it.
    pub fn note_request(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap) {
        self.method = Some(method.clone());
        self.uri = Some(uri.clone());
        self.host = headers.get(header::HOST).cloned();
        self.request_id = headers.get(X_REQUEST_ID).cloned();
        self.user_agent = headers.get(header::USER_AGENT).cloned();
        self.forwarded_for = headers.get(X_FORWARDED_FOR).cloned();
    }

    /// Appends the entry to `lines` as one line of JSON.
    pub fn write_line(&self, ending: &Ending, lines: &mut Vec<u8>) {
        let begin = lines.len();
        match serde_json::to_writer(&mut *lines, &self.line(ending)) {
            Ok(()) => lines.push(b'\n'),
            // Writing to memory does not fail, and every value of a line is one that JSON has.
            Err(_) => lines.truncate(begin),
        }
    }

    fn line<'a>(&'a self, ending: &'a Ending) -> Line<'a> {
        let failure = ending.outcome.failure;
        Line {
            time: Shown(Moment(self.time)),
            listener: &self.listener,
            route: self.route.as_deref(),
            cluster: self.cluster.as_deref(),
            upstream: self.upstream.map(Shown),
            attempts: self.attempts,
            client: self.client.map(Shown),
            method: self.method.as_ref().map(Method::as_str),
            path: self.uri.as_ref().map(|uri| Shown(PathAndQuery(uri))),
            host: self.host.as_ref().map(Text),
            protocol: self.protocol,
            tls_version: self
                .tls
                .as_ref()
                .map(|tls| tls.version.as_str())
                .filter(|version| !version.is_empty()),
            server_name: self
                .tls
                .as_ref()
                .map(|tls| tls.server_name.as_str())
                .filter(|name| !name.is_empty()),
            status: ending.status.map(|status| status.as_u16()),
            outcome: ending.outcome.word(),
            grpc_status: ending.grpc_status.map(grpc::Status::word),
            at_fault: failure.map(|failure| failure.at_fault().word()),
            flags: failure.map_or("-", |failure| failure.flag()),
            details: self.details.as_deref(),
            filter: self.filter.as_deref(),
            skipped: self.skipped.iter().map(AsRef::as_ref).collect(),
            duration_ms: ending.duration.as_micros() as f64 / 1e3,
            request_bytes: ending.request_bytes,
            response_bytes: ending.response_bytes,
            request_id: self.request_id.as_ref().map(Text),
            user_agent: self.user_agent.as_ref().map(Text),
            x_forwarded_for: self.forwarded_for.as_ref().map(Text),
        }
    }
}

/// How an exchange ended, as its report knows it.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// What the client was sent.
    pub status: Option<StatusCode>,
    /// How it ended.
    pub outcome: Outcome,
    /// How the call ended, where it was one of gRPC and that was said.
    pub grpc_status: Option<grpc::Status>,
    /// From the request's head to the end.
    pub duration: Duration,
    /// Request body bytes received.
    pub request_bytes: u64,
    /// Response body bytes sent.
    pub response_bytes: u64,
}

/// The line: its fields in their order. Names are never changed once released.
#[derive(Serialize)]
struct Line<'a> {
    time: Shown<Moment>,
    listener: &'a str,
    route: Option<&'a str>,
    cluster: Option<&'a str>,
    upstream: Option<Shown<Address>>,
    attempts: Option<u32>,
    client: Option<Shown<SocketAddr>>,
    method: Option<&'a str>,
    path: Option<Shown<PathAndQuery<'a>>>,
    host: Option<Text<'a>>,
    protocol: Option<&'a str>,
    tls_version: Option<&'a str>,
    server_name: Option<&'a str>,
    status: Option<u16>,
    outcome: &'a str,
    grpc_status: Option<&'static str>,
    at_fault: Option<&'a str>,
    flags: &'a str,
    details: Option<&'a str>,
    filter: Option<&'a str>,
    skipped: Vec<&'a str>,
    duration_ms: f64,
    request_bytes: u64,
    response_bytes: u64,
    request_id: Option<Text<'a>>,
    user_agent: Option<Text<'a>>,
    x_forwarded_for: Option<Text<'a>>,
}

/// Serialised as it is displayed, without a string of its own.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A moment as RFC 3339 has it, in UTC and microseconds.
struct Moment(SystemTime);

impl Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.6}", timestamp(self.0))
    }
}

/// A target without scheme and host.
struct PathAndQuery<'a>(&'a Uri);

impl Display for PathAndQuery<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.path())?;
        match self.0.query() {
            Some(query) => write!(formatter, "?{query}"),
            None => Ok(()),
        }
    }
}

/// A header's value, which need not be UTF-8: what is not is shown as U+FFFD.
struct Text<'a>(&'a HeaderValue);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}
