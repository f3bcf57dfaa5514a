//! The contexts of one instance: which exchange a guest's number stands for.
//!
//! 0 is the VM itself, which is never announced to the guest; 1 is its root; streams count on from 2. A number is not
//! used again while its context lives.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::stream::StreamRef;

/// The root context's id. (An instance runs one plugin, so it has one root.)
pub(crate) const ROOT: u32 = 1;

/// One stream context.
#[derive(Debug, Clone)]
pub(crate) struct StreamContext {
    /// The exchange.
    pub(crate) stream: StreamRef,
    /// The filter's place in the exchange's chain.
    pub(crate) stage: usize,
    /// Since when it waits for `proxy_done`, if it said in `proxy_on_done` that it was not done.
    pub(crate) parked: Option<Instant>,
}

/// The stream contexts of one instance.
#[derive(Debug)]
pub(crate) struct Contexts {
    streams: HashMap<u32, StreamContext, BuildHasherDefault<IdHasher>>,
    last_id: u32,
    parked: usize,
}

impl Contexts {
    pub(crate) fn new() -> Contexts {
        Contexts { streams: HashMap::default(), last_id: ROOT, parked: 0 }
    }

    /// Adds a stream and names it.
    pub(crate) fn open(&mut self, stream: &StreamRef, stage: usize) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(ROOT + 1);
            if !self.streams.contains_key(&self.last_id) {
                break;
            }
        }
        self.streams.insert(self.last_id, StreamContext { stream: stream.clone(), stage, parked: None });
        self.last_id
    }

    pub(crate) fn stream(&self, id: u32) -> Option<&StreamContext> {
        self.streams.get(&id)
    }

    /// Removes a context. `None` if there was none.
    pub(crate) fn close(&mut self, id: u32) -> Option<StreamContext> {
        let context = self.streams.remove(&id)?;
        self.parked -= usize::from(context.parked.is_some());
        Some(context)
    }

    /// Notes that a context waits for `proxy_done`.
    pub(crate) fn park(&mut self, id: u32, now: Instant) {
        if let Some(context) = self.streams.get_mut(&id)
            && context.parked.replace(now).is_none()
        {
            self.parked += 1;
        }
    }

    /// Notes that a context no longer waits.
    pub(crate) fn unpark(&mut self, id: u32) {
        if let Some(context) = self.streams.get_mut(&id)
            && context.parked.take().is_some()
        {
            self.parked -= 1;
        }
    }

    /// How many wait for `proxy_done`.
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    /// The contexts that began to wait for `proxy_done` before `deadline`.
    pub(crate) fn parked_before(&self, deadline: Instant) -> Vec<u32> {
        let is_late = |context: &StreamContext| context.parked.is_some_and(|since| since <= deadline);
        self.streams.iter().filter(|(_, context)| is_late(context)).map(|(id, _)| *id).collect()
    }

    /// Every context, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &StreamContext)> {
        self.streams.iter().map(|(id, context)| (*id, context))
    }
}

/// Ids are counted up by the host, so no guest can choose them to collide: a multiplication spreads them well enough.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
