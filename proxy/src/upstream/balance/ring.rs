//! A ring of hashes: a request goes to the endpoint whose hash follows its own. When an endpoint leaves, only its
//! requests move.
//!
//! With Envoy's settings the ring is the one that Envoy builds of the same endpoints, so that a request reaches the same
//! endpoint through either. It is built once for all workers, with every endpoint on it: those that are unfit are passed over, which
//! moves the requests that they had and no others.

use xxhash_rust::xxh64::xxh64;

use crate::config::model::{HashFunction, RingHash, RingSize};

/// A ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Hashes, in order, and the members that they are of.
    entries: Box<[(u64, u32)]>,
    /// For the first bits of a hash, where in `entries` those begin that could follow it.
    starts: Box<[u32]>,
    /// How many bits of a hash are left after those.
    shift: u32,
}

impl Ring {
    /// A ring of `members`, each with what it is known by and its weight.
    pub(super) fn new(members: &[(u32, String, f64)], settings: &RingHash) -> Ring {
        let members: Vec<_> = members.iter().filter(|(_, _, weight)| *weight > 0.0).collect();
        let weights: Vec<f64> = members.iter().map(|(_, _, weight)| *weight).collect();
        let counts = counts(&weights, settings);
        let mut entries = Vec::with_capacity(counts.iter().sum());
        let mut key = String::new();
        for ((member, name, _), count) in members.into_iter().zip(counts) {
            for number in 0..count {
                use std::fmt::Write as _;
                key.clear();
                let _ = write!(key, "{name}_{number}"); // to a String it cannot fail
                entries.push((hash(settings.function, key.as_bytes()), *member));
            }
        }
        entries.sort_by_key(|&(hash, _)| hash);
        Ring::indexed(entries)
    }

    fn indexed(entries: Vec<(u64, u32)>) -> Ring {
        // A few entries for each prefix: they are in one line of the cache.
        let bits = (entries.len() / 4).max(2).next_power_of_two().trailing_zeros();
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        let mut place = 0;
        for prefix in 0..1_u64 << bits {
            while entries.get(place).is_some_and(|&(hash, _)| hash < prefix << shift) {
                place += 1;
            }
            starts.push(u32::try_from(place).unwrap_or(u32::MAX));
        }
        Ring { entries: entries.into(), starts: starts.into(), shift }
    }

    /// The first member from the hash on that will do; `None` if none will.
    pub(super) fn find(&self, hash: u64, will_do: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = *self.starts.get((hash >> self.shift) as usize)? as usize;
        while self.entries.get(place).is_some_and(|&(entry, _)| entry < hash) {
            place += 1;
        }
        let (before, after) = self.entries.split_at(place);
        after.iter().chain(before).map(|&(_, member)| member).find(|&member| will_do(member))
    }
}

/// How many hashes each weight gets.
fn counts(weights: &[f64], settings: &RingHash) -> Vec<usize> {
    let lightest = weights.iter().copied().fold(f64::INFINITY, f64::min);
    let (total, most) = (weights.iter().sum::<f64>(), settings.maximum_size as f64);
    match settings.size {
        RingSize::Each(hashes) => {
            let each = (hashes as f64 / lightest).min(most / total);
            weights.iter().map(|weight| ((weight * each).round() as usize).max(1)).collect()
        }
        // As Envoy reckons it, rounding included: the lightest gets a whole number of hashes.
        RingSize::AtLeast(minimum) => {
            let lightest = lightest / total;
            let scale = ((lightest * minimum as f64).ceil() / lightest).min(most);
            let (mut given, mut due) = (0.0_f64, 0.0);
            let count = |weight: &f64| {
                due += scale * (weight / total);
                let mut count = 0;
                while given < due {
                    (given, count) = (given + 1.0, count + 1);
                }
                count
            };
            weights.iter().map(count).collect()
        }
    }
}

fn hash(function: HashFunction, key: &[u8]) -> u64 {
    match function {
        HashFunction::XxHash => xxh64(key, 0),
        HashFunction::Murmur => murmur(key, MURMUR_SEED),
    }
}

/// The seed that the C++ standard library of GCC has, and Envoy after it.
const MURMUR_SEED: u64 = 0xc70f_6907;

/// MurmurHash2 with 64 bits ("MurmurHash64A"), by Austin Appleby, who gave it to the public.
fn murmur(key: &[u8], seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |word: u64| {
        let word = word.wrapping_mul(MULTIPLIER);
        (word ^ (word >> 47)).wrapping_mul(MULTIPLIER)
    };
    let mut hash = seed ^ (key.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 47)
}
