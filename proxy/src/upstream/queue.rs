//! The requests that wait for a connection to an endpoint where there may be no more, in the order in which they came.
//!
//! Whoever has waited longest is given the connection that becomes free, or the right to make one: it cannot be overtaken
//! between its turn and the moment at which it takes it.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::connection::Connection;
use super::pool::Place;

/// From how many on those are looked for that do not wait any more.
const MANY: usize = 64;

/// What a request has waited for.
#[derive(Debug)]
pub(super) enum Turn {
    /// A connection that another request was done with.
    Connection(Connection),
    /// A place for a new one.
    Place(Place),
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Queue(RefCell<VecDeque<oneshot::Sender<Turn>>>);

impl Queue {
    /// Waits for a turn, behind those that do so already; or before them, for one whose turn came to nothing.
    pub(super) async fn wait(&self, first: bool) -> Option<Turn> {
        let (turn, granted) = oneshot::channel();
        {
            let mut queue = self.0.borrow_mut();
            if queue.len() >= MANY && queue.len().is_power_of_two() {
                queue.retain(|waiting| !waiting.is_closed());
            }
            if first {
                queue.push_front(turn);
            } else {
                queue.push_back(turn);
            }
        }
        granted.await.ok()
    }

    /// Gives a connection to the first; here it is again if nobody waits.
    pub(super) fn give(&self, mut connection: Connection) -> Option<Connection> {
        while let Some(first) = self.first() {
            match first.send(Turn::Connection(connection)) {
                Ok(()) => return None,
                Err(Turn::Connection(back)) => connection = back,
                Err(Turn::Place(_)) => return None, // that was not sent
            }
        }
        Some(connection)
    }

    /// Gives each a place as long as there are such. Whether nobody waits then.
    pub(super) fn make_room(&self, place: impl Fn() -> Option<Place>) -> bool {
        while let Some(first) = self.first() {
            match place() {
                Some(place) => drop(first.send(Turn::Place(place))),
                None => {
                    self.0.borrow_mut().push_front(first);
                    return false;
                }
            }
        }
        true
    }

    /// The first that still waits. Nothing is borrowed when it is told: what it does not take may come back here.
    fn first(&self) -> Option<oneshot::Sender<Turn>> {
        let mut queue = self.0.borrow_mut();
        while let Some(first) = queue.pop_front() {
            if !first.is_closed() {
                return Some(first);
            }
        }
        None
    }
}
