//! The table of hostcalls: every function that a guest may import, its family, the version that introduced it and its
//! signature. The same lines register it; a test holds them against real modules.

use wasmparser::{FuncType, ValType};
use wasmtime::Linker;

use super::wasi::Errno;
use super::{
    Call, Halt, Outcome, body, callout, config, context, env, foreign, grpc, headers, higress, log, metrics,
    property, queue, refusal, shared_data, stream, timer, wasi,
};
use crate::wasm::abi::Status;
use crate::wasm::host::Host;
use crate::wasm::tally;
use crate::wasm::witness::{Watching, watch};

/// Groups hostcalls; the file of the same name does them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name of its file")]
pub enum Family {
    Log,
    Config,
    Headers,
    Body,
    Stream,
    Property,
    SharedData,
    Metrics,
    Callout,
    Timer,
    Context,
    Foreign,
    Grpc,
    Queue,
    Higress,
    Env,
    Wasi,
}

impl Family {
    /// The words for it.
    pub fn title(self) -> &'static str {
        match self {
            Family::Log => "log",
            Family::Config => "configuration",
            Family::Headers => "headers",
            Family::Body => "buffers",
            Family::Stream => "streams",
            Family::Property => "properties",
            Family::SharedData => "shared data",
            Family::Metrics => "metrics",
            Family::Callout => "HTTP callouts",
            Family::Timer => "time",
            Family::Context => "contexts",
            Family::Foreign => "foreign functions",
            Family::Grpc => "gRPC callouts",
            Family::Queue => "shared queues",
            Family::Higress => "Higress",
            Family::Env => "tool chain",
            Family::Wasi => "WASI",
        }
    }
}

/// The version of the ABI that introduced a hostcall. Every module may import every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// 0.1.0, and gone from 0.2.0 on.
    OnlyV0_1_0,
    /// 0.1.0.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1.
    V0_2_1,
    /// 0.2.100, which is Higress'.
    V0_2_100,
    /// Not of the ABI, but of a tool chain.
    Toolchain,
}

impl Since {
    /// It as people write it; none for what is of no version.
    pub fn title(self) -> Option<&'static str> {
        match self {
            Since::OnlyV0_1_0 => Some("0.1.0 only"),
            Since::V0_1_0 => Some("0.1.0"),
            Since::V0_2_0 => Some("0.2.0"),
            Since::V0_2_1 => Some("0.2.1"),
            Since::V0_2_100 => Some("0.2.100, Higress"),
            Since::Toolchain => None,
        }
    }
}

/// The type of a parameter or a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are WebAssembly's own names")]
pub enum Value {
    I32,
    I64,
}

/// What a parameter means, for who looks on: the name of its type in the table. All but [`Number`](Form::Number)s are
/// 32 bits wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// It is what it is.
    Number,
    /// Where bytes are, whose length is the next.
    In,
    /// Where a serialised map is, whose length is the next.
    InFields,
    /// The length of the one before, or where its length is to go.
    Len,
    /// Where to put the place of bytes that are given; the next is where their length goes.
    Give,
    /// The same, where a null place says that the guest does not want it.
    GiveIfWanted,
    /// The same for a serialised map.
    GiveFields,
    /// The same for a piece of a buffer.
    GivePiece,
    /// Where to put a number.
    OutU32,
    /// Where to put a number.
    OutU64,
    /// Where to put bytes, as many as the next says.
    Fill,
    /// Where something else is.
    Pointer,
}

impl Form {
    /// Whether it is where an answer goes.
    pub(crate) fn is_answer(self) -> bool {
        match self {
            Form::Give | Form::GiveIfWanted | Form::GiveFields | Form::GivePiece => true,
            Form::OutU32 | Form::OutU64 | Form::Fill => true,
            Form::Number | Form::In | Form::InFields | Form::Len | Form::Pointer => false,
        }
    }
}

type In = u32;
type InFields = u32;
type Len = u32;
type Give = u32;
type GiveIfWanted = u32;
type GivePiece = u32;
type GiveFields = u32;
type OutU32 = u32;
type OutU64 = u32;
type Fill = u32;
type Pointer = u32;

