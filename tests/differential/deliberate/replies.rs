//! What differs in the cases of `replies.rs`.

use super::{Deliberate, NO_BODY, NOT_FRAMED};

pub(super) const ALL: &[Deliberate] =
    &[Deliberate { case: "empty reply", reason: NO_BODY, places: NOT_FRAMED }];
