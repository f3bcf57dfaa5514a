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
mod form;
mod http2;
mod module;
mod names;
mod overload;
mod pages;
mod recovery;
mod retries;
mod route_filters;
mod server_names;
mod template;

use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use indexmap::IndexMap;
use regex::Regex;

use super::bounds;
use super::scalar::{Count, Size};
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
pub use form::{BadList, CapabilitiesForm};
pub use http2::{Http2, Keepalive};
pub(crate) use module::SecretOrigin;
pub use module::{Credentials, Image, Location, ModuleSource, Pull, Remote, Secret, TrustedKey};
pub use names::{BadName, MAX_NAME_LEN, MAX_NAMES, Names, check_name};
pub use overload::{MemoryTerms, Overload};
pub use pages::{ErrorPage, PageContent};
pub use recovery::{Breakers, Comparison, HealthCheck, OutlierDetection, Probe, Recovery, StatusRange};
pub use retries::{Backoff, Hedge, ResetFormat, Retries, RetryCondition};
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

/// Which requests, and what becomes of them.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name: a label in metrics. `route-N` (from 0) where the file gives none.
    pub name: String,
    /// Which requests.
    pub matches: Match,
    /// Which filters they pass.
    pub filters: RouteFilters,
    /// What becomes of them.
    pub action: Action,
    /// Which web pages of other origins may use it.
    pub cors: Option<Arc<Cors>>,
    /// Which responses are compressed.
    pub compression: Option<Arc<Compression>>,
    /// Which bodies are decompressed before filters see them.
    pub decompression: Option<Arc<Decompression>>,
    /// How much of a body may be held while a filter waits, in bytes, where that is not what the listener says.
    pub buffer_limit: Option<usize>,
    /// Changes to the request's headers before it is sent.
    pub request_headers: HeaderEdits,
    /// Changes to the response's headers before it is sent.
    pub response_headers: HeaderEdits,
    /// From the whole request received to the whole response sent, as in Envoy: 504 after it, or a cut connection if
    /// the response has begun. `None` waits for ever.
    pub timeout: Option<Duration>,
    /// The longest deadline that a request's `grpc-timeout` sets in the place of `timeout`; zero is any. `None` does not
    /// look at it.
    pub grpc_timeout: Option<Duration>,
    /// From the request's head to the end of the exchange: 504 after it, or a cut connection if the response has begun.
    pub max_duration: Option<Duration>,
    /// Without any byte of a body moving, where it is another than the listener's.
    pub idle_timeout: Option<Duration>,
    /// When its requests are sent again.
    pub retries: Option<Retries>,
    /// Whether its requests are refused while the proxy has more to do than it can.
    pub shed: bool,
}

/// What a route looks at. Everything that is set must hold.
#[derive(Debug, Clone)]
pub struct Match {
    /// One of these hosts; empty is any.
    pub hosts: Vec<HostMatch>,
    /// The path, without the query.
    pub path: PathMatch,
    /// One of these methods; empty is any.
    pub methods: Vec<Method>,
    /// Each of these header fields.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Each of these query parameters: the first of its name, as it was sent (not percent-decoded, as in Envoy).
    pub query: Vec<(String, ValueMatch)>,
    /// Each of these cookies: the first of its name.
    pub cookies: Vec<(String, ValueMatch)>,
    /// Each of these values that filters stored for the exchange, by their paths, in which dots part segments.
    pub properties: Vec<(String, ValueMatch)>,
    /// Each of these claims of the token that a filter has verified, by name, or by a path of names with dots between them.
    pub claims: Vec<(String, ValueMatch)>,
    /// This share of the requests for which all of the others hold.
    pub percent: Option<Percent>,
}

/// A host, compared without its port and without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// This host. Lower case.
    Exact(String),
    /// Any host that ends in this, which begins with a dot: `*.example.com` is `.example.com`.
    Suffix(String),
    /// Any host that begins with this, which ends in a dot: `api.*` is `api.`.
    Prefix(String),
}