/// A function that a guest may import.
#[derive(Debug)]
pub struct Hostcall {
    /// The modules that it may be imported from.
    pub modules: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub family: Family,
    /// Since when it is part of the ABI.
    pub since: Since,
    /// The types of its parameters.
    pub params: &'static [Value],
    /// Their names, one for each.
    pub param_names: &'static [&'static str],
    /// Its result.
    pub result: ResultForm,
    /// The function that does it, as `FILE::NAME` below this module: its documentation says what it does and answers.
    pub function: &'static str,
    define: fn(&mut Linker<Host>, &str, bool) -> wasmtime::Result<()>,
}

/// Whether a hostcall has an `i32` result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultForm {
    /// It does: a status or an errno.
    I32,
    /// It does not.
    None,
    /// Both are in use (some hostcalls of 0.1.0).
    Either,
}

impl Hostcall {
    /// Whether a module may import it with this type.
    pub(crate) fn accepts(&self, found: &FuncType) -> bool {
        let result = match self.result {
            ResultForm::I32 => found.results().len() == 1,
            ResultForm::None => found.results().is_empty(),
            ResultForm::Either => found.results().len() <= 1,
        };
        result
            && found.results().iter().all(|ty| *ty == ValType::I32)
            && found.params().len() == self.params.len()
            && found.params().iter().zip(self.params).all(|(found, expected)| expected.is(*found))
    }

    /// Makes it known to a module that imports it, in the form in which it imports it.
    pub(crate) fn define(
        &self,
        linker: &mut Linker<Host>,
        module: &str,
        result: bool,
    ) -> wasmtime::Result<()> {
        (self.define)(linker, module, result)
    }

    /// Its type as people write it.
    pub(crate) fn describe(&self) -> String {
        let params: Vec<&str> = self.params.iter().map(|param| param.name()).collect();
        let result = match self.result {
            ResultForm::I32 => " -> i32",
            ResultForm::None => "",
            ResultForm::Either => " [-> i32]",
        };
        format!("({}){result}", params.join(", "))
    }
}

impl Value {
    fn is(self, ty: ValType) -> bool {
        matches!((self, ty), (Value::I32, ValType::I32) | (Value::I64, ValType::I64))
    }

    /// Its name in WebAssembly's text.
    pub fn name(self) -> &'static str {
        match self {
            Value::I32 => "i32",
            Value::I64 => "i64",
        }
    }
}

/// What a hostcall's end is to the guest.
trait Answer {
    fn settle(self) -> wasmtime::Result<u32>;
}

impl Answer for Outcome {
    fn settle(self) -> wasmtime::Result<u32> {
        self.map_or_else(Halt::settle, |()| Ok(Status::Ok as u32))
    }
}

impl Answer for Result<(), Errno> {
    fn settle(self) -> wasmtime::Result<u32> {
        Ok(self.map_or_else(|errno| errno as u32, |()| 0))
    }
}

/// A function of a tool chain, whose result is its own.
impl Answer for wasmtime::Result<u32> {
    fn settle(self) -> wasmtime::Result<u32> {
        self
    }
}

macro_rules! value {
    (u64) => {
        Value::I64
    };
    ($other:ident) => {
        Value::I32
    };
}

macro_rules! form {
    (u32) => {
        Form::Number
    };
    (u64) => {
        Form::Number
    };
    ($other:ident) => {
        Form::$other
    };
}

