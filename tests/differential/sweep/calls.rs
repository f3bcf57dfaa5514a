//! The rows of the sweep: for each hostcall the calls that are tried, in the language of the probe
//! (`tests/guests/probe.rs`), with good arguments, and every member of an enumeration.
//!
//! What a call gives back is shown where it is the same on every run.

use tidegate::wasm::hostcalls::{HOSTCALLS, Hostcall, Since};

/// Why some are not.
const HIGRESS: &str = "Only Higress has it. Here it does what it does there.";
const REDIS: &str = "Only Higress has it. Here it links, and says that it is not offered.";

/// Hostcalls that Envoy's modules cannot import, and why: they are not swept.
pub(super) const NOT_IN_ENVOY: [(&str, &str); 8] = [
    (
        "abort",
        "Modules of AssemblyScript import it unless they are built to do without. A module that does is refused by Envoy.",
    ),
    (
        "path_link",
        "Envoy has it with a parameter less than WASI, so that it refuses a module that imports it as WASI has it.",
    ),
    (
        "path_symlink",
        "Envoy has it with a parameter less than WASI, so that it refuses a module that imports it as WASI has it.",
    ),
    ("proxy_inject_encoded_data_to_filter_chain", HIGRESS),
    ("proxy_get_upstream_hosts", HIGRESS),
    ("proxy_set_upstream_override_host", HIGRESS),
    ("proxy_redis_init", REDIS),
    ("proxy_redis_call", REDIS),
];

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) hostcall: &'static str,
    /// As a script says it.
    pub(super) text: String,
    /// Whether it belongs to the module of ABI 0.1.0.
    pub(super) is_old: bool,
    /// Whether it is tried in two callbacks only, since the context has no part in it.
    pub(super) is_plain: bool,
}

/// What every probe does before its first cell, without a trace in the results: so that there is something to find, and
/// the end of an exchange is seen.
pub(super) const PREPARATION: &str = "\
on context_create if root: proxy_define_metric 0 \"prepared_counter\" &u32:counter
on context_create if root: proxy_define_metric 1 \"prepared_gauge\" &u32:gauge
on context_create if root: proxy_define_metric 2 \"prepared_histogram\" &u32:histogram
on context_create if root: proxy_set_shared_data \"prepared\" \"value\" 0
on context_create if root: proxy_register_shared_queue \"prepared\" &u32:queue
on delete if stream: say gone
";

/// What is done before and after a call, in the same callback: a gRPC stream that it needs, and whatever takes back what
/// would disturb those after it.
pub(super) fn around(call: &Call) -> [&'static str; 2] {
    let open = "proxy_grpc_stream \"service\" \"sweep.Sweep\" \"Say\" {} &any:opened";
    let cancel = "proxy_grpc_cancel $opened";
    match (call.hostcall, call.text.as_str()) {
        (_, text) if text.contains(" $opened") => [open, cancel],
        (_, text) if text.contains("&any:opened") => ["", cancel],
        (_, "proxy_set_effective_context $context") => ["", ""],
        ("proxy_set_effective_context", _) => ["", "proxy_set_effective_context $context"],
        _ => ["", ""],
    }
}

/// Every call: for all hostcalls that Envoy has.
pub(super) fn calls() -> Vec<Call> {
    let is_swept = |hostcall: &&Hostcall| NOT_IN_ENVOY.iter().all(|(name, _)| *name != hostcall.name);
    let swept = HOSTCALLS.iter().filter(is_swept);
    swept
        .flat_map(|hostcall| arguments(hostcall.name).into_iter().map(|text| call(hostcall, &text)))
        .collect()
}

fn call(hostcall: &Hostcall, arguments: &str) -> Call {
    let is_wasi = !hostcall.modules.contains(&"env");
    let name = hostcall.name;
    Call {
        hostcall: name,
        text: format!("{name} {arguments}").trim_end().to_owned(),
        is_old: hostcall.since == Since::OnlyV0_1_0,
        is_plain: is_wasi,
    }
}

/// Maps, and a name that is in each: headers and trailers of the exchange, of gRPC, of the callout; 8 is none.
const MAPS: [(u32, &str); 9] = [
    (0, ":path"),
    (1, "x-up"),
    (2, ":status"),
    (3, "x-down"),
    (4, "x-initial"),
    (5, "x-trailing"),
    (6, ":status"),
    (7, "x-t"),
    (8, "x"),
];

fn each_map(arguments: impl Fn(u32, &str) -> String) -> Vec<String> {
    MAPS.iter().map(|(map, name)| arguments(*map, name)).collect()
}

/// 0 to 8, and 9, which is none.
fn each_buffer(arguments: &str) -> Vec<String> {
    (0..10).map(|buffer| format!("{buffer} {arguments}")).collect()
}

