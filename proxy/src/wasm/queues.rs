//! Shared queues: items that guests hand to each other, across VMs and workers (`proxy_enqueue_shared_queue`, ABI
//! 0.2.1).
//!
//! Process-wide. A queue belongs to a `vm_id` and goes with the last instance of it. Its id is the process's: whoever
//! knows it may put items in and take them out. The root that registered a queue last is told of each item once,
//! through its [`Inbox`]; nothing here calls a guest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// How many queues one `vm_id` may have, and how long a name may be, in bytes.
const MAX_QUEUES: usize = 128;
const MAX_NAME: usize = 1024;

/// What an item costs beside its bytes, so that many empty ones have a price. In bytes.
const ITEM_OVERHEAD: usize = 64;

/// How many runs of notifications an inbox keeps in order. Beyond it those of one queue are told together.
const MAX_RUNS: usize = 1024;

/// All queues of the process, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_id: RwLock<HashMap<u32, Weak<Queue>>>,
    last_id: AtomicU32,
}

/// The queues of one `vm_id`, by their names.
#[derive(Debug, Default)]
pub(crate) struct QueueNames(Mutex<HashMap<Vec<u8>, Arc<Queue>>>);

#[derive(Debug)]
struct Queue {
    id: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    items: VecDeque<Bytes>,
    bytes: usize,
    /// How much it may hold, in bytes: its registrant says so.
    capacity: usize,
    /// Who is told of its items.
    registrant: Weak<Inbox>,
}

/// Why nothing was put in or taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no queue of that id.
    NotFound,
    /// Nothing is in it.
    Empty,
    /// It holds as much as it may, or there are as many queues as there may be.
    Full,
}

/// From here on count the queues of instances that are thrown away: no queue of others ever has such an id.
const FIRST_ASIDE: u32 = 1 << 31;

impl Queues {
    /// For instances that are thrown away.
    pub(crate) fn aside() -> Queues {
        Queues { last_id: AtomicU32::new(FIRST_ASIDE), ..Queues::default() }
    }

    /// Makes a queue of that name, or takes over the one that there is, with what is in it.
    pub(crate) fn register(
        &self,
        names: &QueueNames,
        name: &[u8],
        capacity: usize,
        registrant: Weak<Inbox>,
    ) -> Result<u32, Refusal> {
        let mut names = lock(&names.0);
        if let Some(queue) = names.get(name) {
            let mut state = lock(&queue.state);
            (state.capacity, state.registrant) = (capacity, registrant);
            return Ok(queue.id);
        }
        if names.len() >= MAX_QUEUES || name.len() > MAX_NAME {
            return Err(Refusal::Full);
        }
        let state = State { items: VecDeque::new(), bytes: 0, capacity, registrant };
        let queue = self.add(state);
        let id = queue.id;
        names.insert(name.to_vec(), queue);
        Ok(id)
    }

    fn add(&self, state: State) -> Arc<Queue> {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        // The queues of a `vm_id` whose last instance ended are gone; nobody else would take their ids away.
        by_id.retain(|_, queue| queue.strong_count() > 0);
        let id = loop {
            let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !by_id.contains_key(&id) {
                break id;
            }
        };
        let queue = Arc::new(Queue { id, state: Mutex::new(state) });
        by_id.insert(id, Arc::downgrade(&queue));
        queue
    }

    /// Puts an item in at the end, and tells the registrant.
    pub(crate) fn enqueue(&self, id: u32, item: &[u8]) -> Result<(), Refusal> {
        let queue = self.find(id)?;
        let registrant = {
            let mut state = lock(&queue.state);
            let bytes = state.bytes + cost(item);
            if bytes > state.capacity {
                return Err(Refusal::Full);
            }
            state.bytes = bytes;
            state.items.push_back(Bytes::copy_from_slice(item));
            state.registrant.clone()
        };
        if let Some(inbox) = registrant.upgrade() {
            inbox.post(id);
        }
        Ok(())
    }

    /// Takes the first item out.
    pub(crate) fn dequeue(&self, id: u32) -> Result<Bytes, Refusal> {
        let queue = self.find(id)?;
        let mut state = lock(&queue.state);
        let item = state.items.pop_front().ok_or(Refusal::Empty)?;
        state.bytes -= cost(&item);
        Ok(item)
    }

    /// Puts an item back that was taken out and could not be handed over. Nobody is told: they were before.
    pub(crate) fn put_back(&self, id: u32, item: Bytes) {
        let Ok(queue) = self.find(id) else { return };
        let mut state = lock(&queue.state);
        state.bytes += cost(&item);
        state.items.push_front(item);
    }

    fn find(&self, id: u32) -> Result<Arc<Queue>, Refusal> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&id).and_then(Weak::upgrade).ok_or(Refusal::NotFound)
    }
}

impl QueueNames {
    /// Every queue: its id and its name.
    pub(crate) fn all(&self) -> Vec<(u32, Vec<u8>)> {
        lock(&self.0).iter().map(|(name, queue)| (queue.id, name.clone())).collect()
    }

