//! The requests that wait for a connection to an endpoint where there may be no more, in the order in which they came.
//!
//! Whoever has waited longest is given the connection that becomes free, or the right to make one: it cannot be overtaken
//! between its turn and the moment at which it takes it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::pool::{Place, Pool};

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

#[derive(Debug)]
struct Waiting {
    /// As its configuration has it.
    pool: Weak<Pool>,
    turn: oneshot::Sender<Turn>,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Queue(RefCell<VecDeque<Waiting>>);

impl Queue {
    /// Waits for a turn, behind those that do so already; or before them, for one whose turn came to nothing.
    pub(super) async fn wait(&self, pool: &Rc<Pool>, first: bool) -> Option<Turn> {
        let (turn, granted) = oneshot::channel();
        {
            let mut queue = self.0.borrow_mut();
            if queue.len() >= MANY && queue.len().is_power_of_two() {
                queue.retain(|waiting| !waiting.turn.is_closed());
            }
            let waiting = Waiting { pool: Rc::downgrade(pool), turn };
            if first {
                queue.push_front(waiting);
            } else {
                queue.push_back(waiting);
            }
        }
        granted.await.ok()
    }

    /// Gives a connection to the first; here it is again if nobody waits.
    pub(super) fn give(&self, mut connection: Connection) -> Option<Connection> {
        while let Some(first) = self.first() {
            match first.turn.send(Turn::Connection(connection)) {
                Ok(()) => return None,
                Err(Turn::Connection(back)) => connection = back,
                Err(Turn::Place(_)) => return None, // that was not sent
            }
        }
        Some(connection)
    }

    /// Lets as many as there is room for make one. Whether nobody waits then.
    pub(super) fn make_room(&self) -> bool {
        while let Some(first) = self.first() {
            let Some(pool) = first.pool.upgrade() else { continue };
            match Place::take(&pool) {
                Ok(place) => drop(first.turn.send(Turn::Place(place))),
                Err(_) => {
                    self.0.borrow_mut().push_front(first);
                    return false;
                }
            }
        }
        true
    }

    /// The first that still waits. Nothing is borrowed when it is told: what it does not take may come back here.
    fn first(&self) -> Option<Waiting> {
        let mut queue = self.0.borrow_mut();
        while let Some(first) = queue.pop_front() {
            if !first.turn.is_closed() {
                return Some(first);
            }
        }
        None
    }
}
