//! One worker's HTTP/2 connection to one endpoint, shared by whatever is sent over it at once.
//!
//! It is made when something is to be sent, kept while anything is in flight and for the cluster's `idle_timeout`
//! after that, and replaced when it is closed, also by a GOAWAY, after which what is in flight on it may still end.
//!
//! Whoever waits for a response sends the request as well, so that one that is dropped leaves nothing behind, whatever
//! its peer takes or does not. This is why it is done by `h2`: with `hyper` a request's body has a task of its own,
//! which nobody can end while the peer takes nothing.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame};
use socket2::{SockRef, TcpKeepalive};
use tokio::sync::Mutex;
use tracing::debug;

use super::connection::connect;
use super::pool::{Lease, Pool, Upkeep};
use super::{RequestBody, UpstreamError};
use crate::tasks::Tasks;

/// What the peer may send of one response, and of all on a connection, before it is read, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How much of the messages is taken that the peer would receive but its socket does not, in bytes, and how many
/// streams are opened before it has said how many it takes.
const SEND_BUFFER: usize = 1024 * 1024;
const STREAMS_AT_FIRST: usize = 100;

/// A peer that is gone without a word is found out by TCP: HTTP/2's own pings are too often for many gRPC servers.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// The connection, if there is one.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// Requests in flight, those included that wait for the connection.
    in_use: Cell<usize>,
    /// Not before the time at which it was last used.
    since: Cell<Option<Instant>>,
    /// Held by whoever connects; the others wait for it and share what comes of it.
    connecting: Mutex<()>,
    /// How often connecting has failed, and how the last time.
    failures: Cell<u64>,
    last_failure: RefCell<Option<Failed>>,
}

/// A failure to connect that several can be told of.
#[derive(Debug, Clone, Copy)]
enum Failed {
    Refused,
    Timeout,
    Unreachable(io::ErrorKind),
    Handshake,
}

impl Http2 {
    /// The connection, if it can take a request.
    fn usable(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.borrow_mut();
        if sender.as_mut().is_some_and(is_closed) {
            *sender = None;
        }
        sender.clone()
    }

    /// Drops a connection that is closed or that nobody used for `timeout` before `now`.
    pub(super) fn sweep(&self, upkeep: &Upkeep, now: Instant, timeout: Duration) {
        let is_over = |sender: &mut SendRequest<_>| {
            let unused = self.since.get().map(|since| now.saturating_duration_since(since));
            is_closed(sender) || unused.is_none_or(|unused| unused >= timeout)
        };
        if self.is_idle() && self.sender.borrow_mut().as_mut().is_some_and(is_over) {
            self.clear(upkeep);
        }
    }

    /// Drops an unused connection.
    pub(super) fn clear(&self, upkeep: &Upkeep) {
        if self.is_idle() {
            *self.sender.borrow_mut() = None;
            upkeep.idle.set(upkeep.idle.get() - 1);
        }
    }

    /// Whether there is a connection that is not in use: then it is counted among the unused ones.
    fn is_idle(&self) -> bool {
        self.in_use.get() == 0 && self.sender.borrow().is_some()
    }

    fn begin(&self, upkeep: &Upkeep) {
        if self.is_idle() {
            upkeep.idle.set(upkeep.idle.get() - 1);
        }
        self.in_use.set(self.in_use.get() + 1);
    }

    fn end(&self, pool: &Pool) {
        let upkeep = pool.upkeep();
        self.in_use.set(self.in_use.get() - 1);
        if self.is_idle() {
            upkeep.idle.set(upkeep.idle.get() + 1);
            self.since.set(Some(upkeep.at_latest()));
            if upkeep.draining.get() || pool.cluster().config().idle_connections == 0 {
                self.clear(upkeep);
            }
        }
    }
}

/// Whether a connection takes no more requests: it was closed, or is about to be. A sender that has sent nothing itself
/// never waits.
fn is_closed(sender: &mut SendRequest<Bytes>) -> bool {
    matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

/// A request in flight on a pool's HTTP/2 connection.
#[derive(Debug)]
struct Use(Lease);

impl Use {
    fn begin(lease: Lease) -> Use {
        let pool = lease.pool();
        pool.http2().begin(pool.upkeep());
        Use(lease)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let pool = self.0.pool();
        pool.http2().end(pool);
    }
}

/// Sends a request on the connection of the lease's pool, which is made if there is none.
pub(super) async fn send(
    lease: Lease,
    tasks: &Rc<Tasks>,
    request: Request<RequestBody>,
) -> Result<Response<Http2Body>, UpstreamError> {
    let in_use = Use::begin(lease);
    let pool = in_use.0.pool();
    let (mut head, body) = request.into_parts();
    head.uri = absolute(&head.uri, head.headers.remove(HOST), pool.endpoint().address());
    head.version = Version::HTTP_2;
    let failed = |error| in_use.0.failed(error);
    let mut sender = acquire(pool, tasks).await.map_err(failed)?;
    let (response, stream) = sender
        .send_request(Request::from_parts(head, ()), body.is_end_stream())
        .map_err(|error| failed(UpstreamError::Http2(error)))?;
    drop(sender); // it would keep the connection
    let mut outgoing = Outgoing::new(body, stream);
    let mut response = pin!(response);
    let response = poll_fn(|cx| {
        outgoing.send(cx);
        response.as_mut().poll(cx)
    });
    let response = response.await.map_err(|error| failed(UpstreamError::Http2(error)))?;
    in_use.0.answered(response.status(), response.headers());
    Ok(response.map(|incoming| Http2Body { incoming, outgoing, _in_use: in_use }))
}

/// What is left to be sent of a request.
struct Outgoing {
    body: RequestBody,
    /// Nothing once all was sent, or cannot be.
    stream: Option<SendStream<Bytes>>,
    /// What the peer has not taken yet of the last that the body gave.
    piece: Bytes,
}

impl Outgoing {
    fn new(body: RequestBody, stream: SendStream<Bytes>) -> Outgoing {
        let stream = (!body.is_end_stream()).then_some(stream);
        Outgoing { body, stream, piece: Bytes::new() }
    }

    /// Sends what there is and what the peer takes, and sees to it that the task is woken for more. That it failed is
    /// said by the response.
    fn send(&mut self, cx: &mut Context<'_>) {
        if let Some(stream) = &mut self.stream
            && poll_send(stream, &mut self.body, &mut self.piece, cx).is_ready()
        {
            self.stream = None;
        }
    }
}

/// Ready when nothing more follows. No more is given to a stream than the peer takes at once: what waits in it would be
/// sent, and waited for, also when nobody wants it any more.
fn poll_send(
    stream: &mut SendStream<Bytes>,
    body: &mut RequestBody,
    piece: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    loop {
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            while stream.capacity() == 0 {
                let Some(capacity) = ready!(stream.poll_capacity(cx)) else { return Poll::Ready(Ok(())) };
                capacity?;
            }
            let part = piece.split_to(piece.len().min(stream.capacity()));
            let is_last = piece.is_empty() && body.is_end_stream();
            stream.send_data(part, is_last)?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
        }
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => *piece = data,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(stream.send_trailers(trailers));
                    }
                }
            },
            Some(Err(_)) => {
                stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ok(()));
            }
            None => return Poll::Ready(stream.send_data(Bytes::new(), true)),
        }
    }
}