/// A path, without its query.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Any path.
    Any,
    /// This path and no other.
    Exact(String),
    /// Any path that begins with this, by characters as in Envoy: `/api` matches `/apix`.
    Prefix(String),
    /// This path, and any that goes on behind it with a slash. Does not end in one.
    Segments(String),
    /// Any path that this matches from end to end: the expression is anchored.
    Regex(Regex),
    /// Any path that has this form.
    Template(PathTemplate),
}

/// A form of paths, such as `/users/{id}`.
#[derive(Debug, Clone)]
pub struct PathTemplate {
    /// As it was written.
    pub source: String,
    /// The same as an anchored expression, whose groups are the variables.
    pub regex: Regex,
}

impl PathMatch {
    /// The anchored expression that a path has to match, if it is compared with one.
    pub fn regex(&self) -> Option<&Regex> {
        match self {
            PathMatch::Regex(regex) | PathMatch::Template(PathTemplate { regex, .. }) => Some(regex),
            PathMatch::Any | PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::Segments(_) => None,
        }
    }
}

/// A header's or a query parameter's value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// It is there (`true`) or it is not (`false`).
    Present(bool),
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It has this in it.
    Contains(String),
    /// This matches it from end to end: the expression is anchored.
    Regex(Regex),
    /// It is a whole number from the one to the other, both included.
    Range(i64, i64),
    /// It is not what this says; a missing one counts as not.
    Not(Box<ValueMatch>),
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent to one of the clusters.
    Forward(Box<Forward>),
    /// The client is told to go elsewhere.
    Redirect(Redirect),
    /// The proxy answers by itself.
    Respond(Respond),
}

impl Route {
    /// Whether some redirects of its upstreams are followed.
    pub fn follows_redirects(&self) -> bool {
        matches!(&self.action, Action::Forward(forward) if forward.follow_redirects.is_some())
    }
}

/// Where and how a request is sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Which cluster.
    pub clusters: Clusters,
    /// Which of its endpoints, where the share of the cluster does not say more.
    pub metadata_match: Option<MetadataMatch>,
    /// By what requests are told apart that are to reach the same endpoint.
    pub hash_policy: Vec<HashPolicy>,
    /// Who gets copies.
    pub mirrors: Vec<Mirror>,
    /// Which redirects of the upstream are followed.
    pub follow_redirects: Option<FollowRedirects>,
    /// What becomes of the path.
    pub path: Option<PathRewrite>,
    /// The `host` to send instead of the client's, where it comes out as one.
    pub host: Option<FieldValue>,
}

/// Redirects of an upstream that the proxy follows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowRedirects {
    /// Their statuses. Never empty.
    pub codes: Vec<StatusCode>,
    /// How many in a row.
    pub max: u32,
    /// Whether they may lead to the other scheme.
    pub cross_scheme: bool,
}

/// A cluster that gets copies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Which, an index into [`Config::clusters`].
    pub cluster: usize,
    /// The share of the requests that it gets.
    pub percent: Percent,
    /// Whether their host says that they are copies.
    pub mark_host: bool,
}

/// Which cluster a request goes to. Clusters are indices into [`Config::clusters`].
#[derive(Debug, Clone)]
pub enum Clusters {
    /// These. Never empty.
    Weighted(Vec<Share>),
    /// The one that a header field of the request names.
    Named {
        /// The field. Of several values the first counts.
        header: HeaderName,
        /// Those that it may name. Never empty.
        allow: IndexMap<String, usize>,
    },
}

/// One of several clusters that requests are shared out to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The cluster.
    pub cluster: usize,
    /// How much it gets, compared with the others; from 1.
    pub weight: u32,
    /// Which of its endpoints, what the route says of them included.
    pub metadata_match: Option<MetadataMatch>,
}

impl Clusters {
    /// All that it may be.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        let (weighted, named) = match self {
            Clusters::Weighted(shares) => (Some(shares), None),
            Clusters::Named { allow, .. } => (None, Some(allow)),
        };
        let weighted = weighted.into_iter().flatten().map(|share| share.cluster);
        weighted.chain(named.into_iter().flat_map(IndexMap::values).copied())
    }
}