    /// The id of the queue of that name.
    pub(crate) fn resolve(&self, name: &[u8]) -> Option<u32> {
        lock(&self.0).get(name).map(|queue| queue.id)
    }
}

/// What one root has not been told yet of the queues that it registered. It is written by whoever puts an item in, on
/// any thread, and emptied on the guest's own, by [`Vm::on_queue_ready`](super::Vm::on_queue_ready).
///
/// What it holds is counted rather than listed: it stays small however many items wait.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Notifications>);

#[derive(Debug, Default)]
struct Notifications {
    runs: VecDeque<Run>,
    waker: Option<Waker>,
}

/// Notifications of one queue, one after the other.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    queue: u32,
    count: u64,
}

impl Inbox {
    /// Ready once the root is to be told of an item.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut notifications = lock(&self.0);
        if !notifications.runs.is_empty() {
            return Poll::Ready(());
        }
        notifications.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn post(&self, queue: u32) {
        let mut notifications = lock(&self.0);
        let runs = &mut notifications.runs;
        let is_same = |run: &Run| run.queue == queue;
        let last = if runs.len() < MAX_RUNS {
            runs.back_mut().filter(|run| is_same(run))
        } else {
            runs.iter_mut().rfind(|run| is_same(run))
        };
        match last {
            Some(run) => run.count += 1,
            // Beyond the limit there is one more for each queue that has none yet, and those have a limit.
            None => runs.push_back(Run { queue, count: 1 }),
        }
        let waker = notifications.waker.take();
        drop(notifications);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The queue that the next notification is of.
    pub(crate) fn take(&self) -> Option<u32> {
        let mut notifications = lock(&self.0);
        let run = notifications.runs.front_mut()?;
        let next = run.queue;
        run.count -= 1;
        if run.count == 0 {
            notifications.runs.pop_front();
        }
        Some(next)
    }
}

fn cost(item: &[u8]) -> usize {
    item.len() + ITEM_OVERHEAD
}

/// A panic while a lock was held left nothing half done that anyone could see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_registered_again_keeps_its_items_and_tells_the_newest() {
        let (queues, names) = (Queues::default(), QueueNames::default());
        let (first, second) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
        let id = queues.register(&names, b"jobs", 1000, Arc::downgrade(&first)).expect("there is room");
        queues.enqueue(id, b"one").expect("there is room");
        assert_eq!(queues.register(&names, b"jobs", 1000, Arc::downgrade(&second)), Ok(id));
        queues.enqueue(id, b"two").expect("there is room");
        assert_eq!([first.take(), first.take()], [Some(id), None]);
        assert_eq!([second.take(), second.take()], [Some(id), None]);
        assert_eq!(queues.dequeue(id).expect("it was kept"), "one");
        drop(second);
        queues.enqueue(id, b"three").expect("a queue needs nobody who listens");
        assert_eq!(names.resolve(b"jobs"), Some(id));
        assert_eq!(queues.register(&names, b"other", 0, Arc::downgrade(&first)), Ok(id + 1));
    }

    #[test]
    fn queues_their_names_and_what_they_hold_have_limits() {
        let (queues, names) = (Queues::default(), QueueNames::default());
        let inbox = Arc::new(Inbox::default());
        let register =
            |name: &[u8]| queues.register(&names, name, 2 * ITEM_OVERHEAD + 3, Arc::downgrade(&inbox));
        assert_eq!(register(&[b'n'; MAX_NAME + 1]), Err(Refusal::Full));
        let id = register(&[b'n'; MAX_NAME]).expect("there is room");
        assert_eq!(queues.enqueue(id, b"abc"), Ok(()));
        assert_eq!(queues.enqueue(id, b"d"), Err(Refusal::Full));
        assert_eq!(queues.enqueue(id, b""), Ok(()));
        assert_eq!(queues.enqueue(id, b""), Err(Refusal::Full));
        assert_eq!(queues.dequeue(id).expect("it has two"), "abc");
        assert_eq!(queues.enqueue(id, b"def"), Ok(()));
        for number in 1..MAX_QUEUES {
            assert!(register(&number.to_le_bytes()).is_ok());
        }
        assert_eq!(register(b"one more"), Err(Refusal::Full));
    }

    #[test]
    fn an_inbox_keeps_order_while_it_can_and_counts_what_it_cannot() {
        let inbox = Inbox::default();
        let posts = MAX_RUNS as u32 * 3;
        for number in 0..posts {
            inbox.post(number % 2);
        }
        assert_eq!(lock(&inbox.0).runs.len(), MAX_RUNS);
        let told: Vec<_> = std::iter::from_fn(|| inbox.take()).collect();
        assert_eq!(told.len(), posts as usize);
        assert_eq!(told.iter().filter(|queue| **queue == 0).count(), posts as usize / 2);
        assert_eq!(told[..3], [0, 1, 0]);
    }
}
