//! The host that has to bear it, and what has to hold whatever the guest does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tidegate::config::model::{Filter, ModuleSource};
use tidegate::wasm::stream::{Direction, Progress, RequestHead, ResponseHead, Stream, StreamInfo, StreamRef};
use tidegate::wasm::{
    CalloutResponse, CalloutResult, ContextId, Effect, Engine, Fault, GrpcEvent, GuestLog, LogLevel, Module,
    PeerType, Plugin, Services, Vm,
};

use crate::module;
use crate::script::{Allocator, On, Script};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(None).unwrap_or_else(|error| panic!("this machine cannot compile: {error}"))
});
static MODULE: LazyLock<Module> = LazyLock::new(|| {
    ENGINE.compile(&module::build()).unwrap_or_else(|error| panic!("the guest is no filter: {error}"))
});

/// What a script may cost in one callback.
const INSTRUCTIONS: u64 = 300_000;
/// How much memory the guest may have, in bytes.
const MEMORY: usize = 4 << 20;
/// How many callouts it may have in flight.
const CALLOUTS: usize = 16;

/// Nobody reads what it says.
struct Silence;

impl GuestLog for Silence {
    fn level(&self) -> LogLevel {
        LogLevel::Trace
    }

    fn line(&self, _: &str, _: LogLevel, _: &str) {}

    fn dropped(&self, _: &str, _: u64) {}

    fn fault(&self, _: &str, _: &Fault) {}
}

/// Has a guest do what a script says in every callback of an exchange and of its root, beside a guest that does nothing
/// wrong, and holds what has to hold: the host does not panic; what it keeps for the guest has its limits; the other guest
/// and its exchange are what they were.
pub fn run(script: &Script) {
    let services = Services {
        log: Arc::new(Silence),
        clusters: Arc::new(HashMap::from([("api".to_owned(), vec![([192, 0, 2, 1], 80).into()])])),
        ..Services::new()
    };
    let calm = Script::new(Allocator::Bump)
        .call(On::RequestHeaders, "proxy_get_header_map_value", &[0, 0x20, 7, 0x400, 0x404])
        .call(On::RequestHeaders, "proxy_add_header_map_value", &[0, 0x20, 7, 0x80, 3]);
    let mut calm = start(&plugin(&calm, "calm"), &services);
    let before = exchange();
    let context = calm.open(calm.first_root(), &before, 0).unwrap_or_else(|fault| panic!("calm: {fault}"));

    let mut hostile = start(&plugin(script, "hostile"), &services);
    let stream = exchange();
    // A fault is the guest's own business: it is not entered again, which is for the host to see to.
    let _ = play(&mut hostile, &stream);
    let _ = play_together(&mut hostile, &plugin(script, "accomplice"), &services);
    check(&mut hostile, &stream, &services);

    let answer = calm.on_headers(context, Direction::Request, true);
    answer.unwrap_or_else(|fault| panic!("another guest failed: {fault}"));
    let stream = before.borrow();
    let values: Vec<&[u8]> =
        stream.request.headers.get_all("x-twice").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(values, [&b"one"[..], b"two", b"api"], "another exchange was harmed");
    assert!(stream.actions.is_empty());
}

fn plugin(script: &Script, name: &str) -> Plugin {
    let mut filter = Filter::new(name, ModuleSource::Builtin(name.to_owned()));
    filter.config = script.configuration().into();
    filter.limits.instructions = INSTRUCTIONS;
    filter.limits.memory = MEMORY;
    filter.limits.callouts = CALLOUTS;
    Plugin::new(Arc::new(filter), MODULE.clone())
}

/// Starts a guest, which plays its script when its root has been made: its start cannot fail.
fn start(plugin: &Plugin, services: &Services) -> Vm {
    plugin.start(services.clone()).unwrap_or_else(|fault| panic!("it only reads its script: {fault}"))
}

/// Every callback, in the order of an exchange, with ticks and callouts' answers between.
fn play(vm: &mut Vm, stream: &StreamRef) -> Result<(), Fault> {
    let root = vm.first_root();
    vm.on_tick(root)?;
    let context = vm.open(root, stream, 0)?;
    one_way(vm, stream, context, Direction::Request)?;
    answer_callouts(vm)?;
    stream.borrow_mut().request_progress = Progress::Done;
    let mut headers = HeaderMap::new();
    headers.insert("a", HeaderValue::from_static("b"));
    stream.borrow_mut().response = Some(ResponseHead { status: StatusCode::OK, headers: headers.into() });
    vm.on_tick(root)?;
    one_way(vm, stream, context, Direction::Response)?;
    answer_callouts(vm)?;
    // It may put in as many items as it is told of, and never come to an end.
    for _ in 0..4 {
        vm.on_queue_ready(root)?;
    }
    vm.on_foreign_function(context, 1, Bytes::from_static(b"arguments"))?;
    vm.close(context)?;
    vm.on_tick(root)?;
    answer_callouts(vm)?;
    connection(vm, root)
}

