//! Shared data: values that guests of one `vm_id` share across workers (`proxy_get_shared_data`, ABI 0.2.1).
//!
//! Process-wide. A space lives as long as an instance of its `vm_id` does, and its queues and cells with it. Keys are
//! spread over several locks, each held for one look-up; the map of spaces is only locked when an instance starts.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::cells::{Cells, CellsUsage};
use super::queues::{QueueNames, Queues};

/// How many locks a space's keys are spread over.
const SHARDS: usize = 16;

/// What one entry costs beside its bytes, so that many empty ones have a price. In bytes.
const ENTRY_OVERHEAD: usize = 64;

/// All shared data of the process.
#[derive(Debug, Default)]
pub struct SharedData {
    spaces: Mutex<HashMap<String, Weak<Space>>>,
    last_cas: Arc<AtomicU32>,
    queues: Queues,
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The value is not the one that the writer saw.
    CasMismatch,
    /// The `vm_id` holds as much as it may.
    Quota,
}

/// The values of one `vm_id`.
#[derive(Debug)]
pub(crate) struct Space {
    shards: [Mutex<HashMap<Vec<u8>, Entry>>; SHARDS],
    hasher: RandomState,
    bytes: AtomicUsize,
    last_cas: Arc<AtomicU32>,
    cells: OnceLock<Cells>,
    queues: QueueNames,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    cas: u32,
}

impl SharedData {
    /// Nothing shared yet.
    pub fn new() -> SharedData {
        SharedData::default()
    }

    /// Nothing shared yet, for an instance that is thrown away.
    pub(crate) fn aside() -> SharedData {
        SharedData { queues: Queues::aside(), ..SharedData::default() }
    }

    /// A value of a `vm_id`, for whoever looks from outside.
    pub fn value(&self, vm_id: &str, key: &[u8]) -> Option<Bytes> {
        self.space(vm_id).value(key).map(|(value, _)| value)
    }

    /// Writes a value as a guest of this `vm_id` would, whatever was there. It is kept while such a guest lives.
    pub fn set(&self, vm_id: &str, key: &[u8], value: &[u8]) {
        // Without a number to compare and without a quota nothing can be refused.
        let _ = self.space(vm_id).set(key, value, 0, usize::MAX);
    }

    /// Puts an item into a queue as a guest would. Whether there is such a queue, with room for it.
    pub fn enqueue(&self, vm_id: &str, queue: &[u8], item: &[u8]) -> bool {
        self.resolve_queue(vm_id, queue).is_some_and(|id| self.queues.enqueue(id, item).is_ok())
    }

    /// Takes the first item out of a queue, if there is one, as a guest would.
    pub fn dequeue(&self, vm_id: &str, queue: &[u8]) -> Option<Bytes> {
        self.queues.dequeue(self.resolve_queue(vm_id, queue)?).ok()
    }

    /// What the cells of each `vm_id` take, by its name; those that never had any are left out.
    pub fn cells(&self) -> Vec<(String, CellsUsage)> {
        let spaces = lock(&self.spaces);
        let usage = |space: &Weak<Space>| Some(space.upgrade()?.cells.get()?.usage());
        let mut cells: Vec<_> =
            spaces.iter().filter_map(|(vm_id, space)| Some((vm_id.clone(), usage(space)?))).collect();
        cells.sort_by(|(one, _), (other, _)| one.cmp(other));
        cells
    }

    /// All queues, whatever their `vm_id`.
    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    /// The id of a queue of a `vm_id`. One of which no instance lives has none.
    pub(crate) fn resolve_queue(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let space = lock(&self.spaces).get(vm_id).and_then(Weak::upgrade)?;
        space.queues.resolve(name)
    }

