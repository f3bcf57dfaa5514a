//! A real gRPC service under a test's control: it answers each method by script, well or badly, and records what came.
//!
//! It speaks HTTP/2 by the `h2` crate, because a script may break what gRPC's own libraries would not. A thread for each
//! connection, each with a runtime of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::sync::Notify;

use super::script::Gate;
use super::wait::BOUND;

/// One thing that a service does with a call or a stream.
#[derive(Debug, Clone)]
pub(crate) enum GrpcAct {
    /// Sends a head: 200, gRPC's content type, these fields.
    Head(Vec<(&'static str, &'static str)>),
    /// Sends a head with this status and no field; whether it is all there is.
    Status(u16, bool),
    /// Sends a message; with the usual head, if there was none.
    Message(String),
    /// Sends these bytes as they are.
    Raw(Vec<u8>),
    /// Sends trailers; the status among them is the script's business.
    Trailers(Vec<(&'static str, &'static str)>),
    /// Sends a head that ends the response, with these fields.
    TrailersOnly(Vec<(&'static str, &'static str)>),
    /// Ends the response without trailers.
    Finish,
    /// Waits for this many messages.
    Read(usize),
    /// Waits until the peer has sent its last message.
    ReadToEnd,
    /// Sends every message back, until the last one.
    Echo,
    /// Waits until the peer resets the stream, whatever it has sent by then, and lets it send no more than its window.
    AwaitReset,
    /// Notes how much the peer would take now, if it is asked for this much, in bytes.
    Window(usize),
    /// Waits until the test opens the gate.
    Await(Gate),
    /// Tells the test that this point was reached.
    Reached(Gate),
    /// Resets the stream with this code.
    Reset(u32),
    /// Tells the peer to open no more streams on this connection (GOAWAY).
    GoAway,
    /// Closes the connection.
    Close,
}

/// How a peer ended what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrpcEnd {
    /// With its last message.
    HalfClosed,
    /// With a reset of this code, or with its connection.
    Reset(Option<u32>),
}

/// One call or stream as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    /// Its path.
    pub(crate) path: String,
    /// Its metadata, in order, `:authority` first.
    pub(crate) fields: Vec<(String, String)>,
    /// Its messages so far.
    pub(crate) messages: Vec<String>,
    /// How much it would take at once, where the script asked.
    pub(crate) window: Option<usize>,
    /// How it ended, once it has.
    pub(crate) end: Option<GrpcEnd>,
}

/// A service on a port of its own, which lives as long as this value.
pub(crate) struct GrpcService {
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Script = dyn Fn(&str) -> Vec<GrpcAct> + Send + Sync;

struct Shared {
    script: Box<Script>,
    /// What a peer may send of one stream before it is read, in bytes.
    window: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rpcs: Vec<Rpc>,
    connections: usize,
    open: usize,
    stopped: bool,
}

impl GrpcService {
    /// A service that answers by what the script makes of a method's name.
    pub(crate) fn start(script: impl Fn(&str) -> Vec<GrpcAct> + Send + Sync + 'static) -> GrpcService {
        GrpcService::with_window(65_535, script)
    }

