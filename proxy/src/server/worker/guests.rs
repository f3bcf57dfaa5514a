//! The guests of a configuration on one worker: which are started for it, which are taken over from the one before.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;

use super::super::observe;
use super::Shared;
use crate::config::model::{Changed, Filter, Isolation, Link, Listener, RouteFilters};
use crate::exchange::Callouts;
use crate::filter::{Chain, Change, Instance, Mute, Performer, Split, Way};
use crate::recording::Session;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::FilterObservation;
use crate::wasm::witness::Witness;
use crate::wasm::{Fault, FilterUsage, Plugin, Services};

/// A filter's instance, and what shows its cost. Cloned for each configuration that has it.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) instance: Rc<Instance>,
    pub(super) role: Role,
    pub(super) usage: Arc<FilterUsage>,
    /// The recording that it is there for.
    session: Option<Arc<Session>>,
    _observation: Rc<FilterObservation>,
}

/// What a filter is on its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// A filter, or the first version of one.
    First,
    /// A second version, beside the first.
    Second,
    /// A second version that only looks on.
    Shadow,
    /// A filter beside itself, for what is recorded of it.
    Recorded,
    /// A filter once more in its guest, as routes configure it. Its index is that of the variant.
    Variant,
}

impl Role {
    /// Who does what such a filter asks of others.
    pub(super) fn performer(self, callouts: &Rc<Callouts>) -> Rc<dyn Performer> {
        match self {
            Role::First | Role::Second | Role::Recorded | Role::Variant => callouts.clone(),
            Role::Shadow => Mute::over(callouts.clone()),
        }
    }
}

/// The chains of a listener.
pub(super) struct Chains {
    /// Its own.
    pub(super) usual: Rc<Chain>,
    /// For each route the one that it has instead, if it has one.
    pub(super) own: Vec<Option<Rc<Chain>>>,
}

/// Guests by their filters' indices and what they are.
pub(super) type Roster = HashMap<(usize, Role), Guest>;

/// A configuration's guests on this worker: one for each filter that a chain names.
pub(super) struct Guests<'a> {
    index: usize,
    shared: &'a Arc<Shared>,
    snapshot: &'a Snapshot,
    callouts: &'a Rc<Callouts>,
    /// Those of the configuration before, by what they run: of each there is one in each role.
    former: HashMap<(*const Filter, Role), &'a Guest>,
    /// What routes make of each filter.
    variants: HashMap<usize, Vec<usize>>,
    pub(super) running: Roster,
}

/// Whether a filter may start in another's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Welcome,
    Alone,
}

