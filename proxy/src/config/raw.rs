//! What the user wrote: the file's fields, their types and their descriptions.
//!
//! The JSON Schema is generated from here. Fields without `#[serde(default)]` are required, which `check` enforces;
//! nothing here knows what is valid beyond the form of each value.

mod balancing;
mod canary;
mod capabilities;
mod cluster;
mod compression;
mod concurrency;
mod cors;
mod decompression;
mod filter;
mod follow;
mod guest;
mod http2;
mod mirror;
mod module;
mod or_off;
mod overload;
mod pages;
mod recovery;
mod retries;
mod route;
mod route_filters;
mod tls;
mod variable;

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds;
use super::decode::{Field, Map};
use super::model::{Address, ProxyProtocol, ServerNamePattern};
use super::scalar::{Count, Mode, Size, Text, Traffic, UpgradeProtocol};
use crate::path::EscapedSlashes;

pub(crate) use balancing::{
    Affinity, CookieFields, HashPolicy, LoadBalancer, Localities, RingHash, SlowStart, Subsets,
    WeightedLocality, ZoneAware,
};
pub(crate) use canary::{Canary, Promote, Rollback};
pub(crate) use capabilities::{Access, Capabilities, Grant, Patterns};
pub(crate) use cluster::{Cluster, Endpoint, Locality};
pub(crate) use compression::Compression;
pub(crate) use concurrency::AdaptiveConcurrency;
pub(crate) use cors::{Cors, Origin};
pub(crate) use decompression::Decompression;
pub(crate) use filter::{Breaker, Filter, FilterLimits, Recycle, Reload};
pub(crate) use follow::FollowRedirects;
pub(crate) use guest::GuestConfig;
pub(crate) use http2::Http2;
pub(crate) use mirror::Mirror;
pub(crate) use module::{Credentials, FROM_FILE, Module, ModuleFields, Secret, TrustedKey};
pub(crate) use or_off::OrOff;
pub(crate) use overload::{MemoryTerms, Overload};
pub(crate) use pages::ErrorPage;
pub(crate) use recovery::{Breakers, HealthCheck, OutlierDetection};
pub(crate) use retries::{Backoff, Hedge, Retries, RetryAfter};
pub(crate) use route::{
    ClusterHeader, Edit, Match, NamedShare, Path, Range, Redirect, RedirectPath, RegexRewrite, Respond,
    Route, Share, Shares, ValueMatcher,
};
pub(crate) use route_filters::{Change, ChangeFields, Link, OFF, RouteFilters};
pub(crate) use tls::{ClusterTls, Identity, ListenerTls};
pub(crate) use variable::{FROM_ENV, Variable};

/// A configuration of tidegate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tidegate")]
pub(crate) struct File {
    /// How many worker threads serve traffic.
    #[serde(default)]
    #[schemars(transform = bounds::WORKERS.describe())]
    pub(crate) workers: Field<Text<Count>>,
    /// How long a drain waits for the exchanges in flight before it cuts them.
    #[serde(default)]
    #[schemars(transform = bounds::DRAIN_TIMEOUT.describe())]
    pub(crate) drain_timeout: Field<Text<Duration>>,
    /// What the proxy may use before it refuses work to keep going. Default: as much as there is.
    #[serde(default)]
    pub(crate) overload: Field<Overload>,
    /// Where the proxy is, for clusters whose `localities` are `zone_aware`.
    #[serde(default)]
    pub(crate) locality: Field<Locality>,
    /// The operator's listener: metrics, readiness, the effective configuration. Without this there is none.
    #[serde(default)]
    pub(crate) admin: Field<Admin>,
    /// Where traffic comes in: at least one.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Field<Vec<Field<Listener>>>,
    /// The filters by name.
    #[serde(default)]
    pub(crate) filters: Field<Map<String, Filter>>,
    /// The services by name, which is any text.
    #[serde(default)]
    pub(crate) clusters: Field<Map<String, Cluster>>,
    /// The keys that listeners may require modules to be signed with, by name.
    #[serde(default)]
    pub(crate) trusted_keys: Field<Map<String, TrustedKey>>,
}

