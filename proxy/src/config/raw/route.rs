//! Routes as the user wrote them: what they match, and what becomes of a request.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::bounds;
use super::super::decode::{Field, Map, OneOrMany, Short};
use super::super::model::{FieldValue, HostMatch, Percent};
use super::super::scalar::{AuthorityText, Count, Host, Scheme, Size, Text};
use super::{
    Compression, Cors, Decompression, FollowRedirects, HashPolicy, Mirror, OrOff, Retries, RouteFilters,
};

/// Which requests, and what becomes of them: exactly one of `cluster`, `clusters`, `cluster_header`, `redirect` and
/// `respond`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Its name in metrics and logs. Default: `route-N`, counted from 0.
    #[serde(default)]
    pub(crate) name: Field<String>,
    /// Which requests take this route. `{}` is all of them.
    #[serde(rename = "match")]
    pub(crate) matches: Field<Match>,
    /// The filters that requests of this route pass. A list is a chain in the place of the listener's; a mapping says
    /// what is different of filters of the listener's chain: `{limits: {config: …}, authz: off}`. Default: the listener's
    /// chain.
    #[serde(default)]
    pub(crate) filters: Field<RouteFilters>,
    /// The cluster that requests are sent to.
    #[serde(default)]
    pub(crate) cluster: Field<String>,
    /// The clusters that requests are shared out to, each with its weight. As a list a cluster may be there more than
    /// once, for several of its subsets.
    #[serde(default)]
    pub(crate) clusters: Field<Shares>,
    /// The cluster that a header field of the request names, as it is once the filters have run.
    #[serde(default)]
    pub(crate) cluster_header: Field<ClusterHeader>,
    /// The metadata of the endpoints that requests go to, for clusters with `subsets`.
    #[serde(default)]
    pub(crate) metadata_match: Field<Map<String, String>>,
    /// By what requests are told apart that are to reach the same endpoint, for clusters whose `load_balancer` is
    /// `ring_hash` or `maglev`. What is found of these is hashed together. Default: a request reaches any endpoint.
    #[serde(default)]
    pub(crate) hash_policy: Field<Vec<Field<HashPolicy>>>,
    /// Tell the client to go elsewhere.
    #[serde(default)]
    pub(crate) redirect: Field<Redirect>,
    /// Answer without asking a cluster.
    #[serde(default)]
    pub(crate) respond: Field<Respond>,
    /// Clusters that get copies of the requests: one, or a list.
    #[serde(default)]
    pub(crate) mirror: Field<OneOrMany<Mirror>>,
    /// Redirects of the upstream that are followed by the proxy itself, a body of up to `buffer_limit` included. Default: none.
    #[serde(default)]
    pub(crate) follow_redirects: Field<FollowRedirects>,
    /// Changes to path and host before a request is sent on.
    #[serde(default)]
    pub(crate) rewrite: Field<Rewrite>,
    /// Which web pages of other origins may use the route, or `off`. Default: what the listener's `cors` says.
    #[serde(default)]
    pub(crate) cors: Field<OrOff<Cors>>,
    /// Which of the responses are compressed, or `off`. Default: what the listener's `compression` says.
    #[serde(default)]
    pub(crate) compression: Field<OrOff<Compression>>,
    /// Which bodies are decompressed before filters see them, or `off`. Default: what the listener's `decompression` says.
    #[serde(default)]
    pub(crate) decompression: Field<OrOff<Decompression>>,
    /// How much of a body is held while a filter waits.
    #[serde(default)]
    #[schemars(transform = bounds::ROUTE_BUFFER_LIMIT.describe())]
    pub(crate) buffer_limit: Field<Text<Size>>,
    /// From the whole request received to the response's header fields; after it 504. `0s` waits for ever.
    #[serde(default)]
    #[schemars(transform = bounds::ROUTE_TIMEOUT.describe())]
    pub(crate) timeout: Field<Text<Duration>>,
    /// The longest deadline that a request's `grpc-timeout` may set in the place of `timeout`; `0s` is any. The endpoint is
    /// told what is left of it. Default: the header is passed on, and sets nothing here.
    #[serde(default)]
    pub(crate) grpc_timeout: Field<Text<Duration>>,
    /// How long an exchange may take from its beginning to its end, whatever moves; then 504, or a cut connection where the
    /// response has begun. Default: as long as it likes.
    #[serde(default)]
    pub(crate) max_duration: Field<Text<Duration>>,
    /// How long a body may not move, either way. Default: the listener's `limits.stream_idle_timeout`.
    #[serde(default)]
    pub(crate) idle_timeout: Field<Text<Duration>>,
    /// When a request is sent again. Default: never, but for what nobody can tell (an idle connection that was closed).
    #[serde(default)]
    pub(crate) retries: Field<Retries>,
    /// Whether its requests are refused while the proxy has more to do than `overload` lets it; `false` is for checks of
    /// health, which would have the whole service ended. Default: `true`.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) shed: Field<bool>,
    /// Changes to header fields.
    #[serde(default)]
    pub(crate) headers: Field<Edits>,
}

