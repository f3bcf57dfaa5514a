//! Checks how a cluster's endpoints are picked.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::super::bounds;
use super::super::decode::{Field, Located, Short};
use super::super::model::{
    Affinity, Balancing, Callers, Cluster, Cookie, Fallback, HashCookie, HashFunction, HashPolicy,
    HashSource, LoadBalancer, Localities, Locality, LocalityPattern, PeakEwma, Percent, RingHash, RingSize,
    SlowStart, Subsets, Times, ZoneAware,
};
use super::super::raw;
use super::super::scalar::{Algorithm, CookieName, Count, Text};
use super::super::source::Span;
use super::{Checker, items, whole};

/// A cluster's settings of how its endpoints are picked.
pub(super) struct Raw {
    pub(super) load_balancer: Field<raw::LoadBalancer>,
    pub(super) panic_threshold: Field<Text<Percent>>,
    pub(super) overprovisioning: Field<Text<Times>>,
    pub(super) localities: Field<raw::Localities>,
    pub(super) slow_start: Field<raw::SlowStart>,
    pub(super) subsets: Field<raw::Subsets>,
}

impl Checker<'_> {
    pub(super) fn balancing(&self, raw: Raw) -> Balancing {
        Balancing {
            algorithm: self.load_balancer(raw.load_balancer),
            panic_threshold: self.number(raw.panic_threshold, bounds::PANIC_THRESHOLD),
            overprovisioning: self.number(raw.overprovisioning, bounds::OVERPROVISIONING),
            localities: self.localities(raw.localities),
            slow_start: raw.slow_start.value().map(|raw| self.slow_start(raw)),
            subsets: raw.subsets.given().and_then(|raw| self.subsets(raw)),
        }
    }

    fn load_balancer(&self, raw: Field<raw::LoadBalancer>) -> LoadBalancer {
        use raw::LoadBalancer as Raw;
        match raw.value() {
            None => LoadBalancer::RoundRobin,
            Some(Raw::Named(name)) => name.value().map_or(LoadBalancer::RoundRobin, |Text(name)| usual(name)),
            Some(Raw::LeastRequest(raw)) => match raw.value() {
                Some(raw) => LoadBalancer::LeastRequest(self.count(raw.choice_count, bounds::CHOICE_COUNT)),
                None => LoadBalancer::least_request(),
            },
            Some(Raw::PeakEwma(raw)) => match raw.value() {
                Some(raw) => LoadBalancer::PeakEwma(PeakEwma {
                    decay: self.duration(raw.decay, bounds::EWMA_DECAY),
                    default_rtt: self.duration(raw.default_rtt, bounds::EWMA_DEFAULT_RTT),
                    penalty: self.duration(raw.penalty, bounds::EWMA_PENALTY),
                }),
                None => LoadBalancer::peak_ewma(),
            },
            Some(Raw::RingHash(raw)) => match raw.given() {
                Some(raw) => self.ring_hash(raw),
                None => LoadBalancer::ring_hash(),
            },
            Some(Raw::Maglev(raw)) => match raw.value() {
                Some(raw) => LoadBalancer::Maglev(self.table_size(raw.table_size)),
                None => LoadBalancer::maglev(),
            },
        }
    }

    fn ring_hash(&self, raw: Located<raw::RingHash>) -> LoadBalancer {
        let Located { value: raw, span } = raw;
        let usual = match raw.minimum_size.is_absent() {
            true => bounds::MAXIMUM_RING_SIZE.default.0,
            false => bounds::LARGEST_RING,
        };
        let maximum_size = self.number_if_given(raw.maximum_size, bounds::MAXIMUM_RING_SIZE);
        let maximum_size = whole(maximum_size.map_or(usual, |Count(size)| size));
        let hashes = raw.hashes.span();
        let each = self.count(raw.hashes, bounds::RING_HASHES);
        let minimum = self.number_if_given(raw.minimum_size, bounds::MINIMUM_RING_SIZE);
        let size = match minimum.map(|Count(size)| whole(size)) {
            None => RingSize::Each(each),
            Some(minimum) => {
                if let Some(span) = hashes {
                    let message = "`hashes` and `minimum_size` cannot be given together";
                    let hint = "remove `minimum_size`, unless the ring is to be the one that Envoy builds";
                    self.log.error_with_hint(span, message, hint);
                }
                if minimum > maximum_size {
                    let message =
                        format!("the ring's minimum, {minimum}, is above its maximum, {maximum_size}");
                    self.log.error_with_hint(span, message, "raise `maximum_size`, or lower `minimum_size`");
                }
                RingSize::AtLeast(minimum)
            }
        };
        let function = raw.hash_function.value().map_or(HashFunction::XxHash, |Text(it)| it);
        LoadBalancer::RingHash(RingHash { size, maximum_size, function })
    }

    /// Steps of any length have to reach all places of the table.
    fn table_size(&self, raw: Field<Text<Count>>) -> usize {
        let Some(given) = raw.given() else { return whole(bounds::MAGLEV_TABLE_SIZE.default.0) };
        let span = given.span;
        let size = self.in_range(given, bounds::MAGLEV_TABLE_SIZE).0;
        if !is_prime(size) {
            let next = (size..).find(|&size| is_prime(size)).unwrap_or(bounds::MAGLEV_TABLE_SIZE.default.0);
            let message = format!("`{size}` is no prime number");
            self.log.error_with_hint(span, message, format!("the next one is {next}"));
        }
        whole(size)
    }

    fn localities(&self, raw: Field<raw::Localities>) -> Localities {
        match raw.value() {
            None => Localities::Ignored,
            Some(raw::Localities::Weights(list)) => {
                let list = list.value().map_or_else(Vec::new, |list| items(list).collect());
                Localities::Weighted(list.into_iter().map(|raw| self.weighted_locality(raw)).collect())
            }
            Some(raw::Localities::ZoneAware(raw)) => match raw.value() {
                Some(raw) => Localities::ZoneAware(self.zone_aware(raw)),
                None => Localities::Ignored,
            },
        }
    }

    fn weighted_locality(&self, raw: Located<raw::WeightedLocality>) -> (LocalityPattern, u32) {
        let Located { value: raw, span } = raw;
        let pattern = LocalityPattern {
            region: raw.region.value(),
            zone: raw.zone.value(),
            sub_zone: raw.sub_zone.value(),
        };
        let weight = self.required(raw.weight, "weight", span);
        let weight = weight.map_or(1, |weight| self.in_range(weight, bounds::LOCALITY_WEIGHT).0);
        (pattern, u32::try_from(weight).unwrap_or(u32::MAX))
    }

    /// Who the callers are is looked up when all clusters are known.
    fn zone_aware(&self, raw: raw::ZoneAware) -> ZoneAware {
        let callers = raw.callers.given().inspect(|name| _ = self.cluster_index(name));
        let callers = callers.map(|name| Callers { cluster: name.value, places: BTreeMap::new() });
        ZoneAware {
            local: self.locality.clone(),
            callers,
            enabled: self.number(raw.enabled, bounds::ZONE_AWARE_ENABLED),
            minimum_endpoints: self.count(raw.minimum_endpoints, bounds::ZONE_AWARE_ENDPOINTS),
        }
    }

    fn slow_start(&self, raw: raw::SlowStart) -> SlowStart {
        SlowStart {
            window: self.duration(raw.window, bounds::SLOW_START_WINDOW),
            aggression: self.number(raw.aggression, bounds::SLOW_START_AGGRESSION),
            minimum: self.number(raw.minimum, bounds::SLOW_START_MINIMUM),
        }
    }

    fn subsets(&self, raw: Located<raw::Subsets>) -> Option<Subsets> {
        let Located { value: raw, span } = raw;
        let fallback = raw.fallback.value().map_or(Fallback::None, |Text(fallback)| fallback);
        let default_span = raw.default.span();
        let default = self.metadata(raw.default);
        match (fallback, default_span) {
            (Fallback::Default, None) => {
                let hint = "say which endpoints it has: `default: {NAME: TEXT}`";
                self.log.error_with_hint(span, "there is no default subset to fall back to", hint);
            }
            (Fallback::None | Fallback::Any, Some(span)) => {
                let hint = "add `fallback: default`, or remove it";
                self.log.error_with_hint(span, "the default subset is never asked", hint);
            }
            _ => {}
        }
        let list = self.required(raw.selectors, "selectors", span)?;
        if list.value.is_empty() {
            self.log.error(list.span, "without a selector there are no subsets");
        }
        if list.value.len() > bounds::MAX_SELECTORS {
            self.log.error(list.span, format!("there are at most {} selectors", bounds::MAX_SELECTORS));
        }
        let mut selectors = Vec::new();
        for selector in items(list.value) {
            let mut names: Vec<String> = items(selector.value).map(|name| name.value).collect();
            names.sort();
            names.dedup();
            if names.is_empty() || names.len() > bounds::MAX_SELECTORS {
                let message = format!("a selector has from 1 to {} names", bounds::MAX_SELECTORS);
                self.log.error(selector.span, message);
            }
            selectors.push(names);
        }
        Some(Subsets { selectors, fallback, default })
    }

    pub(super) fn affinity(&self, raw: Located<raw::Affinity>) -> Option<Affinity> {
        let Located { value: raw, span } = raw;
        let name = self.required(raw.cookie, "cookie", span);
        let path = self.cookie_path(raw.path);
        let ttl = self.duration(raw.ttl, bounds::COOKIE_TTL);
        let strict = raw.strict.value().unwrap_or(false);
        let raw = self.required(raw.key, "key", span)?;
        let span = raw.span;
        let key = self.secret(raw)?;
        if key.text.len() < bounds::MIN_COOKIE_KEY_BYTES {
            let message = format!("the key has {} bytes", key.text.len());
            let least = bounds::MIN_COOKIE_KEY_BYTES;
            let hint = format!("it has {least} at least: `openssl rand -base64 32` makes one");
            self.log.error_with_hint(span, message, hint);
        }
        let Text(CookieName(name)) = name?.value;
        Some(Affinity { cookie: cookie(name, path, ttl), key, strict })
    }

    pub(super) fn hash_policies(&self, raw: Field<Vec<Field<raw::HashPolicy>>>) -> Vec<HashPolicy> {
        let Some(list) = raw.given() else { return Vec::new() };
        if list.value.len() > bounds::MAX_HASH_POLICIES {
            let message = format!("there are at most {} hash policies", bounds::MAX_HASH_POLICIES);
            self.log.error(list.span, message);
        }
        items(list.value).filter_map(|raw| self.hash_policy(raw)).collect()
    }

    fn hash_policy(&self, raw: Located<raw::HashPolicy>) -> Option<HashPolicy> {
        let Located { value: raw, span } = raw;
        let choices = "`header`, `cookie`, `source_address` and `query`";
        let given = [
            raw.header.is_absent(),
            raw.cookie.is_absent(),
            raw.source_address.is_absent(),
            raw.query.is_absent(),
        ];
        let count = given.into_iter().filter(|absent| !absent).count();
        if count != 1 {
            let message = format!("a hash policy has one of {choices}, and this has {count}");
            self.log.error_with_hint(span, message, "write a list item for each");
            return None;
        }
        let source = if let Some(Text(header)) = raw.header.value() {
            HashSource::Header(header)
        } else if let Some(raw) = raw.cookie.given() {
            HashSource::Cookie(self.hash_cookie(raw)?)
        } else if let Some(wanted) = raw.source_address.given() {
            if !wanted.value {
                self.log.error_with_hint(wanted.span, "this hashes nothing", "remove the list item");
            }
            HashSource::SourceAddress
        } else {
            HashSource::Query(raw.query.value()?)
        };
        Some(HashPolicy { source, terminal: raw.terminal.value().unwrap_or(false) })
    }

    fn hash_cookie(&self, raw: Located<Short<CookieName, raw::CookieFields>>) -> Option<HashCookie> {
        let Located { value, span } = raw;
        match value {
            Short::Scalar(CookieName(name)) => Some(HashCookie { name, set: None }),
            Short::Fields(raw) => {
                let name = self.required(raw.name, "name", span);
                let path = self.cookie_path(raw.path);
                let ttl = self.number_if_given(raw.ttl, bounds::COOKIE_TTL);
                let Text(CookieName(name)) = name?.value;
                let set = ttl.map(|ttl| cookie(name.clone(), path, ttl));
                Some(HashCookie { name, set })
            }
        }
    }

    fn cookie_path(&self, raw: Field<String>) -> String {
        let Some(path) = raw.given() else { return "/".to_owned() };
        let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        if !path.value.starts_with('/') || !path.value.bytes().all(is_fine) {
            let hint = "it begins with `/` and has no spaces, no `;`, and ASCII characters only";
            self.log.error_with_hint(path.span, "this is not a cookie's path", hint);
        }
        path.value
    }

    pub(super) fn warn_of_address_twice(&self, twice: Span) {
        let hint = "for a larger share write one mapping: `{address: …, weight: 2}`";
        self.log.warning(twice, "this endpoint is there twice", hint);
    }
}

