//! What differs in the cases of `callouts.rs`.

use super::{Clients, Deliberate, Guests, Upstreams, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "callout refused",
        reason: "The text of a 503 that no upstream sent is ours, and proxy_get_status says what happened, which Envoy leaves empty.",
        places: &[
            place(
                Guests,
                &["[authz] http_call_response ctx=1 token=4 size=98 trailers=0"],
                &["[authz] http_call_response ctx=1 token=4 size=19 trailers=0"],
            ),
            place(
                Guests,
                &["[authz]   callout-status -> 0 "],
                &["[authz]   callout-status -> 0 the upstream refused the connection"],
            ),
        ],
    },
    Deliberate {
        case: "callout without authority",
        reason: "A callout without :authority takes the cluster's name. Envoy refuses it with BadArgument, and a filter that waits for its answer all the same waits for ever.",
        places: &[
            place(
                Upstreams,
                &[],
                &[
                    "-> up: GET / HTTP/1.1",
                    "   host: tide.test",
                    "   x-forwarded-for: 127.0.0.2",
                    "   x-forwarded-proto: http",
                    "   x-request-id: (a UUID)",
                    "-> auth: GET /allow HTTP/1.1",
                    "   host: auth",
                ],
            ),
            place(
                Guests,
                &["[authz]   callout auth -> 2"],
                &[
                    "[authz]   callout auth -> 0",
                    "[authz] http_call_response ctx=1 token=4 size=3 trailers=0",
                    "[authz]   effective-stream -> 0",
                    "[authz]   resume Request -> 0",
                    "[authz] response_headers ctx=2 eos=0",
                    "[authz] response_body ctx=2 size=5 eos=0",
                    "[authz] response_body ctx=2 size=0 eos=1",
                ],
            ),
        ],
    },
    Deliberate {
        case: "callout",
        reason: "While a filter holds the head of a request, its body is not read, and comes as it arrives afterwards: a client that waits for 100 Continue does not send what may be refused. Envoy reads on, and shows what it has as one piece.",
        places: &[place(
            Guests,
            &["[authz] request_body ctx=2 size=4 eos=1"],
            &["[authz] request_body ctx=2 size=4 eos=0", "[authz] request_body ctx=2 size=0 eos=1"],
        )],
    },
    Deliberate {
        case: "callout in the response",
        reason: "While a filter holds the head of a response, its body is not read, and comes as it arrives afterwards. Envoy reads on, and shows what it has as one piece.",
        places: &[place(
            Guests,
            &["[check] response_body ctx=2 size=5 eos=1"],
            &["[check] response_body ctx=2 size=5 eos=0", "[check] response_body ctx=2 size=0 eos=1"],
        )],
    },
    Deliberate {
        case: "expectation",
        reason: "A client is told to send its body when a filter has let the head go and somebody reads it; Envoy tells it before the filters have seen anything.",
        places: &[place(Clients, &["<- 100 first"], &[])],
    },
];
