//! How each step of a guest calls its host, and what it logs of the answer.

use std::fmt::Write as _;

use super::http1::from_latin1;
use super::step::{Buffer, Flow, GrpcRequest, Map, Step, Token};
use super::wat::Text;

/// A call: the host's function, what it is given, and what the log says of it.
struct Call {
    function: &'static str,
    operands: Vec<Operand>,
    label: String,
    shown: Shown,
}

/// What a hostcall is given.
enum Operand {
    Int(u32),
    Long(i64),
    Bytes(Vec<u8>),
    Expression(String),
}

/// What of a hostcall's answer the log shows, beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Status,
    Text,
    Size,
    Number,
    Pairs,
}

/// Calls the host and logs what it said.
pub(crate) fn emit(text: &mut Text, body: &mut String, step: &Step) {
    let call = exchange_call(step).or_else(|| grpc_call(step)).or_else(|| service_call(step));
    let Call { function, operands, label, shown } =
        call.unwrap_or_else(|| unreachable!("{step:?} is no hostcall"));
    let kinds: Vec<&str> = operands.iter().map(Operand::kinds).collect();
    let import = text.import(function, &kinds.join(" "));
    let operands: Vec<String> = operands.iter().map(|operand| operand.render(text)).collect();
    let _ = writeln!(body, "(global.set $status (call {import} {}))", operands.join(" "));
    text.begin(body, &format!("  {label} ->"));
    text.status(body, shown);
    text.end(body, 2);
    if shown == Shown::Pairs {
        text.pairs(body);
    }
}

/// Calls about the exchange: its headers, bodies, properties, and how it goes on.
fn exchange_call(step: &Step) -> Option<Call> {
    let call = match step {
        Step::Get(map, key) => {
            let call = Call::new("proxy_get_header_map_value", format!("get {} {key}", map.name()));
            call.map(*map).text(key).out().shows(Shown::Text)
        }
        Step::Add(map, key, value) => {
            let call = Call::new("proxy_add_header_map_value", format!("add {} {key}", map.name()));
            call.map(*map).text(key).text(value)
        }
        Step::Replace(map, key, value) => {
            let call = Call::new("proxy_replace_header_map_value", format!("replace {} {key}", map.name()));
            call.map(*map).text(key).text(value)
        }
        Step::Remove(map, key) => {
            let call = Call::new("proxy_remove_header_map_value", format!("remove {} {key}", map.name()));
            call.map(*map).text(key)
        }
        Step::Pairs(map) => {
            let call = Call::new("proxy_get_header_map_pairs", format!("pairs {}", map.name()));
            call.map(*map).out().shows(Shown::Pairs)
        }
        Step::SetPairs(map, blob) => {
            Call::new("proxy_set_header_map_pairs", format!("set-pairs {}", map.name()))
                .map(*map)
                .bytes(blob.clone())
        }
        Step::MapSize(map) => Call::new("proxy_get_header_map_size", format!("size {}", map.name()))
            .map(*map)
            .int(Text::OUT_NUMBER),
        Step::MapBytes(map) => Call::new("proxy_get_header_map_size", format!("bytes {}", map.name()))
            .map(*map)
            .int(Text::OUT_SIZE)
            .shows(Shown::Size),
        Step::GetBuffer(buffer, start, most) => {
            let call = Call::new("proxy_get_buffer_bytes", format!("buffer {buffer:?} {start} {most}"));
            call.buffer(*buffer).int(*start).int(*most).out().shows(Shown::Text)
        }
        Step::BufferStatus(buffer) => {
            let call = Call::new("proxy_get_buffer_status", format!("buffer-status {buffer:?}"));
            call.buffer(*buffer).int(Text::OUT_SIZE).int(Text::OUT_NUMBER).shows(Shown::Size)
        }
        Step::SetBuffer(buffer, start, length, data) => {
            let call = Call::new("proxy_set_buffer_bytes", format!("set-buffer {buffer:?} {start} {length}"));
            call.buffer(*buffer).int(*start).int(*length).text(data)
        }
        Step::Property(path) => {
            let call = Call::new("proxy_get_property", format!("property {}", path.join(".")));
            call.text(&path.join("\0")).out().shows(Shown::Text)
        }
        Step::PropertySize(path) => {
            let call = Call::new("proxy_get_property", format!("property-size {}", path.join(".")));
            call.text(&path.join("\0")).out().shows(Shown::Size)
        }
        Step::SetProperty(path, value) => {
            let call = Call::new("proxy_set_property", format!("set-property {}", path.join(".")));
            call.text(&path.join("\0")).text(value)
        }
        Step::Reply { status, details, body, fields, grpc } => {
            let call = Call::new("proxy_send_local_response", format!("reply {status}"));
            call.int(*status).text(details).text(body).bytes(pairs(fields)).int(grpc.cast_unsigned())
        }
        Step::Resume(flow) => {
            Call::new("proxy_continue_stream", format!("resume {flow:?}")).int(*flow as u32)
        }
        Step::Close(flow) => Call::new("proxy_close_stream", format!("close {flow:?}")).int(*flow as u32),
        Step::Inject(data, end) => {
            let call = Call::new("proxy_inject_encoded_data_to_filter_chain", format!("inject {data}"));
            call.text(data).int(u32::from(*end))
        }
        Step::UpstreamHosts => {
            let call = Call::new("proxy_get_upstream_hosts", "upstream-hosts".to_owned());
            call.out().shows(Shown::Pairs)
        }
        Step::PreferHost(address) => {
            let call = Call::new("proxy_set_upstream_override_host", format!("prefer {address}"));
            call.text(address)
        }
        _ => return None,
    };
    Some(call)
}