/// The operator's listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Where it listens: IP and port, on loopback. Port 0 lets the system choose; the log tells which.
    pub(crate) address: Field<Text<SocketAddr>>,
}

/// An address that traffic comes in by, the filters it passes, and the routes it takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("if" = {"properties": {"protocol": {"const": "tcp"}}, "required": ["protocol"]}))]
#[schemars(extend("else" = {"required": ["routes"]}))]
pub(crate) struct Listener {
    /// Its name in metrics and logs. No two listeners have the same.
    pub(crate) name: Field<String>,
    /// Where it listens: IP and port, or a UNIX socket (`unix:PATH`, or `unix:@NAME` without a file). Port 0 lets the system
    /// choose; the log tells which.
    pub(crate) address: Field<Text<Address>>,
    /// Who may connect to a UNIX socket: permissions in octal digits, such as `"0660"`. Default: what the process's umask
    /// leaves.
    #[serde(default)]
    pub(crate) socket_mode: Field<Text<Mode>>,
    /// What comes in: HTTP requests, for which there are `routes`, or TCP connections, for which there are `cluster` or
    /// `clusters`, or both (`auto`), told apart by what the client says first. Default: `http`.
    #[serde(default)]
    #[schemars(extend("default" = "http"))]
    pub(crate) protocol: Field<Text<Traffic>>,
    /// TLS with clients. Without it what comes in is not encrypted, or not for the proxy to read.
    #[serde(default)]
    pub(crate) tls: Field<ListenerTls>,
    /// The clusters of TLS connections that are passed on as they are, by the hosts that their clients ask for: a host, or
    /// `*.` and what is behind it for all below that.
    #[serde(default)]
    pub(crate) server_names: Field<Map<Text<ServerNamePattern>, String>>,
    /// Whether each connection begins by saying whose it is, by the PROXY protocol, version 1 or 2: one that does not is
    /// closed. Only for listeners that nobody reaches but who says so. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) proxy_protocol: Field<bool>,
    /// Whether the upstreams of TCP connections are told whose these are, and by which version of the PROXY protocol.
    /// Without this they are not.
    #[serde(default)]
    pub(crate) send_proxy_protocol: Field<Text<ProxyProtocol>>,
    /// The chain of filters that requests pass, in order; responses pass it backwards. Each name at most once.
    #[serde(default)]
    pub(crate) filters: Field<Vec<Field<String>>>,
    /// The trusted keys one of which must have signed the module of each filter of the chain. Those that are built in are
    /// part of the signed or unsigned binary, and need none. Default: none, and no signature is asked for.
    #[serde(default)]
    pub(crate) require_signature_by: Field<Vec<Field<String>>>,
    /// Whether each exchange is written to standard output as a line of JSON. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) access_log: Field<bool>,
    /// How much of a body, or of a TCP connection's data each way, is held while a filter waits.
    #[serde(default)]
    #[schemars(transform = bounds::BUFFER_LIMIT.describe())]
    pub(crate) buffer_limit: Field<Text<Size>>,
    /// Which web pages of other origins may use the routes; a route's own `cors` takes its place. Default: none may that
    /// browsers ask permission for.
    #[serde(default)]
    pub(crate) cors: Field<OrOff<Cors>>,
    /// Which responses are compressed; a route's own `compression` takes its place. Default: none.
    #[serde(default)]
    pub(crate) compression: Field<OrOff<Compression>>,
    /// Whether gRPC-Web requests, which web pages send in the place of gRPC ones, become gRPC calls before routes and filters
    /// see them, and their responses gRPC-Web ones again. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) grpc_web: Field<bool>,
    /// Which bodies are decompressed before filters see them; a route's own `decompression` takes its place. Default: none.
    #[serde(default)]
    pub(crate) decompression: Field<OrOff<Decompression>>,
    /// Other answers for errors: the first that is for an answer is taken. Default: none.
    #[serde(default)]
    pub(crate) error_pages: Field<Vec<Field<ErrorPage>>>,
    /// How many proxies in front of this one are believed when they say whose request it is (`x-forwarded-for`).
    #[serde(default)]
    #[schemars(transform = bounds::TRUSTED_HOPS.describe())]
    pub(crate) trusted_hops: Field<Text<Count>>,
    /// In which form routes, filters and clusters see paths. Default: the strictest that leaves escaped slashes alone.
    #[serde(default)]
    pub(crate) path_normalization: Field<PathNormalization>,
    /// Whether a connection changes to HTTP/2 where its client asks for that in HTTP/1.1 (`Upgrade: h2c`). Not for listeners
    /// behind a proxy that passes `upgrade` on: who changes goes past its rules. Clients that begin with HTTP/2 need nothing.
    /// Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) h2c_upgrade: Field<bool>,
    /// The protocols that clients may change to by `upgrade`, or by extended CONNECT over HTTP/2: what follows passes no filter.
    /// A request that asks for another goes on without asking. Default: `[websocket]`.
    #[serde(default)]
    #[schemars(extend("default" = ["websocket"]))]
    pub(crate) upgrades: Field<Vec<Field<Text<UpgradeProtocol>>>>,
    /// How HTTP/2 is spoken with clients that speak it.
    #[serde(default)]
    pub(crate) http2: Field<Http2>,
    /// What a downstream peer may use.
    #[serde(default)]
    pub(crate) limits: Field<ListenerLimits>,
    /// Where requests go: the first route that matches is taken; without one the answer is 404. Required on an HTTP
    /// listener.
    #[serde(default)]
    pub(crate) routes: Field<Vec<Field<Route>>>,
    /// The cluster that TCP connections go to; with `protocol: auto`, what is not HTTP.
    #[serde(default)]
    pub(crate) cluster: Field<String>,
    /// The clusters that TCP connections are shared out to, each with its weight.
    #[serde(default)]
    pub(crate) clusters: Field<Map<String, Text<Count>>>,
}

