//! An image on one worker, with all that its instances are given: from it one is made for each exchange.

use std::rc::Rc;
use std::sync::Arc;

use super::fault::Fault;
use super::host::{Host, QueueIds};
use super::hostcalls::metrics::MetricIds;
use super::image::Image;
use super::plugin::Plugin;
use super::root::{Allowance, Root};
use super::services::{Clusters, Services};
use super::shared_data::Space;
use super::stopwatch::Stopwatch;
use super::vm::Vm;

/// Makes configured instances of one plugin. They share what the filter may do in a second and at once, and nothing else.
pub struct Stamp {
    plugin: Plugin,
    image: Arc<Image>,
    services: Rc<Services>,
    shared: Arc<Space>,
    metrics: MetricIds,
    queues: QueueIds,
    allowance: Rc<Allowance>,
    stopwatch: Rc<Stopwatch>,
}

impl Stamp {
    /// For a plugin of which there is an image; `None` for another.
    pub fn new(plugin: &Plugin, services: &Services) -> Option<Stamp> {
        let image = plugin.image()?.clone();
        let filter = plugin.filter();
        let shared = services.shared_data.space(&filter.vm_id);
        // The filter's other guest has registered them before.
        let id = |(id, name): &(u32, Vec<u8>)| Some((*id, shared.queue_names().resolve(name)?));
        Some(Stamp {
            queues: image.queues.iter().filter_map(id).collect(),
            shared,
            metrics: MetricIds::again(&image.metrics, filter, &services.metrics),
            allowance: Allowance::new(&filter.limits),
            stopwatch: Rc::new(Stopwatch::new()),
            services: Rc::new(services.clone()),
            plugin: plugin.clone(),
            image,
        })
    }

    /// From now on these are the clusters that there are.
    pub fn know_clusters(&mut self, clusters: &Arc<Clusters>) {
        Rc::make_mut(&mut self.services).clusters = clusters.clone();
    }

    /// A configured instance, none of whose code has run; one that is watched is started and configured, so that its
    /// beginning is seen too.
    ///
    /// # Errors
    ///
    /// There are as many as there may be, or its memory cannot be had.
    pub fn instance(&self) -> Result<Vm, Fault> {
        if self.services.witness.is_some() {
            return Vm::start_for_one(&self.plugin, (*self.services).clone());
        }
        let abi = self.image.module.abi();
        let services = self.services.clone();
        let usage = services.usage.clone();
        let mut host = Host::empty(abi, services, self.shared.clone(), self.stopwatch.clone());
        host.metric_ids = self.metrics.clone();
        host.queue_ids = self.queues.clone();
        host.serves_one = true;
        host.limiter.allow(self.plugin.filter().limits.memory);
        let id = host.contexts.add_root(None);
        let grants = self.plugin.grants().cloned();
        let mut root = Root::new(id, self.plugin.filter().clone(), grants, abi, usage, None);
        root.allowance = self.allowance.clone();
        root.properties = self.image.properties.clone();
        root.declarations = self.image.declarations.clone();
        root.queues = self.queues.iter().map(|(_, real)| *real).collect();
        root.queues.sort_unstable();
        root.has_started();
        host.roots.push(root);
        Vm::stamp(&self.image, host)
    }
}

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamp").field("filter", &self.plugin.filter().name).finish_non_exhaustive()
    }
}
