//! What differs in the cases of `pauses.rs`.

use super::{Clients, Deliberate, Guests, OWN_TEXT, REQUEST_TOO_LARGE, RESPONSE_TOO_LARGE, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate { case: "413 of a stopped head", reason: OWN_TEXT, places: REQUEST_TOO_LARGE },
    Deliberate { case: "500 of a stopped head", reason: OWN_TEXT, places: RESPONSE_TOO_LARGE },
    Deliberate {
        case: "held response headers",
        reason: "The whole body is there before the head is sent, so the client is told its length; pieces come as they were received; and a request's headers stay readable.",
        places: &[
            place(Clients, &[], &["   content-length: 6"]),
            place(Clients, &["   transfer-encoding: chunked"], &[]),
            place(Clients, &["   body (chunked): \"onetwo\""], &["   body (sized): \"onetwo\""]),
            place(Guests, &[], &["[pause] response_body ctx=2 size=3 eos=0"]),
            place(
                Guests,
                &["[pause]   get request-headers :method -> 2"],
                &["[pause]   get request-headers :method -> 0 GET"],
            ),
        ],
    },
];
