//! A real HTTP/1.1 server under a test's control: it records what it receives exactly as it came, and answers by
//! script, well or badly.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::checks;
use super::http1::{Body, End, Head, Wire, is_reset, request_framing};
use super::script::{Act, Answer};
use super::wait::BOUND;

type Script = dyn Fn(&Head) -> Answer + Send + Sync;

/// A server on a port of its own, which lives as long as this value.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One request as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Its line and fields.
    pub(crate) head: Head,
    /// Its body, once the script read it (or found it cut).
    pub(crate) body: Option<Body>,
    /// Bytes of its body that have arrived so far.
    pub(crate) arrived: u64,
}

struct Shared {
    script: Box<Script>,
    state: Mutex<State>,
    changed: Condvar,
    keeps_bodies: bool,
}

#[derive(Default)]
struct State {
    requests: Vec<Received>,
    violations: Vec<String>,
    connections: usize,
    open: HashMap<usize, TcpStream>,
    stopped: bool,
}

impl Upstream {
    /// A server that answers every request by what the script makes of its head.
    pub(crate) fn start(script: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Upstream {
        Upstream::build(Box::new(script), true)
    }

    /// The same, but the content of requests' bodies is counted and not kept.
    pub(crate) fn start_forgetful(script: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Upstream {
        Upstream::build(Box::new(script), false)
    }

    /// A server that answers every request with 200 and this body.
    pub(crate) fn ok(body: &'static str) -> Upstream {
        Upstream::start(move |_| Answer::ok(body))
    }

    fn build(script: Box<Script>, keeps_bodies: bool) -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { script, state, changed, keeps_bodies });
        let server = shared.clone();
        std::thread::spawn(move || server.accept(&listener));
        Upstream { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, the one being read included.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.lock().requests.clone()
    }

    /// The same but for the first so many.
    pub(crate) fn requests_from(&self, first: usize) -> Vec<Received> {
        self.shared.lock().requests.get(first..).unwrap_or_default().to_vec()
    }

    /// Lets pass what broke what must always hold so far: it was not the proxy under test that sent it.
    pub(crate) fn pardon(&self) {
        self.shared.lock().violations.clear();
    }

    /// How many connections were made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// How many connections to it are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Waits until the heads of `count` requests have come, and returns all requests.
    pub(crate) fn wait_for_heads(&self, count: usize) -> Vec<Received> {
        self.wait(&format!("{count} request heads at the upstream"), |state| state.requests.len() >= count)
    }

    /// Waits until `count` requests have come with their whole bodies, and returns all requests.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait(&format!("{count} whole requests at the upstream"), |state| {
            state.requests.iter().filter(|request| request.body.is_some()).count() >= count
        })
    }

    /// Waits for a condition on what was received.
    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut(&[Received]) -> bool) -> Vec<Received> {
        self.wait(what, |state| holds(&state.requests))
    }

    fn wait(&self, what: &str, mut holds: impl FnMut(&State) -> bool) -> Vec<Received> {
        let state = self.shared.lock();
        let start = Instant::now();
        let (state, late) =
            self.shared.changed.wait_timeout_while(state, BOUND, |state| !holds(state)).unwrap();
        let requests = state.requests.clone();
        drop(state); // a failed test must not poison what its own end looks at
        assert!(!late.timed_out(), "waited {:?} for {what}; there are: {requests:#?}", start.elapsed());
        requests
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let violations = {
            let mut state = self.shared.lock();
            state.stopped = true;
            for connection in state.open.values() {
                let _ = connection.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut state.violations)
        };
        let _ = TcpStream::connect(self.address); // wakes the accepting thread, which then ends
        if !std::thread::panicking() {
            assert!(
                violations.is_empty(),
                "requests broke what must always hold:\n{}",
                violations.join("\n")
            );
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let mut state = self.lock();
            if state.stopped {
                return;
            }
            let connection = state.connections;
            state.connections += 1;
            state.open.insert(connection, stream.try_clone().expect("a socket can be duplicated"));
            drop(state);
            self.changed.notify_all();
            let server = self.clone();
            // Thousands of them at once in some tests: small stacks are enough.
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
            thread.spawn(move || server.serve(connection, stream)).expect("a thread can be started");
        }
    }

    fn serve(&self, connection: usize, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        if !self.keeps_bodies {
            wire.forget_bodies();
        }
        let served = self.exchanges(&mut wire);
        self.change(|state| {
            state.open.remove(&connection);
            match &served {
                Err(error) if !is_reset(error) && !state.stopped => {
                    state.violations.push(format!("connection {connection}: {error}"));
                }
                _ => {}
            }
        });
        if let Ok(true) = served {
            wire.reset();
        }
    }

    /// Serves requests until either side ends the connection; true asks for a reset.
    fn exchanges(&self, wire: &mut Wire) -> io::Result<bool> {
        while let Some(head) = wire.head_before_idle()? {
            let mut found = checks::request(&head);
            let framing = request_framing(&head)?;
            let answer = (self.script)(&head);
            let mut at = 0;
            self.change(|state| {
                at = state.requests.len();
                state.violations.append(&mut found);
                state.requests.push(Received { head, body: None, arrived: 0 });
            });
            for act in answer.acts {
                match act {
                    Act::ReadBody => {
                        let body = self.body(wire, at, framing.clone())?;
                        if body.end == End::Cut {
                            return Ok(false);
                        }
                    }
                    Act::Close => return Ok(false),
                    Act::Reset => return Ok(true),
                    act => perform(wire, act)?,
                }
            }
        }
        Ok(false)
    }

    fn body(&self, wire: &mut Wire, at: usize, framing: super::Framing) -> io::Result<Body> {
        let body = wire.body(framing, &mut |piece| {
            self.change(|state| state.requests[at].arrived += piece.len() as u64);
        })?;
        self.change(|state| {
            state.violations.extend(checks::trailers(&body));
            state.requests[at].body = Some(body.clone());
        });
        Ok(body)
    }
}