/// A path's rewriting. The query is kept.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// The part that the route's prefix (or exact path) matched is replaced by this.
    Prefix(String),
    /// Every match of the pattern in the path is replaced.
    Regex {
        /// What is replaced.
        pattern: Regex,
        /// By what, as `Regex::replace_all` takes it: `\1` in the file is `${1}` here, and every group exists.
        substitution: String,
    },
    /// The path becomes this, in which there are variables of the route's template.
    Template {
        /// As it was written.
        source: String,
        /// The route's template as an anchored expression.
        pattern: Regex,
        /// The same as the expression's replacement.
        substitution: String,
    },
}

/// A redirect. What is not set stays as in the request.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path: whole, or the matched prefix only.
    pub path: Option<RedirectPath>,
    /// Whether the query is dropped.
    pub strip_query: bool,
}

/// A redirect's path.
#[derive(Debug, Clone)]
pub enum RedirectPath {
    /// This path, its query included if it has one.
    Full(String),
    /// The part that the route's prefix matched is replaced by this.
    Prefix(String),
}

/// A response of the proxy's own.
#[derive(Debug, Clone)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// The file that the body is the content of, if it is one's.
    pub file: Option<PathBuf>,
    /// Its headers, `content-type` among them where the file gives one.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Changes to a header block, in this order.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    /// Removed.
    pub remove: Vec<HeaderName>,
    /// Set: every value that was there is replaced.
    pub set: Vec<(HeaderName, FieldValue)>,
    /// Added beside what is there.
    pub add: Vec<(HeaderName, FieldValue)>,
}

/// A filter: a module and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name: what chains, logs and metrics call it.
    pub name: String,
    /// Where its code is.
    pub module: ModuleSource,
    /// What its code must be.
    pub sha256: Option<Sha256>,
    /// The plugin configuration, as bytes: a mapping in the file is JSON text here, with the text of files in it.
    pub config: Bytes,
    /// The same with the names of files in the place of their text, which may be secret; `None` where it names none.
    pub config_shown: Option<serde_json::Value>,
    /// Shared data and queues are common to filters of one `vm_id`; empty is a namespace like any other. Under one that
    /// is not empty, filters of the same code run in one VM: see [`Plugin::shares`](crate::wasm::Plugin::shares).
    pub vm_id: String,
    /// The VM configuration, as bytes.
    pub vm_config: Bytes,
    /// Which root context of the module this is.
    pub root_id: String,
    /// The environment that WASI shows the guest.
    pub env: Vec<(String, String)>,
    /// Those of them whose values are the proxy's own variables', which may be secret: its names for them.
    pub env_sources: Vec<(String, String)>,
    /// What it may do.
    pub capabilities: Grant,
    /// What the guest may use.
    pub limits: FilterLimits,
    /// Which exchanges share an instance.
    pub isolation: Isolation,
    /// When an instance is replaced.
    pub recycle: Recycle,
    /// What becomes of a request when the filter fails.
    pub on_fault: OnFault,
    /// How soon an instance that failed has a successor.
    pub reload: Reload,
    /// When a filter that fails is left alone.
    pub breaker: Breaker,
    /// What becomes of a request that comes while the filter is over `limits.instructions_per_second`.
    pub on_rate_exceeded: OnFault,
    /// Whether `Pause` from a headers callback lets body callbacks go on (Envoy's `PluginConfig` field 9).
    pub allow_on_headers_stop_iteration: bool,
}