/// Clusters by name, each with its weight or with what there is to say of it; or a list.
#[derive(Debug)]
pub(crate) enum Shares {
    /// By name.
    Map(Map<String, Short<Count, Share>>),
    /// One after the other.
    List(Vec<Field<NamedShare>>),
}

/// What one of several clusters gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// How much, compared with the others.
    pub(crate) weight: Field<Text<Count>>,
    /// The metadata of its endpoints that requests go to, beside the route's own `metadata_match`.
    #[serde(default)]
    pub(crate) metadata_match: Field<Map<String, String>>,
}

/// One of several clusters, and what it gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedShare {
    /// Its name.
    pub(crate) cluster: Field<String>,
    /// How much, compared with the others.
    pub(crate) weight: Field<Text<Count>>,
    /// The metadata of its endpoints that requests go to, beside the route's own `metadata_match`.
    #[serde(default)]
    pub(crate) metadata_match: Field<Map<String, String>>,
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SharesVisitor)
    }
}

struct SharesVisitor;

impl<'de> Visitor<'de> for SharesVisitor {
    type Value = Shares;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of clusters to weights")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Shares, A::Error> {
        Map::deserialize(MapAccessDeserializer::new(entries)).map(Shares::Map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Shares, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Shares::List)
    }
}

impl JsonSchema for Shares {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Shares".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let by_name = Map::<String, Short<Count, Share>>::json_schema(generator);
        let list = Vec::<NamedShare>::json_schema(generator);
        schemars::json_schema!({ "anyOf": [by_name, list] })
    }
}

/// A header field that names the cluster. Without it, or with another name in it, the request is answered 503.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterHeader {
    /// Its name. A client can send it too: unless that is meant, a filter sets or removes it on every request.
    pub(crate) name: Field<Text<HeaderName>>,
    /// The clusters that it may name.
    pub(crate) allow: Field<Vec<Field<String>>>,
}

/// What a route looks at. Everything that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// One of these hosts, without port: exact, `*.example.com` or `api.*`.
    #[serde(default)]
    pub(crate) host: Field<OneOrMany<Text<Option<HostMatch>>>>,
    /// The path, without the query.
    #[serde(default)]
    pub(crate) path: Field<Path>,
    /// One of these methods.
    #[serde(default)]
    pub(crate) method: Field<OneOrMany<Text<Method>>>,
    /// Each of these header fields.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, ValueMatcher>>,
    /// Each of these query parameters: the first of its name, as it was sent (not percent-decoded).
    #[serde(default)]
    pub(crate) query: Field<Map<String, ValueMatcher>>,
    /// Each of these cookies: the first of its name.
    #[serde(default)]
    pub(crate) cookies: Field<Map<String, ValueMatcher>>,
    /// Each of these claims of the token that a filter such as `builtin:authz` has verified, by name, or by a path of names
    /// with dots between them (`realm_access.roles`). A list is met by any of its elements; numbers and truth values by their
    /// text. Before the filter has run there are none.
    #[serde(default)]
    pub(crate) claims: Field<Map<String, ValueMatcher>>,
    /// Each of these values that filters stored for the exchange (`set_property`): `user.plan` is the path `["user", "plan"]`.
    /// Before the filters have run there are none.
    #[serde(default)]
    pub(crate) properties: Field<Map<String, ValueMatcher>>,
    /// This share of the requests for which all of the others hold; which ones is chance. Every route sees the same chance: of
    /// `10%` and behind it `30%`, the second gets 20 %. Default: all of them.
    #[serde(default)]
    pub(crate) percent: Field<Text<Percent>>,
}

/// How a path is compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Path {
    /// It begins with this, by characters: `/api` matches `/apix`.
    Prefix(Field<String>),
    /// It is this, or what follows begins with a slash: `/api` matches `/api` and `/api/x`, and not `/apix`.
    Segments(Field<String>),
    /// It is this.
    Exact(Field<String>),
    /// This regular expression matches all of it.
    Regex(Field<String>),
    /// It has this form: `/users/{id}/files/{rest=**}`. `{name}` or `*` is one segment, `{name=**}` or `**` all that is left.
    Template(Field<String>),
}

