//! One worker's picture of a set of endpoints: who is fit, and how much of the load each priority takes. It is drawn
//! anew when the health of an endpoint changes, at the first pick after that.

use std::time::{Duration, Instant};

use super::plan::{Level, Set};
use super::priority::{self, Count, Load};
use super::spread::{Known, Spread};
use crate::config::model::{Balancing, SlowStart};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::{Endpoint, Health};

/// While endpoints begin slowly, how many times in the window their weights are looked at again, and how long that
/// holds, at least and at most.
const STEPS: u32 = 50;
const STEP: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// A set's endpoints as they are now.
#[derive(Debug)]
pub(super) struct Picture {
    epoch: u64,
    /// Until when the weights hold.
    until: Option<Instant>,
    views: Box<[View]>,
    /// Of all endpoints of the cluster, for those algorithms that look at one after the other: in less room than the
    /// endpoints themselves. None for the others.
    health: Box<[Health]>,
}

/// A priority's endpoints as they are now.
#[derive(Debug)]
struct View {
    load: Load,
    /// All of them, where the priority panics.
    healthy: Spread,
    degraded: Spread,
}

/// An endpoint that was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) member: u32,
    /// It was picked from all of its priority, because too few of these are fit.
    pub(super) panics: bool,
}

impl Picture {
    pub(super) fn draw(cluster: &Cluster, set: &Set) -> Picture {
        // Read first: what changes while this is drawn is seen next time.
        let epoch = cluster.epoch();
        let (balancing, endpoints) = (&cluster.config().balancing, cluster.endpoints());
        let counts: Vec<_> = set.levels.iter().map(|level| count(level, endpoints)).collect();
        let loads = priority::loads(&counts, balancing.overprovisioning, balancing.panic_threshold);
        let views = set.levels.iter().zip(loads).enumerate();
        let views =
            views.map(|(place, (level, load))| View::new(level, load, endpoints, balancing, place == 0));
        let views = views.collect();
        let slowly = balancing.slow_start.filter(|start| {
            set.members.iter().any(|&member| endpoints[member as usize].fit_for() < start.window)
        });
        let step = slowly.map(|start| (start.window / STEPS).clamp(STEP.0, STEP.1));
        let has_tables = set.levels.iter().any(|level| level.table.is_some());
        let health = endpoints.iter().filter(|_| has_tables).map(Endpoint::health).collect();
        Picture { epoch, until: step.map(|step| Instant::now() + step), views, health }
    }

    /// Whether it still shows the cluster as it is.
    pub(super) fn is_true(&self, cluster: &Cluster) -> bool {
        self.epoch == cluster.epoch() && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether an endpoint is of a priority all of whose endpoints are asked.
    pub(super) fn panics_over(&self, set: &Set, member: u32) -> bool {
        let mut views = self.views.iter().zip(&set.levels);
        views.any(|(view, level)| view.load.panics && level.members.binary_search(&member).is_ok())
    }

    /// An endpoint; `None` if none is fit. `will_do` is asked by those algorithms that find the next one themselves.
    pub(super) fn take(
        &mut self,
        set: &Set,
        known: Known<'_>,
        hash: Option<u64>,
        will_do: impl Fn(u32) -> bool,
    ) -> Option<Taken> {
        let hash = set.levels.first()?.table.as_ref().map(|_| hash.unwrap_or_else(|| fastrand::u64(..)));
        let (place, is_healthy) = self.priority(hash)?;
        let view = &mut self.views[place];
        let panics = view.load.panics;
        let member = match (&set.levels[place].table, hash) {
            (Some(table), Some(hash)) => {
                let wanted = if is_healthy { Health::Healthy } else { Health::Degraded };
                let health = &self.health;
                let is_fit = |member: u32| panics || health[member as usize] == wanted;
                let found = table.find(hash, |member| is_fit(member) && will_do(member));
                found.or_else(|| table.find(hash, is_fit))
            }
            _ if is_healthy || panics => view.healthy.take(known),
            _ => view.degraded.take(known),
        }?;
        Some(Taken { member, panics })
    }

    /// The priority that a request goes to, by its hash or by chance, and whether to its healthy endpoints or to the
    /// degraded ones.
    fn priority(&self, hash: Option<u64>) -> Option<(usize, bool)> {
        if let [View { load: Load { healthy: 100, .. }, .. }, ..] = *self.views {
            return Some((0, true));
        }
        let lot = hash.map_or_else(|| fastrand::u32(..100), |hash| (hash % 100) as u32) + 1;
        let mut sum = 0;
        let mut find = |load: fn(&Load) -> u32| {
            self.views.iter().position(|view| {
                sum += load(&view.load);
                lot <= sum
            })
        };
        let healthy = find(|load| load.healthy).map(|place| (place, true));
        healthy.or_else(|| find(|load| load.degraded).map(|place| (place, false)))
    }
}

impl View {
    fn new(level: &Level, load: Load, endpoints: &[Endpoint], balancing: &Balancing, is_first: bool) -> View {
        let weight = |member: u32| weight(&endpoints[member as usize], balancing.slow_start.as_ref());
        let of = |health: Health| -> Vec<u32> {
            let members = level.members.iter().copied();
            members.filter(|&member| endpoints[member as usize].health() == health).collect()
        };
        let spread = |members: &[u32], knows_places: bool| {
            // A table needs no lists.
            let members = if level.table.is_some() { &[] } else { members };
            Spread::new(members, &weight, level, balancing, knows_places, is_first)
        };
        let healthy = match load.panics {
            true => spread(&level.members, false),
            false => spread(&of(Health::Healthy), true),
        };
        View { load, healthy, degraded: spread(&of(Health::Degraded), true) }
    }
}

fn count(level: &Level, endpoints: &[Endpoint]) -> Count {
    let mut count = Count { total: level.members.len(), ..Count::default() };
    for &member in &level.members {
        match endpoints[member as usize].health() {
            Health::Healthy => count.healthy += 1,
            Health::Degraded => count.degraded += 1,
            Health::Unhealthy => {}
        }
    }
    count
}

/// An endpoint's weight, which is less than the configuration says while it begins slowly.
fn weight(endpoint: &Endpoint, slow_start: Option<&SlowStart>) -> f64 {
    let weight = f64::from(endpoint.spec().weight);
    let Some(start) = slow_start else { return weight };
    let fit_for = endpoint.fit_for();
    if fit_for >= start.window {
        return weight;
    }
    let part = fit_for.as_secs_f64().max(0.001) / start.window.as_secs_f64();
    let part = part.powf(100.0 / f64::from(start.aggression.0));
    weight * part.max(f64::from(start.minimum.0) / 10_000.0)
}
