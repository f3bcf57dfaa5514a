//! A plugin: a module and the configuration that it runs with.

use std::sync::Arc;

use super::engine::Engine;
use super::fault::Fault;
use super::image::{Blank, Image, NoImage};
use super::module::Module;
use super::proof::Proof;
use super::services::Services;
use super::vm::Vm;
use crate::config::model::{Filter, Isolation};

/// A module and its configuration. Cheap to clone, shared by all threads.
#[derive(Debug, Clone)]
pub struct Plugin {
    filter: Arc<Filter>,
    module: Module,
    image: Option<Arc<Image>>,
}

impl Plugin {
    /// Joins the two; nothing runs yet.
    pub fn new(filter: Arc<Filter>, module: Module) -> Plugin {
        Plugin { filter, module, image: None }
    }

    /// Joins a module's bytes and a configuration so that there can be an instance for each exchange: it is compiled,
    /// started, and kept as it is then. `keep` has its instance, which goes with it.
    ///
    /// # Errors
    ///
    /// The module is none or cannot be kept so; the filter does not start, or refuses its configuration.
    pub fn with_image(
        filter: Arc<Filter>,
        bytes: &[u8],
        engine: &Engine,
        services: &Services,
    ) -> Result<(Plugin, Proof), NoImage> {
        let blank = Blank::new(bytes)?;
        let module = engine.compile(&blank.bytes).map_err(NoImage::Load)?;
        let mut plugin = Plugin::new(filter, module);
        let mut proof = plugin.prove(services).map_err(|fault| NoImage::Start(Box::new(fault)))?;
        plugin.image = Some(Arc::new(blank.develop(proof.vm(), engine)?));
        Ok((plugin, proof))
    }

    /// What instances for single exchanges are made from.
    pub(super) fn image(&self) -> Option<&Arc<Image>> {
        self.image.as_ref()
    }

    /// The filter's configuration.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// The filter's code.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Whether both are one: the same code with the same configuration, made together.
    pub fn is(&self, other: &Plugin) -> bool {
        Arc::ptr_eq(&self.filter, &other.filter) && self.module.is(&other.module)
    }

    /// Whether both may run in one instance: they say so with one `vm_id` that is not empty, and their code, VM
    /// configuration and environment are the same, and neither has an instance for each exchange.
    pub fn shares(&self, other: &Plugin) -> bool {
        let (one, two) = (&self.filter, &other.filter);
        !one.vm_id.is_empty()
            && [one, two].iter().all(|filter| filter.isolation == Isolation::Worker)
            && one.vm_id == two.vm_id
            && one.vm_config == two.vm_config
            && one.env == two.env
            && self.module.is(&other.module)
    }

    /// Starts an instance: it is instantiated, told of its root context and both its configurations. The instance
    /// stays on the thread that started it.
    pub fn start(&self, services: Services) -> Result<Vm, Fault> {
        Vm::start(self, services)
    }

    /// Goes through a whole start in an instance that is thrown away, so that a filter that refuses its configuration
    /// is known before anything depends on it. Shared data, metrics, callouts and ticks of that instance are
    /// discarded; only what it logs is kept.
    pub fn prove(&self, services: &Services) -> Result<Proof, Fault> {
        Proof::begin(self, services)
    }
}
