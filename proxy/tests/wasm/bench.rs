//! The bench that guests are put on: an engine, a filter's configuration, a clock that only tests move, an exchange.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tidegate::config::model::{Filter, FilterLimits, ModuleSource};
use tidegate::wasm::stream::{RequestHead, ResponseHead, Stream, StreamInfo, StreamRef};
use tidegate::wasm::{Clock, Engine, Fault, GuestMetrics, Plugin, Services, Vm};

use crate::guest::{Dump, Guest};

pub(crate) static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(None).expect("this machine can compile"));

/// The root of a guest that runs one filter.
pub(crate) const ROOT: u32 = 1;

/// A clock that stands still until it is told.
pub(crate) struct TestClock {
    base: Instant,
    passed: Mutex<Duration>,
}

impl TestClock {
    pub(crate) fn new() -> TestClock {
        TestClock { base: Instant::now(), passed: Mutex::default() }
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.passed.lock().expect("no test panics here") += by;
    }

    fn passed(&self) -> Duration {
        *self.passed.lock().expect("no test panics here")
    }
}

/// What the wall clock says at first: a second after this many.
pub(crate) const WALL_SECONDS: u64 = 1_700_000_000;

impl Clock for TestClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_SECONDS) + self.passed()
    }

    fn monotonic(&self) -> Instant {
        self.base + self.passed()
    }
}

/// A guest's surroundings.
pub(crate) struct Bench {
    pub(crate) filter: Filter,
    pub(crate) services: Services,
    pub(crate) clock: Arc<TestClock>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let clock = Arc::new(TestClock::new());
        let services = Services {
            clock: clock.clone(),
            metrics: Arc::new(GuestMetrics::new(2)),
            clusters: Arc::new(HashMap::from([
                ("api".to_owned(), vec![([192, 0, 2, 1], 80).into(), ([192, 0, 2, 2], 80).into()]),
                ("the api".to_owned(), Vec::new()),
            ])),
            ..Services::new()
        };
        Bench { filter: filter(), services, clock }
    }

    pub(crate) fn plugin(&self, guest: &Guest) -> Plugin {
        let module = ENGINE.compile(&guest.build()).unwrap_or_else(|error| panic!("{error}"));
        Plugin::new(Arc::new(self.filter.clone()), module)
    }

    pub(crate) fn try_start(&self, guest: &Guest) -> Result<Vm, Fault> {
        self.plugin(guest).start(self.services.clone())
    }

    pub(crate) fn start(&self, guest: &Guest) -> Vm {
        self.try_start(guest).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Starts the guest, shows it a request's headers, and returns what it left.
    pub(crate) fn on_request_headers(&self, guest: &Guest) -> (Vm, StreamRef, Dump) {
        let (vm, stream) = self.on_request_headers_undumped(guest);
        let dump = Dump::of(&stream);
        (vm, stream, dump)
    }

    /// The same of a guest that may not leave anything.
    pub(crate) fn on_request_headers_undumped(&self, guest: &Guest) -> (Vm, StreamRef) {
        let mut vm = self.start(guest);
        let stream = get("/path?query");
        let context = vm.open(ROOT, &stream, 0).expect("nothing in it fails");
        vm.on_headers(context, tidegate::wasm::stream::Direction::Request, true)
            .unwrap_or_else(|fault| panic!("{fault}"));
        (vm, stream)
    }
}

/// A filter with the limits that tests stay below.
pub(crate) fn filter() -> Filter {
    Filter {
        config: Bytes::from_static(b"{\"plugin\": 1}"),
        vm_id: "the-vm".to_owned(),
        vm_config: Bytes::from_static(b"vm"),
        root_id: "the-root".to_owned(),
        env: vec![("KEY".to_owned(), "value".to_owned()), ("EMPTY".to_owned(), String::new())],
        limits: FilterLimits {
            instructions: 1_000_000,
            instructions_per_second: None,
            wall_clock: Duration::from_secs(60),
            memory: 16 << 20,
            instances: 8,
            callouts: 4,
            log_bytes: 1 << 20,
            shared_data: 1 << 20,
            queue: 1 << 20,
            cells: 1 << 20,
            metrics: 8,
        },
        ..Filter::new("tested", ModuleSource::File(PathBuf::from("tested.wasm")))
    }
}

/// `GET` with a host and two headers, one of them twice.
pub(crate) fn get(path: &str) -> StreamRef {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("example.com"));
    headers.append("x-twice", HeaderValue::from_static("one"));
    headers.append("x-twice", HeaderValue::from_static("two"));
    headers.insert("x-empty", HeaderValue::from_static(""));
    let request = RequestHead {
        method: Method::GET,
        uri: path.parse().expect("a path"),
        scheme: HeaderValue::from_static("http"),
        headers,
    };
    Rc::new(RefCell::new(Stream::new(request, info(), 1)))
}

/// A TCP connection.
pub(crate) fn connection() -> StreamRef {
    Rc::new(RefCell::new(Stream::connection(info(), 1)))
}

/// Gives the exchange a response.
pub(crate) fn respond(stream: &StreamRef, status: u16, fields: &[(&'static str, &'static str)]) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).expect("a status");
    stream.borrow_mut().response = Some(ResponseHead { status, headers: headers.into() });
}

fn info() -> StreamInfo {
    StreamInfo {
        start: SystemTime::UNIX_EPOCH + Duration::new(5, 7),
        source: SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 4321)),
        destination: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
        connection_id: 99,
        unix: None,
        tls: None,
        protocol: "HTTP/1.1",
        listener_direction: 1,
        chance: 0,
        route_name: Some("the-route".into()),
        cluster_name: Some("the-cluster".into()),
        upstream: None,
        upstream_local: None,
        code_details: None,
        request_bytes: 3,
        response_bytes: 4,
        duration: None,
    }
}

/// Runs something and returns what was logged meanwhile on this thread: a line for each event.
pub(crate) fn logged(run: impl FnOnce()) -> Vec<String> {
    // What no subscriber wanted at first is asked about again only now and then: this one, of no thread in particular,
    // wants everything.
    static EVERYTHING: Once = Once::new();
    EVERYTHING.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink);
        tracing::subscriber::set_global_default(all.finish()).expect("nobody else sets one");
    });
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = lines.0.lock().expect("no test panics here").clone();
    String::from_utf8(bytes)
        .expect("logs are text")
        .lines()
        .map(|line| line.trim_start().to_owned())
        .collect()
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
