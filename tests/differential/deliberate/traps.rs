//! What differs in the cases of `traps.rs`.

use super::{Clients, Deliberate, FAILED_BODY, FAILED_HEAD, Guests, OWN_TEXT, Place, Upstreams, place};

const OPEN: &str = "Under on_fault: open the very exchange that met the fault goes on without the filter; in Envoy it fails, and only later ones do.";

const OPEN_HEAD: Place =
    place(Clients, &["<- 503", "   connection: close", "   content-length: 0"], &["<- 200"]);

const OPEN_BODY: Place = place(
    Clients,
    &["   body (sized): \"\""],
    &["   transfer-encoding: chunked", "   body (chunked): \"hello\""],
);

const OPEN_REQUEST: Place = place(
    Upstreams,
    &[],
    &[
        "-> up: POST / HTTP/1.1",
        "   host: tide.test",
        "   transfer-encoding: chunked",
        "   x-forwarded-for: 127.0.0.2",
        "   x-forwarded-proto: http",
        "   x-request-id: (a UUID)",
        "   body (chunked): \"body\"",
    ],
);

pub(super) const ALL: &[Deliberate] = &[
    Deliberate { case: "trap in request headers", reason: OWN_TEXT, places: &[FAILED_HEAD, FAILED_BODY] },
    Deliberate {
        case: "trap in request body",
        reason: "The text of an answer that no upstream sent is ours, and the filters after the one that failed see it as they see any answer.",
        places: &[
            FAILED_HEAD,
            FAILED_BODY,
            place(
                Guests,
                &["[other] response_headers ctx=2 eos=1"],
                &["[other] response_headers ctx=2 eos=0", "[other] response_body ctx=2 size=15 eos=1"],
            ),
        ],
    },
    Deliberate { case: "trap in response headers", reason: OWN_TEXT, places: &[FAILED_HEAD, FAILED_BODY] },
    Deliberate {
        case: "trap in response body",
        reason: "Nothing of the response has left when its first piece meets the trap: the connection ends without an answer, after which a client may ask again, and not with half of one.",
        places: &[place(
            Clients,
            &["<- 200", "   date: (a date)", "   transfer-encoding: chunked", "   body (chunked, cut): \"\""],
            &["no response"],
        )],
    },
    Deliberate {
        case: "open trap in request headers",
        reason: OPEN,
        places: &[
            OPEN_HEAD,
            OPEN_BODY,
            OPEN_REQUEST,
            place(
                Guests,
                &[],
                &[
                    "[other] request_headers ctx=2 eos=0",
                    "[other] request_body ctx=2 size=4 eos=0",
                    "[other] request_body ctx=2 size=0 eos=1",
                    "[other] response_headers ctx=2 eos=0",
                    "[other] response_body ctx=2 size=5 eos=0",
                    "[other] response_body ctx=2 size=0 eos=1",
                ],
            ),
        ],
    },
    Deliberate {
        case: "open trap in request body",
        reason: OPEN,
        places: &[
            OPEN_HEAD,
            OPEN_BODY,
            OPEN_REQUEST,
            place(
                Guests,
                &["[other] response_headers ctx=2 eos=1"],
                &[
                    "[other] request_body ctx=2 size=4 eos=0",
                    "[other] request_body ctx=2 size=0 eos=1",
                    "[other] response_headers ctx=2 eos=0",
                    "[other] response_body ctx=2 size=5 eos=0",
                    "[other] response_body ctx=2 size=0 eos=1",
                ],
            ),
        ],
    },
    Deliberate {
        case: "open trap in response headers",
        reason: OPEN,
        places: &[
            place(Clients, &["<- 503", "   content-length: 0"], &["<- 200"]),
            OPEN_BODY,
            place(
                Guests,
                &[],
                &["[other] response_body ctx=2 size=5 eos=0", "[other] response_body ctx=2 size=0 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "open trap in response body",
        reason: OPEN,
        places: &[
            place(Clients, &["   body (chunked, cut): \"\""], &["   body (chunked): \"hello\""]),
            place(Guests, &[], &["[other] response_body ctx=2 size=0 eos=1"]),
        ],
    },
];
