//! Futures on the heap.

use std::pin::Pin;

/// A future that is made where it stays. One that is made first and boxed then is copied whole, with all the room that it has
/// for what it may do later, and a request has some of several KiB.
#[inline(always)]
pub(crate) fn pin<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}