/// A section of the table: `Since Family name(argument: type, …) result access = function;` for one set of modules.
/// `guarded` hostcalls need a context and are refused while there is none, or if the filter may not make them; `always`
/// ones do not.
macro_rules! table {
    ($( $modules:tt { $(
        $since:ident $family:ident $name:ident ( $($arg:ident : $ty:ident),* ) $result:ident $access:ident = $function:path;
    )* } )*) => {
        /// Every hostcall.
        pub static HOSTCALLS: &[Hostcall] = &[$($(
            Hostcall {
                modules: &$modules,
                name: stringify!($name),
                family: Family::$family,
                since: Since::$since,
                params: &[$(value!($ty)),*],
                param_names: &[$(stringify!($arg)),*],
                result: ResultForm::$result,
                function: stringify!($function),
                define: |linker, module, has_result| {
                    table!(@define $result linker module has_result $name $access $function, ($($arg: $ty),*))
                },
            },
        )*)*];
    };
    (@define I32 $linker:ident $module:ident $has_result:ident $($rest:tt)*) => {{
        let _ = $has_result;
        table!(@wrap u32, std::convert::identity, $linker $module $($rest)*)
    }};
    (@define None $linker:ident $module:ident $has_result:ident $($rest:tt)*) => {{
        let _ = $has_result;
        table!(@wrap (), drop, $linker $module $($rest)*)
    }};
    (@define Either $linker:ident $module:ident $has_result:ident $($rest:tt)*) => {
        if $has_result {
            table!(@wrap u32, std::convert::identity, $linker $module $($rest)*)
        } else {
            table!(@wrap (), drop, $linker $module $($rest)*)
        }
    };
    (@wrap $type:ty, $convert:path, $linker:ident $module:ident $name:ident $access:ident $function:path, ($($arg:ident: $ty:ident),*)) => {{
        const NAME: &str = stringify!($name);
        $linker
            .func_wrap($module, NAME, |mut call: Call<'_>, $($arg: $ty),*| -> wasmtime::Result<$type> {
                tally::hostcall().map_err(wasmtime::Error::new)?;
                const FORMS: &[Form] = &[$(form!($ty)),*];
                let mut watching = Watching::Nobody;
                if call.data().recorder.is_some() {
                    watching = watch(&mut call, NAME, FORMS, &[$(u64::from($arg)),*]);
                    if let Watching::Played(outcome) = watching {
                        return outcome.map($convert);
                    }
                }
                let perform = |call: &mut Call<'_>| -> wasmtime::Result<u32> {
                    table!(@admit $access call NAME ($($arg),*));
                    $function(call, $($arg),*).settle()
                };
                let outcome = perform(&mut call);
                if let Watching::Watched(watched) = watching {
                    watched.noted(&mut call, FORMS, &[$(u64::from($arg)),*], &outcome);
                }
                outcome.map($convert)
            })
            .map(drop)
    }};
    (@admit guarded $call:ident $name:ident ($($arg:ident),*)) => {
        $call.data().admit($name).map_err(wasmtime::Error::new)?;
        if $call.data().grants().is_some()
            && let Some(refused) = refusal::of($call, $name, &[$(u64::from($arg)),*])
        {
            return refused.settle();
        }
    };
    (@admit always $call:ident $name:ident ($($arg:ident),*)) => {};
}

