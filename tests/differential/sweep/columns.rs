//! The columns of the sweep: every callback in which a call is tried, and how a host is brought to call it.

/// Whose callback it is: a table of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Root,
    Exchange,
    Connection,
}

/// A callback.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) of: Of,
    /// As the page names it.
    pub(super) name: &'static str,
    /// As a script names it.
    pub(super) callback: &'static str,
    pub(super) reach: Reach,
}

/// How a host is brought to call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It does so for each root at its start. All calls are tried in the same callback, one after the other.
    Start,
    /// The same at its end.
    End,
    /// By a request (or a connection), with these lines before and after the one that is tried, and so many of them.
    Exchange { before: &'static str, after: &'static str, requests: usize },
}

const fn exchange(name: &'static str) -> Column {
    Column {
        of: Of::Exchange,
        name,
        callback: name,
        reach: Reach::Exchange { before: "", after: "", requests: 1 },
    }
}

/// A callback of a stream to the service of the sweep, whose end is waited for.
const fn grpc(name: &'static str) -> Column {
    Column {
        of: Of::Root,
        name,
        callback: name,
        reach: Reach::Exchange {
            before: "on request_headers: proxy_grpc_stream \"service\" \"sweep.Sweep\" \"Say\" {} &any:asked; on request_headers: proxy_grpc_close $asked",
            after: "",
            requests: 1,
        },
    }
}

/// A callback of a connection, of which there are so many: one that comes before its client has said a script has that of
/// the one before.
const fn connection(name: &'static str, callback: &'static str, requests: usize) -> Column {
    Column { of: Of::Connection, name, callback, reach: Reach::Exchange { before: "", after: "", requests } }
}

/// In the order of a life.
pub(super) const COLUMNS: &[Column] = &[
    Column { of: Of::Root, name: "context_create (root)", callback: "context_create", reach: Reach::Start },
    Column { of: Of::Root, name: "vm_start", callback: "vm_start", reach: Reach::Start },
    Column { of: Of::Root, name: "configure", callback: "configure", reach: Reach::Start },
    Column {
        of: Of::Root,
        name: "tick",
        callback: "tick",
        reach: Reach::Exchange {
            before: "on request_headers: proxy_set_tick_period_milliseconds 1",
            after: "on tick if #1: proxy_set_tick_period_milliseconds 0",
            requests: 1,
        },
    },
    Column {
        of: Of::Exchange,
        name: "context_create (stream)",
        callback: "context_create",
        // The second request's context is created under the script of the first.
        reach: Reach::Exchange { before: "", after: "", requests: 2 },
    },
    exchange("request_headers"),
    exchange("request_body"),
    exchange("request_trailers"),
    exchange("response_headers"),
    exchange("response_body"),
    exchange("response_trailers"),
    Column {
        of: Of::Root,
        name: "http_call_response",
        callback: "http_call_response",
        reach: Reach::Exchange {
            before: "on request_headers: proxy_http_call \"up\" {\":method\": \"GET\", \":path\": \"/callout\", \":authority\": \"tide.test\"} \"\" {} 5000 &any; on request_headers: return 1",
            after: "on http_call_response if #1: proxy_set_effective_context $stream; on http_call_response if #1: proxy_continue_stream 0",
            requests: 1,
        },
    },
    grpc("grpc_receive_initial_metadata"),
    grpc("grpc_receive"),
    grpc("grpc_receive_trailing_metadata"),
    grpc("grpc_close"),
    Column {
        of: Of::Root,
        name: "queue_ready",
        callback: "queue_ready",
        reach: Reach::Exchange {
            before: "on request_headers: proxy_enqueue_shared_queue $queue \"item\"",
            after: "on queue_ready if #1: proxy_dequeue_shared_queue $queue &bytes",
            requests: 1,
        },
    },
    connection("context_create (connection)", "context_create", 2),
    connection("new_connection", "new_connection", 2),
    connection("downstream_data", "downstream_data", 1),
    connection("upstream_data", "upstream_data", 1),
    connection("downstream_connection_close", "downstream_connection_close", 1),
    connection("upstream_connection_close", "upstream_connection_close", 1),
    connection("log (connection)", "log", 1),
    connection("done (connection)", "done", 1),
    connection("delete (connection)", "delete", 1),
    exchange("log"),
    exchange("done"),
    exchange("delete"),
    Column { of: Of::Root, name: "done (root)", callback: "done", reach: Reach::End },
    Column { of: Of::Root, name: "delete (root)", callback: "delete", reach: Reach::End },
];

/// Where WASI is tried.
pub(super) const PLAIN_COLUMNS: [&str; 2] = ["configure", "request_headers"];
