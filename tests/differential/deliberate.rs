//! Where tidegate differs from Envoy on purpose. Every entry is reviewed: it says what differs, and why a user is better
//! off or that it makes no difference to one. What users would notice stands in docs/src/envoy.md as well. (What is not
//! compared at all stands in `observe.rs`, with its reasons.)

use super::observe::At::{self, Clients, Guests, Start, Upstreams};

/// What differs in one case.
pub(crate) struct Deliberate {
    /// The case's name.
    pub(crate) case: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
    /// Each place, in order.
    pub(crate) places: &'static [Place],
}

/// A place.
#[derive(Debug)]
pub(crate) struct Place {
    /// Who sees it.
    pub(crate) at: At,
    /// The lines that Envoy shows there.
    pub(crate) envoy: &'static [&'static str],
    /// Those that tidegate shows instead.
    pub(crate) ours: &'static [&'static str],
}

const fn place(at: At, envoy: &'static [&'static str], ours: &'static [&'static str]) -> Place {
    Place { at, envoy, ours }
}

/// All of them.
pub(crate) const DELIBERATE: &[Deliberate] = &[
    Deliberate {
        case: "queue",
        reason: "A queue is there once an instance that serves has registered it. In Envoy the throw-away instance that proves the configuration registers it first, and leaves it.",
        places: &[place(
            Start,
            &["[queue]   resolve-queue \"\" jobs -> 0"],
            &["[queue]   resolve-queue \"\" jobs -> 1"],
        )],
    },
    Deliberate {
        case: "sized body",
        reason: "The last bytes of a body of known length are shown as the last. Envoy shows an empty piece after them for HTTP/1.1, and for HTTP/2 does as tidegate does, so filters know both; it saves a call.",
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
        reason: "The written ABI lets any part of a buffer be replaced; Envoy refuses all but its beginning and its end.",
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
        reason: "There is no response body yet: NotFound, as the written ABI has it. Envoy shows an empty one; The Rust and the Go SDK make the same of both.",
        places: &[place(
            Guests,
            &["[body]   buffer ResponseBody 0 4294967295 -> 0 "],
            &["[body]   buffer ResponseBody 0 4294967295 -> 1"],
        )],
    },
    Deliberate {
        case: "statuses",
        reason: "There is no response body yet: NotFound, as the written ABI has it. Envoy shows an empty one; The Rust and the Go SDK make the same of both.",
        places: &[place(
            Guests,
            &["[probe]   buffer-status ResponseBody -> 0 0"],
            &["[probe]   buffer-status ResponseBody -> 1"],
        )],
    },
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
        case: "no route",
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong. Envoy's is empty.",
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
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong.",
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
        reason: "A connection that ends before a response is 502 however much of one came: the upstream was reached, and its answer is what is wrong. Envoy says 503 where not a byte came, and 502 where some did (the case below). The text of the proxy's own answers is ours: a few words that say what is wrong.",
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
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong.",
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
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong.",
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
    Deliberate {
        case: "trap",
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong. Envoy's is empty.",
        places: &[
            place(
                Clients,
                &["   content-length: 0"],
                &["   content-length: 15", "   content-type: text/plain"],
            ),
            place(Clients, &["   body (sized): \"\""], &["   body (sized): \"a filter failed\""]),
        ],
    },
    Deliberate {
        case: "413",
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong.",
        places: &[
            place(Clients, &["   content-length: 17"], &["   content-length: 22"]),
            place(
                Clients,
                &["   body (sized): \"Payload Too Large\""],
                &["   body (sized): \"request body too large\""],
            ),
        ],
    },
    Deliberate {
        case: "500",
        reason: "The text of the proxy's own answers is ours: a few words that say what is wrong.",
        places: &[
            place(Clients, &["   content-length: 21"], &["   content-length: 23"]),
            place(
                Clients,
                &["   body (sized): \"Internal Server Error\""],
                &["   body (sized): \"response body too large\""],
            ),
        ],
    },
    Deliberate {
        case: "early answer",
        reason: "As in the case \"sized body\".",
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
    Deliberate {
        case: "empty reply",
        reason: "The answer has no body for GET either: a transfer-encoding in the answer to HEAD, as Envoy has it, says nothing.",
        places: &[place(Clients, &["   transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "redirects",
        reason: "The answer has no body for GET either: a transfer-encoding in the answer to HEAD, as Envoy has it, says nothing.",
        places: &[place(Clients, &["   transfer-encoding: chunked"], &[])],
    },
    Deliberate {
        case: "set property",
        reason: "What one filter sets under a path of several parts, the next reads under the same path.",
        places: &[place(
            Guests,
            &["[reading]   property custom.key -> 1"],
            &["[reading]   property custom.key -> 0 two"],
        )],
    },
    Deliberate {
        case: "root calls",
        reason: "A map that is not there is not found; Envoy answers BadArgument, which the Rust SDK turns into a panic.",
        places: &[place(
            Start,
            &["[root]   get request-headers :path -> 2"],
            &["[root]   get request-headers :path -> 1"],
        )],
    },
    Deliberate {
        case: "legacy roots",
        reason: "Filters built for Envoy before 1.33, which removed these, read them.",
        places: &[place(
            Guests,
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
    Deliberate {
        case: "log levels",
        reason: "The process's log has no level above error; the line is there whole.",
        places: &[place(Guests, &["[log] critical (CRITICAL)"], &["[log] critical (ERROR)"])],
    },
    Deliberate {
        case: "server",
        reason: "What an upstream says about itself passes. Envoy writes its own name over it unless its server_header_transformation is PASS_THROUGH.",
        places: &[place(Clients, &[], &["   server: upstream/1.0"])],
    },
    Deliberate {
        case: "digits of escapes",
        reason: "An escape has one form (RFC 3986, 6.2.2.1), so that a rule for `/a%2Fb` is not dodged by `/a%2fb`.",
        places: &[
            place(
                Clients,
                &["/a%2fb -> 200 /a%2fb", "/caf%c3%a9 -> 200 /caf%c3%a9"],
                &["/a%2fb -> 200 /a%2Fb", "/caf%c3%a9 -> 200 /caf%C3%A9"],
            ),
            place(Upstreams, &["-> up: GET /a%2fb HTTP/1.1"], &["-> up: GET /a%2Fb HTTP/1.1"]),
            place(Upstreams, &["-> up: GET /caf%c3%a9 HTTP/1.1"], &["-> up: GET /caf%C3%A9 HTTP/1.1"]),
        ],
    },
    Deliberate {
        case: "escaped dots with parameters",
        reason: "A dot segment with parameters is one whether its dots are escaped or not. Envoy takes the escapes away and leaves the segment, which its upstream may resolve.",
        places: &[
            place(Clients, &["/x/%2e%2e;a/b -> 200 /x/..;a/b"], &["/x/%2e%2e;a/b -> 200 /b"]),
            place(Upstreams, &["-> up: GET /x/..;a/b HTTP/1.1"], &["-> up: GET /b HTTP/1.1"]),
        ],
    },
    Deliberate {
        case: "brackets",
        reason: "What no path has (RFC 3986, 3.3) is escaped, so that it has one form; Envoy does so except for brackets.",
        places: &[
            place(Clients, &["/a[b] -> 200 /a[b]"], &["/a[b] -> 200 /a%5Bb%5D"]),
            place(Upstreams, &["-> up: GET /a[b] HTTP/1.1"], &["-> up: GET /a%5Bb%5D HTTP/1.1"]),
        ],
    },
    Deliberate {
        case: "nothing but slashes",
        reason: "Slashes in a row are one also where nothing follows them.",
        places: &[
            place(Clients, &["// -> 200 //", "/// -> 200 //"], &["// -> 200 /", "/// -> 200 /"]),
            place(Upstreams, &["-> up: GET // HTTP/1.1"], &["-> up: GET / HTTP/1.1"]),
            place(Upstreams, &["-> up: GET // HTTP/1.1"], &["-> up: GET / HTTP/1.1"]),
        ],
    },
    Deliberate {
        case: "escapes that are none",
        reason: "Servers differ in what they make of a `%` without digits, so that no rule about such a path holds.",
        places: &[place(
            Clients,
            &["/%zz -> 200 passed", "/a% -> 200 passed", "/%%36%31 -> 200 passed"],
            &["/%zz -> 400 ", "/a% -> 400 ", "/%%36%31 -> 400 "],
        )],
    },
    Deliberate {
        case: "hidden dot segments",
        reason: "Servers that unescape before they resolve dots leave what a rule allowed; nobody else has a use for such a path.",
        places: &[place(
            Clients,
            &["/a%2F..%2Fb -> 200 passed", "/..%5Cb -> 200 passed", "/x/..%3B/b -> 200 passed"],
            &["/a%2F..%2Fb -> 400 ", "/..%5Cb -> 400 ", "/x/..%3B/b -> 400 "],
        )],
    },
    Deliberate {
        case: "characters beyond ASCII",
        reason: "What is in no URI is escaped, whatever it is: there is one way to read it. Envoy escapes some and refuses others.",
        places: &[
            place(Clients, &["/caf\u{c3}\u{a9} -> 400 "], &["/caf\u{c3}\u{a9} -> 200 /caf%C3%A9"]),
            place(
                Upstreams,
                &[],
                &[
                    "-> up: GET /caf%C3%A9 HTTP/1.1",
                    "   host: tide.test",
                    "   x-forwarded-for: 127.0.0.2",
                    "   x-forwarded-proto: http",
                    "   x-request-id: (a UUID)",
                ],
            ),
        ],
    },
    Deliberate {
        case: "fragment",
        reason: "The HTTP library drops a fragment, which no server is meant to get, before anything sees it: no rule can be dodged with one.",
        places: &[
            place(Clients, &["/a#b -> 400 "], &["/a#b -> 200 /a"]),
            place(
                Upstreams,
                &[],
                &[
                    "-> up: GET /a HTTP/1.1",
                    "   host: tide.test",
                    "   x-forwarded-for: 127.0.0.2",
                    "   x-forwarded-proto: http",
                    "   x-request-id: (a UUID)",
                ],
            ),
        ],
    },
    Deliberate {
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
    },
    Deliberate {
        case: "413 of a stopped head",
        reason: "The text of an answer that no upstream sent is ours; Envoy's is empty or the status's name.",
        places: &[
            place(Clients, &["   content-length: 17"], &["   content-length: 22"]),
            place(
                Clients,
                &["   body (sized): \"Payload Too Large\""],
                &["   body (sized): \"request body too large\""],
            ),
        ],
    },
    Deliberate {
        case: "500 of a stopped head",
        reason: "The text of an answer that no upstream sent is ours; Envoy's is empty or the status's name.",
        places: &[
            place(Clients, &["   content-length: 21"], &["   content-length: 23"]),
            place(
                Clients,
                &["   body (sized): \"Internal Server Error\""],
                &["   body (sized): \"response body too large\""],
            ),
        ],
    },
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
    Deliberate {
        case: "trap in request body",
        reason: "The text of an answer that no upstream sent is ours; Envoy's is empty or the status's name. The filters after the one that failed see it as they see any answer.",
        places: &[
            place(
                Clients,
                &["   content-length: 0"],
                &["   content-length: 15", "   content-type: text/plain"],
            ),
            place(Clients, &["   body (sized): \"\""], &["   body (sized): \"a filter failed\""]),
            place(
                Guests,
                &["[other] response_headers ctx=2 eos=1"],
                &["[other] response_headers ctx=2 eos=0", "[other] response_body ctx=2 size=15 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "open trap in request body",
        reason: "Under on_fault: open the very exchange that met the fault goes on without the filter; in Envoy it fails, and only later ones do.",
        places: &[
            place(Clients, &["<- 503", "   connection: close", "   content-length: 0"], &["<- 200"]),
            place(
                Clients,
                &["   body (sized): \"\""],
                &["   transfer-encoding: chunked", "   body (chunked): \"hello\""],
            ),
            place(
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
            ),
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
        case: "trap in request headers",
        reason: "The text of an answer that no upstream sent is ours; Envoy's is empty or the status's name.",
        places: &[
            place(
                Clients,
                &["   content-length: 0"],
                &["   content-length: 15", "   content-type: text/plain"],
            ),
            place(Clients, &["   body (sized): \"\""], &["   body (sized): \"a filter failed\""]),
        ],
    },
    Deliberate {
        case: "open trap in request headers",
        reason: "Under on_fault: open the very exchange that met the fault goes on without the filter; in Envoy it fails, and only later ones do.",
        places: &[
            place(Clients, &["<- 503", "   connection: close", "   content-length: 0"], &["<- 200"]),
            place(
                Clients,
                &["   body (sized): \"\""],
                &["   transfer-encoding: chunked", "   body (chunked): \"hello\""],
            ),
            place(
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
            ),
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
        case: "trap in response body",
        reason: "Nothing of the response has left when its first piece meets the trap: the connection ends without an answer, after which a client may ask again, and not with half of one.",
        places: &[place(
            Clients,
            &["<- 200", "   date: (a date)", "   transfer-encoding: chunked", "   body (chunked, cut): \"\""],
            &["no response"],
        )],
    },
    Deliberate {
        case: "open trap in response body",
        reason: "Under on_fault: open the very exchange that met the fault goes on without the filter; in Envoy it fails, and only later ones do.",
        places: &[
            place(Clients, &["   body (chunked, cut): \"\""], &["   body (chunked): \"hello\""]),
            place(Guests, &[], &["[other] response_body ctx=2 size=0 eos=1"]),
        ],
    },
    Deliberate {
        case: "open trap in response headers",
        reason: "Under on_fault: open the very exchange that met the fault goes on without the filter; in Envoy it fails, and only later ones do.",
        places: &[
            place(Clients, &["<- 503", "   content-length: 0"], &["<- 200"]),
            place(
                Clients,
                &["   body (sized): \"\""],
                &["   transfer-encoding: chunked", "   body (chunked): \"hello\""],
            ),
            place(
                Guests,
                &[],
                &["[other] response_body ctx=2 size=5 eos=0", "[other] response_body ctx=2 size=0 eos=1"],
            ),
        ],
    },
    Deliberate {
        case: "trap in response headers",
        reason: "The text of an answer that no upstream sent is ours; Envoy's is empty or the status's name.",
        places: &[
            place(
                Clients,
                &["   content-length: 0"],
                &["   content-length: 15", "   content-type: text/plain"],
            ),
            place(Clients, &["   body (sized): \"\""], &["   body (sized): \"a filter failed\""]),
        ],
    },
    Deliberate {
        case: "callout cut",
        reason: "What is not there is NotFound, as the written ABI has it, and not BadArgument: on the latter the Rust SDK panics.",
        places: &[place(
            Guests,
            &["[asking]   get callout-headers :status -> 2"],
            &["[asking]   get callout-headers :status -> 1"],
        )],
    },
    Deliberate {
        case: "reply of a root",
        reason: "What is not there is NotFound, as the written ABI has it, and not BadArgument: on the latter the Rust SDK panics.",
        places: &[place(
            Guests,
            &["[root]   get request-headers :path -> 2"],
            &["[root]   get request-headers :path -> 1"],
        )],
    },
    Deliberate {
        case: "gRPC call without a limit",
        reason: "A timeout of 0 is none. Envoy tells the service of a deadline that has passed, which gRPC's libraries take at its word.",
        places: &[place(Upstreams, &["   grpc-timeout: 0m"], &[])],
    },
    Deliberate {
        case: "gRPC call timeout",
        reason: "The service is told that the call was cancelled, not that the caller broke: gRPC's servers report the one as CANCELLED, the other as an internal error.",
        places: &[place(Upstreams, &["   end: Reset(Some(2))"], &["   end: Reset(Some(8))"])],
    },
    Deliberate {
        case: "gRPC cancel",
        reason: "The service is told that the stream was cancelled, not that the caller broke.",
        places: &[place(Upstreams, &["   end: Reset(Some(2))"], &["   end: Reset(Some(8))"])],
    },
    Deliberate {
        case: "gRPC get_status",
        reason: "proxy_get_status says what the service said, decoded, and nothing else. Envoy shows the escapes and adds its own word for where a response came from.",
        places: &[place(
            Guests,
            &["[grpc]   callout-status -> 0 not%20now{via_upstream}"],
            &["[grpc]   callout-status -> 0 not now"],
        )],
    },
    Deliberate {
        case: "gRPC strange status",
        reason: "A status that is no number is UNKNOWN, as gRPC has it. Envoy's number for it is none of gRPC's, and few filters expect it.",
        places: &[place(
            Guests,
            &["[grpc] grpc_close ctx=1 token=5 status=4294967295"],
            &["[grpc] grpc_close ctx=1 token=5 status=2"],
        )],
    },
    Deliberate {
        case: "gRPC status beyond",
        reason: "A status that gRPC does not have is UNKNOWN, as gRPC has it. Envoy's number for it is none of gRPC's either.",
        places: &[place(
            Guests,
            &["[grpc] grpc_close ctx=1 token=5 status=4294967295"],
            &["[grpc] grpc_close ctx=1 token=5 status=2"],
        )],
    },
    Deliberate {
        case: "gRPC stream HTTP 403",
        reason: "What answered is no gRPC service: its HTTP status and headers are shown, so that a filter can say what it met.",
        places: &[place(Guests, &[], &["[grpc]   | :status: 403"])],
    },
    Deliberate {
        case: "gRPC stream unavailable",
        reason: "The text of a failure that no service sent is ours.",
        places: &[place(
            Guests,
            &[
                "[grpc]   | grpc-message: upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            ],
            &["[grpc]   | grpc-message: the upstream refused the connection"],
        )],
    },
    Deliberate {
        case: "gRPC stream reset at first",
        reason: "The text of a failure that no service sent is ours.",
        places: &[place(
            Guests,
            &[
                "[grpc]   | grpc-message: upstream connect error or disconnect/reset before headers. reset reason: remote reset",
            ],
            &["[grpc]   | grpc-message: the upstream ended the stream"],
        )],
    },
    Deliberate {
        case: "gRPC maps",
        reason: "There is no message outside its own callback: NotFound, as the written ABI has it. A message that was received is the guest's to read: a change to it, which Envoy takes, would be seen by nobody.",
        places: &[
            place(
                Guests,
                &["[grpc]   buffer GrpcMessage 0 4294967295 -> 0 "],
                &["[grpc]   buffer GrpcMessage 0 4294967295 -> 1"],
            ),
            place(
                Guests,
                &["[grpc]   set-buffer GrpcMessage 0 0 -> 0"],
                &["[grpc]   set-buffer GrpcMessage 0 0 -> 2"],
            ),
        ],
    },
    Deliberate {
        case: "gRPC token of a call",
        reason: "A call has ended when its answer is shown, so that the guest may make the next one there even at its limit of callouts; the Rust and the Go SDK take NotFound.",
        places: &[place(Guests, &["[grpc]   grpc-cancel -> 0"], &["[grpc]   grpc-cancel -> 1"])],
    },
    Deliberate {
        case: "stale gRPC tokens",
        reason: "Closing or cancelling what is no gRPC callout is NotFound: at BadArgument the Rust SDK panics, and takes every stream of its VM with it.",
        places: &[
            place(
                Guests,
                &["[grpc]   grpc-close -> 2", "[grpc]   grpc-cancel -> 2"],
                &["[grpc]   grpc-close -> 1", "[grpc]   grpc-cancel -> 1"],
            ),
            place(
                Guests,
                &["[grpc]   grpc-close -> 2", "[grpc]   grpc-cancel -> 2"],
                &["[grpc]   grpc-close -> 1", "[grpc]   grpc-cancel -> 1"],
            ),
            place(
                Guests,
                &["[grpc]   grpc-close -> 2", "[grpc]   grpc-cancel -> 2"],
                &["[grpc]   grpc-close -> 1", "[grpc]   grpc-cancel -> 1"],
            ),
        ],
    },
    Deliberate {
        case: "unusable GrpcService",
        reason: "It is refused like the name of a cluster that there is not, and that is all: Envoy refuses it and then tells the guest of the end of a token that it never gave, at which the Rust SDK panics.",
        places: &[place(
            Guests,
            &["[grpc]   grpc-call Say -> 10", "[grpc] grpc_close ctx=1 token=5 status=14"],
            &["[grpc]   grpc-call Say -> 4"],
        )],
    },
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
        reason: "The written ABI lets any part of a buffer be replaced; Envoy refuses all but its beginning and its end.",
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
    Deliberate {
        case: "tcp late",
        reason: "There is no such buffer: NotFound, as the written ABI has it. Envoy shows an empty one; The Rust and the Go SDK make the same of both.",
        places: &[
            place(
                Guests,
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 0 ",
                    "[late]   set-buffer DownstreamData 0 0 -> 2",
                ],
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 1",
                    "[late]   set-buffer DownstreamData 0 0 -> 1",
                ],
            ),
            place(
                Guests,
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 0 ",
                    "[late]   set-buffer DownstreamData 0 0 -> 2",
                ],
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 1",
                    "[late]   set-buffer DownstreamData 0 0 -> 1",
                ],
            ),
            place(
                Guests,
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 0 ",
                    "[late]   set-buffer DownstreamData 0 0 -> 2",
                ],
                &[
                    "[late]   buffer DownstreamData 0 4294967295 -> 1",
                    "[late]   set-buffer DownstreamData 0 0 -> 1",
                ],
            ),
        ],
    },
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
        places: &[
            place(
                Guests,
                &["[calls]   get request-headers :path -> 2"],
                &["[calls]   get request-headers :path -> 1"],
            ),
            place(
                Guests,
                &[
                    "[calls]   buffer RequestBody 0 4294967295 -> 0 ",
                    "[calls]   set-buffer ResponseBody 0 0 -> 2",
                ],
                &[
                    "[calls]   buffer RequestBody 0 4294967295 -> 1",
                    "[calls]   set-buffer ResponseBody 0 0 -> 1",
                ],
            ),
            place(
                Guests,
                &["[calls]   get request-headers :path -> 2"],
                &["[calls]   get request-headers :path -> 1"],
            ),
            place(
                Guests,
                &[
                    "[calls]   buffer RequestBody 0 4294967295 -> 0 ",
                    "[calls]   set-buffer ResponseBody 0 0 -> 2",
                ],
                &[
                    "[calls]   buffer RequestBody 0 4294967295 -> 1",
                    "[calls]   set-buffer ResponseBody 0 0 -> 1",
                ],
            ),
        ],
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
