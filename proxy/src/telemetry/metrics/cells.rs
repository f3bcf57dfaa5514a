//! What is counted, as cells that one worker writes.
//!
//! Cells know neither names nor labels: `registry` keeps those beside them and `families` names them in the text.
//! Each is aligned to a cache line, so that two workers' cells never share one.

use std::iter;
use std::sync::OnceLock;

use super::number::{Counter, Gauge, Histogram};
use crate::error::{Failure, Outcome, StatusClass};
use crate::grpc;
use crate::tls::Version;

const CLASSES: usize = StatusClass::ALL.len();

/// Exchanges of one listener, route and cluster on one worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ExchangeCell {
    /// How long they took, from the request's head to the response's last byte.
    pub duration: Histogram,
    /// Request body bytes received.
    pub request_bytes: Counter,
    /// Response body bytes sent.
    pub response_bytes: Counter,
    ok: [Counter; CLASSES],
    /// gRPC calls by status, and behind those the ones whose end nobody told.
    calls: OnceLock<Box<[Counter]>>,
    /// By failure and class. Most cells never need it: with thousands of routes that is most of their memory.
    failed: OnceLock<Box<[[Counter; CLASSES]]>>,
}

impl ExchangeCell {
    /// Counts the end of an exchange. Its worker only.
    #[inline]
    pub fn count(&self, outcome: Outcome) {
        let class = outcome.class.index();
        match outcome.failure {
            None => self.ok[class].increment(),
            Some(failure) => self.failures()[failure.index()][class].increment(),
        }
    }

    /// Counts the end of a gRPC call. Its worker only.
    pub fn count_call(&self, status: Option<grpc::Status>) {
        let fresh = || iter::repeat_with(Counter::default).take(grpc::Status::all().count() + 1).collect();
        if let Some(counter) = self.calls.get_or_init(fresh).get(place(status)) {
            counter.increment();
        }
    }

    /// How many gRPC calls ended so; `None` is without a status. Anyone.
    pub fn calls(&self, status: Option<grpc::Status>) -> u64 {
        self.calls.get().and_then(|calls| calls.get(place(status))).map_or(0, Counter::value)
    }

    #[cold]
    fn failures(&self) -> &[[Counter; CLASSES]] {
        self.failed.get_or_init(|| Failure::ALL.iter().map(|_| Default::default()).collect())
    }

    /// How many ended so. Anyone.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        let class = outcome.class.index();
        match outcome.failure {
            None => self.ok[class].value(),
            Some(failure) => self.failed.get().map_or(0, |failed| failed[failure.index()][class].value()),
        }
    }
}

fn place(status: Option<grpc::Status>) -> usize {
    status.map_or_else(|| grpc::Status::all().count(), grpc::Status::index)
}

/// TCP connections of one listener to one cluster on one worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TcpCell {
    /// Bytes received from clients.
    pub received_bytes: Counter,
    /// Bytes sent to clients.
    pub sent_bytes: Counter,
    ok: Counter,
    failed: OnceLock<Box<[Counter]>>,
}

impl TcpCell {
    /// Counts the end of a connection. Its worker only.
    pub fn count(&self, failure: Option<Failure>) {
        match failure {
            None => self.ok.increment(),
            Some(failure) => self.failures()[failure.index()].increment(),
        }
    }

    #[cold]
    fn failures(&self) -> &[Counter] {
        self.failed.get_or_init(|| Failure::ALL.iter().map(|_| Counter::default()).collect())
    }

    /// How many ended so. Anyone.
    pub fn ended(&self, failure: Option<Failure>) -> u64 {
        match failure {
            None => self.ok.value(),
            Some(failure) => self.failed.get().map_or(0, |failed| failed[failure.index()].value()),
        }
    }
}

/// Downstream connections of one listener on one worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ListenerCell {
    /// Connections accepted, the refused ones among them.
    pub connections: Counter,
    /// Connections open.
    pub active_connections: Gauge,
    /// Connections closed at once, because the listener had its `limits.connections`.
    pub refused_connections: Counter,
    /// Exchanges under way. The report's guard counts them.
    pub active_exchanges: Gauge,
    protocol_errors: OnceLock<Box<[Counter]>>,
    handshakes: Handshakes,
}

/// TLS handshakes that went well.
#[derive(Debug, Default)]
pub struct Handshakes([[Counter; 2]; 2]);

impl Handshakes {
    /// Each label pair that there is: the version, and whether a session was resumed.
    pub const KINDS: [(Version, bool); 4] =
        [(Version::V1_2, false), (Version::V1_2, true), (Version::V1_3, false), (Version::V1_3, true)];

