//! The checked configuration: what is valid, as plain values that the rest of the proxy uses.
//!
//! Everything here was checked once, when the file was read: names are unique and resolved to indices, regular
//! expressions are compiled, sizes and durations are in range. Nothing below this module checks again.

mod address;
mod balancing;
mod canary;
mod capabilities;
mod cluster;
mod compression;
mod concurrency;
mod cors;
mod decompression;
mod filter;
mod form;
mod http2;
mod module;
mod names;
mod overload;
mod pages;
mod recovery;
mod retries;
mod route;
mod route_filters;
mod server_names;
mod template;

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::bounds;
use crate::path::PathNormalization;
use crate::tls::Termination;

pub use address::{Address, BadUnixAddress, UnixAddress};
pub use balancing::{
    Affinity, Balancing, Callers, Cookie, Fallback, HashCookie, HashFunction, HashPolicy, HashSource,
    LoadBalancer, Localities, LocalityPattern, MetadataMatch, PeakEwma, RingHash, RingSize, SlowStart,
    Subsets, ZoneAware,
};
pub use canary::{Canary, CanaryMode, Percent, Promote, Rollback, Times};
pub use capabilities::{
    Access, BodyAccess, Capabilities, Grant, HEADER_PROPERTIES, LogFloor, header_name, property_name,
    shows_headers,
};
pub use cluster::{Cluster, ClusterProtocol, Endpoint, Health as StatedHealth, Locality};
pub(crate) use compression::USUAL_TYPES;
pub use compression::{Coding, Compression, CompressionLevel};
pub use concurrency::AdaptiveConcurrency;
pub use cors::Cors;
pub use decompression::Decompression;
pub use filter::{Breaker, Filter, FilterLimits, Isolation, OnFault, Recycle, Reload};
pub use form::{BadList, CapabilitiesForm};
pub use http2::{Http2, Keepalive};
pub(crate) use module::SecretOrigin;
pub use module::{Credentials, Image, Location, ModuleSource, Pull, Remote, Secret, TrustedKey};
pub use names::{BadName, MAX_NAME_LEN, MAX_NAMES, Names, check_name};
pub use overload::{MemoryTerms, Overload};
pub use pages::{ErrorPage, PageContent};
pub use recovery::{Breakers, Comparison, HealthCheck, OutlierDetection, Probe, Recovery, StatusRange};
pub use retries::{Backoff, Hedge, ResetFormat, Retries, RetryCondition};
pub use route::{
    Action, Clusters, FollowRedirects, Forward, HeaderEdits, HostMatch, Match, Mirror, PathMatch,
    PathRewrite, PathTemplate, Redirect, RedirectPath, Respond, Route, Share, TemplateSegment, ValueMatch,
};
pub use route_filters::{Changed, Link, RouteFilters, Variant};
pub use server_names::{ServerNamePattern, ServerNames};
pub use template::{BadTemplate, Escape, FieldValue, Known, Operator, RequestField, Template};

pub use crate::files::Sha256;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where downstream connections come in.
    pub listeners: Vec<Listener>,
    /// Every filter that is declared, used by a listener or not; behind them the second versions of `canaries`.
    pub filters: Vec<Arc<Filter>>,
    /// The filters that have a second version.
    pub canaries: Vec<Canary>,
    /// The filters that routes configure, each with what they give it.
    pub variants: Vec<Variant>,
    /// Every cluster that is declared.
    pub clusters: Vec<Arc<Cluster>>,
    /// The keys that modules may have to be signed with.
    pub trusted_keys: Vec<TrustedKey>,
    /// The operator's own listener.
    pub admin: Option<Admin>,
    /// Where the proxy is.
    pub locality: Locality,
    /// How many worker threads to start; `None` is one per core.
    pub workers: Option<usize>,
    /// How long a drain waits for exchanges in flight before it cuts them.
    pub drain_timeout: Duration,
    /// What the proxy may use.
    pub overload: Overload,
}

impl Config {
    /// The filter that chains name: the first version of one that is a second.
    pub fn first_version(&self, filter: usize) -> usize {
        self.canaries.iter().find(|canary| canary.candidate == filter).map_or(filter, |canary| canary.filter)
    }
}

/// The operator's listener: metrics, readiness, the effective configuration.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
}