/// The four streams, and 4, which is none.
fn each_stream() -> Vec<String> {
    (0..5).map(|stream| stream.to_string()).collect()
}

fn each(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|text| (*text).to_owned()).collect()
}

/// What a hostcall is tried with.
fn arguments(hostcall: &str) -> Vec<String> {
    match hostcall {
        "proxy_log" => (0..7).map(|level| format!("{level} \"a line\"")).collect(),
        "proxy_get_log_level" => each(&["&u32"]),
        "proxy_get_configuration" => each(&["&size"]),
        "proxy_get_header_map_size" => each_map(|map, _| format!("{map} &any")),
        "proxy_get_header_map_pairs" => each_map(|map, _| format!("{map} &pairs")),
        "proxy_set_header_map_pairs" => {
            let bare = "0 {\":method\": \"POST\", \":path\": \"/set\", \":authority\": \"tide.test\", \":scheme\": \"http\"}";
            each_map(set_pairs).into_iter().chain([bare.to_owned()]).collect()
        }
        "proxy_get_header_map_value" => {
            let missing = (0..8).map(|map| format!("{map} \"x-none\" &bytes"));
            each_map(|map, name| format!("{map} \"{name}\" &bytes")).into_iter().chain(missing).collect()
        }
        "proxy_add_header_map_value" => each_map(|map, _| format!("{map} \"x-sweep\" \"added\"")),
        "proxy_replace_header_map_value" => each_map(|map, _| format!("{map} \"x-sweep\" \"replaced\"")),
        "proxy_remove_header_map_value" => each_map(|map, _| format!("{map} \"x-sweep\"")),
        "proxy_get_buffer_bytes" => each_buffer("0 16 &bytes"),
        "proxy_get_buffer_status" => each_buffer("&any &any"),
        "proxy_set_buffer_bytes" => each_buffer("0 0xffffffff \"swept\""),
        "proxy_continue_stream" | "proxy_close_stream" => each_stream(),
        "proxy_continue_request" | "proxy_continue_response" | "proxy_clear_route_cache" | "proxy_done" => {
            each(&[""])
        }
        "proxy_send_local_response" => each(&["403 \"swept\" \"swept\" {\"x-sweep\": \"reply\"} -1"]),
        "proxy_get_property" => each(&[
            "\"request\\x00path\" &bytes",
            "\"response\\x00code\" &bytes",
            "\"source\\x00address\" &any &any",
            "\"upstream\\x00address\" &any &any",
            "\"plugin_name\" &bytes",
            "\"xds\\x00cluster_name\" &bytes",
            "\"none\" &bytes",
        ]),
        "proxy_set_property" => each(&["\"swept\" \"set\""]),
        "proxy_get_shared_data" => each(&["\"prepared\" &bytes &any", "\"none\" &bytes &any"]),
        "proxy_set_shared_data" => each(&["\"swept\" \"set\" 0", "\"prepared\" \"value\" 0xfffffff0"]),
        "proxy_define_metric" => (0..4).map(|kind| format!("{kind} \"swept_{kind}\" &any")).collect(),
        "proxy_increment_metric" => each(&["$counter 1", "$gauge 1", "$histogram 1", "0 1"]),
        "proxy_record_metric" => each(&["$counter 1", "$gauge 1", "$histogram 1", "0 1"]),
        "proxy_get_metric" => each(&["$counter &any", "$gauge &any", "$histogram &any", "0 &any"]),
        "proxy_http_call" => each(&[
            "\"up\" {\":method\": \"GET\", \":path\": \"/callout\", \":authority\": \"tide.test\"} \"\" {} 5000 &any",
            "\"nobody\" {\":method\": \"GET\", \":path\": \"/callout\", \":authority\": \"tide.test\"} \"\" {} 5000 &any",
        ]),
        "proxy_get_status" => each(&["&u32 &bytes"]),
        "proxy_set_tick_period_milliseconds" => each(&["0"]),
        "proxy_get_current_time_nanoseconds" => each(&["&any"]),
        "proxy_set_effective_context" => each(&["$context", "1", "0x7fffffff"]),
        "proxy_call_foreign_function" => each(&[
            "\"clear_route_cache\" \"\" &bytes",
            "\"compress\" \"aaaa\" &size",
            "\"uncompress\" \"aaaa\" 0 0",
            "\"none\" \"\" &bytes",
        ]),
        "proxy_grpc_call" => each(&[
            "\"service\" \"sweep.Sweep\" \"Say\" {} \"message\" 5000 &any:opened",
            "\"nobody\" \"sweep.Sweep\" \"Say\" {} \"message\" 5000 &any",
        ]),
        "proxy_grpc_stream" => each(&[
            "\"service\" \"sweep.Sweep\" \"Say\" {} &any:opened",
            "\"nobody\" \"sweep.Sweep\" \"Say\" {} &any",
        ]),
        "proxy_grpc_send" => {
            each(&["$opened \"message\" 0", "4000001 \"message\" 0", "4000002 \"message\" 0"])
        }
        "proxy_grpc_close" | "proxy_grpc_cancel" => each(&["$opened", "4000001", "4000002"]),
        "proxy_register_shared_queue" => each(&["\"prepared\" &any"]),
        "proxy_resolve_shared_queue" => each(&["\"\" \"prepared\" &any", "\"\" \"none\" &any"]),
        "proxy_enqueue_shared_queue" => each(&["$queue \"item\"", "0x7fffffff \"item\""]),
        "proxy_dequeue_shared_queue" => each(&["$queue &bytes", "0x7fffffff &bytes"]),
        "pthread_equal" => each(&["1 1", "1 2"]),
        "emscripten_notify_memory_growth" => each(&["0"]),
        _ => wasi_arguments(hostcall),
    }
}