/// In which form routes, filters and clusters see paths.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathNormalization {
    /// Whether dot segments are resolved, characters brought into one form, and backslashes taken for slashes; what is
    /// ambiguous is answered 400. Default: `true`.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) normalize_path: Field<bool>,
    /// Whether slashes in a row become one. Default: `true`.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) merge_slashes: Field<bool>,
    /// What becomes of `%2F` and `%5C`: they stay (`keep`), the request is answered 400 (`reject`), they become slashes
    /// (`unescape`), or the client is sent to where they are (`redirect`). Default: `keep`.
    #[serde(default)]
    #[schemars(extend("default" = "keep"))]
    pub(crate) escaped_slashes: Field<Text<EscapedSlashes>>,
}

/// What a downstream peer may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerLimits {
    /// Connections open at once; more are closed at once.
    #[serde(default)]
    #[schemars(transform = bounds::CONNECTIONS.describe())]
    pub(crate) connections: Field<Text<Count>>,
    /// A request's line and header fields together; more is answered 431.
    #[serde(default)]
    #[schemars(transform = bounds::HEADER_BYTES.describe())]
    pub(crate) header_bytes: Field<Text<Size>>,
    /// Header fields in a request; more is answered 431.
    #[serde(default)]
    #[schemars(transform = bounds::HEADERS.describe())]
    pub(crate) headers: Field<Text<Count>>,
    /// How long a request's line and header fields may take to arrive; after it 408.
    #[serde(default)]
    #[schemars(transform = bounds::HEADER_TIMEOUT.describe())]
    pub(crate) header_timeout: Field<Text<Duration>>,
    /// With `protocol: auto`, and where TCP connections are told apart by `server_names`: how long a client may say nothing
    /// by which that could be done. Then the connection goes to the listener's `cluster`.
    #[serde(default)]
    #[schemars(transform = bounds::DETECTION_TIMEOUT.describe())]
    pub(crate) detection_timeout: Field<Text<Duration>>,
    /// How long a body may not move, either way.
    #[serde(default)]
    #[schemars(transform = bounds::STREAM_IDLE_TIMEOUT.describe())]
    pub(crate) stream_idle_timeout: Field<Text<Duration>>,
    /// How long a connection is kept between requests; how long no byte may move on a TCP connection, either way.
    #[serde(default)]
    #[schemars(transform = bounds::DOWNSTREAM_IDLE_TIMEOUT.describe())]
    pub(crate) idle_timeout: Field<Text<Duration>>,
}
