//! Where tidegate answers a call otherwise than Envoy, on purpose. Every entry is reviewed; the page shows all of them.
//! A difference that no rule has fails the sweep, and so does a case of a rule that there is no difference for.

use super::play::{Outcome, PROCESS_ENDS, VM_FAILS};

/// A reason, and the differences that it is for.
pub(super) struct Rule {
    /// The heading on the page: what is so here.
    pub(super) title: &'static str,
    /// What Envoy does, and what that is to a filter's author.
    pub(super) reason: &'static str,
    pub(super) cases: &'static [Case],
}

/// Calls that are answered otherwise.
#[derive(Debug)]
pub(super) struct Case {
    /// How the call begins.
    pub(super) call: &'static str,
    /// The column; any where it is empty.
    pub(super) column: &'static str,
    /// How Envoy's answer begins; where both answer the same, what is part of the effect. `…` before it: what is part of
    /// the answer.
    pub(super) envoy: &'static str,
    /// The same of tidegate.
    pub(super) ours: &'static str,
}

const fn case(call: &'static str, envoy: &'static str, ours: &'static str) -> Case {
    Case { call, column: "", envoy, ours }
}

const fn in_column(column: &'static str, case: Case) -> Case {
    Case { column, ..case }
}

/// All of them, in the order of the page.
pub(super) const RULES: &[Rule] = &[
    Rule {
        title: "What is not there is `NotFound`",
        reason: "A value of a map that is not there (yet, or in this context) is `NotFound`, and the map's size is 0. Envoy answers `BadArgument` to both, on which the Rust SDK panics.",
        cases: &[case("proxy_get_header_map_value", "2", "1"), case("proxy_get_header_map_size", "2", "0")],
    },
    Rule {
        title: "What was seen stays readable",
        reason: "A request's headers can be read from the creation of its context to its deletion, and so can its trailers and the response's headers and trailers once they have come. Envoy shows a map in its own callback and, but for the request's trailers, in `log`; elsewhere it shows an empty one, or answers `BadArgument`. A filter for both keeps what it needs.",
        cases: &[
            case("proxy_get_header_map_pairs 0", "0 {}", "0"),
            case("proxy_get_header_map_pairs 1", "0 {}", "0"),
            case("proxy_get_header_map_pairs 2", "0 {}", "0"),
            case("proxy_get_header_map_pairs 3", "0 {}", "0"),
            case("proxy_get_header_map_value 0", "2", "0"),
            case("proxy_get_header_map_value 1", "2", "0"),
            in_column("log", case("proxy_get_header_map_value 1", "1", "0")),
            case("proxy_get_header_map_value 2", "2", "0"),
            case("proxy_get_header_map_value 3", "2", "0"),
            case("proxy_get_property \"request", "1", "0"),
        ],
    },
    Rule {
        title: "A request can be changed when its context is created",
        reason: "Its headers are there already. In Envoy they are not before `request_headers`: `BadArgument`.",
        cases: &[
            in_column("context_create (stream)", case("proxy_set_header_map_pairs 0", "2", "0")),
            in_column("context_create (stream)", case("proxy_add_header_map_value 0", "2", "0")),
            in_column("context_create (stream)", case("proxy_replace_header_map_value 0", "2", "0")),
            in_column("context_create (stream)", case("proxy_remove_header_map_value 0", "2", "0")),
        ],
    },
    Rule {
        title: "A request needs no `x-forwarded-proto`",
        reason: "Envoy finds no route for a request whose `x-forwarded-proto` was taken away, by replacing all headers for example, and answers 404. A filter for both keeps it.",
        cases: &[in_column("request_headers", case("proxy_set_header_map_pairs 0", "404", "200"))],
    },
    Rule {
        title: "A response's headers can be added before there is a response",
        reason: "They are kept, and added when it comes. Envoy answers `BadArgument`, on which the Rust SDK panics.",
        cases: &[
            case("proxy_add_header_map_value 2", "2", "0"),
            case("proxy_replace_header_map_value 2", "2", "0"),
            case("proxy_remove_header_map_value 2", "2", "0"),
        ],
    },
    Rule {
        title: "A buffer that is not there is `NotFound`",
        reason: "As the written ABI has it: a body outside its callback, unless some of it is held; data of a connection, a gRPC message or a foreign call's arguments outside theirs. Envoy shows an empty buffer, and answers `BadArgument` to a change. The SDKs make the same of both reads.",
        cases: &[
            case("proxy_get_buffer_bytes 0", "0 \"\"", "1"),
            case("proxy_get_buffer_bytes 1", "0 \"\"", "1"),
            case("proxy_get_buffer_bytes 2", "0 \"\"", "1"),
            case("proxy_get_buffer_bytes 3", "0 \"\"", "1"),
            case("proxy_get_buffer_bytes 5", "0 \"\"", "1"),
            case("proxy_get_buffer_bytes 8", "0 \"\"", "1"),
            case("proxy_get_buffer_status 0", "0", "1"),
            case("proxy_get_buffer_status 1", "0", "1"),
            case("proxy_get_buffer_status 2", "0", "1"),
            case("proxy_get_buffer_status 3", "0", "1"),
            case("proxy_get_buffer_status 5", "0", "1"),
            case("proxy_get_buffer_status 8", "0", "1"),
            case("proxy_set_buffer_bytes 0", "2", "1"),
            case("proxy_set_buffer_bytes 1", "2", "1"),
            case("proxy_set_buffer_bytes 2", "2", "1"),
            case("proxy_set_buffer_bytes 3", "2", "1"),
            case("proxy_set_buffer_bytes 5", "2", "1"),
            case("proxy_set_buffer_bytes 8", "2", "1"),
        ],
    },
    Rule {
        title: "Buffer 8 is a foreign call's arguments and nothing else",
        reason: "Outside `foreign_function`, Envoy shows under this number whatever buffer its last call was about (a body, a configuration). Nothing can count on that.",
        cases: &[
            case("proxy_get_buffer_bytes 8", "…\"on con", "1"),
            case("proxy_get_buffer_bytes 8", "0 \"body\"", "1"),
            case("proxy_get_buffer_bytes 8", "0 \"hello\"", "1"),
            in_column("downstream_data", case("proxy_get_buffer_bytes 8", "…x-probe", "1")),
            case("proxy_set_buffer_bytes 8", "0", "1"),
        ],
    },
    Rule {
        title: "The plugin's configuration is readable everywhere",
        reason: "Envoy shows it while it creates and configures a root, and answers `NotFound` elsewhere. That it cannot be changed is `BadArgument` therefore.",
        cases: &[
            case("proxy_get_buffer_bytes 7", "1", "0"),
            case("proxy_get_buffer_status 7", "1", "0"),
            case("proxy_set_buffer_bytes 7", "1", "2"),
        ],
    },
    Rule {
        title: "A property can be set without an exchange",
        reason: "It is kept with the root. Envoy answers `NotFound`, on which the Rust SDK panics.",
        cases: &[case("proxy_set_property", "1", "0")],
    },
    Rule {
        title: "The upstream's address is known when the response is there",
        reason: "Until then it is `NotFound`. Envoy knows it as soon as it has chosen an endpoint, when the head of the request has left the filters.",
        cases: &[
            in_column("request_body", case("proxy_get_property \"upstream", "0", "1")),
            in_column("request_trailers", case("proxy_get_property \"upstream", "0", "1")),
        ],
    },
    Rule {
        title: "Any stream may be resumed",
        reason: "Resuming the upstream's side of a connection is allowed, and nothing is to be done. Envoy answers `Unimplemented`, on which the Rust SDK panics.",
        cases: &[case("proxy_continue_stream 3", "12", "0")],
    },
    Rule {
        title: "Resuming what is not paused has no effect",
        reason: "Envoy goes on a second time: it may lose the body, break the response off or send upstream what is no request, and in these callbacks it ends with a segmentation fault.",
        cases: &[
            case("proxy_continue_stream 1", PROCESS_ENDS, "0"),
            case("proxy_continue_response", PROCESS_ENDS, "0"),
        ],
    },
    Rule {
        title: "What comes too late has no effect",
        reason: "Closing a stream, or answering it, when its end is decided. Envoy ends with a segmentation fault.",
        cases: &[
            case("proxy_close_stream 0", PROCESS_ENDS, "0"),
            case("proxy_close_stream 1", PROCESS_ENDS, "0"),
            case("proxy_send_local_response", PROCESS_ENDS, "0"),
        ],
    },
    Rule {
        title: "`transfer-encoding` is not shown",
        reason: "It concerns one connection: no filter sees it, in either direction. Envoy hides it in requests only, and ignores what filters do to it.",
        cases: &[
            case("proxy_get_header_map_pairs 2", "…transfer-encoding", "0"),
            case("proxy_get_header_map_pairs 6", "…transfer-encoding", "0"),
        ],
    },
    Rule {
        title: "`date` is not in the map",
        reason: "A response's `date` is added when it is sent, to a response that has none. In Envoy it is there in `log`.",
        cases: &[in_column("log", case("proxy_get_header_map_pairs 2", "…date", "0"))],
    },
    Rule {
        title: "`proc_exit` ends the guest",
        reason: "Envoy returns from it, which no library expects: the guest then runs into `unreachable`.",
        cases: &[case("proc_exit", "done", VM_FAILS)],
    },
    Rule {
        title: "A message that was received cannot be changed",
        reason: "It is the guest's to read: nobody would see a change to it, which Envoy takes.",
        cases: &[in_column("grpc_receive", case("proxy_set_buffer_bytes 5", "0", "2"))],
    },
    Rule {
        title: "A stream's status has the service's message",
        reason: "What the service said of it, decoded, and nothing else. Envoy adds its own word for where the response came from.",
        cases: &[in_column("grpc_close", case("proxy_get_status", "…via_upstream", "0 0 \"\""))],
    },
];

impl Case {
    /// Whether it is about this difference.
    pub(super) fn is(&self, column: &str, call: &str, envoy: &Outcome, ours: &Outcome) -> bool {
        let is_here = self.column.is_empty() || self.column == column;
        let is_call = call.strip_prefix(self.call).is_some_and(|rest| is_end(self.call, rest));
        let is_so = match envoy.answer == ours.answer {
            true => envoy.effect.contains(self.envoy) && ours.effect.contains(self.ours),
            false => begins(&envoy.answer, self.envoy) && begins(&ours.answer, self.ours),
        };
        is_here && is_call && is_so
    }
}

/// Whether a call's beginning ends with a whole word, or in the middle of a text.
fn is_end(beginning: &str, rest: &str) -> bool {
    beginning.contains('"') || rest.is_empty() || rest.starts_with(' ')
}

fn begins(answer: &str, with: &str) -> bool {
    match with.strip_prefix('…') {
        Some(part) => answer.contains(part),
        None => answer.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
    }
}
