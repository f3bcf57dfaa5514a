//! Where tidegate differs from Envoy on purpose. Every entry is reviewed: it says why a user is better off, or that
//! it makes no difference to one. (What is not compared at all stands in `observe.rs`, with its reasons.)

/// What differs in one case.
pub(crate) struct Deliberate {
    /// The case's name.
    pub(crate) case: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
    /// Each place: the lines that Envoy shows there, and those that tidegate shows instead.
    pub(crate) places: &'static [Place],
}

/// Envoy's lines and ours.
pub(crate) type Place = (&'static [&'static str], &'static [&'static str]);

/// All of them.
pub(crate) const DELIBERATE: &[Deliberate] = &[
    Deliberate {
        case: "sized body",
        reason: "The last bytes of a body of known length are shown as the last. Envoy shows an empty piece after them; in HTTP/2 it does as tidegate does, so filters know both.",
        places: &[
            (&["[body] request_body ctx=2 size=9 eos=0"], &["[body] request_body ctx=2 size=9 eos=1"]),
            (
                &["[body] request_body ctx=2 size=0 eos=1", "[body]   buffer RequestBody 0 4294967295 -> 0 "],
                &[],
            ),
            (&["[body] response_body ctx=2 size=5 eos=0"], &["[body] response_body ctx=2 size=5 eos=1"]),
            (
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
        reason: "The written ABI has general splicing; Envoy refuses it.",
        places: &[
            (&["   body (chunked): \"body\""], &["   body (chunked): \"b-spliced-y\""]),
            (
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
            (&[], &["   content-length: 4"]),
            (&["   transfer-encoding: chunked"], &[]),
            (&["   body (chunked): \"body\""], &["   body (sized): \"body\""]),
        ],
    },
    Deliberate {
        case: "reads of a buffer",
        reason: "There is no response body yet: not found, rather than an empty one.",
        places: &[(
            &["[body]   buffer ResponseBody 0 4294967295 -> 0 "],
            &["[body]   buffer ResponseBody 0 4294967295 -> 1"],
        )],
    },
    Deliberate {
        case: "statuses",
        reason: "There is no response body yet: not found, rather than an empty one.",
        places: &[(
            &["[probe]   buffer-status ResponseBody -> 0 0"],
            &["[probe]   buffer-status ResponseBody -> 1"],
        )],
    },
    Deliberate {
        case: "callout refused",
        reason: "The synthesised 503 has a text of our own, and proxy_get_status says what happened.",
        places: &[
            (
                &["[authz] http_call_response ctx=1 size=98 trailers=0"],
                &["[authz] http_call_response ctx=1 size=19 trailers=0"],
            ),
            (
                &["[authz]   callout-status -> 0 "],
                &["[authz]   callout-status -> 0 the upstream refused the connection"],
            ),
        ],
    },
    Deliberate {
        case: "callout without authority",
        reason: "A callout without :authority takes the cluster's name instead of being refused.",
        places: &[
            (
                &[],
                &[
                    "-> up: GET / HTTP/1.1",
                    "   host: tide.test",
                    "   x-forwarded-for: 127.0.0.2",
                    "   x-forwarded-proto: http",
                    "-> auth: GET /allow HTTP/1.1",
                    "   host: auth",
                ],
            ),
            (
                &["[authz]   callout auth -> 2"],
                &[
                    "[authz]   callout auth -> 0",
                    "[authz] http_call_response ctx=1 size=3 trailers=0",
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
        reason: "What was held while a filter waited is shown as it came, not joined with its end.",
        places: &[(
            &["[authz] request_body ctx=2 size=4 eos=1"],
            &["[authz] request_body ctx=2 size=4 eos=0", "[authz] request_body ctx=2 size=0 eos=1"],
        )],
    },
    Deliberate {
        case: "callout in the response",
        reason: "What was held while a filter waited is shown as it came, not joined with its end.",
        places: &[(
            &["[check] response_body ctx=2 size=5 eos=1"],
            &["[check] response_body ctx=2 size=5 eos=0", "[check] response_body ctx=2 size=0 eos=1"],
        )],
    },
    Deliberate {
        case: "response headers",
        reason: "transfer-encoding concerns one connection: no filter sees it, since no filter can change it.",
        places: &[(&["[headers]   | transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "set without pseudo-headers",
        reason: "Pairs without pseudo-headers keep the ones that are there; Envoy loses the status and fails the exchange.",
        places: &[
            (
                &[
                    "<- 502",
                    "   content-length: 32",
                    "   content-type: text/plain",
                    "   body (sized): \"missing required header: :status\"",
                ],
                &["<- 200", "   transfer-encoding: chunked", "   x-b: 1", "   body (chunked): \"hello\""],
            ),
            (&[], &["[headers]   | :status: 200"]),
            (
                &[],
                &["[headers] response_body ctx=2 size=5 eos=0", "[headers] response_body ctx=2 size=0 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "broken pairs",
        reason: "Pairs that cannot be read are refused and change nothing; Envoy takes them for none and wipes the map.",
        places: &[
            (
                &["[headers]   set-pairs request-trailers -> 0"],
                &["[headers]   set-pairs request-trailers -> 2"],
            ),
            (&[], &["[headers]   | x-t: 1"]),
        ],
    },
    Deliberate {
        case: "phases",
        reason: "Maps that were seen stay readable, what is not there is not found, and a response header added before there is a response is kept for it. Envoy answers BadArgument, which the Rust SDK turns into a panic.",
        places: &[
            (&[], &["   x-late: 1"]),
            (
                &["[probe]   get request-trailers x-probe -> 2"],
                &["[probe]   get request-trailers x-probe -> 1"],
            ),
            (
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
            (&["[probe]   size response-trailers -> 2"], &["[probe]   size response-trailers -> 0"]),
            (
                &["[probe]   get request-headers x-probe -> 2"],
                &["[probe]   get request-headers x-probe -> 0 up"],
            ),
            (
                &["[probe]   size request-headers -> 2", "[probe]   get request-trailers x-probe -> 2"],
                &["[probe]   size request-headers -> 0", "[probe]   get request-trailers x-probe -> 1"],
            ),
            (&["[probe]   size request-trailers -> 2"], &["[probe]   size request-trailers -> 0"]),
            (
                &["[probe]   get response-trailers x-probe -> 2"],
                &["[probe]   get response-trailers x-probe -> 1"],
            ),
            (&["[probe]   size response-trailers -> 2"], &["[probe]   size response-trailers -> 0"]),
        ],
    },
    Deliberate {
        case: "unannounced trailers",
        reason: "HTTP/1.1 trailers pass when a `trailer` field announces them (RFC 9110 section 6.6.2), and not otherwise.",
        places: &[(&["   trailer   x-down: 1"], &[]), (&["   trailer   x-up: 1"], &[])],
    },
    Deliberate {
        case: "no route",
        reason: "The answer says in a few words what is wrong; Envoy's is empty.",
        places: &[(
            &["[second] response_headers ctx=2 eos=1", "[first] response_headers ctx=2 eos=1"],
            &[
                "[second] response_headers ctx=2 eos=0",
                "[first] response_headers ctx=2 eos=0",
                "[second] response_body ctx=2 size=25 eos=1",
                "[first] response_body ctx=2 size=25 eos=1",
            ],
        )],
    },
    Deliberate {
        case: "refused",
        reason: "The text of the proxy's own answer is ours, and shorter.",
        places: &[(
            &["[second] response_body ctx=2 size=98 eos=1", "[first] response_body ctx=2 size=98 eos=1"],
            &["[second] response_body ctx=2 size=26 eos=1", "[first] response_body ctx=2 size=26 eos=1"],
        )],
    },
    Deliberate {
        case: "closed early",
        reason: "The text of the proxy's own answer is ours, and shorter.",
        places: &[(
            &["[second] response_body ctx=2 size=95 eos=1", "[first] response_body ctx=2 size=95 eos=1"],
            &["[second] response_body ctx=2 size=30 eos=1", "[first] response_body ctx=2 size=30 eos=1"],
        )],
    },
    Deliberate {
        case: "configurations",
        reason: "The plugin's configuration is readable in every callback, not in some.",
        places: &[(
            &["[conf]   buffer PluginConfig 0 4294967295 -> 1"],
            &["[conf]   buffer PluginConfig 0 4294967295 -> 0 plugin: {\"a\": 1}"],
        )],
    },
    Deliberate {
        case: "reply from request body",
        reason: "The rest of a short request is read and the connection kept; Envoy closes it.",
        places: &[(&["   connection: close"], &[])],
    },
    Deliberate {
        case: "reply before the body",
        reason: "The rest of a short request is read and the connection kept; Envoy closes it.",
        places: &[(&["   connection: close"], &[])],
    },
    Deliberate {
        case: "empty reply",
        reason: "A response to HEAD names no transfer-encoding: it has nothing to encode.",
        places: &[(&["   transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "redirects",
        reason: "A response to HEAD names no transfer-encoding: it has nothing to encode.",
        places: &[(&["   transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "set property",
        reason: "What one filter sets under a path of several parts, the next reads under the same path.",
        places: &[(&["[reading]   property custom.key -> 1"], &["[reading]   property custom.key -> 0 two"])],
    },
    Deliberate {
        case: "root calls",
        reason: "A map that is not there is not found; Envoy answers BadArgument, which the Rust SDK turns into a panic.",
        places: &[(
            &["[root]   get request-headers :path -> 2"],
            &["[root]   get request-headers :path -> 1"],
        )],
    },
    Deliberate {
        case: "legacy roots",
        reason: "Filters built for Envoy before 1.33 read these.",
        places: &[(
            &[
                "[props]   property cluster_name -> 1",
                "[props]   property route_name -> 1",
                "[props]   property listener_direction -> 1",
            ],
            &[
                "[props]   property cluster_name -> 0 up",
                "[props]   property route_name -> 0 a-route",
                "[props]   property listener_direction -> 0 \\00\\00\\00\\00\\00\\00\\00\\00",
            ],
        )],
    },
];
