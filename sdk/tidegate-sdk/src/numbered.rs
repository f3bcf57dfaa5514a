//! A map by a number of the host's: a context or a token. They count up and nobody outside chooses them, so the hash is one
//! multiplication; the standard one costs more than all that is done with what is found.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What the host has numbered.
pub(crate) type Numbered<T> = HashMap<u32, T, BuildHasherDefault<Spread>>;

/// Spreads numbers that follow one another over all bits: 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4).
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((*byte).into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// The table takes its places from the low bits, where a product is weakest.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
