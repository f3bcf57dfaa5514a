//! Routes: which requests, and what becomes of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use indexmap::IndexMap;
use regex::Regex;

use super::{
    Compression, Cors, Decompression, FieldValue, HashPolicy, MetadataMatch, Percent, Retries, RouteFilters,
};

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
    /// What comes behind each slash.
    pub segments: Vec<TemplateSegment>,
    /// The same as an anchored expression, whose groups are the variables.
    pub regex: Regex,
}

/// What a path template has between slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// This text.
    Text(String),
    /// Any, but not nothing.
    Any,
    /// Whatever is left of the path. The last.
    Rest,
}

impl PathTemplate {
    /// Whether a path has this form. The expression says the same, and takes longer.
    pub fn matches(&self, path: &str) -> bool {
        let mut found = path.split('/');
        found.next() == Some("")
            && self.segments.iter().all(|segment| match (segment, found.next()) {
                (_, None) => false,
                (TemplateSegment::Text(text), Some(found)) => found == text,
                (TemplateSegment::Any, Some(found)) => !found.is_empty(),
                (TemplateSegment::Rest, Some(_)) => true,
            })
            && (found.next().is_none() || self.segments.last() == Some(&TemplateSegment::Rest))
    }
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
    /// Which, an index into [`Config::clusters`](super::Config::clusters).
    pub cluster: usize,
    /// The share of the requests that it gets.
    pub percent: Percent,
    /// Whether their host says that they are copies.
    pub mark_host: bool,
}

/// Which cluster a request goes to. Clusters are indices into [`Config::clusters`](super::Config::clusters).
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
