//! What single calls between host and guest cost, on this machine and nothing else running: `make bench-host`.
//!
//! A hostcall is measured within the guest: one entry into a callback makes [`CALLS`] of them in a loop, so that what is
//! shown for one has a thousandth of an entry and of a turn of the loop in it, well below a nanosecond. The callback is
//! that for a request's headers, on an exchange that stays open. Callbacks and contexts are measured from outside, one at
//! a time.
//!
//! Bounds, on a machine of 2020 or later; they are not asserted, since time measured where others work says nothing:
//!
//! | measured | bound |
//! |---|---|
//! | `get_header_map_pairs` of 20 headers | 1.5 µs |
//! | `get_property` of `request.path` | 0.15 µs |

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate::config::model::{Filter, ModuleSource};
use tidegate::wasm::stream::{Direction, RequestHead, Stream, StreamInfo, StreamRef};
use tidegate::wasm::{Blank, Engine, Plugin, Services, Stamp, Vm};

/// How many hostcalls an entry into the guest makes.
const CALLS: u64 = 1000;

/// A hostcall to measure: its type, and a call of it.
struct Hostcall {
    shown: &'static str,
    name: &'static str,
    params: usize,
    args: &'static str,
}

/// Texts are at 0x20 and 0x40, out-values go to 0x80; what the allocator gives is always the same block.
const HOSTCALLS: [Hostcall; 4] = [
    Hostcall {
        shown: "get_header_map_pairs of 20 headers",
        name: "proxy_get_header_map_pairs",
        params: 3,
        args: "(i32.const 0) (i32.const 0x80) (i32.const 0x84)",
    },
    Hostcall {
        shown: "get_property of request.path",
        name: "proxy_get_property",
        params: 4,
        args: "(i32.const 0x20) (i32.const 12) (i32.const 0x80) (i32.const 0x84)",
    },
    Hostcall {
        shown: "get_header_map_value",
        name: "proxy_get_header_map_value",
        params: 5,
        args: "(i32.const 0) (i32.const 0x40) (i32.const 8) (i32.const 0x80) (i32.const 0x84)",
    },
    Hostcall {
        shown: "replace_header_map_value",
        name: "proxy_replace_header_map_value",
        params: 5,
        args: "(i32.const 0) (i32.const 0x40) (i32.const 8) (i32.const 0x60) (i32.const 5)",
    },
];

/// What every guest has.
const LEAST: &str = r#"(memory (export "memory") 1)
    (data (i32.const 0x20) "request\00path") (data (i32.const 0x40) "x-nr-007") (data (i32.const 0x60) "other")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0x1000))"#;

/// A guest that makes the call again and again, and stops where it fails: then nothing was measured.
fn caller(hostcall: &Hostcall) -> String {
    let Hostcall { name, params, args, .. } = hostcall;
    let params = vec!["i32"; *params].join(" ");
    format!(
        r#"(import "env" "{name}" (func $call (param {params}) (result i32))) {LEAST}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $left i32)
          (local.set $left (i32.const {CALLS}))
          (loop $again
            (if (call $call {args}) (then unreachable))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
          (i32.const 0))"#
    )
}

fn start(engine: &Engine, fields: &str) -> Vm {
    let bytes = wat::parse_str(format!("(module {fields})")).expect("it is a module");
    let module = engine.compile(&bytes).expect("it is a filter");
    let filter = Filter::new("measured", ModuleSource::File(PathBuf::new()));
    Plugin::new(Arc::new(filter), module).start(Services::new()).expect("it starts")
}

