//! One worker's HTTP/2 connections to one endpoint, each shared by as many requests as it has room for.
//!
//! One is made when there is something to send and none of the others has room; it is kept while anything is in flight and
//! for the cluster's `idle_timeout` after that, and replaced when it is closed, also by a GOAWAY, after which what is in
//! flight on it may still end.
//!
//! Whoever waits for a response sends the request as well; when its head has come, a task does that ends with the
//! response's body. So a request that is dropped leaves nothing behind, whatever its peer takes or does not. This is why it
//! is done by `h2`: with `hyper` a request's body has a task of its own, which nobody can end while the peer takes nothing.

mod frames;
mod settled;
mod stream;
pub(super) mod tunnel;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::sync::Mutex;
use tracing::debug;

use super::UpstreamError;
use super::breakers;
use super::connection::{self, Counted, connect};
use super::pool::{Chosen, Pool, Shelf, Upkeep};
use super::send::Attempt;
use crate::config::model::ClusterProtocol;
use crate::http2::{Gone, Keepalive, framing_budget};
use crate::tasks::Tasks;
use crate::tls::{H2, Purpose};
use crate::transport::Transport;
use frames::Frames;
use settled::Settled;

pub use stream::Http2Body;
pub(super) use stream::send;
pub(super) use tunnel::Http2Tunnel;

/// How much of the messages is taken that the peer would receive but its socket does not, in bytes, and how many
/// streams are opened before it has said how many it takes.
const SEND_BUFFER: usize = 1024 * 1024;
const STREAMS_AT_FIRST: usize = 100;

/// The connections.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held by whoever connects; the others wait for it and share what comes of it.
    connecting: Mutex<()>,
    /// How often connecting has failed, and how the last time.
    failures: Cell<u64>,
    last_failure: RefCell<Option<Failed>>,
}

/// One of them.
#[derive(Debug)]
struct Connection {
    /// Unique in the process.
    id: u64,
    sender: SendRequest<Bytes>,
    local: Option<SocketAddr>,
    /// Whether the peer has said what it takes.
    settled: Rc<Settled>,
    /// Requests in flight on it, at most so many.
    streams: Cell<usize>,
    most: usize,
    /// Requests that were ever sent on it.
    used: Cell<u64>,
    /// Not before the time at which it was last used.
    since: Cell<Instant>,
}

/// A failure to connect that several can be told of.
#[derive(Debug, Clone)]
enum Failed {
    Refused,
    Timeout,
    Unreachable(io::ErrorKind),
    Tls(io::ErrorKind, Rc<str>),
    Handshake,
}

impl Http2 {
    /// A place on the first connection that has room, if one has, but for the one that is `avoided`. Those that are closed
    /// are forgotten.
    fn turn(&self, shelf: &Rc<Shelf>, avoided: Option<u64>) -> Option<Turn> {
        self.retain(shelf.upkeep(), |connection| !connection.is_closed());
        let connections = self.connections.borrow();
        let mut others = connections.iter().filter(|it| Some(it.id) != avoided);
        others.find(|connection| connection.has_room()).map(|it| Turn::take(it, shelf))
    }

    /// Drops connections that are closed or that nobody used for `timeout` before `now`.
    pub(super) fn sweep(&self, upkeep: &Upkeep, now: Instant, timeout: Duration) {
        self.retain(upkeep, |connection| {
            let unused = now.saturating_duration_since(connection.since.get());
            !connection.is_closed() && (connection.streams.get() > 0 || unused < timeout)
        });
    }

    /// Drops the unused connections.
    pub(super) fn clear(&self, upkeep: &Upkeep) {
        self.retain(upkeep, |connection| connection.streams.get() > 0);
    }

    fn retain(&self, upkeep: &Upkeep, keep: impl Fn(&Connection) -> bool) {
        self.connections.borrow_mut().retain(|connection| {
            let kept = keep(connection);
            if !kept && connection.streams.get() == 0 {
                upkeep.idle.set(upkeep.idle.get() - 1);
            }
            kept
        });
    }

    /// Takes up a connection that is not in use yet.
    fn add(&self, connection: Connection, upkeep: &Upkeep) {
        upkeep.idle.set(upkeep.idle.get() + 1);
        self.connections.borrow_mut().push(Rc::new(connection));
    }

    /// How many connections are unused and still open.
    pub(super) fn idle(&self) -> usize {
        let unused = |it: &&Rc<Connection>| it.streams.get() == 0 && !it.is_closed();
        self.connections.borrow().iter().filter(unused).count()
    }

