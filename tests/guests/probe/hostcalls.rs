//! What the host offers: raw imports, which a script calls by name.

use super::memory::{self, Cells};

/// A hostcall.
pub(crate) struct Hostcall {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many parameters it has, in WebAssembly.
    pub(crate) parameters: usize,
    /// Calls it; its result if it has one.
    pub(crate) call: fn(&[u64]) -> Option<u32>,
}

/// The hostcall of this name.
pub(crate) fn find(name: &str) -> Option<&'static Hostcall> {
    [COMMON, WASI, crate::VERSIONED].into_iter().flatten().find(|hostcall| hostcall.name == name)
}

/// What a hostcall returns, if anything.
pub(crate) trait Answer {
    fn number(self) -> Option<u32>;
}

impl Answer for u32 {
    fn number(self) -> Option<u32> {
        Some(self)
    }
}

impl Answer for () {
    fn number(self) -> Option<u32> {
        None
    }
}

/// Imports functions and lists them.
macro_rules! hostcalls {
    ($list:ident from $module:literal {
        $($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)*
    }) => {
        pub(crate) static $list: &[$crate::probe::hostcalls::Hostcall] = {
            #[link(wasm_import_module = $module)]
            unsafe extern "C" {
                $(fn $name($($param: $type),*) $(-> $result)?;)*
            }
            &[$($crate::probe::hostcalls::Hostcall {
                name: stringify!($name),
                parameters: { const NAMES: &[&str] = &[$(stringify!($param)),*]; NAMES.len() },
                call: |_arguments| {
                    let mut _rest = _arguments.iter();
                    $(let $param = _rest.next().copied().unwrap_or_default() as $type;)*
                    // SAFETY: a host takes any number: it checks what it is to read or write against this module's
                    // memory, of which it writes what a script points it to.
                    let answer = unsafe { $name($($param),*) };
                    $crate::probe::hostcalls::Answer::number(answer)
                },
            }),*]
        };
    };
}