/// A request with 20 headers, its pseudo-headers among them.
fn request() -> StreamRef {
    const PSEUDO_HEADERS: usize = 4;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("example.com"));
    for number in 0..20 - PSEUDO_HEADERS {
        let name = HeaderName::try_from(format!("x-nr-{number:03}")).expect("a name");
        headers.insert(name, HeaderValue::from_static("a value of some length"));
    }
    let uri = "/a/path?and=a-query".parse().expect("a path");
    let head = RequestHead { method: Method::GET, uri, scheme: HeaderValue::from_static("http"), headers };
    let address = ([127, 0, 0, 1], 80).into();
    let info = StreamInfo::new(SystemTime::UNIX_EPOCH, address, address);
    Rc::new(RefCell::new(Stream::new(head, info, 1)))
}

fn enter(vm: &mut Vm, context: u32) {
    vm.on_headers(context, Direction::Request, true).expect("nothing in it fails");
}

fn hostcalls(criterion: &mut Criterion) {
    let engine = Engine::new(None).expect("this machine can compile");
    for hostcall in &HOSTCALLS {
        let mut vm = start(&engine, &caller(hostcall));
        let context = vm.open(vm.first_root(), &request(), 0).expect("it has room");
        criterion.bench_function(hostcall.shown, |bencher| {
            bencher.iter_custom(|count| {
                let entries = count.div_ceil(CALLS);
                let began = Instant::now();
                (0..entries).for_each(|_| enter(&mut vm, context));
                began.elapsed().mul_f64(count as f64 / (entries * CALLS) as f64)
            });
        });
    }
}

fn callbacks(criterion: &mut Criterion) {
    let engine = Engine::new(None).expect("this machine can compile");
    let empty =
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    let mut vm = start(&engine, &format!("{LEAST} {empty}"));
    let context = vm.open(vm.first_root(), &request(), 0).expect("it has room");
    criterion.bench_function("an empty callback", |bencher| bencher.iter(|| enter(&mut vm, context)));

    let life = r#"(func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_delete") (param i32))"#;
    let mut vm = start(&engine, &format!("{LEAST} {life}"));
    let (root, stream) = (vm.first_root(), request());
    criterion.bench_function("a context created and deleted", |bencher| {
        bencher.iter(|| {
            let context = vm.open(root, &stream, 0).expect("it has room");
            vm.close(context).expect("nothing in it fails");
        });
    });
}

/// A shipped filter, for which a request is: a context, the request's headers, its end. First in an instance that serves
/// all, then in one of its own for each.
fn isolation(criterion: &mut Criterion) {
    let engine = Engine::new(None).expect("this machine can compile");
    let mut filter = Filter::new("measured", ModuleSource::Builtin("rate-limit".to_owned()));
    filter.config = r#"{"rules": [{"key": ["header:x-nr-001"], "rate": "1000000000/s"}]}"#.into();
    let bytes = tidegate_filter_bundle::module("rate-limit").expect("it is shipped");
    let stream = request();
    let services = Services::new();
    let blank = Blank::new(bytes).expect("it can be kept");
    let plugin = Plugin::new(Arc::new(filter), engine.compile(blank.bytes()).expect("it is a filter"));
    let mut proof = plugin.prove(&services).expect("it starts");
    let plugin = plugin.with_image(&blank, &mut proof, &engine).expect("it compiles again");
    let serve = |vm: &mut Vm| {
        let context = vm.open(vm.first_root(), &stream, 0).expect("it has room");
        enter(vm, context);
        vm.close(context).expect("nothing in it fails");
    };
    let mut vm = plugin.start(services.clone()).expect("it starts");
    criterion.bench_function("a request, isolation: worker", |bencher| bencher.iter(|| serve(&mut vm)));
    let stamp = Stamp::new(&plugin, &services).expect("there is an image");
    criterion.bench_function("a request, isolation: exchange", |bencher| {
        bencher.iter(|| serve(&mut stamp.instance().expect("it has room")));
    });
    criterion.bench_function("an instance that serves nothing", |bencher| {
        bencher.iter(|| drop(stamp.instance().expect("it has room")));
    });
}

criterion_group!(host, hostcalls, callbacks, isolation);
criterion_main!(host);