    /// The same with another window for each stream, in bytes.
    pub(crate) fn with_window(
        window: u32,
        script: impl Fn(&str) -> Vec<GrpcAct> + Send + Sync + 'static,
    ) -> GrpcService {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            window,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let server = shared.clone();
        std::thread::spawn(move || server.accept(&listener));
        GrpcService { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every call and stream so far.
    pub(crate) fn rpcs(&self) -> Vec<Rpc> {
        self.shared.lock().rpcs.clone()
    }

    /// How many connections were made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits for a condition on what was received.
    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut(&[Rpc]) -> bool) -> Vec<Rpc> {
        self.wait(what, |state| holds(&state.rpcs))
    }

    /// Waits until nothing is in flight.
    pub(crate) fn settle(&self) {
        self.wait("the end of every call", |state| state.rpcs.iter().all(|rpc| rpc.end.is_some()));
    }

    /// Waits until no connection is open.
    pub(crate) fn wait_for_no_connection(&self) {
        self.wait("the end of every connection", |state| state.open == 0);
    }

    fn wait(&self, what: &str, mut holds: impl FnMut(&State) -> bool) -> Vec<Rpc> {
        let state = self.shared.lock();
        let (state, late) =
            self.shared.changed.wait_timeout_while(state, BOUND, |state| !holds(state)).unwrap();
        let rpcs = state.rpcs.clone();
        drop(state); // a failed test must not poison what its own end looks at
        assert!(!late.timed_out(), "waited {BOUND:?} for {what}; there are: {rpcs:#?}");
        rpcs
    }
}

impl Drop for GrpcService {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        let _ = TcpStream::connect(self.address); // wakes the accepting thread, which then ends
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.lock().stopped {
                return;
            }
            self.change(|state| {
                state.connections += 1;
                state.open += 1;
            });
            let server = self.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime.expect("a runtime can be made"), server.serve(stream));
                drop(local); // what is in flight ends with its connection
                server.change(|state| state.open -= 1);
            });
        }
    }

    async fn serve(self: &Arc<Shared>, stream: TcpStream) {
        stream.set_nonblocking(true).expect("a socket takes its options");
        let stream = tokio::net::TcpStream::from_std(stream).expect("the runtime is there");
        // However small the frames are that a script leaves unread.
        let mut builder = h2::server::Builder::new();
        let builder = builder.initial_window_size(self.window).data_frame_budget(usize::MAX);
        let Ok(mut connection) = builder.handshake(stream).await else {
            return;
        };
        let (go_away, close) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let mut peers = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = close.notified() => return,
                () = go_away.notified() => connection.graceful_shutdown(),
                accepted = connection.accept() => {
                    let Some(Ok((request, respond))) = accepted else { break };
                    let at = self.begin(&request);
                    let acts = (self.script)(request.uri().path().rsplit('/').next().unwrap_or_default());
                    let peer = Peer {
                        shared: self.clone(),
                        at,
                        receive: request.into_body(),
                        received: BytesMut::new(),
                        respond,
                        send: None,
                        awaits_reset: false,
                    };
                    peers.spawn_local(peer.serve(acts, go_away.clone(), close.clone()));
                }
            }
        }
        // Each sees how it ended, which may have come together with the connection's end.
        while peers.join_next().await.is_some() {}
    }

    fn begin(&self, request: &Request<RecvStream>) -> usize {
        let authority = request.uri().authority().map(|authority| authority.to_string());
        let mut fields: Vec<(String, String)> =
            authority.into_iter().map(|authority| (":authority".to_owned(), authority)).collect();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        fields.extend(request.headers().iter().map(|(name, value)| (name.to_string(), text(value))));
        let path = request.uri().path().to_owned();
        self.change(|state| {
            state.rpcs.push(Rpc { path, fields, messages: Vec::new(), window: None, end: None });
            state.rpcs.len() - 1
        })
    }
}

/// One call or stream.
struct Peer {
    shared: Arc<Shared>,
    at: usize,
    receive: RecvStream,
    received: BytesMut,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// The end is not what the peer has said, but that it wants no more.
    awaits_reset: bool,
}

impl Peer {
    async fn serve(mut self, acts: Vec<GrpcAct>, go_away: Rc<Notify>, close: Rc<Notify>) {
        for act in acts {
            match act {
                GrpcAct::GoAway => go_away.notify_one(),
                GrpcAct::Close => close.notify_one(),
                act => {
                    if self.perform(act).await.is_none() {
                        break;
                    }
                }
            }
        }
        while self.message().await.is_some() {}
    }