fn cookie(name: String, path: String, ttl: Duration) -> Cookie {
    Cookie { name, path, ttl: (!ttl.is_zero()).then_some(ttl) }
}

fn usual(algorithm: Algorithm) -> LoadBalancer {
    match algorithm {
        Algorithm::RoundRobin => LoadBalancer::RoundRobin,
        Algorithm::Random => LoadBalancer::Random,
        Algorithm::LeastRequest => LoadBalancer::least_request(),
        Algorithm::PeakEwma => LoadBalancer::peak_ewma(),
        Algorithm::RingHash => LoadBalancer::ring_hash(),
        Algorithm::Maglev => LoadBalancer::maglev(),
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// Counts, for every cluster that keeps requests near, where those are who send them.
pub(super) fn find_callers(clusters: &mut [Cluster]) {
    let places: HashMap<String, BTreeMap<Locality, usize>> =
        clusters.iter().map(|cluster| (cluster.name.clone(), places(cluster))).collect();
    for cluster in clusters {
        if let Localities::ZoneAware(ZoneAware { callers: Some(callers), .. }) =
            &mut cluster.balancing.localities
        {
            callers.places = places.get(&callers.cluster).cloned().unwrap_or_default();
        }
    }
}

fn places(cluster: &Cluster) -> BTreeMap<Locality, usize> {
    let mut places = BTreeMap::new();
    for endpoint in &cluster.endpoints {
        *places.entry(endpoint.locality.clone()).or_default() += 1;
    }
    places
}