    /// Counts one. Its worker only.
    pub fn count(&self, version: Version, resumed: bool) {
        self.0[version as usize][usize::from(resumed)].increment();
    }

    /// How many there were of a kind. Anyone.
    pub fn value(&self, (version, resumed): (Version, bool)) -> u64 {
        self.0[version as usize][usize::from(resumed)].value()
    }
}

impl ListenerCell {
    /// Its TLS handshakes.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Counts a connection that ended because of what came in on it, before there was an exchange to report: a
    /// malformed head, a head too large, a timeout. Its worker only.
    #[cold]
    pub fn count_protocol_error(&self, reason: Failure) {
        let errors =
            self.protocol_errors.get_or_init(|| Failure::ALL.iter().map(|_| Counter::default()).collect());
        errors[reason.index()].increment();
    }

    /// How many connections ended so. Anyone.
    pub fn protocol_errors(&self, reason: Failure) -> u64 {
        self.protocol_errors.get().map_or(0, |errors| errors[reason.index()].value())
    }
}

/// Why there is no connection to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing listens there.
    Refused,
    /// It took longer than the cluster's `connect_timeout`.
    Timeout,
    /// No way there: no route to the host, no file descriptor, no local port.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
}

impl ConnectFailure {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [ConnectFailure; 4] =
        [ConnectFailure::Refused, ConnectFailure::Timeout, ConnectFailure::Unreachable, ConnectFailure::Tls];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            ConnectFailure::Refused => "refused",
            ConnectFailure::Timeout => "timeout",
            ConnectFailure::Unreachable => "unreachable",
            ConnectFailure::Tls => "tls",
        }
    }
}

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// There was no connection.
    Connect,
    /// The connection or the stream was reset.
    Reset,
    /// The endpoint had not begun with it.
    RefusedStream,
    /// It took longer than one attempt may.
    Timeout,
    /// The response's status.
    Status,
    /// The response's status in gRPC.
    GrpcStatus,
    /// A field of the response.
    Header,
    /// There was no answer yet, and the attempt before went on.
    Hedge,
}

impl RetryReason {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [RetryReason; 8] = [
        RetryReason::Connect,
        RetryReason::Reset,
        RetryReason::RefusedStream,
        RetryReason::Timeout,
        RetryReason::Status,
        RetryReason::GrpcStatus,
        RetryReason::Header,
        RetryReason::Hedge,
    ];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            RetryReason::Connect => "connect",
            RetryReason::Reset => "reset",
            RetryReason::RefusedStream => "refused_stream",
            RetryReason::Timeout => "timeout",
            RetryReason::Status => "status",
            RetryReason::GrpcStatus => "grpc_status",
            RetryReason::Header => "header",
            RetryReason::Hedge => "hedge",
        }
    }
}

/// Why a request was not sent again although it was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDenial {
    /// It was sent as often as it may be.
    Attempts,
    /// As many retries are under way as may be.
    Budget,
    /// Its body is longer than what is kept.
    Body,
    /// The response asks for a longer wait than the client's time is good for.
    Wait,
}

impl RetryDenial {
    /// Every one, in the order of its discriminant.
    pub const ALL: [RetryDenial; 4] =
        [RetryDenial::Attempts, RetryDenial::Budget, RetryDenial::Body, RetryDenial::Wait];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            RetryDenial::Attempts => "attempts",
            RetryDenial::Budget => "budget",
            RetryDenial::Body => "body",
            RetryDenial::Wait => "wait",
        }
    }
}

/// What a cluster's breakers limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests in flight.
    Requests,
    /// Requests that wait for a connection.
    Pending,
    /// Connections.
    Connections,
    /// Requests in flight, where the limit adapts.
    Concurrency,
}

impl Limit {
    /// Every one, in the order of its discriminant.
    pub const ALL: [Limit; 4] = [Limit::Requests, Limit::Pending, Limit::Connections, Limit::Concurrency];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Limit::Requests => "requests",
            Limit::Pending => "pending",
            Limit::Connections => "connections",
            Limit::Concurrency => "concurrency",
        }
    }
}

/// Why an endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionReason {
    /// 5xx in a row.
    Consecutive5xx,
    /// 502, 503 and 504 in a row.
    ConsecutiveGatewayFailures,
    /// Failures in a row to connect or to answer in time.
    ConsecutiveLocalFailures,
    /// It failed on the first request after it had been left alone.
    Probation,
    /// Its rate of successes is far below the others'.
    SuccessRate,
    /// It fails too large a share of its requests.
    FailurePercentage,
    /// It takes far longer than the others.
    Latency,
}

