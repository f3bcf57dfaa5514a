//! What differs in the cases of `routing.rs`.

use super::{Deliberate, NO_BODY, NOT_FRAMED};

pub(super) const ALL: &[Deliberate] =
    &[Deliberate { case: "redirects", reason: NO_BODY, places: NOT_FRAMED }];
