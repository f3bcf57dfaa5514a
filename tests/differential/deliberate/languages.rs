//! What differs in the cases of `languages.rs`.

use super::{Clients, Deliberate, place};

pub(super) const ALL: &[Deliberate] = &[Deliberate {
    case: "tour",
    reason: "A local reply is framed by its size, also where the filter that changes it has removed `content-length`: its whole body is at hand. To a client it is the same.",
    places: &[
        place(Clients, &[], &["   content-length: 24"]),
        place(Clients, &["   transfer-encoding: chunked"], &[]),
        place(
            Clients,
            &["   body (chunked): \"denied by tide\\n and tide\""],
            &["   body (sized): \"denied by tide\\n and tide\""],
        ),
    ],
}];