impl Filter {
    /// A module under a name and nothing else said: no configuration, limits and policies as they are without a word.
    pub fn new(name: impl Into<String>, module: ModuleSource) -> Filter {
        Filter {
            name: name.into(),
            module,
            sha256: None,
            config: Bytes::new(),
            config_shown: None,
            vm_id: String::new(),
            vm_config: Bytes::new(),
            root_id: String::new(),
            env: Vec::new(),
            env_sources: Vec::new(),
            capabilities: Grant::Everything,
            limits: FilterLimits::default(),
            isolation: Isolation::Worker,
            recycle: Recycle::default(),
            on_fault: OnFault::Closed,
            reload: Reload::default(),
            breaker: Breaker::default(),
            on_rate_exceeded: OnFault::Closed,
            allow_on_headers_stop_iteration: false,
        }
    }
}

/// What a guest may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLimits {
    /// Wasm instructions in one callback.
    pub instructions: u64,
    /// Wasm instructions in one second, of the filter on one worker; without it there is no such limit.
    pub instructions_per_second: Option<u64>,
    /// Wall-clock time in one callback: the backstop for time spent in hostcalls.
    pub wall_clock: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// Instances on one worker, where each exchange has its own.
    pub instances: usize,
    /// Callouts in flight from one instance, or from all of a filter on a worker where each exchange has its own.
    pub callouts: usize,
    /// Log bytes in one second from one instance; more is dropped and counted.
    pub log_bytes: usize,
    /// Bytes of shared data under one `vm_id`.
    pub shared_data: usize,
    /// Bytes that one shared queue holds, and 64 for each item.
    pub queue: usize,
    /// Bytes of cells (buckets, counters, values that expire) under one `vm_id`.
    pub cells: usize,
    /// Metrics that the filter may define.
    pub metrics: usize,
}

impl Default for FilterLimits {
    /// What holds where the file says nothing.
    fn default() -> FilterLimits {
        let bytes = |Size(bytes): Size| usize::try_from(bytes).unwrap_or(usize::MAX);
        let count = |Count(count): Count| usize::try_from(count).unwrap_or(usize::MAX);
        FilterLimits {
            instructions: bounds::INSTRUCTIONS.default.0,
            instructions_per_second: None,
            wall_clock: bounds::WALL_CLOCK.default,
            memory: bytes(bounds::MEMORY.default),
            instances: count(bounds::INSTANCES.default),
            callouts: count(bounds::CALLOUTS.default),
            log_bytes: bytes(bounds::LOG_BYTES.default),
            shared_data: bytes(bounds::SHARED_DATA.default),
            queue: bytes(bounds::QUEUE.default),
            cells: bytes(bounds::CELLS.default),
            metrics: count(bounds::METRICS.default),
        }
    }
}

/// How much of a body a listener holds for a filter where the file says nothing, in bytes.
pub const BUFFER_LIMIT: usize = bounds::BUFFER_LIMIT.default.0 as usize;

/// Which exchanges share an instance of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of a worker.
    Worker,
    /// None: each has its own, made from a configured one.
    Exchange,
}

/// When an instance is replaced by a new one: whichever comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recycle {
    /// After so many exchanges.
    pub requests: Option<u64>,
    /// When it has more memory than this, in bytes.
    pub memory: Option<usize>,
    /// At this age.
    pub after: Option<Duration>,
}

/// How soon an instance that failed has a successor: the wait doubles from the one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// The first wait.
    pub base_interval: Duration,
    /// The longest; at least the first.
    pub max_interval: Duration,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload {
            base_interval: bounds::RELOAD_BASE_INTERVAL.default,
            max_interval: bounds::RELOAD_MAX_INTERVAL.default,
        }
    }
}

/// When a filter that fails is left alone, on each worker for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// After so many faults in the interval, on at least half of the exchanges that it was called for; 0 is never.
    pub faults: u64,
    /// How long it looks back.
    pub interval: Duration,
    /// For how long, the first time.
    pub open_for: Duration,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            faults: bounds::BREAKER_FAULTS.default.0,
            interval: bounds::BREAKER_INTERVAL.default,
            open_for: bounds::BREAKER_OPEN_FOR.default,
        }
    }
}

/// What becomes of a request when a filter fails on it, or may not be called for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// It is answered 503.
    Closed,
    /// It goes on without the filter.
    Open,
}