    /// Fails if connecting has, since there were so many failures.
    fn failed_since(&self, failures: u64) -> Result<(), UpstreamError> {
        match &*self.last_failure.borrow() {
            Some(failed) if self.failures.get() != failures => Err(failed.clone().into_error()),
            _ => Ok(()),
        }
    }

    fn has(&self, connection: &Rc<Connection>) -> bool {
        self.connections.borrow().iter().any(|it| Rc::ptr_eq(it, connection))
    }
}

impl Connection {
    /// Whether it takes no more requests: it was closed, or is about to be. A sender that has sent nothing itself never
    /// waits.
    fn is_closed(&self) -> bool {
        let mut sender = self.sender.clone();
        matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.most.min(self.sender.current_max_send_streams())
    }
}

/// A request's place on a connection.
#[derive(Debug)]
struct Turn {
    connection: Rc<Connection>,
    shelf: Rc<Shelf>,
}

impl Turn {
    fn take(connection: &Rc<Connection>, shelf: &Rc<Shelf>) -> Turn {
        let upkeep = shelf.upkeep();
        if connection.streams.get() == 0 {
            upkeep.idle.set(upkeep.idle.get() - 1);
        }
        connection.streams.set(connection.streams.get() + 1);
        connection.used.set(connection.used.get() + 1);
        Turn { connection: connection.clone(), shelf: shelf.clone() }
    }

    /// What sends one request.
    fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender.clone()
    }

    /// Waits until the peer has said what it takes.
    async fn settled(&self) {
        self.connection.settled.wait().await;
    }

    /// Notes which connection it is on.
    fn note(&self, attempt: &Cell<Attempt>, since: Option<Instant>) {
        let Connection { local, id, used, .. } = &*self.connection;
        let is_reused = used.get() > 1; // there was a request on it before
        attempt.update(|it| Attempt { multiplexed: Some(*id), ..it.on(*local, is_reused, since) });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Turn { connection, shelf } = self;
        connection.streams.set(connection.streams.get() - 1);
        let http2 = shelf.http2();
        // One that was forgotten ends with this.
        if connection.streams.get() == 0 && http2.has(connection) {
            let upkeep = shelf.upkeep();
            upkeep.idle.set(upkeep.idle.get() + 1);
            connection.since.set(upkeep.at_latest());
            if upkeep.draining.get() || !shelf.keeps_idle() {
                http2.clear(upkeep);
            }
        }
    }
}

/// A place on a connection, another than the one that is `avoided`. Of those that wait for one, one makes it; if that fails,
/// it fails for all that waited, rather than for one after the other.
async fn acquire(pool: &Pool, tasks: &Rc<Tasks>, avoided: Option<u64>) -> Result<Turn, UpstreamError> {
    let (http2, shelf) = (pool.http2(), pool.shelf());
    if let Some(turn) = http2.turn(shelf, avoided) {
        return Ok(turn);
    }
    let _waits = breakers::wait(pool)?;
    let failures = http2.failures.get();
    let _connecting = http2.connecting.lock().await;
    if let Some(turn) = http2.turn(shelf, avoided) {
        return Ok(turn);
    }
    http2.failed_since(failures)?;
    match Box::pin(open(pool, tasks)).await {
        Ok(connection) => {
            http2.add(connection, pool.upkeep());
            // A new one has room, unless it was closed at once.
            http2.turn(shelf, avoided).ok_or_else(|| Failed::Handshake.into_error())
        }
        Err(error) => Err(note_failure(pool, error)),
    }
}

/// Which version of HTTP an endpoint chooses that may choose. If that is not known, one of those that ask connects: an HTTP/2
/// connection is everybody's, and one of HTTP/1.1 is its own.
pub(super) async fn ask(
    pool: &Pool,
    tasks: &Rc<Tasks>,
) -> Result<(Chosen, Option<connection::Connection>), UpstreamError> {
    let (http2, shelf) = (pool.http2(), pool.shelf());
    if let Some(chosen) = shelf.chosen() {
        return Ok((chosen, None));
    }
    let _waits = breakers::wait(pool)?;
    let failures = http2.failures.get();
    let _connecting = http2.connecting.lock().await;
    if let Some(chosen) = shelf.chosen() {
        return Ok((chosen, None));
    }
    http2.failed_since(failures)?;
    Box::pin(meet(pool, tasks)).await.map_err(|error| note_failure(pool, error))
}