    /// Nothing if the peer has ended the stream in the meantime.
    async fn perform(&mut self, act: GrpcAct) -> Option<()> {
        match act {
            GrpcAct::Head(fields) => self.head(200, &fields, false),
            GrpcAct::Status(status, end) => self.head(status, &[], end),
            GrpcAct::TrailersOnly(fields) => self.head(200, &fields, true),
            GrpcAct::Message(text) => {
                let mut frame = vec![0];
                frame.extend(u32::try_from(text.len()).expect("a small message").to_be_bytes());
                frame.extend(text.as_bytes());
                self.data(frame.into(), false).await
            }
            GrpcAct::Raw(bytes) => self.data(bytes.into(), false).await,
            GrpcAct::Finish => self.data(Bytes::new(), true).await,
            GrpcAct::Trailers(fields) => self.sender()?.send_trailers(header_map(&fields)).ok(),
            GrpcAct::Read(count) => {
                for _ in 0..count {
                    self.message().await?;
                }
                Some(())
            }
            GrpcAct::ReadToEnd => {
                while self.message().await.is_some() {}
                (self.end() == Some(GrpcEnd::HalfClosed)).then_some(())
            }
            GrpcAct::Echo => {
                while let Some(text) = self.message().await {
                    Box::pin(self.perform(GrpcAct::Message(text))).await?;
                }
                (self.end() == Some(GrpcEnd::HalfClosed)).then_some(())
            }
            GrpcAct::AwaitReset => {
                self.awaits_reset = true;
                while self.message().await.is_some() {}
                let reason = match &mut self.send {
                    Some(send) => std::future::poll_fn(|cx| send.poll_reset(cx)).await,
                    None => std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await,
                };
                self.ended(GrpcEnd::Reset(reason.ok().map(u32::from)));
                None
            }
            GrpcAct::Window(most) => {
                let send = self.sender()?;
                send.reserve_capacity(most);
                let window = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
                send.reserve_capacity(0);
                self.shared.change(|state| state.rpcs[self.at].window = Some(window));
                Some(())
            }
            GrpcAct::Await(gate) => tokio::task::spawn_blocking(move || gate.pass())
                .await
                .is_ok_and(|passed| passed)
                .then_some(()),
            GrpcAct::Reached(gate) => {
                gate.open();
                Some(())
            }
            GrpcAct::Reset(code) => {
                self.respond.send_reset(Reason::from(code));
                Some(())
            }
            GrpcAct::GoAway | GrpcAct::Close => unreachable!("the loop does these"),
        }
    }

    fn head(&mut self, status: u16, fields: &[(&'static str, &'static str)], end: bool) -> Option<()> {
        let mut response = Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        *response.headers_mut() = header_map(fields);
        if status == 200 {
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        }
        self.send = Some(self.respond.send_response(response, end).ok()?);
        Some(())
    }

    fn sender(&mut self) -> Option<&mut SendStream<Bytes>> {
        if self.send.is_none() {
            self.head(200, &[], false)?;
        }
        self.send.as_mut()
    }

    /// Sends as flow control allows.
    async fn data(&mut self, mut data: Bytes, end: bool) -> Option<()> {
        let send = self.sender()?;
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            let capacity = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
            let piece = data.split_to(capacity.min(data.len()));
            let is_last = data.is_empty();
            send.send_data(piece, end && is_last).ok()?;
            if is_last {
                return Some(());
            }
        }
        send.send_data(data, end).ok()
    }

    /// The next message; none after the last.
    async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((&[_, a, b, c, d], _)) = self.received.split_first_chunk::<5>() {
                let len = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.received.len() >= 5 + len {
                    self.received.advance(5);
                    let text = String::from_utf8_lossy(&self.received.split_to(len)).into_owned();
                    self.shared.change(|state| state.rpcs[self.at].messages.push(text.clone()));
                    return Some(text);
                }
            }
            match self.receive.data().await {
                Some(Ok(data)) => {
                    if !self.awaits_reset {
                        let _ = self.receive.flow_control().release_capacity(data.len());
                    }
                    self.received.extend_from_slice(&data);
                }
                Some(Err(error)) => {
                    self.ended(GrpcEnd::Reset(error.reason().filter(|_| error.is_reset()).map(u32::from)));
                    return None;
                }
                None => {
                    if !self.awaits_reset {
                        self.ended(GrpcEnd::HalfClosed);
                    }
                    return None;
                }
            }
        }
    }

    fn end(&self) -> Option<GrpcEnd> {
        self.shared.lock().rpcs[self.at].end
    }

    fn ended(&self, end: GrpcEnd) {
        self.shared.change(|state| {
            state.rpcs[self.at].end.get_or_insert(end);
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended(GrpcEnd::Reset(None));
    }
}

fn header_map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}
