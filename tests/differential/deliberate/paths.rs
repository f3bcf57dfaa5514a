//! What differs in the cases of `paths.rs`.

use super::{Clients, Deliberate, Upstreams, place};

pub(super) const ALL: &[Deliberate] = &[
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
];
