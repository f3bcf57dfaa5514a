//! A plugin: a module and the configuration that it runs with.

use std::sync::Arc;

use super::engine::Engine;
use super::fault::Fault;
use super::grants::Grants;
use super::image::{Blank, Image, NoImage};
use super::module::Module;
use super::proof::Proof;
use super::services::Services;
use super::vm::Vm;
use crate::config::model::{Capabilities, Filter, Grant, Isolation};

/// A module and its configuration. Cheap to clone, shared by all threads.
#[derive(Debug, Clone)]
pub struct Plugin {
    filter: Arc<Filter>,
    module: Module,
    image: Option<Arc<Image>>,
    grants: Option<Arc<Grants>>,
}

impl Plugin {
    /// Joins the two; nothing runs yet.
    pub fn new(filter: Arc<Filter>, module: Module) -> Plugin {
        let asked = || module.manifest().map(|manifest| manifest.capabilities.clone()).unwrap_or_default();
        let capabilities = match &filter.capabilities {
            Grant::Everything => None,
            Grant::Manifest => Some(asked()),
            Grant::Only(capabilities) => Some((**capabilities).clone()),
        };
        let grants = capabilities.map(|capabilities| Arc::new(Grants::new(capabilities)));
        Plugin { filter, module, image: None, grants }
    }

    /// The same plugin, of which each exchange may have an instance of its own: as it is in `proof`, whose module is that
    /// of `blank`.
    ///
    /// # Errors
    ///
    /// [`NoImage::Configured`].
    pub fn with_image(
        self,
        blank: &Blank<'_>,
        proof: &mut Proof,
        engine: &Engine,
    ) -> Result<Plugin, NoImage> {
        let image = blank.develop(proof.vm(), engine)?;
        Ok(Plugin { image: Some(Arc::new(image)), ..self })
    }

    /// What instances for single exchanges are made from.
    pub(super) fn image(&self) -> Option<&Arc<Image>> {
        self.image.as_ref()
    }

    /// What the filter may do; none if that is everything. What a manifest grants that is not there is nothing.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.grants.as_deref().map(Grants::capabilities)
    }

    pub(super) fn grants(&self) -> Option<&Arc<Grants>> {
        self.grants.as_ref()
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
    /// configuration, environment and capabilities are the same. What is in one memory can act for each
    /// other; and neither has an instance for each exchange.
    pub fn shares(&self, other: &Plugin) -> bool {
        let (one, two) = (&self.filter, &other.filter);
        !one.vm_id.is_empty()
            && [one, two].iter().all(|filter| filter.isolation == Isolation::Worker)
            && one.vm_id == two.vm_id
            && one.vm_config == two.vm_config
            && one.env == two.env
            && one.capabilities == two.capabilities
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
