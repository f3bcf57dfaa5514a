//! What differs in the cases of `bodies.rs`.

use super::{
    ANY_PART, Deliberate, Guests, LAST_BYTES, NO_BUFFER, OWN_TEXT, REQUEST_TOO_LARGE, RESPONSE_TOO_LARGE,
    Upstreams, place,
};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "sized body",
        reason: LAST_BYTES,
        places: &[
            place(
                Guests,
                &["[body] request_body ctx=2 size=9 eos=0"],
                &["[body] request_body ctx=2 size=9 eos=1"],
            ),
            place(
                Guests,
                &["[body] request_body ctx=2 size=0 eos=1", "[body]   buffer RequestBody 0 4294967295 -> 0 "],
                &[],
            ),
            place(
                Guests,
                &["[body] response_body ctx=2 size=5 eos=0"],
                &["[body] response_body ctx=2 size=5 eos=1"],
            ),
            place(
                Guests,
                &[
                    "[body] response_body ctx=2 size=0 eos=1",
                    "[body]   buffer ResponseBody 0 4294967295 -> 0 ",
                ],
                &[],
            ),
        ],
    },
    Deliberate {
        case: "splice",
        reason: ANY_PART,
        places: &[
            place(Upstreams, &["   body (chunked): \"body\""], &["   body (chunked): \"b-spliced-y\""]),
            place(
                Guests,
                &[
                    "[body]   set-buffer RequestBody 1 2 -> 2",
                    "[body]   buffer RequestBody 0 4294967295 -> 0 body",
                ],
                &[
                    "[body]   set-buffer RequestBody 1 2 -> 0",
                    "[body]   buffer RequestBody 0 4294967295 -> 0 b-spliced-y",
                ],
            ),
        ],
    },
    Deliberate {
        case: "held headers",
        reason: "The whole body is there before the head is sent, so the upstream is told its length.",
        places: &[
            place(Upstreams, &[], &["   content-length: 4"]),
            place(Upstreams, &["   transfer-encoding: chunked"], &[]),
            place(Upstreams, &["   body (chunked): \"body\""], &["   body (sized): \"body\""]),
        ],
    },
    Deliberate {
        case: "reads of a buffer",
        reason: NO_BUFFER,
        places: &[place(
            Guests,
            &["[body]   buffer ResponseBody 0 4294967295 -> 0 "],
            &["[body]   buffer ResponseBody 0 4294967295 -> 1"],
        )],
    },
    Deliberate { case: "413", reason: OWN_TEXT, places: REQUEST_TOO_LARGE },
    Deliberate { case: "500", reason: OWN_TEXT, places: RESPONSE_TOO_LARGE },
];
