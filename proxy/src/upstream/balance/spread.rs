//! Endpoints that are as good as each other, and how one of them is picked: first a locality, where localities mean
//! anything, then an endpoint of it.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use super::least_request::LeastRequest;
use super::peak_ewma::{Latency, PeakEwma};
use super::plan::Level;
use super::random::Lots;
use super::turns::Turns;
use crate::config::model::{Balancing, LoadBalancer, Localities, Locality, Times, ZoneAware};
use crate::upstream::endpoint::Endpoint;

/// What an endpoint is picked by, beside its place.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) endpoints: &'a [Endpoint],
    /// As many, or none where the algorithm does not look at them.
    pub(super) latencies: &'a [Rc<Latency>],
}

/// Endpoints that are as good as each other.
#[derive(Debug)]
pub(super) struct Spread {
    way: Way,
    groups: Box<[Chooser]>,
}

/// How a group is picked.
#[derive(Debug)]
enum Way {
    /// There is one.
    Only,
    /// By the localities' weights.
    Weighted(Turns),
    /// The first is near.
    Near(Near),
}

/// How much stays near, in hundredths of a percent, and where the rest goes.
#[derive(Debug)]
struct Near {
    enabled: u32,
    /// The place of the group with everybody in it, for requests that localities mean nothing to.
    everybody: usize,
    stays: u32,
    /// What the groups after the first can take beyond what is theirs.
    elsewhere: Lots,
}

/// How one endpoint of several is picked.
#[derive(Debug)]
enum Chooser {
    Turns(Turns),
    Lots(Lots),
    LeastRequest(LeastRequest),
    PeakEwma(PeakEwma),
}

impl Spread {
    /// Of `members` of a level, by weight. `knows_places` is whether localities mean anything here.
    pub(super) fn new(
        members: &[u32],
        weight: &dyn Fn(u32) -> f64,
        level: &Level,
        balancing: &Balancing,
        knows_places: bool,
        is_first: bool,
    ) -> Spread {
        let chooser = |members: &[u32]| Chooser::new(balancing.algorithm, members, weight);
        let only = || Spread { way: Way::Only, groups: Box::new([chooser(members)]) };
        if !knows_places || level.localities.len() < 2 {
            return only();
        }
        let fit: HashSet<u32> = members.iter().copied().collect();
        let of_place =
            |members: &[u32]| -> Vec<u32> { members.iter().copied().filter(|it| fit.contains(it)).collect() };
        let places: Vec<_> = level.localities.iter().map(|place| (place, of_place(&place.members))).collect();
        match &balancing.localities {
            Localities::Ignored => only(),
            Localities::Weighted(_) => {
                let weights: Vec<f64> = places
                    .iter()
                    .map(|(place, fit)| {
                        f64::from(place.weight)
                            * availability(fit.len(), place.members.len(), balancing.overprovisioning)
                    })
                    .collect();
                if weights.iter().all(|weight| *weight == 0.0) {
                    return only();
                }
                let indices: Vec<u32> = (0..).take(places.len()).collect();
                let groups = places.iter().map(|(_, fit)| chooser(fit)).collect();
                Spread { way: Way::Weighted(Turns::new(&indices, &weights)), groups }
            }
            Localities::ZoneAware(aware) => {
                let places: Vec<_> = places
                    .into_iter()
                    .map(|(place, fit)| (&place.locality, fit))
                    .filter(|(_, fit)| !fit.is_empty())
                    .collect();
                if !is_first || members.len() < aware.minimum_endpoints {
                    return only();
                }
                near(places, aware, members, chooser).unwrap_or_else(only)
            }
        }
    }

    /// One of them; `None` if there is none.
    pub(super) fn take(&mut self, known: Known<'_>) -> Option<u32> {
        let group = match &mut self.way {
            Way::Only => 0,
            Way::Weighted(turns) => turns.take()? as usize,
            Way::Near(near) => near.group(),
        };
        self.groups.get_mut(group)?.take(known)
    }
}

/// How much of its share a locality gets of whose endpoints so many are fit.
fn availability(fit: usize, total: usize, overprovisioning: Times) -> f64 {
    (f64::from(overprovisioning.0) / 100.0 * fit as f64 / total as f64).min(1.0)
}