/// Calls about gRPC callouts.
fn grpc_call(step: &Step) -> Option<Call> {
    let call = match step {
        Step::GrpcCall { call: request, message, timeout_ms, slot } => {
            let call = Call::new("proxy_grpc_call", format!("grpc-call {}", request.method)).grpc(request);
            call.text(message).int(*timeout_ms).int(Text::slot(*slot))
        }
        Step::GrpcStream(request, slot) => {
            let call = Call::new("proxy_grpc_stream", format!("grpc-stream {}", request.method));
            call.grpc(request).int(Text::slot(*slot))
        }
        Step::GrpcSend(token, message, end) => {
            let call = Call::new("proxy_grpc_send", format!("grpc-send {message}"));
            call.token(*token).text(message).int(u32::from(*end))
        }
        Step::GrpcClose(token) => Call::new("proxy_grpc_close", "grpc-close".to_owned()).token(*token),
        Step::GrpcCancel(token) => Call::new("proxy_grpc_cancel", "grpc-cancel".to_owned()).token(*token),
        _ => return None,
    };
    Some(call)
}

/// Calls about everything else that a host offers.
fn service_call(step: &Step) -> Option<Call> {
    let call = match step {
        Step::Callout { cluster, fields, body, timeout_ms } => {
            let call = Call::new("proxy_http_call", format!("callout {cluster}"));
            let call = call.text(cluster).bytes(pairs(fields)).text(body).bytes(pairs::<&str, &str>(&[]));
            call.int(*timeout_ms).int(Text::OUT_NUMBER)
        }
        Step::CalloutStatus => Call::new("proxy_get_status", "callout-status".to_owned())
            .int(Text::OUT_NUMBER)
            .out()
            .shows(Shown::Text),
        Step::TickPeriod(ms) => {
            Call::new("proxy_set_tick_period_milliseconds", format!("tick-period {ms}")).int(*ms)
        }
        Step::SharedGet(key) => {
            let call = Call::new("proxy_get_shared_data", format!("shared-get {key}"));
            call.text(key).out().int(Text::OUT_CAS).shows(Shown::Text)
        }
        Step::SharedSet(key, value, offset) => {
            let call = Call::new("proxy_set_shared_data", format!("shared-set {key}")).text(key).text(value);
            match offset {
                Some(offset) => {
                    call.expression(&format!("(i32.add {} (i32.const {offset}))", load(Text::OUT_CAS)))
                }
                None => call.int(0),
            }
        }
        Step::DefineMetric(kind, name, slot) => {
            let call = Call::new("proxy_define_metric", format!("define-metric {kind} {name}"));
            call.int(*kind).text(name).int(Text::slot(*slot))
        }
        Step::IncrementMetric(slot, offset) => {
            let call = Call::new("proxy_increment_metric", format!("increment-metric {slot} {offset}"));
            call.expression(&load(Text::slot(*slot))).long(*offset)
        }
        Step::RecordMetric(slot, value) => {
            let call = Call::new("proxy_record_metric", format!("record-metric {slot} {value}"));
            call.expression(&load(Text::slot(*slot))).long(*value)
        }
        Step::GetMetric(slot) => {
            let call = Call::new("proxy_get_metric", format!("get-metric {slot}"));
            call.expression(&load(Text::slot(*slot))).int(Text::OUT_NUMBER).shows(Shown::Number)
        }
        Step::RegisterQueue(name, slot) => {
            let call = Call::new("proxy_register_shared_queue", format!("register-queue {name}"));
            call.text(name).int(Text::slot(*slot))
        }
        Step::ResolveQueue(vm, name, slot) => {
            let call = Call::new("proxy_resolve_shared_queue", format!("resolve-queue {vm:?} {name}"));
            call.text(vm).text(name).int(Text::slot(*slot))
        }
        Step::Enqueue(slot, item) => {
            let call = Call::new("proxy_enqueue_shared_queue", format!("enqueue {slot} {item}"));
            call.expression(&load(Text::slot(*slot))).text(item)
        }
        Step::Dequeue(slot) => {
            let call = Call::new("proxy_dequeue_shared_queue", format!("dequeue {slot}"));
            call.expression(&load(Text::slot(*slot))).out().shows(Shown::Text)
        }
        Step::EffectiveStream => {
            let call = Call::new("proxy_set_effective_context", "effective-stream".to_owned());
            call.expression("(global.get $stream)")
        }
        Step::EffectiveContext(id) => {
            Call::new("proxy_set_effective_context", format!("effective-context {id}")).int(*id)
        }
        Step::Foreign(name, arguments) => {
            let call = Call::new("proxy_call_foreign_function", format!("foreign {name}"));
            call.text(name).text(arguments).out().shows(Shown::Size)
        }
        Step::ForeignStatus(name, arguments) => {
            let call = Call::new("proxy_call_foreign_function", format!("foreign {name}"));
            call.text(name).text(arguments).out()
        }
        Step::ForeignOnAnswer(name) => {
            let call = Call::new("proxy_call_foreign_function", format!("foreign {name} on that"));
            let call = call.text(name).expression(&load(Text::OUT_POINTER)).expression(&load(Text::OUT_SIZE));
            call.out().shows(Shown::Text)
        }
        Step::Configuration => {
            Call::new("proxy_get_configuration", "configuration".to_owned()).out().shows(Shown::Text)
        }
        Step::Continue(Flow::Response) => {
            Call::new("proxy_continue_response", "continue response".to_owned())
        }
        Step::Continue(_) => Call::new("proxy_continue_request", "continue request".to_owned()),
        Step::ProxyDone => Call::new("proxy_done", "proxy-done".to_owned()),
        Step::LogLevel => {
            Call::new("proxy_get_log_level", "log-level".to_owned()).int(Text::OUT_SIZE).shows(Shown::Size)
        }
        _ => return None,
    };
    Some(call)
}

