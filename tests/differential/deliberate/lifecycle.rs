//! What differs in the cases of `lifecycle.rs`.

use super::{Clients, Deliberate, FAILED_BODY, FAILED_HEAD, Guests, LAST_BYTES, OWN_TEXT, Start, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "no route",
        reason: OWN_TEXT,
        places: &[
            place(
                Clients,
                &["   content-length: 0"],
                &["   content-length: 25", "   content-type: text/plain"],
            ),
            place(Clients, &["   body (sized): \"\""], &["   body (sized): \"no route for this request\""]),
            place(
                Guests,
                &["[second] response_headers ctx=2 eos=1", "[first] response_headers ctx=2 eos=1"],
                &[
                    "[second] response_headers ctx=2 eos=0",
                    "[first] response_headers ctx=2 eos=0",
                    "[second] response_body ctx=2 size=25 eos=1",
                    "[first] response_body ctx=2 size=25 eos=1",
                ],
            ),
        ],
    },
    Deliberate {
        case: "refused",
        reason: OWN_TEXT,
        places: &[
            place(Clients, &["   content-length: 98"], &["   content-length: 26"]),
            place(
                Clients,
                &[
                    "   body (sized): \"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure\"",
                ],
                &["   body (sized): \"upstream connection failed\""],
            ),
            place(
                Guests,
                &["[second] response_body ctx=2 size=98 eos=1", "[first] response_body ctx=2 size=98 eos=1"],
                &["[second] response_body ctx=2 size=26 eos=1", "[first] response_body ctx=2 size=26 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "closed early",
        reason: "A connection that ends before a response is 502 however much of one came: the upstream was reached, and its answer is what is wrong. Envoy says 503 where not a byte came, and 502 where some did (the case below). The text of an answer that no upstream sent is ours.",
        places: &[
            place(Clients, &["<- 503", "   content-length: 95"], &["<- 502", "   content-length: 30"]),
            place(
                Clients,
                &[
                    "   body (sized): \"upstream connect error or disconnect/reset before headers. reset reason: connection termination\"",
                ],
                &["   body (sized): \"upstream closed the connection\""],
            ),
            place(
                Guests,
                &["[second] response_body ctx=2 size=95 eos=1", "[first] response_body ctx=2 size=95 eos=1"],
                &["[second] response_body ctx=2 size=30 eos=1", "[first] response_body ctx=2 size=30 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "reset in the head",
        reason: OWN_TEXT,
        places: &[
            place(Clients, &["   content-length: 87"], &["   content-length: 30"]),
            place(
                Clients,
                &[
                    "   body (sized): \"upstream connect error or disconnect/reset before headers. reset reason: protocol error\"",
                ],
                &["   body (sized): \"upstream closed the connection\""],
            ),
            place(
                Guests,
                &["[second] response_body ctx=2 size=87 eos=1", "[first] response_body ctx=2 size=87 eos=1"],
                &["[second] response_body ctx=2 size=30 eos=1", "[first] response_body ctx=2 size=30 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "malformed answer",
        reason: OWN_TEXT,
        places: &[
            place(Clients, &["   content-length: 87"], &["   content-length: 33"]),
            place(
                Clients,
                &[
                    "   body (sized): \"upstream connect error or disconnect/reset before headers. reset reason: protocol error\"",
                ],
                &["   body (sized): \"upstream sent an invalid response\""],
            ),
            place(
                Guests,
                &["[second] response_body ctx=2 size=87 eos=1", "[first] response_body ctx=2 size=87 eos=1"],
                &["[second] response_body ctx=2 size=33 eos=1", "[first] response_body ctx=2 size=33 eos=1"],
            ),
        ],
    },
    Deliberate { case: "trap", reason: OWN_TEXT, places: &[FAILED_HEAD, FAILED_BODY] },
    Deliberate {
        case: "early answer",
        reason: LAST_BYTES,
        places: &[place(
            Guests,
            &[
                "[second] response_body ctx=2 size=5 eos=0",
                "[first] response_body ctx=2 size=5 eos=0",
                "[second] response_body ctx=2 size=0 eos=1",
                "[first] response_body ctx=2 size=0 eos=1",
            ],
            &["[second] response_body ctx=2 size=5 eos=1", "[first] response_body ctx=2 size=5 eos=1"],
        )],
    },
    Deliberate {
        case: "configurations",
        reason: "The plugin's configuration is readable in every callback. Envoy shows it while it creates and configures a root, not in proxy_on_vm_start.",
        places: &[place(
            Start,
            &["[conf]   buffer PluginConfig 0 4294967295 -> 1"],
            &["[conf]   buffer PluginConfig 0 4294967295 -> 0 plugin: {\"a\": 1}"],
        )],
    },
];