/// As Envoy keeps requests near: as many of the callers as are here can be served here, if there are endpoints enough;
/// if not, what they can take stays, and the rest goes to where there are more than their own callers need.
fn near(
    mut places: Vec<(&Locality, Vec<u32>)>,
    aware: &ZoneAware,
    members: &[u32],
    chooser: impl Fn(&[u32]) -> Chooser,
) -> Option<Spread> {
    let here = places.iter().position(|(locality, _)| **locality == aware.local)?;
    if places.len() < 2 {
        return None;
    }
    places.swap(0, here);
    let even = BTreeMap::from_iter(places.iter().map(|(locality, _)| ((*locality).clone(), 1)));
    let callers = aware.callers.as_ref().map_or(&even, |callers| &callers.places);
    let all_callers: usize = callers.values().sum();
    let share = |part: usize, whole: usize| part as u64 * 10_000 / whole.max(1) as u64;
    let called = |locality: &Locality| share(callers.get(locality).copied().unwrap_or(0), all_callers);
    let served = |fit: &Vec<u32>| share(fit.len(), members.len());
    let (is_called, is_served) = (called(places[0].0), served(&places[0].1));
    let stays = if is_served >= is_called { 10_000 } else { is_served * 10_000 / is_called };
    let (indices, spare): (Vec<u32>, Vec<f64>) = (1..)
        .zip(&places[1..])
        .map(|(index, (locality, fit))| (index, served(fit).saturating_sub(called(locality)) as f64))
        .unzip();
    let is_any_spare = spare.iter().any(|spare| *spare > 0.0);
    let elsewhere = if is_any_spare {
        Lots::new(&indices, &spare)
    } else {
        Lots::new(&indices, &vec![1.0; indices.len()])
    };
    let mut groups: Vec<_> = places.iter().map(|(_, fit)| chooser(fit)).collect();
    groups.push(chooser(members));
    let near = Near {
        enabled: aware.enabled.0,
        everybody: groups.len() - 1,
        stays: u32::try_from(stays).unwrap_or(10_000),
        elsewhere,
    };
    Some(Spread { way: Way::Near(near), groups: groups.into() })
}

impl Near {
    fn group(&self) -> usize {
        if self.enabled < 10_000 && fastrand::u32(..10_000) >= self.enabled {
            return self.everybody;
        }
        if self.stays >= 10_000 || fastrand::u32(..10_000) < self.stays {
            return 0;
        }
        self.elsewhere.draw().unwrap_or(0) as usize
    }
}

impl Chooser {
    fn new(algorithm: LoadBalancer, members: &[u32], weight: &dyn Fn(u32) -> f64) -> Chooser {
        let weights: Vec<f64> = members.iter().map(|&member| weight(member)).collect();
        match algorithm {
            LoadBalancer::RoundRobin => Chooser::Turns(Turns::new(members, &weights)),
            LoadBalancer::LeastRequest(choices) => {
                Chooser::LeastRequest(LeastRequest::new(members, &weights, choices))
            }
            LoadBalancer::PeakEwma(_) => Chooser::PeakEwma(PeakEwma::new(members, &weights)),
            // Those with tables do not come here.
            LoadBalancer::Random | LoadBalancer::RingHash(_) | LoadBalancer::Maglev(_) => {
                Chooser::Lots(Lots::new(members, &weights))
            }
        }
    }

    fn take(&mut self, known: Known<'_>) -> Option<u32> {
        let active = |member: u32| known.endpoints[member as usize].active();
        match self {
            Chooser::Turns(turns) => turns.take(),
            Chooser::Lots(lots) => lots.draw(),
            Chooser::LeastRequest(least) => least.take(active),
            Chooser::PeakEwma(ewma) => {
                let now = Instant::now();
                let load = |member: u32| {
                    let estimate =
                        known.latencies.get(member as usize).map_or(0.0, |latency| latency.estimate(now));
                    estimate * (active(member) + 1) as f64
                };
                ewma.take(load)
            }
        }
    }
}
