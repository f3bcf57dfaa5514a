//! What differs in the cases of `late.rs`.

use super::{Deliberate, Guests, NOT_THERE, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "callout cut",
        reason: NOT_THERE,
        places: &[place(
            Guests,
            &["[asking]   get callout-headers :status -> 2"],
            &["[asking]   get callout-headers :status -> 1"],
        )],
    },
    Deliberate {
        case: "reply of a root",
        reason: NOT_THERE,
        places: &[place(
            Guests,
            &["[root]   get request-headers :path -> 2"],
            &["[root]   get request-headers :path -> 1"],
        )],
    },
];