// Those of every version.
hostcalls! {
    COMMON from "env" {
        proxy_log(a: u32, b: u32, c: u32) -> u32;
        proxy_get_header_map_size(a: u32, b: u32) -> u32;
        proxy_get_header_map_pairs(a: u32, b: u32, c: u32) -> u32;
        proxy_set_header_map_pairs(a: u32, b: u32, c: u32) -> u32;
        proxy_get_header_map_value(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_add_header_map_value(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_replace_header_map_value(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_remove_header_map_value(a: u32, b: u32, c: u32) -> u32;
        proxy_get_buffer_bytes(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_get_buffer_status(a: u32, b: u32, c: u32) -> u32;
        proxy_set_buffer_bytes(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_send_local_response(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32) -> u32;
        proxy_get_property(a: u32, b: u32, c: u32, d: u32) -> u32;
        proxy_set_property(a: u32, b: u32, c: u32, d: u32) -> u32;
        proxy_get_shared_data(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_set_shared_data(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_define_metric(a: u32, b: u32, c: u32, d: u32) -> u32;
        proxy_increment_metric(a: u32, b: u64) -> u32;
        proxy_record_metric(a: u32, b: u64) -> u32;
        proxy_get_metric(a: u32, b: u32) -> u32;
        proxy_http_call(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32, i: u32, j: u32) -> u32;
        proxy_get_status(a: u32, b: u32, c: u32) -> u32;
        proxy_set_tick_period_milliseconds(a: u32) -> u32;
        proxy_get_current_time_nanoseconds(a: u32) -> u32;
        proxy_set_effective_context(a: u32) -> u32;
        proxy_done() -> u32;
        proxy_call_foreign_function(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32) -> u32;
        proxy_grpc_call(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32, i: u32, j: u32, k: u32, l: u32) -> u32;
        proxy_grpc_stream(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32, i: u32) -> u32;
        proxy_grpc_send(a: u32, b: u32, c: u32, d: u32) -> u32;
        proxy_grpc_close(a: u32) -> u32;
        proxy_grpc_cancel(a: u32) -> u32;
        proxy_register_shared_queue(a: u32, b: u32, c: u32) -> u32;
        proxy_resolve_shared_queue(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        proxy_enqueue_shared_queue(a: u32, b: u32, c: u32) -> u32;
        proxy_dequeue_shared_queue(a: u32, b: u32, c: u32) -> u32;
        pthread_equal(a: u32, b: u32) -> u32;
        emscripten_notify_memory_growth(a: u32);
    }
}

hostcalls! {
    WASI from "wasi_snapshot_preview1" {
        args_get(a: u32, b: u32) -> u32;
        args_sizes_get(a: u32, b: u32) -> u32;
        environ_get(a: u32, b: u32) -> u32;
        environ_sizes_get(a: u32, b: u32) -> u32;
        clock_res_get(a: u32, b: u32) -> u32;
        clock_time_get(a: u32, b: u64, c: u32) -> u32;
        fd_advise(a: u32, b: u64, c: u64, d: u32) -> u32;
        fd_allocate(a: u32, b: u64, c: u64) -> u32;
        fd_close(a: u32) -> u32;
        fd_datasync(a: u32) -> u32;
        fd_fdstat_get(a: u32, b: u32) -> u32;
        fd_fdstat_set_flags(a: u32, b: u32) -> u32;
        fd_fdstat_set_rights(a: u32, b: u64, c: u64) -> u32;
        fd_filestat_get(a: u32, b: u32) -> u32;
        fd_filestat_set_size(a: u32, b: u64) -> u32;
        fd_filestat_set_times(a: u32, b: u64, c: u64, d: u32) -> u32;
        fd_pread(a: u32, b: u32, c: u32, d: u64, e: u32) -> u32;
        fd_prestat_dir_name(a: u32, b: u32, c: u32) -> u32;
        fd_prestat_get(a: u32, b: u32) -> u32;
        fd_pwrite(a: u32, b: u32, c: u32, d: u64, e: u32) -> u32;
        fd_read(a: u32, b: u32, c: u32, d: u32) -> u32;
        fd_readdir(a: u32, b: u32, c: u32, d: u64, e: u32) -> u32;
        fd_renumber(a: u32, b: u32) -> u32;
        fd_seek(a: u32, b: u64, c: u32, d: u32) -> u32;
        fd_sync(a: u32) -> u32;
        fd_tell(a: u32, b: u32) -> u32;
        fd_write(a: u32, b: u32, c: u32, d: u32) -> u32;
        path_create_directory(a: u32, b: u32, c: u32) -> u32;
        path_filestat_get(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        path_filestat_set_times(a: u32, b: u32, c: u32, d: u32, e: u64, f: u64, g: u32) -> u32;
        path_open(a: u32, b: u32, c: u32, d: u32, e: u32, f: u64, g: u64, h: u32, i: u32) -> u32;
        path_readlink(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32) -> u32;
        path_remove_directory(a: u32, b: u32, c: u32) -> u32;
        path_rename(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32) -> u32;
        path_unlink_file(a: u32, b: u32, c: u32) -> u32;
        poll_oneoff(a: u32, b: u32, c: u32, d: u32) -> u32;
        proc_exit(a: u32);
        random_get(a: u32, b: u32) -> u32;
        sched_yield() -> u32;
        sock_accept(a: u32, b: u32, c: u32) -> u32;
        sock_recv(a: u32, b: u32, c: u32, d: u32, e: u32, f: u32) -> u32;
        sock_send(a: u32, b: u32, c: u32, d: u32, e: u32) -> u32;
        sock_shutdown(a: u32, b: u32) -> u32;
    }
}

/// Levels of the log.
pub(crate) const INFO: u64 = 2;
pub(crate) const ERROR: u64 = 4;

/// Logs a line.
pub(crate) fn log(level: u64, line: &str) {
    call("proxy_log", &[level, memory::address(line).into(), line.len() as u64]);
}

/// The plugin's configuration, where the host shows it.
pub(crate) fn configuration() -> Vec<u8> {
    const PLUGIN_CONFIGURATION: u64 = 7;
    value("proxy_get_buffer_bytes", &[PLUGIN_CONFIGURATION, 0, u64::from(u32::MAX)]).unwrap_or_default()
}

/// A header of the request, if it is there.
pub(crate) fn request_header(name: &str) -> Option<Vec<u8>> {
    const REQUEST_HEADERS: u64 = 0;
    let name = [memory::address(name).into(), name.len() as u64];
    value("proxy_get_header_map_value", &[&[REQUEST_HEADERS], &name[..]].concat())
}

/// What a connection's client has sent, where the host shows it.
pub(crate) fn downstream_data() -> Vec<u8> {
    const DOWNSTREAM_DATA: u64 = 2;
    value("proxy_get_buffer_bytes", &[DOWNSTREAM_DATA, 0, u64::from(u32::MAX)]).unwrap_or_default()
}

fn call(name: &str, arguments: &[u64]) -> Option<u32> {
    find(name).and_then(|hostcall| (hostcall.call)(arguments))
}

/// What a hostcall puts into a block, if it does.
fn value(name: &str, arguments: &[u64]) -> Option<Vec<u8>> {
    let cells = Cells::new(2);
    let out = [0, 1].map(|cell| cells.address(cell).into());
    if call(name, &[arguments, &out[..]].concat()) != Some(0) {
        return None;
    }
    memory::take(cells.u32(0)?, cells.u32(1)?)
}
