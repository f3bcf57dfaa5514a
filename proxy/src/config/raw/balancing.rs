//! How endpoints are picked, as the user wrote it.

use std::time::Duration;

use ::http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::{Field, Map, Short};
use super::super::model::{Fallback, HashFunction, Percent, Times};
use super::super::scalar::{Algorithm, CookieName, Count, Text};
use super::Secret;

/// An algorithm's name, or its name with settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoadBalancer {
    /// The one with the fewest requests in flight of some that are picked at random; where weights differ, each in turn,
    /// by its weight divided by its requests.
    LeastRequest(Field<LeastRequest>),
    /// Of two picked at random the one that is likely to answer first: by how long it took of late, the longest times
    /// first, and by its requests in flight.
    PeakEwma(Field<PeakEwma>),
    /// The one that follows the request's hash on a ring of hashes. See a route's `hash_policy`.
    RingHash(Field<RingHash>),
    /// The one that a table has at the request's hash. See a route's `hash_policy`.
    Maglev(Field<Maglev>),
    /// The name.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Named(Field<Text<Algorithm>>),
}

/// The less busy of some.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeastRequest {
    /// How many are picked at random.
    #[serde(default)]
    #[schemars(transform = bounds::CHOICE_COUNT.describe())]
    pub(crate) choice_count: Field<Text<Count>>,
}

/// The one that is likely to answer first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeakEwma {
    /// How long a measurement counts: after this it has lost all but a third of its weight.
    #[serde(default)]
    #[schemars(transform = bounds::EWMA_DECAY.describe())]
    pub(crate) decay: Field<Text<Duration>>,
    /// What an endpoint that has not answered yet is taken to need.
    #[serde(default)]
    #[schemars(transform = bounds::EWMA_DEFAULT_RTT.describe())]
    pub(crate) default_rtt: Field<Text<Duration>>,
    /// What an answer that is an error counts as, at least: errors tend to be fast.
    #[serde(default)]
    #[schemars(transform = bounds::EWMA_PENALTY.describe())]
    pub(crate) penalty: Field<Text<Duration>>,
}

/// A ring of hashes. With `minimum_size` it is the one that Envoy builds: the same requests reach the same endpoints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RingHash {
    /// Hashes of each endpoint, of the lightest one where weights differ: the more, the more even the shares.
    #[serde(default)]
    #[schemars(transform = bounds::RING_HASHES.describe())]
    pub(crate) hashes: Field<Text<Count>>,
    /// In the place of `hashes`: hashes on the ring in all, at least, as in Envoy, whose default is 1024. When an endpoint
    /// leaves, others get more hashes, and requests move that went to neither.
    #[serde(default)]
    #[schemars(transform = bounds::MINIMUM_RING_SIZE.describe())]
    pub(crate) minimum_size: Field<Text<Count>>,
    /// Hashes on the ring, at most.
    #[serde(default)]
    #[schemars(transform = bounds::MAXIMUM_RING_SIZE.describe())]
    pub(crate) maximum_size: Field<Text<Count>>,
    /// What endpoints are hashed with. Default: `xx_hash`.
    #[serde(default)]
    #[schemars(extend("default" = "xx_hash"))]
    pub(crate) hash_function: Field<Text<HashFunction>>,
}

/// A Maglev table. With the same settings the same requests reach the same endpoints as with Envoy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Maglev {
    /// Its size: a prime number, much larger than the number of endpoints.
    #[serde(default)]
    #[schemars(transform = bounds::MAGLEV_TABLE_SIZE.describe())]
    pub(crate) table_size: Field<Text<Count>>,
}

/// What the endpoints' localities mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Localities {
    /// Each gets its share of the requests, and less of it the fewer of its endpoints are fit. The first that fits
    /// counts; a locality that is not in here weighs 1.
    Weights(Field<Vec<Field<WeightedLocality>>>),
    /// The proxy's own locality gets as much of the load as it can take.
    ZoneAware(Field<ZoneAware>),
}

/// Localities that have these parts, and the share that each gets. A part that is not given may be anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedLocality {
    /// The region.
    #[serde(default)]
    pub(crate) region: Field<String>,
    /// The zone.
    #[serde(default)]
    pub(crate) zone: Field<String>,
    /// The part of the zone.
    #[serde(default)]
    pub(crate) sub_zone: Field<String>,
    /// Its share, compared with the others' of its priority; 0 is none.
    #[schemars(transform = bounds::LOCALITY_WEIGHT.describe())]
    pub(crate) weight: Field<Text<Count>>,
}

