//! What moved in an exchange: the facts that byte counts and time limits are made of.

use std::cell::Cell;
use std::time::Instant;

use crate::wasm::stream::Direction;

/// Counts an exchange's body bytes as they arrive, before any filter has changed them.
#[derive(Debug, Default)]
pub struct Meter {
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    moves: Cell<u64>,
    /// When the whole request had been received: `None` for one that ended with its head, whose end is its beginning.
    request_end: Cell<Option<Option<Instant>>>,
}

impl Meter {
    /// So many more bytes moved.
    pub fn count(&self, direction: Direction, bytes: u64) {
        let cell = self.cell(direction);
        cell.set(cell.get() + bytes);
        self.moves.set(self.moves.get() + 1);
    }

    /// Bytes of body so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.cell(direction).get()
    }

    /// How often something moved. A clock is not read for each piece: whoever has a limit looks now and then.
    pub fn moves(&self) -> u64 {
        self.moves.get()
    }

    /// When the whole request had been received, if it has been; `beginning` is when its head was.
    pub fn request_end(&self, beginning: Instant) -> Option<Instant> {
        self.request_end.get().map(|end| end.unwrap_or(beginning))
    }

    /// The message of this direction has been received whole. `body` is whether it had a body: one without ended with
    /// its head.
    pub(super) fn end(&self, direction: Direction, body: bool) {
        if direction == Direction::Request && self.request_end.get().is_none() {
            self.request_end.set(Some(body.then(Instant::now)));
        }
    }

    /// The request passes the chain once more: it was received whole then, if it was.
    pub(crate) fn begin_again(&self, received: Option<Instant>) {
        self.request_end.set(received.map(Some));
        self.moves.set(1); // what is waited for begins now
    }

    fn cell(&self, direction: Direction) -> &Cell<u64> {
        match direction {
            Direction::Request => &self.request_bytes,
            Direction::Response => &self.response_bytes,
        }
    }
}
