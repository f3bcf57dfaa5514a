//! What differs in the cases of `headers.rs`.

use super::{Clients, Deliberate, Guests, NO_BUFFER, Upstreams, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "statuses",
        reason: NO_BUFFER,
        places: &[place(
            Guests,
            &["[probe]   buffer-status ResponseBody -> 0 0"],
            &["[probe]   buffer-status ResponseBody -> 1"],
        )],
    },
    Deliberate {
        case: "response headers",
        reason: "transfer-encoding concerns one connection: no filter sees it, in either direction. Envoy hides it in requests only, and ignores what filters do to it.",
        places: &[place(Guests, &["[headers]   | transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "set without pseudo-headers",
        reason: "Pairs without pseudo-headers keep the ones that are there; Envoy loses the status and fails the exchange.",
        places: &[
            place(Clients, &["<- 502", "   content-length: 32", "   content-type: text/plain"], &["<- 200"]),
            place(
                Clients,
                &["   body (sized): \"missing required header: :status\""],
                &["   transfer-encoding: chunked", "   x-b: 1", "   body (chunked): \"hello\""],
            ),
            place(Guests, &[], &["[headers]   | :status: 200"]),
            place(
                Guests,
                &[],
                &["[headers] response_body ctx=2 size=5 eos=0", "[headers] response_body ctx=2 size=0 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "broken pairs",
        reason: "Pairs that cannot be read are refused and change nothing; Envoy takes them for none and wipes the map.",
        places: &[
            place(
                Guests,
                &["[headers]   set-pairs request-trailers -> 0"],
                &["[headers]   set-pairs request-trailers -> 2"],
            ),
            place(Guests, &[], &["[headers]   | x-t: 1"]),
        ],
    },
    Deliberate {
        case: "phases",
        reason: "Heads that were seen stay readable, what is not there is NotFound and has the size 0, and a response header that is added before there is a response is kept for it. Envoy answers BadArgument to all of these, on which the Rust SDK panics.",
        places: &[
            place(Clients, &[], &["   x-late: 1"]),
            place(
                Guests,
                &["[probe]   get request-trailers x-probe -> 2"],
                &["[probe]   get request-trailers x-probe -> 1"],
            ),
            place(
                Guests,
                &[
                    "[probe]   size request-trailers -> 2",
                    "[probe]   get response-headers x-probe -> 2",
                    "[probe]   add response-headers x-late -> 2",
                    "[probe]   remove response-headers x-none -> 2",
                    "[probe]   size response-headers -> 2",
                    "[probe]   get response-trailers x-probe -> 2",
                ],
                &[
                    "[probe]   size request-trailers -> 0",
                    "[probe]   get response-headers x-probe -> 1",
                    "[probe]   add response-headers x-late -> 0",
                    "[probe]   remove response-headers x-none -> 0",
                    "[probe]   size response-headers -> 0",
                    "[probe]   get response-trailers x-probe -> 1",
                ],
            ),
            place(
                Guests,
                &["[probe]   size response-trailers -> 2"],
                &["[probe]   size response-trailers -> 0"],
            ),
            place(
                Guests,
                &["[probe]   get request-headers x-probe -> 2"],
                &["[probe]   get request-headers x-probe -> 0 up"],
            ),
            place(
                Guests,
                &["[probe]   size request-headers -> 2", "[probe]   get request-trailers x-probe -> 2"],
                &["[probe]   size request-headers -> 0", "[probe]   get request-trailers x-probe -> 1"],
            ),
            place(
                Guests,
                &["[probe]   size request-trailers -> 2"],
                &["[probe]   size request-trailers -> 0"],
            ),
            place(
                Guests,
                &["[probe]   get response-trailers x-probe -> 2"],
                &["[probe]   get response-trailers x-probe -> 1"],
            ),
            place(
                Guests,
                &["[probe]   size response-trailers -> 2"],
                &["[probe]   size response-trailers -> 0"],
            ),
        ],
    },
    Deliberate {
        case: "unannounced trailers",
        reason: "Trailers are sent on if a `trailer` field announced them, as RFC 9110, 6.6.2 asks of senders, and dropped otherwise, which 6.5.1 allows: a limit of the HTTP library. Guests see all of them.",
        places: &[
            place(Clients, &["   trailer   x-down: 1"], &[]),
            place(Upstreams, &["   trailer   x-up: 1"], &[]),
        ],
    },
    Deliberate {
        case: "unwanted trailers",
        reason: "A response's trailers go to clients that say `te: trailers`: others need not look for any, and a recipient may drop them (RFC 9110, 6.5.1).",
        places: &[place(Clients, &["   trailer   x-down: 1"], &[])],
    },
    Deliberate {
        case: "server",
        reason: "What an upstream says about itself passes. Envoy writes its own name over it unless its server_header_transformation is PASS_THROUGH.",
        places: &[place(Clients, &[], &["   server: upstream/1.0"])],
    },
];