impl<'a> Guests<'a> {
    pub(super) fn new(
        index: usize,
        shared: &'a Arc<Shared>,
        snapshot: &'a Snapshot,
        callouts: &'a Rc<Callouts>,
        former: Option<&'a Roster>,
    ) -> Guests<'a> {
        let former = former.into_iter().flat_map(HashMap::values).map(|guest| (guest.key(), guest)).collect();
        let mut variants: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, variant) in snapshot.config().variants.iter().enumerate() {
            variants.entry(variant.of).or_default().push(at);
        }
        Guests { index, shared, snapshot, callouts, former, variants, running: HashMap::new() }
    }

    /// The chain of these filters, and what is beside them.
    pub(super) fn chain(&mut self, filters: &[usize]) -> anyhow::Result<Chain> {
        let first = filters.iter().map(|filter| self.instance(*filter, Role::First));
        let mut chain = Chain::new(first.collect::<Result<_, _>>()?);
        for (stage, filter) in filters.iter().enumerate() {
            if let Some((canary, candidate)) = self.snapshot.canary(*filter) {
                let role = if canary.is_shadow() { Role::Shadow } else { Role::Second };
                let split = Split::new(canary, self.index, self.instance(candidate, role)?);
                chain = chain.beside(stage, split);
            } else if let Some(session) = self.session(*filter) {
                let watched = self.instance(*filter, Role::Recorded)?;
                chain = chain.beside(stage, Split::recording(&session, watched));
            }
        }
        Ok(chain)
    }

    /// The chain of a listener, and for each of its routes that has one a chain of its own.
    pub(super) fn chains(&mut self, listener: &Listener) -> anyhow::Result<Chains> {
        let (mut ways, mut own) = (Vec::new(), Vec::new());
        for route in &listener.routes {
            let (way, chain): (Way, _) = match &route.filters {
                RouteFilters::Inherited => Default::default(),
                RouteFilters::Changed(changes) => (self.way(&listener.filters, changes)?, None),
                RouteFilters::Chain(links) => (Way::default(), Some(Rc::new(self.chain_of(links)?))),
            };
            ways.push(way);
            own.push(chain);
        }
        Ok(Chains { usual: Rc::new(self.chain(&listener.filters)?.on_routes(ways)), own })
    }

    /// What a route makes of the listener's chain.
    fn way(&mut self, chain: &[usize], changes: &[Changed]) -> anyhow::Result<Way> {
        let change = |changed: &Changed| {
            let change = match changed.variant {
                None => Change::Off,
                Some(variant) => Change::Instance(self.variant(chain[changed.stage], variant)?),
            };
            Ok((changed.stage, change))
        };
        changes.iter().map(change).collect()
    }

    /// A route's own chain.
    fn chain_of(&mut self, links: &[Link]) -> anyhow::Result<Chain> {
        let filters: Vec<usize> = links.iter().map(|link| link.filter).collect();
        let mut chain = self.chain(&filters)?;
        for (stage, link) in links.iter().enumerate() {
            if let Some(variant) = link.variant {
                chain = chain.with(stage, self.variant(link.filter, variant)?);
            }
        }
        Ok(chain)
    }

    /// The instance of a filter as routes configure it.
    fn variant(&mut self, filter: usize, variant: usize) -> anyhow::Result<Rc<Instance>> {
        self.instance(filter, Role::First)?;
        Ok(self.running[&(variant, Role::Variant)].instance.clone())
    }

    /// A filter with all that routes make of it: in the guest that it had, or in one that it may share, or, where they do
    /// not fit in there, in a new one. What is served goes on either way, in the guest that it has.
    fn settle(&mut self, filter: usize) -> anyhow::Result<()> {
        let (base, serves) = match self.taken_over(filter, Role::First) {
            Some(base) => (base, true),
            None => (self.start(filter, Role::First, Company::Welcome)?, false),
        };
        let (base, variants) = match self.vary_all(&base, filter, serves) {
            Ok(variants) => (base, variants),
            Err(error) => {
                tracing::info!("the filter has a new instance for what routes make of it: {error:#}");
                base.instance.mend();
                let base = self.start(filter, Role::First, Company::Alone)?;
                let variants = self.vary_all(&base, filter, false)?;
                (base, variants)
            }
        };
        let variants = variants.into_iter().map(|(variant, guest)| ((variant, Role::Variant), guest));
        self.running.extend(variants.chain([((filter, Role::First), base)]));
        Ok(())
    }

    /// What routes make of a filter, beside it. Where that `serves` already it has to have room for them.
    fn vary_all(&self, base: &Guest, filter: usize, serves: bool) -> anyhow::Result<Vec<(usize, Guest)>> {
        let mut has_room = !serves;
        let variants = self.variants.get(&filter).into_iter().flatten();
        let guests = variants.map(|&variant| {
            if let Some(guest) = self.former_variant(base, variant) {
                return Ok((variant, guest));
            }
            let filter = base.instance.plugin().filter();
            // Who shares an instance with others wants that above all.
            if !has_room && filter.vm_id.is_empty() && !base.instance.has_room() {
                let name = &filter.name;
                anyhow::bail!("that of filter `{name}` has more than half of the memory that it may have");
            }
            has_room = true;
            Ok((variant, self.vary(base, variant)?))
        });
        guests.collect()
    }

    /// A variant of the former configuration, if it is in the filter's guest, or has its own.
    fn former_variant(&self, base: &Guest, variant: usize) -> Option<Guest> {
        let plugin = self.snapshot.variant(variant);
        let former = self.former(plugin, Role::Variant)?;
        (is_alone(plugin) || former.instance.is_beside(&base.instance)).then(|| former.clone())
    }

    /// What ran a plugin in this role before and may go on.
    fn former(&self, plugin: &Plugin, role: Role) -> Option<&'a Guest> {
        let former = *self.former.get(&(Arc::as_ptr(plugin.filter()), role))?;
        (former.instance.plugin().is(plugin) && !former.instance.is_worn()).then_some(former)
    }

    /// Starts the variant in the filter's guest, unless each exchange has one of its own: what it costs is the filter's.
    fn vary(&self, base: &Guest, variant: usize) -> anyhow::Result<Guest> {
        let plugin = self.snapshot.variant(variant).clone();
        let name = plugin.filter().name.clone();
        let usage = base.usage.clone();
        let services = self.services(Role::Variant, &usage, None);
        let performer = Role::Variant.performer(self.callouts);
        let is_alone = is_alone(&plugin) && !base.instance.is_vacant();
        let instance = match is_alone || base.instance.is_watched() {
            true => Instance::start(plugin, services, performer),
            false => base.instance.vary(plugin, services, performer),
        };
        let worker = self.index;
        let context =
            || format!("filter `{name}`, as a route configures it, does not start on worker {worker}");
        let instance = instance.with_context(context)?;
        let _observation = base._observation.clone();
        Ok(Guest { instance, role: Role::Variant, usage, session: None, _observation })
    }

    /// The recording that is made of a filter, if one is.
    fn session(&self, filter: usize) -> Option<Arc<Session>> {
        let is_there = !self.snapshot.is_missing(filter);
        is_there
            .then(|| self.shared.recordings.session(&self.snapshot.plugin(filter).filter().name))
            .flatten()
    }

    fn instance(&mut self, filter: usize, role: Role) -> anyhow::Result<Rc<Instance>> {
        if !self.running.contains_key(&(filter, role)) {
            match (role, self.taken_over(filter, role)) {
                (Role::First, _) => self.settle(filter)?,
                (_, Some(guest)) => drop(self.running.insert((filter, role), guest)),
                (_, None) => {
                    let guest = self.start(filter, role, Company::Welcome)?;
                    self.running.insert((filter, role), guest);
                }
            }
        }
        Ok(self.running[&(filter, role)].instance.clone())
    }

    /// The instance of the former configuration, if nothing about the filter has changed.
    fn taken_over(&self, filter: usize, role: Role) -> Option<Guest> {
        let former = self.former(self.snapshot.plugin(filter), role)?;
        let session = if role == Role::Recorded { self.session(filter) } else { None };
        let is_it = former.session.as_ref().map(Arc::as_ptr) == session.as_ref().map(Arc::as_ptr);
        is_it.then(|| former.clone())
    }

    /// What a guest has.
    fn services(&self, role: Role, usage: &Arc<FilterUsage>, witness: Option<Arc<dyn Witness>>) -> Services {
        let (shared_data, metrics) = match role {
            Role::First | Role::Second | Role::Recorded | Role::Variant => {
                (&self.shared.shared_data, &self.shared.guest_metrics)
            }
            Role::Shadow => (&self.shared.shadow_data, &self.shared.shadow_metrics),
        };
        Services {
            witness,
            shared_data: shared_data.clone(),
            metrics: metrics.clone(),
            worker: self.index,
            usage: usage.clone(),
            clusters: self.snapshot.endpoints().clone(),
            ..Services::new()
        }
    }

    /// Whose guest a filter may share. A second version that fails is not to take the first one's guest with it.
    fn company(&self, plugin: &Plugin) -> Option<&Instance> {
        let others = self.running.values().chain(self.former.values().copied());
        let mut others = others.filter(|other| other.role == Role::First).map(|other| &*other.instance);
        others.find(|other| other.plugin().shares(plugin) && !other.is_worn() && !other.is_watched())
    }

    fn start(&self, filter: usize, role: Role, company: Company) -> anyhow::Result<Guest> {
        let plugin = self.snapshot.plugin(filter).clone();
        let name = plugin.filter().name.clone();
        let usage = Arc::new(FilterUsage::new());
        let session = if role == Role::Recorded { self.session(filter) } else { None };
        let witness = match &session {
            Some(session) => Some(session.witness()),
            None => self.shared.recordings.witness(&name),
        };
        let services = self.services(role, &usage, witness);
        if self.snapshot.is_missing(filter) {
            let observation = observe::observe_filter(&self.shared.metrics, &name, &usage);
            let instance = Instance::missing(plugin, services, self.callouts.clone());
            return Ok(Guest { instance, role, usage, session, _observation: Rc::new(observation) });
        }
        let other = (company == Company::Welcome && services.witness.is_none() && role == Role::First)
            .then(|| self.company(&plugin))
            .flatten();
        let performer = || role.performer(self.callouts);
        let joined = other.and_then(|other| {
            let joined = Instance::join(other, plugin.clone(), services.clone(), performer());
            let refused = |fault: &Fault| {
                tracing::info!(
                    "filter `{name}` has an instance of its own, not that of its `vm_id`: {fault}"
                );
                other.mend();
            };
            joined.inspect_err(refused).ok()
        });
        let instance = match joined {
            Some(instance) => Ok(instance),
            None => Instance::start(plugin, services, performer()),
        };
        let instance =
            instance.with_context(|| format!("filter `{name}` does not start on worker {}", self.index))?;
        if let Some(after) = instance.plugin().filter().recycle.after {
            let (instance, after) = (Rc::downgrade(&instance), jittered(after));
            // It ends with the worker's runtime at the latest, and keeps nothing.
            tokio::task::spawn_local(async move {
                tokio::time::sleep(after).await;
                if let Some(instance) = instance.upgrade() {
                    instance.wear_out();
                }
            });
        }
        let observation = observe::observe_filter(&self.shared.metrics, &name, &usage);
        Ok(Guest { instance, role, usage, session, _observation: Rc::new(observation) })
    }
}

impl Guest {
    fn key(&self) -> (*const Filter, Role) {
        (Arc::as_ptr(self.instance.plugin().filter()), self.role)
    }
}

/// Whether each exchange has an instance of its own.
fn is_alone(plugin: &Plugin) -> bool {
    plugin.filter().isolation == Isolation::Exchange
}

/// Up to a tenth later.
fn jittered(after: Duration) -> Duration {
    after + after.mul_f64(fastrand::f64() / 10.0)
}

/// Ends filters side by side: none waits for another.
pub(super) async fn end_all(guests: &[Guest]) {
    let mut ending: Vec<_> = guests.iter().map(|guest| Box::pin(guest.instance.end())).collect();
    std::future::poll_fn(|cx| {
        ending.retain_mut(|end| end.as_mut().poll(cx).is_pending());
        if ending.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
