//! Chance: evenly spread, fast, seeded by the host, and not for secrets.

use std::cell::RefCell;
use std::ops::RangeBounds;

use crate::host;

thread_local! {
    static RANDOM: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// A number out of a range, each as likely as another. Not for secrets.
///
/// ```no_run
/// let one_in_a_hundred = tidegate_sdk::random(0..100) == 0;
/// # _ = one_in_a_hundred;
/// ```
///
/// # Panics
///
/// When the range is empty.
pub fn random(range: impl RangeBounds<u64>) -> u64 {
    RANDOM.with_borrow_mut(|random| random.get_or_insert_with(seeded).u64(range))
}

/// Workers that start together are to differ, also where the host has no randomness to give.
fn seeded() -> fastrand::Rng {
    let seed = host::random_seed().unwrap_or_else(|| host::now().as_nanos() as u64);
    fastrand::Rng::with_seed(seed)
}
