//! One connection to an endpoint: making it, and sending one request at a time on it.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

use super::dial::dial;
use super::health::http::host_of;
use super::pool::{Place, Pool};
use super::{RequestBody, UpstreamError};
use crate::config::model::Address;
use crate::tasks::Tasks;
use crate::telemetry::metrics::{ClusterCell, ConnectFailure};
use crate::tls::{H2, Purpose};
use crate::transport::{BelowTls, Transport};

/// How much a connection reads at once, and holds of what it could not write yet, in bytes. A response's head has to
/// fit in what was read, so a larger `header_bytes` takes precedence.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection that its task drives. Dropping it closes it at once, whatever it is at.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    /// Whether anything was read since this was last cleared.
    heard: Arc<AtomicBool>,
    task: Option<AbortHandle>,
    local: Option<SocketAddr>,
    endpoint: Address,
    below_tls: BelowTls,
}

/// Why an exchange on a connection came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was closed before it took the request, of which nothing was sent: here it is again.
    NotTaken(Box<Request<RequestBody>>, UpstreamError),
    /// It failed.
    Failed(UpstreamError),
}

impl Connection {
    /// Connects to a pool's endpoint, where there is a `place` for that, and spawns the connection's task.
    pub(super) async fn open(
        pool: &Pool,
        place: Place,
        tasks: &Rc<Tasks>,
    ) -> Result<Connection, UpstreamError> {
        let (stream, counted) = connect_at(pool, place, Purpose::Http1, &[]).await?;
        Connection::begin(pool, tasks, stream, counted).await
    }

    /// Speaks HTTP/1.1 on what was connected, and spawns the connection's task.
    pub(super) async fn begin(
        pool: &Pool,
        tasks: &Rc<Tasks>,
        stream: Transport,
        counted: Counted,
    ) -> Result<Connection, UpstreamError> {
        if stream.alpn().as_deref() == Some(H2) {
            let chosen =
                "the endpoint chose HTTP/2 from what `tls.alpn` offers, and HTTP/1.1 is to be spoken";
            return Err(UpstreamError::Tls(io::Error::other(chosen)));
        }
        let (address, config) = (pool.endpoint().address(), pool.cluster().config());
        let (local, below_tls) = (stream.socket().local(), stream.below_tls());
        let heard = Arc::new(AtomicBool::new(false));
        let (open, mut closed) = oneshot::channel();
        let io = TokioIo::new(Heard { stream, heard: heard.clone(), _open: open });
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_BYTES.max(config.header_bytes))
            .max_header_size(config.header_bytes)
            .handshake::<_, RequestBody>(io)
            .await
            .map_err(|source| UpstreamError::Closed { mid_head: false, source })?;
        let task = tasks.spawn(async move {
            let counted = counted;
            if let Err(error) = connection.with_upgrades().await {
                debug!(%address, error = &error as &dyn std::error::Error, "upstream connection failed");
            }
            // A tunnel has the socket for as long as it lasts.
            if let Err(TryRecvError::Empty) = closed.try_recv() {
                let _tunnel = counted.place.begin_tunnel();
                let _: Result<Infallible, _> = closed.await;
            }
        });
        Ok(Connection { sender, heard, task: Some(task), local, endpoint: address, below_tls })
    }

    /// Sends `request` and waits for the response's head. Dropped while it waits, it leaves the connection of no
    /// use: drop that as well.
    pub(super) async fn exchange(
        &mut self,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Response<Incoming>, Failure> {
        self.heard.store(false, Ordering::Relaxed);
        frame(&mut request);
        // HTTP/1.0 has requests without one, which are HTTP/1.1 from here on (RFC 9112, 3.2).
        if !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::try_from(host_of(self.endpoint))
        {
            request.headers_mut().insert(HOST, host);
        }
        self.sender.try_send_request(*request).await.map_err(|mut failure| {
            let request = failure.take_message();
            let mid_head = self.heard.load(Ordering::Relaxed);
            let error = UpstreamError::from_exchange(failure.into_error(), mid_head);
            match request {
                Some(request) => Failure::NotTaken(Box::new(request), error),
                None => Failure::Failed(error),
            }
        })
    }

    /// Whether it can take a request now. A connection that has answered but still sends its request, or that is
    /// closed, cannot.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is closed, by whichever side.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Its address on this side.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Leaves the connection to its task, which hands the socket to an upgrade and ends when that is closed.
    pub(super) fn detach(mut self) -> BelowTls {
        self.task = None;
        mem::take(&mut self.below_tls)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Says that a body follows whose length nobody knows, where hyper would take it that there is none.
fn frame(request: &mut Request<RequestBody>) {
    let is_unusual = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_unusual
        && matches!(request.body(), RequestBody::Stream(_))
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Connects to a pool's endpoint within the cluster's time, says the `prelude`, and counts what comes of it.
pub(super) async fn connect(
    pool: &Pool,
    purpose: Purpose,
    prelude: &[u8],
) -> Result<(Transport, Counted), UpstreamError> {
    connect_at(pool, Place::take(pool.shelf())?, purpose, prelude).await
}

async fn connect_at(
    pool: &Pool,
    place: Place,
    purpose: Purpose,
    prelude: &[u8],
) -> Result<(Transport, Counted), UpstreamError> {
    let config = pool.cluster().config();
    let dialling = dial(config, pool.endpoint(), purpose, prelude, pool.cell());
    let dialled = timeout(config.connect_timeout, dialling).await;
    match dialled.unwrap_or(Err(UpstreamError::ConnectTimeout)) {
        Ok(stream) => Ok((stream, Counted::begin(pool.cell(), place))),
        Err(error) => {
            count_failure(pool.cell(), &error);
            Err(error)
        }
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub(super) struct Counted {
    cell: Arc<ClusterCell>,
    place: Place,
}

impl Counted {
    fn begin(cell: &Arc<ClusterCell>, place: Place) -> Counted {
        cell.connections.increment();
        cell.active_connections.increment();
        Counted { cell: cell.clone(), place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cell.active_connections.decrement();
    }
}

fn count_failure(cell: &ClusterCell, error: &UpstreamError) {
    cell.count_connect_failure(match error {
        UpstreamError::ConnectRefused(_) => ConnectFailure::Refused,
        UpstreamError::ConnectTimeout => ConnectFailure::Timeout,
        UpstreamError::Tls(_) => ConnectFailure::Tls,
        _ => ConnectFailure::Unreachable,
    });
}

/// A socket that notes when anything was read from it. Only by this can a connection that died before it answered be
/// told from one that died while it did.
// The flag is atomic only because hyper wants to be able to send an upgraded socket elsewhere.
struct Heard {
    stream: Transport,
    heard: Arc<AtomicBool>,
    /// Dropped with the socket.
    _open: oneshot::Sender<Infallible>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