fn perform(wire: &mut Wire, act: Act) -> io::Result<()> {
    match act {
        Act::Send(bytes) => wire.send(&bytes),
        Act::Flood { block, times, written } => (0..times).try_for_each(|_| {
            wire.send(&block)?;
            written.fetch_add(block.len() as u64, Ordering::Relaxed);
            Ok(())
        }),
        Act::Await(gate) => match gate.pass() {
            true => Ok(()),
            false => Err(io::Error::other("the test never opened a gate that the upstream waited for")),
        },
        Act::Reached(gate) => {
            gate.open();
            Ok(())
        }
        Act::Echo => loop {
            let bytes = wire.some(64 * 1024)?;
            if bytes.is_empty() {
                return wire.half_close();
            }
            wire.send(&bytes)?;
        },
        Act::AwaitEnd => wire.rest().map(drop),
        Act::ReadBody | Act::Close | Act::Reset => unreachable!("the connection's loop does these"),
    }
}

/// An address of this machine where connections are refused: its port is taken and nobody listens. It is so as long
/// as the socket beside it lives.
pub(crate) fn refusing_address() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket can be made");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has a free port");
    let address = socket.local_addr().expect("a bound socket has an address").as_socket();
    (address.expect("the address is an IP one"), socket)
}

/// An address of this machine where connections are neither taken nor refused: the queue of its socket is full, and
/// the kernel ignores further attempts. It is so as long as the sockets beside it live.
pub(crate) fn silent_address() -> (SocketAddr, Vec<socket2::Socket>) {
    let (address, socket) = refusing_address();
    socket.listen(0).expect("a bound socket can listen");
    let attempt = || {
        let attempt = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let attempt = attempt.expect("a socket can be made");
        attempt.set_nonblocking(true).expect("a socket takes its options");
        let _ = attempt.connect(&address.into()); // under way
        attempt
    };
    let queue = [attempt(), attempt(), attempt(), socket].into();
    (address, queue)
}