/// A TCP connection, from its beginning to its end.
fn connection(vm: &mut Vm, root: ContextId) -> Result<(), Fault> {
    let stream = Rc::new(RefCell::new(Stream::connection(exchange().borrow().info.clone(), 1)));
    let context = vm.open(root, &stream, 0)?;
    vm.on_new_connection(context)?;
    for direction in [Direction::Request, Direction::Response] {
        stream.borrow_mut().stages[0].body_mut(direction).push(Bytes::from_static(b"some data"));
        vm.on_data(context, direction, false)?;
    }
    vm.on_upstream_close(context, PeerType::Remote)?;
    vm.close_connection(context, PeerType::Local)
}

/// One more filter joins the guest, the first goes while streams of both live, and then the second.
fn play_together(vm: &mut Vm, plugin: &Plugin, services: &Services) -> Result<(), Fault> {
    let (first, streams) = (vm.first_root(), [exchange(), exchange()]);
    let second = vm.add(plugin, services)?;
    let of_first = vm.open(first, &streams[0], 0)?;
    let of_second = vm.open(second, &streams[1], 0)?;
    vm.on_headers(of_first, Direction::Request, false)?;
    vm.shutdown(first)?;
    vm.on_headers(of_second, Direction::Request, false)?;
    for root in [first, second] {
        vm.on_tick(root)?;
        vm.on_queue_ready(root)?;
    }
    answer_callouts(vm)?;
    vm.close(of_first)?;
    vm.shutdown(second)?;
    vm.close(of_second)?;
    vm.on_tick(second)
}

fn one_way(vm: &mut Vm, stream: &StreamRef, context: ContextId, direction: Direction) -> Result<(), Fault> {
    vm.on_headers(context, direction, false)?;
    stream.borrow_mut().stages[0].body_mut(direction).push(Bytes::from_static(b"some body"));
    vm.on_body(context, direction, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("1"));
    stream.borrow_mut().set_trailers(direction, trailers);
    vm.on_trailers(context, direction).map(drop)
}

/// Answers what it asked, in three ways, and twice, and with a token that was never given.
fn answer_callouts(vm: &mut Vm) -> Result<(), Fault> {
    let (mut tokens, mut grpc) = (Vec::new(), Vec::new());
    for (_, effect) in vm.take_effects() {
        match effect {
            Effect::HttpCall(call, _) => tokens.push(call.token),
            Effect::Grpc(callout) => grpc.push(callout.token),
            Effect::SetTick(_) | Effect::WatchQueues(_) => {}
        }
    }
    for (at, token) in grpc.into_iter().enumerate() {
        for _ in 0..2 {
            vm.on_grpc(token, GrpcEvent::InitialMetadata(Some(StatusCode::OK), HeaderMap::new()))?;
            vm.on_grpc(token, GrpcEvent::Message(Bytes::from_static(b"message")))?;
            if at % 2 == 0 {
                vm.on_grpc(token, GrpcEvent::TrailingMetadata(None, HeaderMap::new()))?;
                vm.on_grpc(token, GrpcEvent::Close { status: 14, message: "gone".to_owned() })?;
            }
        }
    }
    for (at, token) in tokens.into_iter().enumerate() {
        let result = || match at % 3 {
            0 => CalloutResult::Response(CalloutResponse {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"answer"),
                trailers: None,
            }),
            1 => CalloutResult::TimedOut,
            _ => CalloutResult::Reset("broken".to_owned()),
        };
        vm.on_http_call_response(token, result())?;
        vm.on_http_call_response(token, result())?;
    }
    vm.on_http_call_response(0xdead_beef, CalloutResult::TimedOut)
}

/// What the host keeps for the guest has limits.
fn check(vm: &mut Vm, stream: &StreamRef, services: &Services) {
    assert!(vm.memory_bytes() <= MEMORY, "it has {} bytes of memory", vm.memory_bytes());
    assert!(
        vm.take_effects().len() <= 2 * (CALLOUTS + 2),
        "callouts, a tick, a watch over queues, of each root"
    );
    let stream = stream.borrow();
    assert!(stream.actions.len() <= 4, "two resumptions, a close, a reply");
    let stored: usize = stream.properties.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(stored <= 2 << 20, "properties of {stored} bytes");
    assert!(stream.request.headers.len() <= 1100, "{} headers", stream.request.headers.len());
    assert!(services.metrics.collect().len() <= 1100);
}

/// `POST /` with a header that comes twice.
fn exchange() -> StreamRef {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("example.com"));
    headers.append("x-twice", HeaderValue::from_static("one"));
    headers.append("x-twice", HeaderValue::from_static("two"));
    let request = RequestHead {
        method: Method::POST,
        uri: "/path?query".parse().unwrap_or_default(),
        scheme: HeaderValue::from_static("http"),
        headers,
    };
    let (client, listener) = ((Ipv4Addr::LOCALHOST, 4321), (Ipv4Addr::LOCALHOST, 80));
    let info = StreamInfo::new(SystemTime::UNIX_EPOCH, SocketAddr::from(client), SocketAddr::from(listener));
    Rc::new(RefCell::new(Stream::new(request, info, 1)))
}
