//! The table of exports: every function that a guest may offer for the host to call, what it is about and its
//! signature. (`_initialize`, `_start`, `main` and `__main_void` are not in it: they differ from one tool chain to the
//! next.)

use wasmparser::{FuncType, ValType};

use super::abi::Callback;

/// What an export is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Contexts and their ends, configuration.
    LifeCycle,
    /// The parts of an HTTP exchange.
    Http,
    /// The data of a TCP connection.
    L4,
    /// Answers to HTTP and gRPC callouts.
    Callouts,
    /// Ticks, queues, foreign functions.
    Services,
    /// tidegate's own, each in place of several of the ABI's.
    Merged,
    /// What the host asks for memory.
    Allocator,
}

impl Group {
    /// Every group.
    pub const ALL: [Group; 7] = [
        Group::LifeCycle,
        Group::Http,
        Group::L4,
        Group::Callouts,
        Group::Services,
        Group::Merged,
        Group::Allocator,
    ];

    /// The words for it.
    pub fn title(self) -> &'static str {
        match self {
            Group::LifeCycle => "life cycle",
            Group::Http => "HTTP",
            Group::L4 => "L4",
            Group::Callouts => "callouts",
            Group::Services => "services",
            Group::Merged => "tidegate's own",
            Group::Allocator => "allocator",
        }
    }
}

/// A function that a guest may export. Parameters and result are `i32`.
#[derive(Debug)]
pub struct Export {
    /// What it is about.
    pub group: Group,
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [&'static str],
    /// Whether it may lack the last parameter: version 0.1.0 has no end-of-stream in the headers callbacks, but modules
    /// of that version exist that take it.
    pub last_is_optional: bool,
    /// Whether it has a result.
    pub result: bool,
}

const fn answers(group: Group, name: &'static str, params: &'static [&'static str]) -> Export {
    Export { group, name, params, last_is_optional: false, result: true }
}

const fn hears(group: Group, name: &'static str, params: &'static [&'static str]) -> Export {
    Export { group, name, params, last_is_optional: false, result: false }
}

const fn headers(name: &'static str) -> Export {
    let params = &["context", "headers", "end_of_stream"];
    Export { group: Group::Http, name, params, last_is_optional: true, result: true }
}

/// Every export.
pub static EXPORTS: &[Export] = &[
    hears(Group::LifeCycle, "proxy_on_context_create", &["context", "parent"]),
    answers(Group::LifeCycle, "proxy_on_vm_start", &["context", "configuration_size"]),
    answers(Group::LifeCycle, "proxy_validate_configuration", &["context", "configuration_size"]),
    answers(Group::LifeCycle, "proxy_on_configure", &["context", "configuration_size"]),
    hears(Group::LifeCycle, "proxy_on_log", &["context"]),
    answers(Group::LifeCycle, "proxy_on_done", &["context"]),
    hears(Group::LifeCycle, "proxy_on_delete", &["context"]),
    headers("proxy_on_request_headers"),
    answers(Group::Http, "proxy_on_request_body", &["context", "size", "end_of_stream"]),
    answers(Group::Http, "proxy_on_request_trailers", &["context", "trailers"]),
    answers(Group::Http, "proxy_on_request_metadata", &["context", "entries"]),
    headers("proxy_on_response_headers"),
    answers(Group::Http, "proxy_on_response_body", &["context", "size", "end_of_stream"]),
    answers(Group::Http, "proxy_on_response_trailers", &["context", "trailers"]),
    answers(Group::Http, "proxy_on_response_metadata", &["context", "entries"]),
    answers(Group::L4, "proxy_on_new_connection", &["context"]),
    answers(Group::L4, "proxy_on_downstream_data", &["context", "size", "end_of_stream"]),
    answers(Group::L4, "proxy_on_upstream_data", &["context", "size", "end_of_stream"]),
    hears(Group::L4, "proxy_on_downstream_connection_close", &["context", "peer"]),
    hears(Group::L4, "proxy_on_upstream_connection_close", &["context", "peer"]),
    hears(
        Group::Callouts,
        "proxy_on_http_call_response",
        &["context", "token", "headers", "body_size", "trailers"],
    ),
    hears(Group::Callouts, "proxy_on_grpc_receive_initial_metadata", &["context", "token", "entries"]),
    hears(Group::Callouts, "proxy_on_grpc_receive", &["context", "token", "size"]),
    hears(Group::Callouts, "proxy_on_grpc_receive_trailing_metadata", &["context", "token", "entries"]),
    hears(Group::Callouts, "proxy_on_grpc_close", &["context", "token", "status"]),
    hears(Group::Callouts, "proxy_on_redis_call_response", &["context", "token", "status", "size"]),
    hears(Group::Services, "proxy_on_tick", &["context"]),
    hears(Group::Services, "proxy_on_queue_ready", &["context", "queue"]),
    hears(Group::Services, "proxy_on_foreign_function", &["context", "function", "size"]),
    answers(Group::Merged, "tidegate_on_request_headers", &["context", "root", "headers", "end_of_stream"]),
    answers(Group::Merged, "tidegate_on_response_headers", &["context", "headers", "end_of_stream"]),
    answers(Group::Merged, "tidegate_on_end", &["context"]),
    answers(Group::Allocator, "proxy_on_memory_allocate", &["size"]),
    answers(Group::Allocator, "malloc", &["size"]),
];

/// The names of those that this host looks for in an instance.
pub(crate) fn looked_up() -> impl Iterator<Item = &'static str> {
    EXPORTS.iter().filter(|export| export.is_called()).map(|export| export.name).chain(["memory"])
}

/// The entry of a name.
pub(crate) fn find(name: &str) -> Option<&'static Export> {
    EXPORTS.iter().find(|export| export.name == name)
}

impl Export {
    /// Whether this host ever calls it: some that the ABI has are called by no host.
    pub fn is_called(&self) -> bool {
        matches!(self.group, Group::Merged | Group::Allocator)
            || Callback::ALL.iter().any(|callback| callback.name() == self.name)
    }

    /// Whether a module may export it with this type.
    pub(crate) fn accepts(&self, found: &FuncType) -> bool {
        let is_i32 = |ty: &ValType| *ty == ValType::I32;
        let (most, count) = (self.params.len(), found.params().len());
        (count == most || self.last_is_optional && count + 1 == most)
            && found.results().len() == usize::from(self.result)
            && found.params().iter().all(is_i32)
            && found.results().iter().all(is_i32)
    }

    /// Its type as people write it; both where it may have two.
    pub(crate) fn describe(&self) -> String {
        let form = |count| {
            format!("({}){}", vec!["i32"; count].join(", "), if self.result { " -> i32" } else { "" })
        };
        let whole = form(self.params.len());
        if self.last_is_optional { format!("{} or {whole}", form(self.params.len() - 1)) } else { whole }
    }
}
