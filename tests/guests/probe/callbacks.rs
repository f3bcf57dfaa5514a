//! What the host calls. Every callback that is the same in all versions of the ABI is exported here.

/// Names the callbacks, and finds one by its name.
macro_rules! names {
    ($($variant:ident = $name:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Callback { $($variant,)* }

        impl Callback {
            /// How many there are.
            pub(crate) const COUNT: usize = [$($name),*].len();

            /// As a script and the log name it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Callback::$variant => $name,)* }
            }

            pub(crate) fn find(name: &str) -> Option<Callback> {
                match name { $($name => Some(Callback::$variant),)* _ => None }
            }
        }
    };
}

names! {
    ContextCreate = "context_create",
    VmStart = "vm_start",
    Configure = "configure",
    Tick = "tick",
    NewConnection = "new_connection",
    DownstreamData = "downstream_data",
    DownstreamConnectionClose = "downstream_connection_close",
    UpstreamData = "upstream_data",
    UpstreamConnectionClose = "upstream_connection_close",
    RequestHeaders = "request_headers",
    RequestBody = "request_body",
    RequestTrailers = "request_trailers",
    RequestMetadata = "request_metadata",
    ResponseHeaders = "response_headers",
    ResponseBody = "response_body",
    ResponseTrailers = "response_trailers",
    ResponseMetadata = "response_metadata",
    HttpCallResponse = "http_call_response",
    GrpcReceiveInitialMetadata = "grpc_receive_initial_metadata",
    GrpcReceive = "grpc_receive",
    GrpcReceiveTrailingMetadata = "grpc_receive_trailing_metadata",
    GrpcClose = "grpc_close",
    QueueReady = "queue_ready",
    ForeignFunction = "foreign_function",
    Done = "done",
    Log = "log",
    Delete = "delete",
}

impl Callback {
    /// Whether a context is told of what it is for: a request or a connection.
    pub(crate) fn begins_stream(self) -> bool {
        matches!(self, Callback::RequestHeaders | Callback::NewConnection)
    }

    /// Whether it comes before a stream can have said its own script.
    pub(crate) fn is_before_script(self) -> bool {
        matches!(self, Callback::ContextCreate | Callback::NewConnection)
    }

    /// Which of its parameters after the context says that the stream ends there.
    pub(crate) fn end_parameter(self) -> Option<usize> {
        match self {
            Callback::RequestHeaders
            | Callback::RequestBody
            | Callback::ResponseHeaders
            | Callback::ResponseBody
            | Callback::DownstreamData
            | Callback::UpstreamData => Some(1),
            _ => None,
        }
    }

    /// What it returns unless a script says otherwise.
    pub(crate) fn default_answer(self) -> u32 {
        u32::from(matches!(self, Callback::VmStart | Callback::Configure | Callback::Done))
    }
}

/// Exports callbacks. (The first parameter of all is the context.)
macro_rules! callbacks {
    ($($export:ident as $callback:ident($($param:ident),*) $(-> $result:ty)?;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $export(context: u32 $(, $param: u32)*) $(-> $result)? {
                let callback = $crate::probe::callbacks::Callback::$callback;
                let _answer = $crate::probe::play::enter(callback, context, &[$($param),*]);
                $(_answer as $result)?
            }
        )*
    };
}

callbacks! {
    proxy_on_context_create as ContextCreate(parent);
    proxy_on_vm_start as VmStart(size) -> u32;
    proxy_on_configure as Configure(size) -> u32;
    proxy_on_tick as Tick();
    proxy_on_new_connection as NewConnection() -> u32;
    proxy_on_downstream_data as DownstreamData(size, end) -> u32;
    proxy_on_downstream_connection_close as DownstreamConnectionClose(peer);
    proxy_on_upstream_data as UpstreamData(size, end) -> u32;
    proxy_on_upstream_connection_close as UpstreamConnectionClose(peer);
    proxy_on_request_body as RequestBody(size, end) -> u32;
    proxy_on_request_trailers as RequestTrailers(fields) -> u32;
    proxy_on_request_metadata as RequestMetadata(elements) -> u32;
    proxy_on_response_body as ResponseBody(size, end) -> u32;
    proxy_on_response_trailers as ResponseTrailers(fields) -> u32;
    proxy_on_response_metadata as ResponseMetadata(elements) -> u32;
    proxy_on_http_call_response as HttpCallResponse(token, fields, size, trailers);
    proxy_on_grpc_receive_initial_metadata as GrpcReceiveInitialMetadata(token, elements);
    proxy_on_grpc_receive as GrpcReceive(token, size);
    proxy_on_grpc_receive_trailing_metadata as GrpcReceiveTrailingMetadata(token, elements);
    proxy_on_grpc_close as GrpcClose(token, status);
    proxy_on_queue_ready as QueueReady(queue);
    proxy_on_done as Done() -> u32;
    proxy_on_log as Log();
    proxy_on_delete as Delete();
}