    /// The values of a `vm_id`; they are gone when the last holder is. An empty `vm_id` is one like any other.
    pub(crate) fn space(&self, vm_id: &str) -> Arc<Space> {
        let mut spaces = lock(&self.spaces);
        if let Some(space) = spaces.get(vm_id).and_then(Weak::upgrade) {
            return space;
        }
        spaces.retain(|_, space| space.strong_count() > 0);
        let space = Arc::new(Space {
            shards: Default::default(),
            hasher: RandomState::new(),
            bytes: AtomicUsize::new(0),
            last_cas: self.last_cas.clone(),
            cells: OnceLock::new(),
            queues: QueueNames::default(),
        });
        spaces.insert(vm_id.to_owned(), Arc::downgrade(&space));
        space
    }
}

impl Space {
    /// A value and the number of its last change, never 0.
    pub(crate) fn value(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        let shard = self.shard(key);
        shard.get(key).map(|entry| (entry.value.clone(), entry.cas))
    }

    /// Writes a value if `cas` is 0, the key is new, or `cas` is the number of its last change. `quota` is for the
    /// whole space, in bytes.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], cas: u32, quota: usize) -> Result<(), Refusal> {
        let mut shard = self.shard(key);
        let existing = shard.get_mut(key);
        if let Some(entry) = &existing
            && cas != 0
            && cas != entry.cas
        {
            return Err(Refusal::CasMismatch);
        }
        let freed = existing.as_ref().map_or(0, |entry| cost(key, &entry.value));
        self.reserve(freed, cost(key, value), quota)?;
        let entry = Entry { value: Bytes::copy_from_slice(value), cas: self.next_cas() };
        match existing {
            Some(old) => *old = entry,
            None => {
                shard.insert(key.to_vec(), entry);
            }
        }
        Ok(())
    }

    /// The queues, by their names.
    pub(crate) fn queue_names(&self) -> &QueueNames {
        &self.queues
    }

    /// The cells, with room for `capacity` bytes at least.
    pub(crate) fn cells(&self, capacity: usize, now: Instant) -> &Cells {
        let cells = self.cells.get_or_init(|| Cells::new(capacity, now));
        cells.widen(capacity);
        cells
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, HashMap<Vec<u8>, Entry>> {
        // The truncation only picks a shard.
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }

    fn reserve(&self, freed: usize, taken: usize, quota: usize) -> Result<(), Refusal> {
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                let after = bytes - freed + taken;
                (after <= quota || taken <= freed).then_some(after)
            })
            .map(drop)
            .map_err(|_full| Refusal::Quota)
    }

    fn next_cas(&self) -> u32 {
        loop {
            let cas = self.last_cas.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if cas != 0 {
                return cas;
            }
        }
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_OVERHEAD
}

/// A panic while a lock was held left no value half written: each is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_needs_the_number_of_the_last_change_or_none() {
        let space = SharedData::new().space("vm");
        assert_eq!(space.set(b"k", b"1", 77, 1000), Ok(()), "a missing key takes any number");
        let (_, first) = space.value(b"k").expect("was written");
        assert_eq!(space.set(b"k", b"2", first, 1000), Ok(()));
        assert_eq!(space.set(b"k", b"3", first, 1000), Err(Refusal::CasMismatch));
        assert_eq!(space.set(b"k", b"4", 0, 1000), Ok(()));
        assert_eq!(space.value(b"k").expect("was written").0, "4");
    }

    #[test]
    fn a_space_goes_with_its_last_holder() {
        let data = SharedData::new();
        let space = data.space("vm");
        space.set(b"k", b"v", 0, 1000).expect("within the quota");
        assert!(data.space("vm").value(b"k").is_some());
        assert!(data.space("other").value(b"k").is_none());
        drop(space);
        assert!(data.space("vm").value(b"k").is_none());
    }

    #[test]
    fn a_quota_holds_for_the_whole_space_and_shrinking_is_always_allowed() {
        let space = SharedData::new().space("");
        assert_eq!(space.set(b"a", &[0; 100], 0, 200), Ok(()));
        assert_eq!(space.set(b"b", &[0; 100], 0, 200), Err(Refusal::Quota));
        assert_eq!(space.set(b"a", &[0; 10], 0, 20), Ok(()));
        assert_eq!(space.set(b"b", b"", 0, 200), Ok(()));
    }
}
