//! Which filters an exchange passes: the listener's chain, as the route has it, or a chain of the route's own.
//!
//! The chain is that of the route that is found before any filter runs. What a route makes of the filters of the
//! listener's chain is looked up for each of them when its turn comes: see [`Guide`].

use std::rc::Rc;
use std::time::SystemTime;

use super::{Exchange, Site};
use crate::filter::{Guide, Run};
use crate::wasm::stream::Stream;

/// An exchange's way through its listener's chain, until it is known to have another.
pub(super) fn run(site: &Rc<Site>, stream: Stream) -> Rc<Run> {
    let chain = site.chain();
    let guide = chain.has_ways().then(|| site.clone() as Rc<dyn Guide>);
    Run::guided(chain.clone(), stream, site.listener().buffer_limit, guide)
}

impl Exchange {
    /// Holds as much of bodies as the route says, where it says.
    fn choose_buffer_limit(&mut self) {
        let limit = self.route.and_then(|route| self.site.listener().routes[route].buffer_limit);
        if let (Some(limit), Some(run)) = (limit, Rc::get_mut(&mut self.run)) {
            run.limit_buffers(limit);
        }
    }

    /// Takes the chain of the route that was found, where that has its own.
    pub(super) fn choose_chain(&mut self) {
        self.choose_buffer_limit();
        let Some(chain) = self.route.and_then(|route| self.site.own_chain(route)) else { return };
        // Nobody else knows of the exchange yet.
        let Some(run) = Rc::get_mut(&mut self.run) else { return };
        run.change_chain(chain.clone());
        if !chain.is_empty() && self.site.chain().is_empty() {
            // What is noted for guests alone.
            let mut stream = self.run.stream().borrow_mut();
            stream.info.start = SystemTime::now();
            stream.connection = Some(self.peer.properties.clone());
        }
    }
}