async fn meet(
    pool: &Pool,
    tasks: &Rc<Tasks>,
) -> Result<(Chosen, Option<connection::Connection>), UpstreamError> {
    let (transport, counted) = connect(pool, Purpose::Http, &[]).await?;
    let (chosen, own) = if transport.alpn().as_deref() == Some(H2) {
        let connection = begin(pool, tasks, transport, counted).await?;
        pool.http2().add(connection, pool.upkeep());
        (Chosen::Http2, None)
    } else {
        let own = connection::Connection::begin(pool, tasks, transport, counted).await?;
        (Chosen::Http1, Some(own))
    };
    pool.shelf().note_chosen(Some(chosen));
    Ok((chosen, own))
}

/// Notes why there is no connection, for those who wait for it.
fn note_failure(pool: &Pool, error: UpstreamError) -> UpstreamError {
    if let UpstreamError::Overflow(_) = error {
        return error; // it is nobody's failure, and may be otherwise for the next
    }
    let http2 = pool.http2();
    http2.failures.set(http2.failures.get() + 1);
    *http2.last_failure.borrow_mut() = Some(Failed::of(&error));
    error
}

async fn open(pool: &Pool, tasks: &Rc<Tasks>) -> Result<Connection, UpstreamError> {
    let (transport, counted) = connect(pool, Purpose::Http2, &[]).await?;
    if pool.cluster().config().protocol == ClusterProtocol::Auto && transport.alpn().as_deref() != Some(H2) {
        pool.shelf().note_chosen(None); // it has become another
        return Err(UpstreamError::Tls(io::Error::other("the endpoint does not choose HTTP/2 any more")));
    }
    begin(pool, tasks, transport, counted).await
}

/// Speaks HTTP/2 on what was connected, and spawns the connection's task.
async fn begin(
    pool: &Pool,
    tasks: &Rc<Tasks>,
    transport: Transport,
    counted: Counted,
) -> Result<Connection, UpstreamError> {
    let (address, config) = (pool.endpoint().address(), pool.cluster().config());
    let local = transport.socket().local();
    let (begun, settled) = (Rc::new(Cell::new(false)), Rc::new(Settled::default()));
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(config.http2.initial_stream_window_size)
        .initial_connection_window_size(config.http2.initial_connection_window_size)
        .data_frame_budget(framing_budget(config.http2.initial_connection_window_size))
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(config.header_bytes).unwrap_or(u32::MAX))
        .handshake(Frames::new(transport, begun.clone()))
        .await
        .map_err(UpstreamError::Http2)?;
    let mut keepalive = Keepalive::begin(config.http2.keepalive, connection.ping_pong());
    let says = settled.clone();
    tasks.spawn(async move {
        let _counted = counted;
        let mut connection = pin!(connection);
        let ended = poll_fn(|cx| {
            if let Some(Poll::Ready(Gone)) = keepalive.as_mut().map(|keepalive| keepalive.poll(cx)) {
                return Poll::Ready(Err(None)); // dropped: what is in flight fails
            }
            let polled = connection.as_mut().poll(cx).map_err(Some);
            if begun.get() || polled.is_ready() {
                says.set();
            }
            polled
        });
        match ended.await {
            Ok(()) => {}
            Err(None) => debug!(%address, "an upstream connection answers no pings"),
            Err(Some(error)) => {
                debug!(%address, error = &error as &dyn std::error::Error, "upstream connection failed");
            }
        }
    });
    Ok(Connection {
        id: next_id(),
        sender,
        local,
        settled,
        streams: Cell::new(0),
        most: usize::try_from(config.http2.max_concurrent_streams).unwrap_or(usize::MAX),
        used: Cell::new(0),
        since: Cell::new(pool.upkeep().at_latest()),
    })
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Failed {
    fn of(error: &UpstreamError) -> Failed {
        match error {
            UpstreamError::ConnectRefused(_) => Failed::Refused,
            UpstreamError::ConnectTimeout => Failed::Timeout,
            UpstreamError::Connect(source) => Failed::Unreachable(source.kind()),
            UpstreamError::Tls(source) => Failed::Tls(source.kind(), source.to_string().into()),
            _ => Failed::Handshake,
        }
    }

    fn into_error(self) -> UpstreamError {
        match self {
            Failed::Refused => UpstreamError::ConnectRefused(io::ErrorKind::ConnectionRefused.into()),
            Failed::Timeout => UpstreamError::ConnectTimeout,
            Failed::Unreachable(kind) => UpstreamError::Connect(kind.into()),
            Failed::Tls(kind, text) => UpstreamError::Tls(io::Error::new(kind, &*text)),
            Failed::Handshake => UpstreamError::Connect(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}
