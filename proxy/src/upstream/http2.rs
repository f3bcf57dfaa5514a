//! One worker's HTTP/2 connection to one endpoint, shared by whatever is sent over it at once.
//!
//! It is made when something is to be sent, kept while anything is in flight and for the cluster's `idle_timeout`
//! after that, and replaced when it is closed, also by a GOAWAY, after which what is in flight on it may still end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
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

/// A peer that is gone without a word is found out by TCP: HTTP/2's own pings are too often for many gRPC servers.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// The connection, if there is one.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    sender: RefCell<Option<SendRequest<RequestBody>>>,
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
    fn usable(&self) -> Option<SendRequest<RequestBody>> {
        let mut sender = self.sender.borrow_mut();
        if sender.as_ref().is_some_and(|sender| !sender.is_ready()) {
            *sender = None;
        }
        sender.clone()
    }

    /// Drops a connection that is closed or that nobody used for `timeout` before `now`.
    pub(super) fn sweep(&self, upkeep: &Upkeep, now: Instant, timeout: Duration) {
        let is_over = |sender: &SendRequest<_>| {
            let unused = self.since.get().map(|since| now.saturating_duration_since(since));
            sender.is_closed() || unused.is_none_or(|unused| unused >= timeout)
        };
        if self.is_idle() && self.sender.borrow().as_ref().is_some_and(is_over) {
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
    mut request: Request<RequestBody>,
) -> Result<Response<Http2Body>, UpstreamError> {
    let in_use = Use::begin(lease);
    let pool = in_use.0.pool();
    *request.uri_mut() = absolute(request.uri(), pool.endpoint().address());
    let mut is_repeated = false;
    loop {
        let mut sender = acquire(pool, tasks).await?;
        let mut failure = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response.map(|incoming| Http2Body { incoming, _in_use: in_use })),
            Err(failure) => failure,
        };
        match failure.take_message() {
            Some(back) if !is_repeated => request = back,
            _ => return Err(UpstreamError::from_exchange(failure.into_error(), false)),
        }
        is_repeated = true;
    }
}

/// HTTP/2 names scheme and authority in every request (RFC 9113, section 8.3.1).
fn absolute(uri: &Uri, endpoint: SocketAddr) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    if parts.authority.is_none() {
        parts.authority = endpoint.to_string().parse().ok();
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// A connection that can take a request. Of those that wait for one, one makes it; if that fails, it fails for all that
/// waited, rather than for one after the other.
async fn acquire(pool: &Pool, tasks: &Rc<Tasks>) -> Result<SendRequest<RequestBody>, UpstreamError> {
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

async fn open(pool: &Pool, tasks: &Rc<Tasks>) -> Result<SendRequest<RequestBody>, UpstreamError> {
    let address = pool.endpoint().address();
    let (stream, counted) = connect(pool).await?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(UpstreamError::Connect)?;
    let header_bytes = u32::try_from(pool.cluster().config().header_bytes).unwrap_or(u32::MAX);
    let (sender, connection) = Builder::new(OnWorker(tasks.clone()))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(header_bytes)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| UpstreamError::Closed { mid_head: false, source })?;
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

/// Spawns what a connection consists of on the worker, where it is counted.
#[derive(Debug, Clone)]
struct OnWorker(Rc<Tasks>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// The body of a response over HTTP/2, as it comes. Dropped before its end, it resets the stream. The request counts as
/// in flight until it is dropped.
#[derive(Debug)]
pub struct Http2Body {
    incoming: Incoming,
    _in_use: Use,
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(UpstreamError::ResponseBody)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
