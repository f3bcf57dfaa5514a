//! How a cluster's endpoints are picked.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::super::bounds;
use super::super::check::whole;
use super::{Locality, Percent, Secret, Times};

/// How an endpoint is picked for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancing {
    /// Among those that are as good as each other.
    pub algorithm: LoadBalancer,
    /// With a smaller share of a priority's endpoints fit, all of them are asked: those that are left would not stand it.
    pub panic_threshold: Percent,
    /// How many times its share of the load a priority, or a locality, can take before the next one is asked.
    pub overprovisioning: Times,
    /// What localities mean.
    pub localities: Localities,
    /// How endpoints that are new, or were unfit, begin.
    pub slow_start: Option<SlowStart>,
    /// The subsets that routes may ask for.
    pub subsets: Option<Subsets>,
}

impl Default for Balancing {
    /// Each in turn, as in Envoy.
    fn default() -> Balancing {
        Balancing {
            algorithm: LoadBalancer::RoundRobin,
            panic_threshold: bounds::PANIC_THRESHOLD.default,
            overprovisioning: bounds::OVERPROVISIONING.default,
            localities: Localities::Ignored,
            slow_start: None,
            subsets: None,
        }
    }
}

/// Which of several endpoints that are as good as each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancer {
    /// Each in turn, those of a larger weight more often.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with the fewest requests in flight among this many picked at random; where weights differ, each in turn,
    /// by its weight divided by its requests.
    LeastRequest(usize),
    /// The one that is likely to answer first, of two picked at random.
    PeakEwma(PeakEwma),
    /// The one on a ring of hashes that follows the request's.
    RingHash(RingHash),
    /// The one that a table of this size, a prime number, has at the request's hash.
    Maglev(usize),
}

impl LoadBalancer {
    /// Least request of two.
    pub fn least_request() -> LoadBalancer {
        LoadBalancer::LeastRequest(whole(bounds::CHOICE_COUNT.default.0))
    }

    /// Peak-EWMA with the usual times.
    pub fn peak_ewma() -> LoadBalancer {
        LoadBalancer::PeakEwma(PeakEwma {
            decay: bounds::EWMA_DECAY.default,
            default_rtt: bounds::EWMA_DEFAULT_RTT.default,
            penalty: bounds::EWMA_PENALTY.default,
        })
    }

    /// A ring of the usual size.
    pub fn ring_hash() -> LoadBalancer {
        LoadBalancer::RingHash(RingHash {
            size: RingSize::Each(whole(bounds::RING_HASHES.default.0)),
            maximum_size: whole(bounds::MAXIMUM_RING_SIZE.default.0),
            function: HashFunction::XxHash,
        })
    }

    /// A table of the usual size.
    pub fn maglev() -> LoadBalancer {
        LoadBalancer::Maglev(whole(bounds::MAGLEV_TABLE_SIZE.default.0))
    }
}

/// How fast endpoints seem to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeakEwma {
    /// How long a measurement counts: after this it has lost all but a third of its weight.
    pub decay: Duration,
    /// What an endpoint that has not answered yet is taken to need.
    pub default_rtt: Duration,
    /// What an answer that is an error counts as, at least.
    pub penalty: Duration,
}

/// A ring of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingHash {
    /// How many hashes are on it.
    pub size: RingSize,
    /// Hashes on it, at most.
    pub maximum_size: usize,
    /// What endpoints are hashed with.
    pub function: HashFunction,
}

/// How many hashes are on a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingSize {
    /// So many of each endpoint, of the lightest one where weights differ. Whoever leaves takes its own away, and the
    /// others' stay as they are.
    Each(usize),
    /// So many in all, at least, as in Envoy: when one leaves, the others get more, which moves requests too.
    AtLeast(usize),
}

/// What endpoints are hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    /// xxHash, 64 bits.
    XxHash,
    /// MurmurHash2, 64 bits.
    Murmur,
}