/// Keeping requests near.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneAware {
    /// The cluster of those who send these requests, this proxy's service among them: how many of them are in which
    /// locality says how much the endpoints of each have to take. Default: as many in each.
    #[serde(default)]
    pub(crate) callers: Field<String>,
    /// Of how many requests localities are looked at.
    #[serde(default)]
    #[schemars(transform = bounds::ZONE_AWARE_ENABLED.describe())]
    pub(crate) enabled: Field<Text<Percent>>,
    /// With fewer endpoints of a priority localities mean nothing.
    #[serde(default)]
    #[schemars(transform = bounds::ZONE_AWARE_ENDPOINTS.describe())]
    pub(crate) minimum_endpoints: Field<Text<Count>>,
}

/// Have endpoints that are new, or were unfit, begin with less than their weight. It does nothing for `ring_hash` and
/// `maglev`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlowStart {
    /// How long it takes until an endpoint has its whole weight.
    #[serde(default)]
    #[schemars(transform = bounds::SLOW_START_WINDOW.describe())]
    pub(crate) window: Field<Text<Duration>>,
    /// How its share grows: `1x` is in a straight line, more is more at first.
    #[serde(default)]
    #[schemars(transform = bounds::SLOW_START_AGGRESSION.describe())]
    pub(crate) aggression: Field<Text<Times>>,
    /// With what share of its weight it begins.
    #[serde(default)]
    #[schemars(transform = bounds::SLOW_START_MINIMUM.describe())]
    pub(crate) minimum: Field<Text<Percent>>,
}

/// Parts of the endpoints, by their metadata.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subsets {
    /// Lists of names: endpoints that have the same texts for all names of a list are a subset. A route's
    /// `metadata_match` has to name all names of one list and no others.
    pub(crate) selectors: Field<Vec<Field<Vec<Field<String>>>>>,
    /// What is asked where there is no such subset, or none is asked for: nobody (503), any endpoint, or the subset that
    /// is the default. Default: `none`.
    #[serde(default)]
    #[schemars(extend("default" = "none"))]
    pub(crate) fallback: Field<Text<Fallback>>,
    /// The metadata of the endpoints that are the default subset.
    #[serde(default)]
    pub(crate) default: Field<Map<String, String>>,
}

/// Sending a client's requests to one endpoint, by a signed cookie.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Affinity {
    /// The cookie's name. Clusters that one client may be sent to each have their own.
    pub(crate) cookie: Field<Text<CookieName>>,
    /// What the cookie is signed with (HMAC-SHA256): 16 bytes at least, the same in every proxy that clients may come to.
    pub(crate) key: Field<Secret>,
    /// For which paths clients send it back. Default: `/`.
    #[serde(default)]
    #[schemars(extend("default" = "/"))]
    pub(crate) path: Field<String>,
    /// How long clients keep it. `0s` is until they end.
    #[serde(default)]
    #[schemars(transform = bounds::COOKIE_TTL.describe())]
    pub(crate) ttl: Field<Text<Duration>>,
    /// Whether the endpoint is asked that the cookie says, even where it is unfit. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) strict: Field<bool>,
}

/// What of a request is hashed: exactly one of `header`, `cookie`, `source_address` and `query`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HashPolicy {
    /// All values of a header field.
    #[serde(default)]
    pub(crate) header: Field<Text<HeaderName>>,
    /// A cookie's value: its name, or how it is set where the client does not send it.
    #[serde(default)]
    pub(crate) cookie: Field<Short<CookieName, CookieFields>>,
    /// The client's IP address, if this is `true`.
    #[serde(default)]
    pub(crate) source_address: Field<bool>,
    /// The first query parameter of this name, as it was sent (not percent-decoded).
    #[serde(default)]
    pub(crate) query: Field<String>,
    /// Whether nothing after it is looked at, if there is a hash by then. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) terminal: Field<bool>,
}

/// A cookie that is set where the client does not send it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CookieFields {
    /// Its name.
    pub(crate) name: Field<Text<CookieName>>,
    /// How long clients keep it; `0s` is until they end. Without this it is not set.
    #[serde(default)]
    pub(crate) ttl: Field<Text<Duration>>,
    /// For which paths clients send it back. Default: `/`.
    #[serde(default)]
    #[schemars(extend("default" = "/"))]
    pub(crate) path: Field<String>,
}
