//! What can be known of a cluster's endpoints before any request: its subsets, their priorities and localities, and the
//! tables of those algorithms that have one. Made once for all workers, when the configuration is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::maglev::Maglev;
use super::ring::Ring;
use crate::config::model::{
    self, Endpoint, Fallback, LoadBalancer, Localities, Locality, MetadataMatch, Subsets,
};

/// A cluster's endpoints, as they are looked at. Endpoints are known by their place in the configuration.
#[derive(Debug)]
pub(in crate::upstream) struct Plan {
    /// All endpoints, then the subsets.
    sets: Box<[Set]>,
    /// The subsets by their fingerprints.
    subsets: Option<HashMap<u64, Vec<(MetadataMatch, usize)>>>,
    /// The set that is asked where there is no subset.
    fallback: Option<usize>,
}

/// Endpoints one of which a request goes to.
#[derive(Debug)]
pub(super) struct Set {
    /// In order.
    pub(super) members: Box<[u32]>,
    /// By priority, the first one first.
    pub(super) levels: Box<[Level]>,
}

/// The endpoints of one priority.
#[derive(Debug)]
pub(super) struct Level {
    /// In order.
    pub(super) members: Box<[u32]>,
    /// By locality, where localities mean anything.
    pub(super) localities: Box<[Place]>,
    /// What a request's hash is looked up in.
    pub(super) table: Option<Table>,
}

/// The endpoints of one locality.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) locality: Locality,
    pub(super) members: Box<[u32]>,
    /// Its share, where the configuration says.
    pub(super) weight: u32,
}

/// What a request's hash is looked up in.
#[derive(Debug)]
pub(super) enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// The set that a request's endpoint is picked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) set: usize,
    /// It is not the one that was asked for.
    pub(super) fell_back: bool,
}

impl Plan {
    pub(in crate::upstream) fn new(config: &model::Cluster) -> Plan {
        let all: Vec<u32> =
            (0..config.endpoints.len()).filter_map(|place| u32::try_from(place).ok()).collect();
        let mut sets = vec![Set::new(all.clone(), config)];
        let Some(subsets) = &config.balancing.subsets else {
            return Plan { sets: sets.into(), subsets: None, fallback: Some(0) };
        };
        let mut known: HashMap<u64, Vec<(MetadataMatch, usize)>> = HashMap::new();
        for (wanted, members) in parts(&all, &config.endpoints, subsets) {
            known.entry(wanted.fingerprint()).or_default().push((wanted, sets.len()));
            sets.push(Set::new(members, config));
        }
        let fallback = match subsets.fallback {
            Fallback::None => None,
            Fallback::Any => Some(0),
            Fallback::Default => {
                let has_it = |member: &u32| has(&config.endpoints[*member as usize], &subsets.default);
                sets.push(Set::new(all.iter().copied().filter(has_it).collect(), config));
                Some(sets.len() - 1)
            }
        };
        Plan { sets: sets.into(), subsets: Some(known), fallback }
    }

    /// Whether a plan for `former` is one for `config`.
    pub(in crate::upstream) fn holds(former: &model::Cluster, config: &model::Cluster) -> bool {
        former.endpoints == config.endpoints && former.balancing == config.balancing
    }

    pub(super) fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The set for what is asked for; `None` where there is no such subset, and no other may be asked.
    pub(super) fn find(&self, wanted: Option<&MetadataMatch>) -> Option<Found> {
        let Some(subsets) = &self.subsets else { return Some(Found { set: 0, fell_back: false }) };
        let found = wanted.and_then(|wanted| {
            let same = subsets.get(&wanted.fingerprint())?;
            same.iter().find(|(known, _)| known == wanted).map(|(_, set)| *set)
        });
        match found {
            Some(set) => Some(Found { set, fell_back: false }),
            None => self.fallback.map(|set| Found { set, fell_back: true }),
        }
    }
}

