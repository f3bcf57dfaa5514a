//! The contexts of one instance: which exchange a guest's number stands for.
//!
//! 0 is the VM itself, which is never announced to the guest. Roots and streams are counted alike, from 1, so the first
//! root is 1. A number is not used again while its context lives.

use std::time::Instant;

use super::stream::StreamRef;

/// The VM's own id.
pub(crate) const VM: u32 = 0;

/// How many places there are at first; a power of two.
const FIRST_PLACES: usize = 64;

/// One stream context.
#[derive(Debug, Clone)]
pub(crate) struct StreamContext {
    /// The exchange.
    pub(crate) stream: StreamRef,
    /// The filter's place in the exchange's chain.
    pub(crate) stage: usize,
    /// The root that it belongs to, by its place among the instance's.
    pub(crate) root: usize,
    /// The guest knows it.
    pub(crate) announced: bool,
    /// Since when it waits for `proxy_done`, if it said in `proxy_on_done` that it was not done.
    pub(crate) parked: Option<Instant>,
}

/// The contexts of one instance.
///
/// A stream's place is its id modulo the number of places, so that finding one is a comparison. Of two ids with one
/// place the later is skipped, unless half the places are taken: then there are made more.
#[derive(Debug)]
pub(crate) struct Contexts {
    places: Vec<Option<(u32, StreamContext)>>,
    len: usize,
    /// The roots' numbers, by their places.
    roots: Vec<u32>,
    /// The same with their places, sorted: a filter that many routes configure has as many roots.
    root_places: Vec<(u32, usize)>,
    last_id: u32,
    parked: usize,
    /// Nothing that waits for `proxy_done` began to before this.
    earliest_parked: Option<Instant>,
}

impl Contexts {
    pub(crate) fn new() -> Contexts {
        Contexts {
            places: empty_places(FIRST_PLACES),
            len: 0,
            roots: Vec::with_capacity(1),
            root_places: Vec::with_capacity(1),
            last_id: VM,
            parked: 0,
            earliest_parked: None,
        }
    }

    /// Names a new root, which takes the next place, or that of a root that has gone.
    pub(crate) fn add_root(&mut self, freed: Option<usize>) -> u32 {
        let id = loop {
            let id = self.next_id();
            if self.stream(id).is_none() {
                break id;
            }
        };
        let place = freed.unwrap_or(self.roots.len());
        match self.roots.get_mut(place) {
            Some(former) => {
                let former = std::mem::replace(former, id);
                self.root_places.retain(|(known, _)| *known != former);
            }
            None => self.roots.push(id),
        }
        let at = self.root_places.partition_point(|(known, _)| *known < id);
        self.root_places.insert(at, (id, place));
        id
    }

    /// The place of the root of this number.
    pub(crate) fn root(&self, id: u32) -> Option<usize> {
        if let [(only, place)] = self.root_places[..] {
            return (only == id).then_some(place); // nearly always
        }
        let at = self.root_places.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(self.root_places[at].1)
    }

    /// Whether a stream belongs to the root at this place.
    pub(crate) fn has_streams_of(&self, root: usize) -> bool {
        self.iter().any(|(_, context)| context.root == root)
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != VM && self.root(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }

    /// Adds a stream of the root at `root`, and names it.
    pub(crate) fn open(&mut self, root: usize, stream: &StreamRef, stage: usize) -> u32 {
        if self.len * 2 >= self.places.len() {
            self.grow();
        }
        loop {
            let id = self.next_id();
            let place = self.place(id);
            if self.places[place].is_none() {
                let context =
                    StreamContext { stream: stream.clone(), stage, root, announced: false, parked: None };
                self.places[place] = Some((id, context));
                self.len += 1;
                return id;
            }
        }
    }

    fn place(&self, id: u32) -> usize {
        id as usize & (self.places.len() - 1)
    }

    /// Ids that differ modulo the old number of places differ modulo its double.
    fn grow(&mut self) {
        let places = empty_places(self.places.len() * 2);
        for (id, context) in std::mem::replace(&mut self.places, places).into_iter().flatten() {
            let place = self.place(id);
            self.places[place] = Some((id, context));
        }
    }

    pub(crate) fn stream(&self, id: u32) -> Option<&StreamContext> {
        self.places[self.place(id)].as_ref().filter(|(found, _)| *found == id).map(|(_, context)| context)
    }

    fn stream_mut(&mut self, id: u32) -> Option<&mut StreamContext> {
        let place = self.place(id);
        self.places[place].as_mut().filter(|(found, _)| *found == id).map(|(_, context)| context)
    }

    /// Notes that the guest knows a context. Whether it did not.
    pub(crate) fn announce(&mut self, id: u32) -> bool {
        self.stream_mut(id).is_some_and(|context| !std::mem::replace(&mut context.announced, true))
    }

    /// Removes a context, if there is one of that id.
    pub(crate) fn close(&mut self, id: u32) {
        let place = self.place(id);
        if let Some((_, context)) = self.places[place].take_if(|(found, _)| *found == id) {
            self.len -= 1;
            self.parked -= usize::from(context.parked.is_some());
        }
    }

    /// Notes that a context waits for `proxy_done`.
    pub(crate) fn park(&mut self, id: u32, now: Instant) {
        if let Some(context) = self.stream_mut(id)
            && context.parked.replace(now).is_none()
        {
            self.parked += 1;
            self.earliest_parked.get_or_insert(now);
        }
    }

    /// Notes that a context no longer waits.
    pub(crate) fn unpark(&mut self, id: u32) {
        if let Some(context) = self.stream_mut(id)
            && context.parked.take().is_some()
        {
            self.parked -= 1;
        }
    }

    /// How many do not wait for `proxy_done`.
    pub(crate) fn live(&self) -> usize {
        self.len - self.parked
    }

    /// How many wait for `proxy_done`.
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    /// The contexts that began to wait for `proxy_done` before `deadline`. All are looked at only if there may be one.
    pub(crate) fn parked_before(&mut self, deadline: Instant) -> Vec<u32> {
        if self.earliest_parked.is_none_or(|earliest| earliest > deadline) {
            return Vec::new();
        }
        let parked = self.iter().filter_map(|(id, context)| Some((id, context.parked?)));
        let (late, waiting): (Vec<_>, Vec<_>) = parked.partition(|(_, since)| *since <= deadline);
        self.earliest_parked = waiting.into_iter().map(|(_, since)| since).min();
        late.into_iter().map(|(id, _)| id).collect()
    }

    /// Every stream, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &StreamContext)> {
        self.places.iter().flatten().map(|(id, context)| (*id, context))
    }
}

fn empty_places(count: usize) -> Vec<Option<(u32, StreamContext)>> {
    std::iter::repeat_with(|| None).take(count).collect()
}