/// A whole map.
fn set_pairs(map: u32, _: &str) -> String {
    match map {
        0 => "0 {\":method\": \"POST\", \":path\": \"/set\", \":authority\": \"tide.test\", \":scheme\": \"http\", \"x-forwarded-proto\": \"http\", \"trailer\": \"x-up\", \"x-sweep\": \"set\"}".to_owned(),
        2 => "2 {\":status\": \"200\", \"trailer\": \"x-down\", \"x-sweep\": \"set\"}".to_owned(),
        _ => format!("{map} {{\"x-sweep\": \"set\"}}"),
    }
}

fn wasi_arguments(function: &str) -> Vec<String> {
    let with_descriptor = |rest: &str| (1..4).map(|fd| format!("{fd} {rest}")).collect();
    match function {
        "args_get" | "environ_get" => each(&["&8 &8"]),
        "args_sizes_get" | "environ_sizes_get" => each(&["&u32 &u32"]),
        "clock_res_get" => each(&["0 &u64", "1 &u64", "2 &u64"]),
        "clock_time_get" => each(&["0 0 &any", "1 0 &any", "2 0 &any"]),
        "fd_advise" => with_descriptor("0 0 0"),
        "fd_allocate" => with_descriptor("0 0"),
        "fd_close" | "fd_datasync" | "fd_sync" => with_descriptor(""),
        "fd_fdstat_get" => with_descriptor("&24"),
        "fd_fdstat_set_flags" => with_descriptor("0"),
        "fd_fdstat_set_rights" => with_descriptor("0 0"),
        "fd_filestat_get" => with_descriptor("&64"),
        "fd_filestat_set_size" => with_descriptor("0"),
        "fd_filestat_set_times" => with_descriptor("0 0 0"),
        "fd_pread" => with_descriptor("*\"        \" 1 0 &u32"),
        "fd_prestat_dir_name" => with_descriptor("&8 8"),
        "fd_prestat_get" => with_descriptor("&8"),
        "fd_pwrite" => with_descriptor("*\"written\" 1 0 &u32"),
        "fd_read" => with_descriptor("*\"        \" 1 &u32"),
        "fd_readdir" => with_descriptor("&8 8 0 &u32"),
        "fd_renumber" => each(&["1 2", "1 3", "3 1"]),
        "fd_seek" => with_descriptor("0 0 &u64"),
        "fd_tell" => with_descriptor("&u64"),
        "fd_write" => with_descriptor("*\"written\" 1 &u32"),
        "path_create_directory" | "path_remove_directory" | "path_unlink_file" => each(&["3 \"a\""]),
        "path_filestat_get" => each(&["3 0 \"a\" &64"]),
        "path_filestat_set_times" => each(&["3 0 \"a\" 0 0 0"]),
        "path_open" => each(&["3 0 \"a\" 0 0 0 0 &u32"]),
        "path_readlink" => each(&["3 \"a\" &8 8 &u32"]),
        "path_rename" => each(&["3 \"a\" 3 \"b\""]),
        "poll_oneoff" => each(&["&48 &32 1 &u32"]),
        "proc_exit" => each(&["0"]),
        "random_get" => each(&["&any 4", "&any 65537"]),
        "sched_yield" => each(&[""]),
        "sock_accept" => each(&["3 0 &u32"]),
        "sock_recv" => each(&["3 *\"        \" 1 0 &u32 &u32"]),
        "sock_send" => each(&["3 *\"sent\" 1 0 &u32"]),
        "sock_shutdown" => each(&["3 0"]),
        other => panic!("the sweep does not know with what to call {other}: add it here"),
    }
}
