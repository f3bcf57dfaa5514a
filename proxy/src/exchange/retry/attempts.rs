//! The attempts of one request: how many there were, how far each has come, and whose endpoint was too slow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::config::model::Address;
use crate::upstream::{Attempt, Upstreams};

/// What is known of a request's attempts, also of those that are given up.
#[derive(Debug, Default)]
pub(in crate::exchange) struct Attempts {
    /// How many there were.
    count: Cell<u32>,
    /// The one that something came of last.
    last: Cell<Attempt>,
    /// Those that nothing has come of yet, in the order in which they began.
    under_way: RefCell<SmallVec<[Rc<Flight>; 1]>>,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Its number, from 1.
    pub(super) number: u32,
    /// How far it has come.
    pub(super) attempt: Cell<Attempt>,
    /// It was noted that its endpoint is slow.
    is_noted: Cell<bool>,
}

impl Attempts {
    pub(in crate::exchange) fn count(&self) -> u32 {
        self.count.get()
    }

    /// The one under way that began last, or else the one that something came of last.
    pub(in crate::exchange) fn last(&self) -> Attempt {
        self.under_way.borrow().last().map_or(self.last.get(), |flight| flight.attempt.get())
    }

    /// Another one begins.
    pub(super) fn begin(&self) -> Rc<Flight> {
        self.count.set(self.count.get() + 1);
        let flight = Rc::new(Flight { number: self.count.get(), ..Flight::default() });
        self.under_way.borrow_mut().push(flight.clone());
        flight
    }

    /// Something came of one.
    pub(super) fn land(&self, flight: &Rc<Flight>) {
        self.under_way.borrow_mut().retain(|other| !Rc::ptr_eq(other, flight));
        self.last.set(flight.attempt.get());
    }

    /// Those that are still under way lose against this one. One whose endpoint was silent for so long was too slow; of
    /// another nobody knows how long it would have taken.
    pub(super) fn settle(&self, upstreams: &Upstreams, cluster: usize, taken: Attempt, silence: Duration) {
        self.last.set(taken);
        for flight in self.under_way.take() {
            if flight.attempt.get().silent_since.is_some_and(|since| since.elapsed() >= silence) {
                flight.note_given_up(upstreams, cluster);
            }
        }
    }

    /// All that are under way are given up because the request's time is over.
    pub(in crate::exchange) fn note_timeout(&self, upstreams: &Upstreams, cluster: usize) {
        self.under_way.borrow().iter().for_each(|flight| flight.note_given_up(upstreams, cluster));
    }
}

impl Flight {
    pub(super) fn endpoint(&self) -> Option<Address> {
        self.attempt.get().endpoint
    }

    /// Its endpoint takes longer than it may. That is noted once, whatever comes of it.
    pub(super) fn note_slow(&self, upstreams: &Upstreams, cluster: usize) {
        if !self.is_noted.get() {
            self.is_noted.set(upstreams.note_slow(cluster, &self.attempt.get()));
        }
    }

    /// It is given up for that.
    pub(super) fn note_given_up(&self, upstreams: &Upstreams, cluster: usize) {
        self.note_slow(upstreams, cluster);
        upstreams.note_given_up(cluster, &self.attempt.get());
    }
}