/// How a value is compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueMatcher {
    /// It is this.
    Exact(Field<String>),
    /// It begins with this.
    Prefix(Field<String>),
    /// It ends with this.
    Suffix(Field<String>),
    /// It has this in it.
    Contains(Field<String>),
    /// This regular expression matches all of it.
    Regex(Field<String>),
    /// It is a whole number from the one to the other, both included.
    Range(Field<Range>),
    /// It is there (`true`) or it is not (`false`).
    Present(Field<bool>),
    /// It is not what this says; a missing one counts as not.
    Not(Field<Box<ValueMatcher>>),
}

/// Whole numbers from the one to the other, both included.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// The least. Default: there is none.
    #[serde(default)]
    pub(crate) from: Field<i64>,
    /// The greatest. Default: there is none.
    #[serde(default)]
    pub(crate) to: Field<i64>,
}

/// Changes to path and host before a request is sent on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// What replaces the part of the path that `match.path.prefix` (or `exact`) matched.
    #[serde(default)]
    pub(crate) prefix: Field<String>,
    /// Replace what a regular expression matches in the path.
    #[serde(default)]
    pub(crate) regex: Field<RegexRewrite>,
    /// What the path becomes where `match.path.template` matched, with its variables: `/v2/{id}`.
    #[serde(default)]
    pub(crate) template: Field<String>,
    /// The `host` to send instead of the client's. Operators stand for what is known of the exchange
    /// (`"%REQ(x-tenant)%.internal"`): where that leaves nothing the client's is sent.
    #[serde(default)]
    pub(crate) host: Field<Text<AuthorityText>>,
}

/// Every match of `pattern` in the path is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegexRewrite {
    /// The regular expression, which may match anywhere in the path.
    pub(crate) pattern: Field<String>,
    /// What replaces a match. `\1` or `${1}` is the first group, `${name}` a named one, `$$` a dollar sign.
    pub(crate) substitution: Field<String>,
}

/// Where the client is told to go. What is not given stays as in the request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    /// 301, 302, 303, 307 or 308. Default: 301.
    #[serde(default)]
    #[schemars(extend("default" = 301, "enum" = [301, 302, 303, 307, 308]))]
    pub(crate) status: Field<Text<StatusCode>>,
    /// The scheme.
    #[serde(default)]
    pub(crate) scheme: Field<Text<Scheme>>,
    /// The host, without port.
    #[serde(default)]
    pub(crate) host: Field<Text<Host>>,
    /// The port, from 1 to 65535.
    #[serde(default)]
    pub(crate) port: Field<Text<Count>>,
    /// The whole path, or `{prefix: …}` for the part that `match.path.prefix` matched.
    #[serde(default)]
    pub(crate) path: Field<RedirectPath>,
    /// Whether the query is dropped. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) strip_query: Field<bool>,
}

/// A redirect's path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedirectPath {
    /// What replaces the part that `match.path.prefix` matched.
    Prefix(Field<String>),
    /// This path, its query included if it has one.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Full(Field<String>),
}

/// A response of the proxy's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    /// Its status, from 200 to 599. Default: 200.
    #[serde(default)]
    #[schemars(extend("default" = 200))]
    pub(crate) status: Field<Text<StatusCode>>,
    /// Its body, at most 64 KiB. Default: empty.
    #[serde(default)]
    pub(crate) body: Field<String>,
    /// A file whose content is its body, at most 1 MiB, relative to the folder of this configuration. It is read with the
    /// configuration, and again when it changes.
    #[serde(default)]
    pub(crate) file: Field<String>,
    /// Its header fields.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, Text<HeaderValue>>>,
}

/// Changes to header fields.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edits {
    /// Of the request, before it is sent on.
    #[serde(default)]
    pub(crate) request: Field<Edit>,
    /// Of the response, before it is sent to the client.
    #[serde(default)]
    pub(crate) response: Field<Edit>,
}

/// Changes to a header block, in this order: `remove`, `set`, `add`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// Fields that are replaced, or added where there are none. Operators stand for what is known of the exchange
    /// (`%DOWNSTREAM_REMOTE_ADDRESS%`); `%%` is a percent sign.
    #[serde(default)]
    pub(crate) set: Field<Map<Text<HeaderName>, Text<FieldValue>>>,
    /// Fields that are added beside those that are there. The same operators are known.
    #[serde(default)]
    pub(crate) add: Field<Map<Text<HeaderName>, Text<FieldValue>>>,
    /// Fields that are removed.
    #[serde(default)]
    pub(crate) remove: Field<Vec<Field<Text<HeaderName>>>>,
}
