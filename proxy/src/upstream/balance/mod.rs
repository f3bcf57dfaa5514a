//! Which endpoint a request goes to. It decides by what it is given, and knows nothing of connections.
//!
//! ```text
//!   plan      for all workers, when the configuration is made: subsets, priorities, localities, tables
//!   picture   for one worker, when the health of an endpoint changes: who is fit, what each priority takes
//!   pick      for a request: priority → locality → endpoint, by the cluster's algorithm
//! ```

mod least_request;
mod maglev;
mod peak_ewma;
mod picture;
mod plan;
mod priority;
mod random;
mod ring;
mod spread;
mod turns;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

pub(super) use peak_ewma::{End, Latency, Slowest};
pub(super) use plan::Plan;

use super::cluster::Cluster;
use super::endpoint::Health;
use crate::config::model::{Address, LoadBalancer, MetadataMatch};
use picture::{Picture, Taken};
use plan::Set;
use spread::Known;

/// What is asked of the endpoint for a request. The default asks nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Criteria<'a> {
    /// By what requests that belong together are told from others, where the algorithm looks at it.
    pub hash: Option<u64>,
    /// The endpoint that is taken if the cluster has it, it is fit, and it is not one of `tried`.
    pub preferred: Option<Address>,
    /// Whether the preferred one is taken even if it is not fit, or was tried.
    pub strict: bool,
    /// Endpoints that this exchange was sent to before: none of these, as long as another is fit.
    pub tried: &'a [Address],
    /// Whoever sends this sees to it that what an endpoint refused is sent again.
    pub retried: bool,
    /// The subset that it is one of, where the cluster has subsets.
    pub subset: Option<&'a MetadataMatch>,
    /// Whoever sends this looks at how long the endpoint is silent.
    pub timed: bool,
}

/// The endpoint for a request, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Its index in [`Cluster::endpoints`].
    pub endpoint: usize,
    /// So few of its priority are fit that all of them are asked.
    pub panics: bool,
    /// There is no such subset as was asked for.
    pub fell_back: bool,
}

/// How often a pick is made again that gave an endpoint that was tried before.
const ATTEMPTS: usize = 3;

/// One worker's view of a cluster's load balancing.
#[derive(Debug)]
pub struct Balancer {
    /// How fast the endpoints are, where the algorithm looks at it.
    latencies: Box<[Rc<Latency>]>,
    /// Of each set of the plan, once it was asked.
    pictures: RefCell<Box<[Option<Picture>]>>,
}

impl Balancer {
    /// A view of `cluster` in which nothing is known yet of how fast its endpoints are.
    pub fn new(cluster: &Cluster) -> Balancer {
        let latencies = match cluster.config().balancing.algorithm {
            LoadBalancer::PeakEwma(settings) => {
                let (slowest, now) = (Slowest::new(settings), Instant::now());
                cluster.endpoints().iter().map(|_| Latency::new(&slowest, now)).collect()
            }
            _ => Box::default(),
        };
        Balancer::knowing(cluster, latencies)
    }

    /// `latencies` are there for all endpoints or for none.
    pub(super) fn knowing(cluster: &Cluster, latencies: Box<[Rc<Latency>]>) -> Balancer {
        let pictures = cluster.plan().sets().iter().map(|_| None).collect();
        Balancer { latencies, pictures: RefCell::new(pictures) }
    }

    /// The endpoint for one request; `None` if nobody can be asked. `cluster` is the one that this is a view of.
    pub fn pick(&self, cluster: &Cluster, criteria: &Criteria<'_>) -> Option<Pick> {
        let found = cluster.plan().find(criteria.subset)?;
        let set = &cluster.plan().sets()[found.set];
        let mut pictures = self.pictures.borrow_mut();
        let picture = pictures.get_mut(found.set)?;
        let picture = match picture {
            Some(picture) if picture.is_true(cluster) => picture,
            _ => picture.insert(Picture::draw(cluster, set)),
        };
        let chosen = match preferred(cluster, set, picture, criteria) {
            Some(taken) => taken,
            None => self.choose(cluster, set, picture, criteria)?,
        };
        let Taken { member, panics } = chosen;
        Some(Pick { endpoint: member as usize, panics, fell_back: found.fell_back })
    }

    fn choose(
        &self,
        cluster: &Cluster,
        set: &Set,
        picture: &mut Picture,
        criteria: &Criteria<'_>,
    ) -> Option<Taken> {
        let known = Known { endpoints: cluster.endpoints(), latencies: &self.latencies };
        let tried = criteria.tried;
        let is_new =
            |member: u32| tried.is_empty() || !tried.contains(&known.endpoints[member as usize].address());
        let first = picture.take(set, known, criteria.hash, is_new)?;
        if is_new(first.member) {
            return Some(first);
        }
        let mut again = (0..ATTEMPTS).filter_map(|_| picture.take(set, known, criteria.hash, is_new));
        if let Some(taken) = again.find(|taken| is_new(taken.member)) {
            return Some(taken);
        }
        // Few are left, or it is the only one that is any good: whoever else is fit will do.
        let start = fastrand::usize(..set.members.len().max(1));
        let (before, after) = set.members.split_at(start);
        let others = || after.iter().chain(before).copied().filter(|&member| is_new(member));
        let with = |health| others().find(|&member| known.endpoints[member as usize].health() == health);
        let other = with(Health::Healthy).or_else(|| with(Health::Degraded));
        let other = other.or_else(|| others().find(|&member| picture.panics_over(set, member)));
        Some(other.map_or(first, |member| Taken { member, panics: picture.panics_over(set, member) }))
    }
}

fn preferred(cluster: &Cluster, set: &Set, picture: &Picture, criteria: &Criteria<'_>) -> Option<Taken> {
    let wanted = criteria.preferred;
    let address = wanted.filter(|address| criteria.strict || !criteria.tried.contains(address))?;
    let place = cluster.place_of(address)?;
    let member = u32::try_from(place).ok()?;
    set.members.binary_search(&member).ok()?;
    let is_fit = cluster.endpoints()[place].health() != Health::Unhealthy;
    let panics = !is_fit && picture.panics_over(set, member);
    (is_fit || panics || criteria.strict).then_some(Taken { member, panics })
}

/// Two different places below `count`, which is 2 at least.
fn pair(count: usize) -> (usize, usize) {
    let first = fastrand::usize(..count);
    let second = fastrand::usize(..count - 1);
    (first, if second >= first { second + 1 } else { second })
}
