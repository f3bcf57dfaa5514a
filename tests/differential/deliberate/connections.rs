//! What differs in the cases of `connections.rs`.

use super::{ANY_PART, Clients, Deliberate, Guests, NO_BUFFER, Place, place};

const LATE: Place = place(
    Guests,
    &["[late]   buffer DownstreamData 0 4294967295 -> 0 ", "[late]   set-buffer DownstreamData 0 0 -> 2"],
    &["[late]   buffer DownstreamData 0 4294967295 -> 1", "[late]   set-buffer DownstreamData 0 0 -> 1"],
);

const NO_HEADERS: Place = place(
    Guests,
    &["[calls]   get request-headers :path -> 2"],
    &["[calls]   get request-headers :path -> 1"],
);

const NO_BODIES: Place = place(
    Guests,
    &["[calls]   buffer RequestBody 0 4294967295 -> 0 ", "[calls]   set-buffer ResponseBody 0 0 -> 2"],
    &["[calls]   buffer RequestBody 0 4294967295 -> 1", "[calls]   set-buffer ResponseBody 0 0 -> 1"],
);

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "tcp hold",
        reason: "A filter is shown each byte once: what a filter behind it holds, and it may have changed, is not shown to it again.",
        places: &[place(
            Guests,
            &["[first] downstream_data ctx=2 size=4 eos=0"],
            &["[first] downstream_data ctx=2 size=2 eos=0"],
        )],
    },
    Deliberate {
        case: "tcp splice",
        reason: ANY_PART,
        places: &[
            place(Clients, &["abcd"], &["a--d"]),
            place(
                Guests,
                &[
                    "[edit]   set-buffer DownstreamData 1 2 -> 2",
                    "[edit]   buffer DownstreamData 0 4294967295 -> 0 abcd",
                ],
                &[
                    "[edit]   set-buffer DownstreamData 1 2 -> 0",
                    "[edit]   buffer DownstreamData 0 4294967295 -> 0 a--d",
                ],
            ),
        ],
    },
    Deliberate { case: "tcp late", reason: NO_BUFFER, places: &[LATE, LATE, LATE] },
    Deliberate {
        case: "tcp edits",
        reason: "There is no such buffer at the moment: NotFound, as the written ABI has it.",
        places: &[
            place(
                Guests,
                &["[edit]   set-buffer UpstreamData 0 0 -> 2"],
                &["[edit]   set-buffer UpstreamData 0 0 -> 1"],
            ),
            place(
                Guests,
                &["[edit]   set-buffer DownstreamData 0 0 -> 2"],
                &["[edit]   set-buffer DownstreamData 0 0 -> 1"],
            ),
        ],
    },
    Deliberate {
        case: "tcp http calls",
        reason: "A connection has neither headers nor bodies: NotFound, which SDKs take for what it is.",
        places: &[NO_HEADERS, NO_BODIES, NO_HEADERS, NO_BODIES],
    },
    Deliberate {
        case: "tcp properties",
        reason: "How long a connection lasted is known when it is logged.",
        places: &[place(
            Guests,
            &["[read]   property-size request.duration -> 1"],
            &["[read]   property-size request.duration -> 0 8"],
        )],
    },
];