/// The subsets, and who is in each.
fn parts(all: &[u32], endpoints: &[Arc<Endpoint>], subsets: &Subsets) -> BTreeMap<MetadataMatch, Vec<u32>> {
    let mut parts: BTreeMap<MetadataMatch, Vec<u32>> = BTreeMap::new();
    let mut selectors: Vec<_> = subsets.selectors.iter().collect();
    selectors.sort();
    selectors.dedup(); // or its members would be in there twice
    for selector in selectors {
        for &member in all {
            let metadata = &endpoints[member as usize].metadata;
            let texts = selector.iter().map(|name| Some((name.clone(), metadata.get(name)?.clone())));
            if let Some(texts) = texts.collect::<Option<BTreeMap<_, _>>>() {
                parts.entry(MetadataMatch::new(&texts)).or_default().push(member);
            }
        }
    }
    parts
}

fn has(endpoint: &Endpoint, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, text)| endpoint.metadata.get(name) == Some(text))
}

impl Set {
    fn new(members: Vec<u32>, config: &model::Cluster) -> Set {
        let mut levels: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &member in &members {
            levels.entry(config.endpoints[member as usize].priority).or_default().push(member);
        }
        let levels = levels.into_values().map(|members| Level::new(members, config)).collect();
        Set { members: members.into(), levels }
    }
}

impl Level {
    fn new(members: Vec<u32>, config: &model::Cluster) -> Level {
        let localities: Box<[Place]> = match &config.balancing.localities {
            Localities::Ignored => Box::default(),
            _ => places(&members, config),
        };
        let table = match &config.balancing.algorithm {
            LoadBalancer::RingHash(settings) => {
                Some(Table::Ring(Ring::new(&known_by(&members, &localities, config), settings)))
            }
            LoadBalancer::Maglev(size) => {
                Some(Table::Maglev(Maglev::new(&known_by(&members, &localities, config), *size)))
            }
            LoadBalancer::RoundRobin
            | LoadBalancer::Random
            | LoadBalancer::LeastRequest(_)
            | LoadBalancer::PeakEwma(_) => None,
        };
        Level { members: members.into(), localities, table }
    }
}

fn places(members: &[u32], config: &model::Cluster) -> Box<[Place]> {
    let mut places: BTreeMap<&Locality, Vec<u32>> = BTreeMap::new();
    for &member in members {
        places.entry(&config.endpoints[member as usize].locality).or_default().push(member);
    }
    let place = |(locality, members): (&Locality, Vec<u32>)| Place {
        locality: locality.clone(),
        members: members.into(),
        weight: weight(locality, &config.balancing.localities),
    };
    places.into_iter().map(place).collect()
}

fn weight(locality: &Locality, localities: &Localities) -> u32 {
    match localities {
        Localities::Weighted(list) => {
            list.iter().find(|(pattern, _)| pattern.matches(locality)).map_or(1, |(_, weight)| *weight)
        }
        Localities::Ignored | Localities::ZoneAware(_) => 1,
    }
}

/// What tables know members by, and how much each gets: of its locality's share, where localities have one.
fn known_by(members: &[u32], localities: &[Place], config: &model::Cluster) -> Vec<(u32, String, f64)> {
    let weight = |member: u32| f64::from(config.endpoints[member as usize].weight);
    let mut of_locality = HashMap::new();
    if matches!(config.balancing.localities, Localities::Weighted(_)) {
        // Where no locality weighs anything, localities mean nothing.
        for place in localities.iter().filter(|_| localities.iter().any(|place| place.weight > 0)) {
            let total: f64 = place.members.iter().map(|&member| weight(member)).sum();
            let share = f64::from(place.weight) / total;
            of_locality.extend(place.members.iter().map(|&member| (member, share)));
        }
    }
    let known_by = |&member: &u32| {
        let name = config.endpoints[member as usize].address.to_string();
        (member, name, weight(member) * of_locality.get(&member).copied().unwrap_or(1.0))
    };
    members.iter().map(known_by).collect()
}

impl Table {
    /// The member for a hash, of those that will do.
    pub(super) fn find(&self, hash: u64, will_do: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Table::Ring(ring) => ring.find(hash, will_do),
            Table::Maglev(maglev) => maglev.find(hash, will_do),
        }
    }
}