impl EjectionReason {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [EjectionReason; 7] = [
        EjectionReason::Consecutive5xx,
        EjectionReason::ConsecutiveGatewayFailures,
        EjectionReason::ConsecutiveLocalFailures,
        EjectionReason::Probation,
        EjectionReason::SuccessRate,
        EjectionReason::FailurePercentage,
        EjectionReason::Latency,
    ];

    /// Its word in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            EjectionReason::Consecutive5xx => "consecutive_5xx",
            EjectionReason::ConsecutiveGatewayFailures => "consecutive_gateway_failures",
            EjectionReason::ConsecutiveLocalFailures => "consecutive_local_failures",
            EjectionReason::Probation => "probation",
            EjectionReason::SuccessRate => "success_rate",
            EjectionReason::FailurePercentage => "failure_percentage",
            EjectionReason::Latency => "latency",
        }
    }
}

/// Connections and requests of one worker to one cluster.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ClusterCell {
    /// Connections made.
    pub connections: Counter,
    /// Connections open, used or not.
    pub active_connections: Gauge,
    /// Requests sent, callouts and repeats among them.
    pub requests: Counter,
    /// Requests sent whose response has not ended.
    pub active_requests: Gauge,
    /// Those of them that wait for a connection.
    pub pending_requests: Gauge,
    /// Endpoints picked from all of a priority, because too few of these were fit.
    pub panic_picks: Counter,
    /// Endpoints picked from another subset than was asked for, because there is none such.
    pub subset_fallbacks: Counter,
    connect_failures: [Counter; ConnectFailure::ALL.len()],
    retries: [Counter; RetryReason::ALL.len()],
    retry_denials: [Counter; RetryDenial::ALL.len()],
    overflows: [Counter; Limit::ALL.len()],
    ejections: [Counter; EjectionReason::ALL.len()],
    /// Endpoints that were not ejected because as many were as may be.
    pub ejections_denied: Counter,
    /// Health checks that went well.
    pub checks_passed: Counter,
    /// Health checks that did not.
    pub checks_failed: Counter,
    /// TLS handshakes that went well.
    pub handshakes: Handshakes,
    /// How many requests there may be, where that adapts. The control thread only, like the next two.
    pub concurrency_limit: Gauge,
    /// How long requests take where there are few, in microseconds.
    pub concurrency_base_us: Gauge,
    /// What the limit was last changed by, in thousandths.
    pub concurrency_gradient_thousandths: Gauge,
}

impl ClusterCell {
    /// Counts a connection that could not be made. Its worker only.
    pub fn count_connect_failure(&self, reason: ConnectFailure) {
        self.connect_failures[reason as usize].increment();
    }

    /// How many connections could not be made for this reason. Anyone.
    pub fn connect_failures(&self, reason: ConnectFailure) -> u64 {
        self.connect_failures[reason as usize].value()
    }

    /// Counts a request that is sent again. Its worker only.
    pub fn count_retry(&self, reason: RetryReason) {
        self.retries[reason as usize].increment();
    }

    /// How many requests were sent again for this reason. Anyone.
    pub fn retries(&self, reason: RetryReason) -> u64 {
        self.retries[reason as usize].value()
    }

    /// Counts a request that is not sent again though it was called for. Its worker only.
    pub fn count_retry_denial(&self, denial: RetryDenial) {
        self.retry_denials[denial as usize].increment();
    }

    /// How many requests were not sent again for this reason. Anyone.
    pub fn retry_denials(&self, denial: RetryDenial) -> u64 {
        self.retry_denials[denial as usize].value()
    }

    /// Counts an endpoint that is left alone from now on. Its worker only.
    pub fn count_ejection(&self, reason: EjectionReason) {
        self.ejections[reason as usize].increment();
    }

    /// How many endpoints were left alone for this reason. Anyone.
    pub fn ejections(&self, reason: EjectionReason) -> u64 {
        self.ejections[reason as usize].value()
    }

    /// Counts a request or connection that the cluster's breakers refuse. Its worker only.
    pub fn count_overflow(&self, limit: Limit) {
        self.overflows[limit as usize].increment();
    }

    /// How many they refused. Anyone.
    pub fn overflows(&self, limit: Limit) -> u64 {
        self.overflows[limit as usize].value()
    }
}
