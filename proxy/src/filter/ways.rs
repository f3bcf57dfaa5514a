//! What routes make of a chain: for the exchanges of a route a filter may be left out, or be another instance of the same
//! plugin, with the configuration that the route gives it.
//!
//! Which route counts is asked when a filter is first called for an exchange. A filter that changes what routing looks at
//! thus decides what the filters behind it are; what those before it were stays.

use std::cell::Cell;
use std::rc::Rc;

use super::instance::{Chain, Instance};
use super::run::Run;
use crate::wasm::stream::Stream;

/// Finds routes for whoever knows none.
pub trait Guide {
    /// The route that an exchange takes as it is now, by its index.
    fn route(&self, stream: &Stream) -> Option<usize>;

    /// Whether that may change by what filters store.
    fn depends_on_properties(&self) -> bool;
}

/// What a filter of a chain is for the exchanges of a route.
#[derive(Debug, Clone)]
pub enum Change {
    /// It does not take part.
    Off,
    /// It is this instance.
    Instance(Rc<Instance>),
}

/// What is different of a chain on a route: by places in the chain.
pub type Way = Box<[(usize, Change)]>;

/// The route that an exchange is on while filters are called.
pub(super) struct Course {
    guide: Rc<dyn Guide>,
    route: Cell<Option<usize>>,
}

impl Course {
    pub(super) fn new(guide: Rc<dyn Guide>) -> Course {
        Course { guide, route: Cell::new(None) }
    }
}

impl std::fmt::Debug for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Course").field("route", &self.route).finish_non_exhaustive()
    }
}

impl Chain {
    /// Says what of the chain is different on the routes: one for each, by their indices.
    #[must_use]
    pub fn on_routes(mut self, ways: Vec<Way>) -> Chain {
        if ways.iter().any(|way| !way.is_empty()) {
            self.ways = ways.into();
        }
        self
    }

    /// Puts another instance in the place of the one at `stage`, and of what is beside that.
    #[must_use]
    pub fn with(mut self, stage: usize, instance: Rc<Instance>) -> Chain {
        self.instances[stage] = instance;
        if let Some(split) = self.splits.get_mut(stage) {
            *split = None;
        }
        self
    }

    /// Whether filters are different on some routes.
    pub fn has_ways(&self) -> bool {
        !self.ways.is_empty()
    }

    fn change(&self, route: usize, stage: usize) -> Option<&Change> {
        let way = self.ways.get(route)?;
        way.iter().find(|(at, _)| *at == stage).map(|(_, change)| change)
    }
}

impl Run {
    /// The exchange takes this route.
    pub fn take_route(&self, route: Option<usize>) {
        if let Some(course) = &self.course {
            course.route.set(route);
        }
    }

    /// A filter is about to be called for the exchange, for the first time: from here on it is what the route says.
    pub(super) fn take_seat(&self, stage: usize) {
        let Some(course) = &self.course else { return }; // nearly always
        let seat = &self.seats[stage];
        if seat.taken.replace(true) {
            return;
        }
        let stream = self.stream().borrow();
        if stream.route_stale || course.guide.depends_on_properties() {
            course.route.set(course.guide.route(&stream));
        }
        match course.route.get().and_then(|route| self.chain.change(route, stage)) {
            None => {}
            Some(Change::Off) => seat.bypassed.set(true),
            Some(Change::Instance(instance)) => drop(seat.other.set(instance.clone())),
        }
    }
}