/// HTTP/2 names scheme and authority in every request, in the place of `host` (RFC 9113, section 8.3.1).
fn absolute(uri: &Uri, host: Option<HeaderValue>, endpoint: SocketAddr) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    if parts.authority.is_none() {
        let named = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        parts.authority = named.or_else(|| endpoint.to_string().parse().ok());
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// A connection that can take a request. Of those that wait for one, one makes it; if that fails, it fails for all that
/// waited, rather than for one after the other.
async fn acquire(pool: &Pool, tasks: &Rc<Tasks>) -> Result<SendRequest<Bytes>, UpstreamError> {
    let http2 = pool.http2();
    if let Some(sender) = http2.usable() {
        return Ok(sender);
    }
    let failures = http2.failures.get();
    let _turn = http2.connecting.lock().await;
    if let Some(sender) = http2.usable() {
        return Ok(sender);
    }
    if http2.failures.get() != failures
        && let Some(failed) = *http2.last_failure.borrow()
    {
        return Err(failed.into_error());
    }
    match Box::pin(open(pool, tasks)).await {
        Ok(sender) => {
            *http2.sender.borrow_mut() = Some(sender.clone());
            Ok(sender)
        }
        Err(error) => {
            http2.failures.set(failures + 1);
            *http2.last_failure.borrow_mut() = Some(Failed::of(&error));
            Err(error)
        }
    }
}

async fn open(pool: &Pool, tasks: &Rc<Tasks>) -> Result<SendRequest<Bytes>, UpstreamError> {
    let address = pool.endpoint().address();
    let (stream, counted) = connect(pool).await?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(UpstreamError::Connect)?;
    let header_bytes = u32::try_from(pool.cluster().config().header_bytes).unwrap_or(u32::MAX);
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(header_bytes)
        .handshake(stream)
        .await
        .map_err(UpstreamError::Http2)?;
    tasks.spawn(async move {
        let _counted = counted;
        if let Err(error) = connection.await {
            debug!(%address, error = &error as &dyn std::error::Error, "upstream connection failed");
        }
    });
    Ok(sender)
}

impl Failed {
    fn of(error: &UpstreamError) -> Failed {
        match error {
            UpstreamError::ConnectRefused(_) => Failed::Refused,
            UpstreamError::ConnectTimeout => Failed::Timeout,
            UpstreamError::Connect(source) => Failed::Unreachable(source.kind()),
            _ => Failed::Handshake,
        }
    }

    fn into_error(self) -> UpstreamError {
        match self {
            Failed::Refused => UpstreamError::ConnectRefused(io::ErrorKind::ConnectionRefused.into()),
            Failed::Timeout => UpstreamError::ConnectTimeout,
            Failed::Unreachable(kind) => UpstreamError::Connect(kind.into()),
            Failed::Handshake => UpstreamError::Connect(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// The body of a response over HTTP/2, as it comes; what is left of its request is sent while it is read. Dropped
/// before either has ended, it resets the stream. The request counts as in flight until it is dropped.
pub struct Http2Body {
    incoming: RecvStream,
    outgoing: Outgoing,
    _in_use: Use,
}

impl std::fmt::Debug for Http2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Body").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        self.outgoing.send(cx);
        let incoming = &mut self.incoming;
        let read = match ready!(incoming.poll_data(cx)) {
            Some(Ok(data)) => {
                // As much more may be sent as is read here. That fails only where nothing more can come.
                let _ = incoming.flow_control().release_capacity(data.len());
                Ok(Some(Frame::data(data)))
            }
            Some(Err(error)) => Err(error),
            None => ready!(incoming.poll_trailers(cx)).map(|trailers| trailers.map(Frame::trailers)),
        };
        Poll::Ready(match read {
            Ok(frame) => frame.map(Ok),
            Err(error) => Some(Err(UpstreamError::Http2(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
