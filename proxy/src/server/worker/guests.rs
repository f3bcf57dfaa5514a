//! The guests of a configuration on one worker: which are started for it, which are taken over from the one before.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;

use super::super::observe;
use super::Shared;
use crate::config::model::{Changed, Isolation, Link, Listener, RouteFilters};
use crate::exchange::Callouts;
use crate::filter::{Chain, Change, Instance, Mute, Performer, Split, Way};
use crate::recording::Session;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::FilterObservation;
use crate::wasm::witness::Witness;
use crate::wasm::{FilterUsage, Plugin, Services};

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
    pub(super) index: usize,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) callouts: &'a Rc<Callouts>,
    pub(super) former: Option<&'a Roster>,
    pub(super) running: Roster,
}

impl Guests<'_> {
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
        if let Some(guest) = self.running.get(&(variant, Role::Variant)) {
            return Ok(guest.instance.clone());
        }
        self.instance(filter, Role::First)?;
        let base = &self.running[&(filter, Role::First)];
        let guest = match self.former_variant(base, variant) {
            Some(guest) => guest,
            None => self.vary(base, variant)?,
        };
        let instance = guest.instance.clone();
        self.running.insert((variant, Role::Variant), guest);
        Ok(instance)
    }

    /// The same of the former configuration, if it is in the filter's guest, or has its own.
    fn former_variant(&self, base: &Guest, variant: usize) -> Option<Guest> {
        let plugin = self.snapshot.variant(variant);
        let is_it = |former: &&Guest| {
            former.role == Role::Variant
                && former.instance.plugin().is(plugin)
                && !former.instance.is_worn()
                && (is_alone(plugin) || former.instance.is_beside(&base.instance))
        };
        self.former?.values().find(is_it).cloned()
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
        let guest = match self.running.get(&(filter, role)) {
            Some(guest) => guest.clone(),
            None => match self.taken_over(filter, role) {
                Some(guest) => guest,
                None => self.start(filter, role)?,
            },
        };
        self.running.insert((filter, role), guest.clone());
        Ok(guest.instance)
    }

    /// The instance of the former configuration, if nothing about the filter has changed.
    fn taken_over(&self, filter: usize, role: Role) -> Option<Guest> {
        let plugin = self.snapshot.plugin(filter);
        let session = if role == Role::Recorded { self.session(filter) } else { None };
        let is_it = |former: &&Guest| {
            former.role == role
                && former.instance.plugin().is(plugin)
                && !former.instance.is_worn()
                && former.session.as_ref().map(Arc::as_ptr) == session.as_ref().map(Arc::as_ptr)
        };
        self.former?.values().find(is_it).cloned()
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

    fn start(&self, filter: usize, role: Role) -> anyhow::Result<Guest> {
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
        let others = self.running.values().chain(self.former.into_iter().flat_map(HashMap::values));
        // A second version that fails is not to take the first one's guest with it.
        let others = others.filter(|other| other.role == Role::First && role == Role::First);
        let mut others = others.map(|other| &other.instance).filter(|other| !other.is_worn());
        let is_watched = services.witness.is_some();
        let other = others.find(|other| !is_watched && !other.is_watched() && other.plugin().shares(&plugin));
        let instance = match other {
            Some(other) => Instance::join(other, plugin, services, role.performer(self.callouts)),
            None => Instance::start(plugin, services, role.performer(self.callouts)),
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
