//! What moved in an exchange, and when: the facts that byte counts and time limits are made of.

use std::cell::Cell;
use std::time::Instant;

use crate::wasm::stream::Direction;

/// Counts an exchange's body bytes as they arrive, before any filter has changed them.
#[derive(Debug)]
pub struct Meter {
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    last_activity: Cell<Instant>,
    request_end: Cell<Option<Instant>>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter {
            request_bytes: Cell::new(0),
            response_bytes: Cell::new(0),
            last_activity: Cell::new(now),
            request_end: Cell::new(None),
        }
    }

    /// So many more bytes moved.
    pub fn count(&self, direction: Direction, bytes: u64) {
        let cell = self.cell(direction);
        cell.set(cell.get() + bytes);
        self.last_activity.set(Instant::now());
    }

    /// Bytes of body so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.cell(direction).get()
    }

    /// When something last moved; the beginning of the exchange before anything did.
    pub fn last_activity(&self) -> Instant {
        self.last_activity.get()
    }

    /// When the whole request had been received, if it has been.
    pub fn request_end(&self) -> Option<Instant> {
        self.request_end.get()
    }

    /// The message of this direction has been received whole. `body` is whether it had a body: one without ended with
    /// its head.
    pub(super) fn end(&self, direction: Direction, body: bool) {
        if direction == Direction::Request && self.request_end.get().is_none() {
            self.request_end.set(Some(if body { Instant::now() } else { self.last_activity.get() }));
        }
    }

    fn cell(&self, direction: Direction) -> &Cell<u64> {
        match direction {
            Direction::Request => &self.request_bytes,
            Direction::Response => &self.response_bytes,
        }
    }
}