/// What localities mean when an endpoint is picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Localities {
    /// Nothing.
    Ignored,
    /// Each gets its share, and less of it the fewer of its endpoints are fit. The first that fits counts; one that is
    /// not in here weighs 1.
    Weighted(Vec<(LocalityPattern, u32)>),
    /// The proxy's own locality gets as much of the load as it can take.
    ZoneAware(ZoneAware),
}

/// Localities that have these parts. A part that is not said may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalityPattern {
    /// The region.
    pub region: Option<String>,
    /// The zone.
    pub zone: Option<String>,
    /// The part of the zone.
    pub sub_zone: Option<String>,
}

impl LocalityPattern {
    /// Whether a locality is one of these.
    pub fn matches(&self, locality: &Locality) -> bool {
        let fits = |wanted: &Option<String>, is: &String| wanted.as_ref().is_none_or(|wanted| wanted == is);
        fits(&self.region, &locality.region)
            && fits(&self.zone, &locality.zone)
            && fits(&self.sub_zone, &locality.sub_zone)
    }
}

/// Keeping requests near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneAware {
    /// Where the proxy is.
    pub local: Locality,
    /// Those who send requests. Where nobody knows, they are taken to be as many in each locality that has endpoints.
    pub callers: Option<Callers>,
    /// Of how many requests localities are looked at.
    pub enabled: Percent,
    /// With fewer endpoints localities mean nothing.
    pub minimum_endpoints: usize,
}

/// Those who send requests to a cluster, the proxy's own service among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers {
    /// The cluster that they are.
    pub cluster: String,
    /// How many of them are where.
    pub places: BTreeMap<Locality, usize>,
}

/// How an endpoint begins that is new or was unfit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// How long it takes until it has its whole weight.
    pub window: Duration,
    /// 1 is in a straight line; more is more at first.
    pub aggression: Times,
    /// The share of its weight that it has at first.
    pub minimum: Percent,
}

/// Parts of a cluster's endpoints, by their metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subsets {
    /// Sets of names: endpoints that have the same texts for all names of one are a subset. Each sorted.
    pub selectors: Vec<Vec<String>>,
    /// What is asked where there is no such subset.
    pub fallback: Fallback,
    /// The endpoints that have all of this, for [`Fallback::Default`].
    pub default: BTreeMap<String, String>,
}

/// What is asked where there is no such subset, or none is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nobody: 503.
    None,
    /// Any endpoint of the cluster.
    Any,
    /// The default subset.
    Default,
}

/// Names and texts that an endpoint's metadata must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataMatch {
    entries: Vec<(String, String)>,
    fingerprint: u64,
}

impl MetadataMatch {
    /// Of these; a name that is there already is replaced.
    pub fn new(entries: &BTreeMap<String, String>) -> MetadataMatch {
        let entries: Vec<_> = entries.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        let mut bytes = Vec::new();
        for part in entries.iter().flat_map(|(name, text)| [name, text]) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        MetadataMatch { entries, fingerprint: xxhash_rust::xxh64::xxh64(&bytes, 0) }
    }

    /// Names and texts, sorted by name.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// A number that is the same for the same entries, and hardly ever for others.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Sending a client's requests to one endpoint, by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// The cookie.
    pub cookie: Cookie,
    /// What the cookie is signed with.
    pub key: Secret,
    /// Whether the endpoint is asked that the cookie says, even where it is unfit.
    pub strict: bool,
}

/// A cookie that the proxy sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// For which paths clients send it back.
    pub path: String,
    /// How long they do; with `None`, until they end.
    pub ttl: Option<Duration>,
}

/// By what requests are told apart that are to reach the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is looked at.
    pub source: HashSource,
    /// Whether nothing after it is looked at, if there is a hash by then.
    pub terminal: bool,
}

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashSource {
    /// All values of a header field.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(HashCookie),
    /// The client's IP address.
    SourceAddress,
    /// The first query parameter of this name.
    Query(String),
}

/// A cookie whose value is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// How it is set where the client does not send it: not at all without this.
    pub set: Option<Cookie>,
}