table! {
    ["env"] {
        V0_1_0     Log        proxy_log(level: u32, message: In, message_len: Len) I32 always = log::log;
        V0_2_1     Log        proxy_get_log_level(level: OutU32) I32 always = log::log_level;

        OnlyV0_1_0 Config     proxy_get_configuration(value: Give, value_len: Len) I32 guarded = config::configuration;

        V0_1_0     Headers    proxy_get_header_map_size(map: u32, size: OutU32) I32 guarded = headers::size;
        V0_1_0     Headers    proxy_get_header_map_pairs(map: u32, pairs: GiveFields, pairs_len: Len) I32 guarded = headers::pairs;
        V0_1_0     Headers    proxy_set_header_map_pairs(map: u32, pairs: InFields, pairs_len: Len) I32 guarded = headers::set_pairs;
        V0_1_0     Headers    proxy_get_header_map_value(map: u32, key: In, key_len: Len, value: Give, value_len: Len) I32 guarded = headers::value;
        V0_1_0     Headers    proxy_add_header_map_value(map: u32, key: In, key_len: Len, value: In, value_len: Len) I32 guarded = headers::add;
        V0_1_0     Headers    proxy_replace_header_map_value(map: u32, key: In, key_len: Len, value: In, value_len: Len) I32 guarded = headers::replace;
        V0_1_0     Headers    proxy_remove_header_map_value(map: u32, key: In, key_len: Len) I32 guarded = headers::remove;

        V0_1_0     Body       proxy_get_buffer_bytes(buffer: u32, start: u32, max: u32, value: GivePiece, value_len: Len) I32 guarded = body::bytes;
        V0_1_0     Body       proxy_get_buffer_status(buffer: u32, len: OutU32, flags: OutU32) I32 guarded = body::status;
        V0_1_0     Body       proxy_set_buffer_bytes(buffer: u32, start: u32, len: u32, value: In, value_len: Len) I32 guarded = body::set_bytes;

        V0_2_0     Stream     proxy_continue_stream(stream: u32) I32 guarded = stream::resume;
        V0_2_0     Stream     proxy_close_stream(stream: u32) I32 guarded = stream::close;
        V0_1_0     Stream     proxy_send_local_response(status: u32, details: In, details_len: Len, body: In, body_len: Len, headers: InFields, headers_len: Len, grpc_status: u32) I32 guarded = stream::reply;
        OnlyV0_1_0 Stream     proxy_continue_request() Either guarded = stream::resume_request;
        OnlyV0_1_0 Stream     proxy_continue_response() Either guarded = stream::resume_response;
        OnlyV0_1_0 Stream     proxy_clear_route_cache() Either guarded = stream::clear_route_cache;

        V0_1_0     Property   proxy_get_property(path: In, path_len: Len, value: Give, value_len: Len) I32 guarded = property::property;
        V0_1_0     Property   proxy_set_property(path: In, path_len: Len, value: In, value_len: Len) I32 guarded = property::set_property;

        V0_1_0     SharedData proxy_get_shared_data(key: In, key_len: Len, value: Give, value_len: Len, cas: OutU32) I32 guarded = shared_data::value;
        V0_1_0     SharedData proxy_set_shared_data(key: In, key_len: Len, value: In, value_len: Len, cas: u32) I32 guarded = shared_data::set_value;

        V0_1_0     Metrics    proxy_define_metric(kind: u32, name: In, name_len: Len, id: OutU32) I32 guarded = metrics::define;
        V0_1_0     Metrics    proxy_increment_metric(id: u32, offset: u64) I32 guarded = metrics::increment;
        V0_1_0     Metrics    proxy_record_metric(id: u32, value: u64) I32 guarded = metrics::record;
        V0_1_0     Metrics    proxy_get_metric(id: u32, value: OutU64) I32 guarded = metrics::value;

        V0_1_0     Callout    proxy_http_call(upstream: In, upstream_len: Len, headers: InFields, headers_len: Len, body: In, body_len: Len, trailers: InFields, trailers_len: Len, timeout_ms: u32, token: OutU32) I32 guarded = callout::http_call;
        V0_1_0     Callout    proxy_get_status(code: OutU32, message: Give, message_len: Len) I32 guarded = callout::status;

        V0_1_0     Timer      proxy_set_tick_period_milliseconds(period: u32) I32 guarded = timer::set_tick_period;
        V0_1_0     Timer      proxy_get_current_time_nanoseconds(time: OutU64) I32 guarded = timer::current_time;

        V0_1_0     Context    proxy_set_effective_context(context: u32) I32 guarded = context::set_effective_context;
        V0_1_0     Context    proxy_done() I32 guarded = context::done;

        V0_1_0     Foreign    proxy_call_foreign_function(name: In, name_len: Len, arguments: In, arguments_len: Len, value: GiveIfWanted, value_len: Len) I32 guarded = foreign::call_function;

        V0_1_0     Grpc       proxy_grpc_call(upstream: In, upstream_len: Len, service: In, service_len: Len, method: In, method_len: Len, metadata: InFields, metadata_len: Len, message: In, message_len: Len, timeout_ms: u32, token: OutU32) I32 guarded = grpc::call;
        V0_1_0     Grpc       proxy_grpc_stream(upstream: In, upstream_len: Len, service: In, service_len: Len, method: In, method_len: Len, metadata: InFields, metadata_len: Len, token: OutU32) I32 guarded = grpc::stream;
        V0_1_0     Grpc       proxy_grpc_send(token: u32, message: In, message_len: Len, end_of_stream: u32) I32 guarded = grpc::send;
        V0_1_0     Grpc       proxy_grpc_close(token: u32) I32 guarded = grpc::close;
        V0_1_0     Grpc       proxy_grpc_cancel(token: u32) I32 guarded = grpc::cancel;

        V0_1_0     Queue      proxy_register_shared_queue(name: In, name_len: Len, id: OutU32) I32 guarded = queue::register;
        V0_1_0     Queue      proxy_resolve_shared_queue(vm: In, vm_len: Len, name: In, name_len: Len, id: OutU32) I32 guarded = queue::resolve;
        V0_1_0     Queue      proxy_enqueue_shared_queue(id: u32, item: In, item_len: Len) I32 guarded = queue::enqueue;
        V0_1_0     Queue      proxy_dequeue_shared_queue(id: u32, item: Give, item_len: Len) I32 guarded = queue::dequeue;

        V0_2_100   Higress    proxy_inject_encoded_data_to_filter_chain(data: In, data_len: Len, end_of_stream: u32) I32 guarded = higress::inject_data;
        V0_2_100   Higress    proxy_get_upstream_hosts(value: Give, value_len: Len) I32 guarded = higress::upstream_hosts;
        V0_2_100   Higress    proxy_set_upstream_override_host(address: In, address_len: Len) I32 guarded = higress::set_upstream_host;
        V0_2_100   Higress    proxy_redis_init(upstream: In, upstream_len: Len, user: In, user_len: Len, password: In, password_len: Len, timeout_ms: u32) I32 guarded = higress::redis_init;
        V0_2_100   Higress    proxy_redis_call(upstream: In, upstream_len: Len, query: In, query_len: Len, token: OutU32) I32 guarded = higress::redis_call;

        Toolchain  Env        abort(message: Pointer, file: Pointer, line: u32, column: u32) None always = env::abort;
        Toolchain  Env        pthread_equal(one: u32, other: u32) I32 always = env::pthread_equal;
        Toolchain  Env        emscripten_notify_memory_growth(memory: u32) None always = env::notify_memory_growth;
    }
    ["wasi_snapshot_preview1", "wasi_unstable"] {
        Toolchain Wasi args_get(argv: Pointer, buffer: Pointer) I32 always = wasi::args_get;
        Toolchain Wasi args_sizes_get(count: Pointer, size: Pointer) I32 always = wasi::args_sizes_get;
        Toolchain Wasi environ_get(environ: Pointer, buffer: Pointer) I32 always = wasi::environ_get;
        Toolchain Wasi environ_sizes_get(count: Pointer, size: Pointer) I32 always = wasi::environ_sizes_get;
        Toolchain Wasi clock_res_get(clock: u32, resolution: Pointer) I32 always = wasi::clock_res_get;
        Toolchain Wasi clock_time_get(clock: u32, precision: u64, time: OutU64) I32 always = wasi::clock_time_get;
        Toolchain Wasi fd_advise(fd: u32, offset: u64, len: u64, advice: u32) I32 always = wasi::fd_advise;
        Toolchain Wasi fd_allocate(fd: u32, offset: u64, len: u64) I32 always = wasi::fd_allocate;
        Toolchain Wasi fd_close(fd: u32) I32 always = wasi::fd_close;
        Toolchain Wasi fd_datasync(fd: u32) I32 always = wasi::fd_sync;
        Toolchain Wasi fd_fdstat_get(fd: u32, stat: Pointer) I32 always = wasi::fd_fdstat_get;
        Toolchain Wasi fd_fdstat_set_flags(fd: u32, flags: u32) I32 always = wasi::fd_fdstat_set_flags;
        Toolchain Wasi fd_fdstat_set_rights(fd: u32, rights: u64, inheriting: u64) I32 always = wasi::fd_fdstat_set_rights;
        Toolchain Wasi fd_filestat_get(fd: u32, stat: Pointer) I32 always = wasi::fd_filestat_get;
        Toolchain Wasi fd_filestat_set_size(fd: u32, size: u64) I32 always = wasi::fd_filestat_set_size;
        Toolchain Wasi fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32) I32 always = wasi::fd_filestat_set_times;
        Toolchain Wasi fd_pread(fd: u32, vectors: Pointer, count: Pointer, offset: u64, read: Pointer) I32 always = wasi::fd_pread;
        Toolchain Wasi fd_prestat_dir_name(fd: u32, path: Pointer, path_len: u32) I32 always = wasi::fd_prestat_dir_name;
        Toolchain Wasi fd_prestat_get(fd: u32, stat: Pointer) I32 always = wasi::fd_prestat_get;
        Toolchain Wasi fd_pwrite(fd: u32, vectors: Pointer, count: Pointer, offset: u64, written: Pointer) I32 always = wasi::fd_pwrite;
        Toolchain Wasi fd_read(fd: u32, vectors: Pointer, count: Pointer, read: Pointer) I32 always = wasi::fd_read;
        Toolchain Wasi fd_readdir(fd: u32, buffer: Pointer, len: Pointer, cookie: u64, used: Pointer) I32 always = wasi::fd_readdir;
        Toolchain Wasi fd_renumber(from: u32, to: u32) I32 always = wasi::fd_renumber;
        Toolchain Wasi fd_seek(fd: u32, offset: u64, whence: u32, position: Pointer) I32 always = wasi::fd_seek;
        Toolchain Wasi fd_sync(fd: u32) I32 always = wasi::fd_sync;
        Toolchain Wasi fd_tell(fd: u32, position: Pointer) I32 always = wasi::fd_tell;
        Toolchain Wasi fd_write(fd: u32, vectors: Pointer, count: Pointer, written: Pointer) I32 always = wasi::fd_write;
        Toolchain Wasi path_create_directory(fd: u32, path: Pointer, path_len: u32) I32 always = wasi::path_create_directory;
        Toolchain Wasi path_filestat_get(fd: u32, flags: u32, path: Pointer, path_len: u32, stat: Pointer) I32 always = wasi::path_filestat_get;
        Toolchain Wasi path_filestat_set_times(fd: u32, flags: u32, path: Pointer, path_len: u32, accessed: u64, modified: u64, which: u32) I32 always = wasi::path_filestat_set_times;
        Toolchain Wasi path_link(from: u32, flags: u32, path: Pointer, path_len: u32, to: u32, new: Pointer, new_len: u32) I32 always = wasi::path_link;
        Toolchain Wasi path_open(fd: u32, look_up: u32, path: Pointer, path_len: u32, flags: u32, rights: u64, inheriting: u64, fd_flags: u32, opened: Pointer) I32 always = wasi::path_open;
        Toolchain Wasi path_readlink(fd: u32, path: Pointer, path_len: u32, buffer: Pointer, len: Pointer, used: Pointer) I32 always = wasi::path_readlink;
        Toolchain Wasi path_remove_directory(fd: u32, path: Pointer, path_len: u32) I32 always = wasi::path_remove_directory;
        Toolchain Wasi path_rename(from: u32, path: Pointer, path_len: u32, to: u32, new: Pointer, new_len: u32) I32 always = wasi::path_rename;
        Toolchain Wasi path_symlink(old: Pointer, old_len: u32, fd: u32, new: Pointer, new_len: u32) I32 always = wasi::path_symlink;
        Toolchain Wasi path_unlink_file(fd: u32, path: Pointer, path_len: u32) I32 always = wasi::path_unlink_file;
        Toolchain Wasi poll_oneoff(subscriptions: Pointer, events: Pointer, count: Pointer, happened: Pointer) I32 always = wasi::poll_oneoff;
        Toolchain Wasi proc_exit(code: u32) None always = wasi::proc_exit;
        Toolchain Wasi random_get(buffer: Fill, len: Len) I32 always = wasi::random_get;
        Toolchain Wasi sched_yield() I32 always = wasi::sched_yield;
        Toolchain Wasi sock_accept(fd: u32, flags: u32, accepted: Pointer) I32 always = wasi::sock_accept;
        Toolchain Wasi sock_recv(fd: u32, vectors: Pointer, count: Pointer, flags: u32, read: Pointer, out_flags: Pointer) I32 always = wasi::sock_recv;
        Toolchain Wasi sock_send(fd: u32, vectors: Pointer, count: Pointer, flags: u32, written: Pointer) I32 always = wasi::sock_send;
        Toolchain Wasi sock_shutdown(fd: u32, how: u32) I32 always = wasi::sock_shutdown;
    }
}