impl Call {
    fn new(function: &'static str, label: String) -> Call {
        Call { function, operands: Vec::new(), label, shown: Shown::Status }
    }

    fn shows(mut self, shown: Shown) -> Call {
        self.shown = shown;
        self
    }

    fn operand(mut self, operand: Operand) -> Call {
        self.operands.push(operand);
        self
    }

    fn int(self, value: u32) -> Call {
        self.operand(Operand::Int(value))
    }

    fn long(self, value: i64) -> Call {
        self.operand(Operand::Long(value))
    }

    fn map(self, map: Map) -> Call {
        self.int(map as u32)
    }

    fn buffer(self, buffer: Buffer) -> Call {
        self.int(buffer as u32)
    }

    fn bytes(self, bytes: Vec<u8>) -> Call {
        self.operand(Operand::Bytes(bytes))
    }

    fn text(self, text: &str) -> Call {
        self.bytes(from_latin1(text))
    }

    fn grpc(self, request: &GrpcRequest) -> Call {
        let call = self.text(&request.upstream).text(&request.service).text(&request.method);
        call.bytes(pairs(&request.metadata))
    }

    fn token(self, token: Token) -> Call {
        match token {
            Token::Slot(slot) => self.expression(&load(Text::slot(slot))),
            Token::Own => self.expression("(local.get $a0)"),
            Token::Number(number) => self.int(number),
        }
    }

    fn expression(self, text: &str) -> Call {
        self.operand(Operand::Expression(text.to_owned()))
    }

    /// Where the host puts what it returns: its place and its size.
    fn out(self) -> Call {
        self.int(Text::OUT_POINTER).int(Text::OUT_SIZE)
    }
}

impl Operand {
    fn kinds(&self) -> &'static str {
        match self {
            Operand::Int(_) | Operand::Expression(_) => "i32",
            Operand::Long(_) => "i64",
            Operand::Bytes(_) => "i32 i32",
        }
    }

    fn render(&self, text: &mut Text) -> String {
        match self {
            Operand::Int(value) => format!("(i32.const {value})"),
            Operand::Long(value) => format!("(i64.const {value})"),
            Operand::Bytes(bytes) => text.constant_bytes(bytes),
            Operand::Expression(expression) => expression.clone(),
        }
    }
}

fn load(at: u32) -> String {
    format!("(i32.load (i32.const {at}))")
}

impl Map {
    fn name(self) -> &'static str {
        match self {
            Map::RequestHeaders => "request-headers",
            Map::RequestTrailers => "request-trailers",
            Map::ResponseHeaders => "response-headers",
            Map::ResponseTrailers => "response-trailers",
            Map::GrpcInitial => "grpc-initial",
            Map::GrpcTrailing => "grpc-trailing",
            Map::CalloutHeaders => "callout-headers",
            Map::CalloutTrailers => "callout-trailers",
        }
    }
}

/// The serialisation of pairs (`proxy_set_header_map_pairs` and friends).
pub(crate) fn pairs<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Vec<u8> {
    let bytes = |text: &str| from_latin1(text);
    let count = |length: usize| u32::try_from(length).expect("a small number").to_le_bytes();
    let mut blob = count(pairs.len()).to_vec();
    for (key, value) in pairs {
        blob.extend(count(bytes(key.as_ref()).len()));
        blob.extend(count(bytes(value.as_ref()).len()));
    }
    for (key, value) in pairs {
        blob.extend([bytes(key.as_ref()), vec![0], bytes(value.as_ref()), vec![0]].concat());
    }
    blob
}