/// One listening address, the chain of filters behind it, and its routes.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name: a label in metrics.
    pub name: String,
    /// Where it listens. Port 0 asks the kernel for one, which the log then names.
    pub address: Address,
    /// Who may connect to its UNIX socket, as bits of `chmod(2)`; by the process's umask where it is not said.
    pub socket_mode: Option<u32>,
    /// Whether each connection begins by saying whose it is (the PROXY protocol).
    pub proxy_protocol: bool,
    /// Whether a TCP connection's upstream is told whose it is, and by which version of the PROXY protocol.
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// Whether gRPC-Web requests become gRPC calls.
    pub grpc_web: bool,
    /// Whether a connection changes to HTTP/2 where its client asks for that in HTTP/1.1.
    pub h2c_upgrade: bool,
    /// The protocols that clients may change to, in lower case.
    pub upgrades: Vec<String>,
    /// The chain in order, as indices into [`Config::filters`].
    pub filters: Vec<usize>,
    /// Every filter of its chain and of the chains of its routes, in the order of their indices.
    pub runs: Vec<usize>,
    /// The keys one of which must have signed each module of the chain, as indices into [`Config::trusted_keys`]; with
    /// none no signature is asked for.
    pub require_signature_by: Vec<usize>,
    /// What comes in.
    pub protocol: Protocol,
    /// TLS with clients.
    pub tls: Option<Arc<Termination>>,
    /// Where TLS connections go that are passed on as they are.
    pub server_names: ServerNames,
    /// Tried in order; the first that matches wins. None on a TCP listener.
    pub routes: Vec<Route>,
    /// What is said in the place of errors' own words: the first that is for an answer counts.
    pub error_pages: Vec<ErrorPage>,
    /// Whether a JSON line is written for each exchange.
    pub access_log: bool,
    /// How much of a body, or of a TCP connection's data each way, may be held while a filter waits, in bytes.
    pub buffer_limit: usize,
    /// How many proxies in front of this one may be believed when they say whose request it is
    /// (`x-forwarded-for`); 0 believes none: the peer's address is the client's.
    pub trusted_hops: usize,
    /// In which form routes, filters and upstreams see paths.
    pub path_normalization: PathNormalization,
    /// How HTTP/2 is spoken with clients that speak it.
    pub http2: Http2,
    /// What a downstream peer may use.
    pub limits: ListenerLimits,
}

impl Listener {
    /// The UNIX socket that a connection came in by whose own address on this side is this.
    pub(crate) fn unix_of(&self, local: SocketAddr) -> Option<UnixAddress> {
        match self.address {
            Address::Unix(address) if local.ip().is_unspecified() => Some(address),
            Address::Unix(_) | Address::Ip(_) => None,
        }
    }

    /// Whether the connections that came in under `former` may go on under this: they are what they were taken for, and
    /// were asked for no less.
    pub(crate) fn keeps_connections_of(&self, former: &Listener) -> bool {
        let is_as_encrypted = match (&self.tls, &former.tls) {
            (None, _) => true,
            (Some(tls), Some(former)) => tls.asks_no_more_than(former),
            (Some(_), None) => false,
        };
        is_as_encrypted && self.speaks_as(former)
    }

    /// Whether what is said on the connections that came in under `former` is for this as well.
    pub(crate) fn speaks_as(&self, former: &Listener) -> bool {
        mem::discriminant(&self.protocol) == mem::discriminant(&former.protocol)
    }

    /// Whether nothing comes between the acceptance of a connection and its first byte of what it is for.
    pub(crate) fn is_plain(&self) -> bool {
        !self.proxy_protocol && self.tls.is_none() && !self.looks_at_first_bytes()
    }

    /// Whether what a connection is, or where it goes, is told by what its client says first.
    pub(crate) fn looks_at_first_bytes(&self) -> bool {
        matches!(self.protocol, Protocol::Auto(_)) || !self.server_names.is_empty()
    }

    /// Whether its chain, or the chain of one of its routes, has this filter.
    pub fn runs(&self, filter: usize) -> bool {
        self.runs.binary_search(&filter).is_ok()
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What comes in on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP: requests, which routes send on.
    Http,
    /// TCP connections, each of which goes to one of these clusters, indices into [`Config::clusters`] with their
    /// weights (> 0). Empty only where there are `server_names`.
    Tcp(Vec<(usize, u32)>),
    /// Both: HTTP goes by the routes, and everything else to one of these clusters. Never empty.
    Auto(Vec<(usize, u32)>),
}

impl Protocol {
    /// The clusters of TCP connections.
    pub fn shares(&self) -> &[(usize, u32)] {
        match self {
            Protocol::Http => &[],
            Protocol::Tcp(shares) | Protocol::Auto(shares) => shares,
        }
    }
}

/// What one downstream peer may take: sizes in bytes and waits.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Connections open at once on all workers; more are closed at once.
    pub connections: usize,
    /// A request's line and headers together, in bytes; more is 431.
    pub header_bytes: usize,
    /// Header fields in a request; more is 431.
    pub headers: usize,
    /// From the first wait for a request's head to its last byte; then 408 where one began, and a close.
    pub header_timeout: Duration,
    /// For a client to say what tells a connection from others; then it goes to the cluster of the rest.
    pub detection_timeout: Duration,
    /// Without any byte of a body moving, either way.
    pub stream_idle_timeout: Duration,
    /// Between requests on a connection; on a TCP connection without any byte moving, either way.
    pub idle_timeout: Duration,
}

/// How much of a body a listener holds for a filter where the file says nothing, in bytes.
pub const BUFFER_LIMIT: usize = bounds::BUFFER_LIMIT.default.0 as usize;
