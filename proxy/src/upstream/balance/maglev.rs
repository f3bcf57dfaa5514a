//! Maglev's table ("Maglev: A Fast and Reliable Software Network Load Balancer", section 3.4): a request's hash is a
//! place in it. Shares are more even than a ring's, and a look at it is one; when an endpoint leaves, its requests move
//! and few others.
//!
//! The table is the one that Envoy builds of the same endpoints. It is built once for all workers, with every endpoint in
//! it. Where a request finds one that is unfit, its hash is hashed again: other requests stay where they were.

use xxhash_rust::xxh64::xxh64;

/// A table.
#[derive(Debug)]
pub(super) struct Maglev {
    places: Box<[u32]>,
}

/// How often a hash is hashed again before the table is looked through.
const ATTEMPTS: u64 = 64;

/// No member.
const NONE: u32 = u32::MAX;

impl Maglev {
    /// A table of `size`, a prime number, of `members`, each with what it is known by and its weight.
    pub(super) fn new(members: &[(u32, String, f64)], size: usize) -> Maglev {
        let mut sorted: Vec<_> = members.iter().filter(|(_, _, weight)| *weight > 0.0).collect();
        sorted.sort_by(|a, b| a.1.cmp(&b.1));
        if sorted.is_empty() {
            return Maglev { places: Box::default() };
        }
        let total: f64 = sorted.iter().map(|(_, _, weight)| weight).sum();
        let heaviest = sorted.iter().map(|(_, _, weight)| weight / total).fold(0.0, f64::max);
        let mut lists: Vec<_> = sorted
            .iter()
            .map(|(member, name, weight)| List::new(*member, name, weight / total, size))
            .collect();
        let mut places = vec![NONE; size];
        let mut left = size;
        for iteration in 1_u32.. {
            for list in &mut lists {
                // The heaviest has a turn each time, one of half its weight every other time.
                if f64::from(iteration) * list.weight < list.target {
                    continue;
                }
                list.target += heaviest;
                while places[list.place] != NONE {
                    list.advance(size);
                }
                places[list.place] = list.member;
                list.advance(size);
                left -= 1;
                if left == 0 {
                    return Maglev { places: places.into() };
                }
            }
        }
        Maglev { places: places.into() }
    }

    /// The member at the hash, or at one that follows from it, that will do; `None` if none will.
    pub(super) fn find(&self, hash: u64, will_do: impl Fn(u32) -> bool) -> Option<u32> {
        let size = self.places.len();
        if size == 0 {
            return None;
        }
        let at = |hash: u64| (hash % size as u64) as usize;
        let first = self.places[at(hash)];
        if will_do(first) {
            return Some(first);
        }
        let again = (1..=ATTEMPTS).map(|attempt| at(xxh64(&hash.to_le_bytes(), attempt)));
        let every = (0..size).map(|step| (at(hash) + step) % size);
        again.chain(every).map(|place| self.places[place]).find(|&member| will_do(member))
    }
}

/// The places that a member wants, in its order: all of them, as the table's size is a prime number.
struct List {
    member: u32,
    weight: f64,
    target: f64,
    place: usize,
    step: usize,
}

impl List {
    fn new(member: u32, name: &str, weight: f64, size: usize) -> List {
        let place = (xxh64(name.as_bytes(), 0) % size as u64) as usize;
        let step = (xxh64(name.as_bytes(), 1) % (size as u64 - 1)) as usize + 1;
        List { member, weight, target: 0.0, place, step }
    }

    fn advance(&mut self, size: usize) {
        self.place = (self.place + self.step) % size;
    }
}
