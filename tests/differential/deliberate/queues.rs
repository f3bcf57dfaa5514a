//! What differs in the cases of `queues.rs`.

use super::{Deliberate, Start, place};

pub(super) const ALL: &[Deliberate] = &[Deliberate {
    case: "queue",
    reason: "A queue is there once an instance that serves has registered it. In Envoy the throw-away instance that proves the configuration registers it first, and leaves it.",
    places: &[place(
        Start,
        &["[queue]   resolve-queue \"\" jobs -> 0"],
        &["[queue]   resolve-queue \"\" jobs -> 1"],
    )],
}];
