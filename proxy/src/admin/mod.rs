//! The operator's listener: what the proxy knows about itself, read-only, over HTTP/1.1.
//!
//! It runs on the control thread, away from traffic, and takes its answers from closures, so it depends on nobody who
//! could depend on it. Its limits are fixed and small: nobody but a scraper, a probe and a person should be here.

mod pages;
mod readiness;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[cfg(test)]
mod tests;

pub use readiness::{Readiness, Stage};

use crate::telemetry::metrics::Format;

/// Connections served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// From a connection's beginning to its end: one request, one response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's line and headers together, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Header fields in a request.
const MAX_HEADERS: usize = 64;

/// What the pages show.
pub struct AdminState {
    /// `/metrics`: the process's metrics as text.
    pub metrics: Box<dyn Fn(Format) -> Result<String, fmt::Error> + Send + Sync>,
    /// `/ready`: whether traffic should be sent here.
    pub readiness: Arc<Readiness>,
    /// `/filters`: what the filters cost, as JSON text.
    pub filters: Box<dyn Fn() -> String + Send + Sync>,
    /// `/config`: the configuration in effect, as JSON text.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdminState").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// The admin listener's socket. Bound before anything else starts, so that a port in use stops the proxy at once.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens: with the port that the kernel gave where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the admin listener. Needs no runtime.
///
/// # Errors
/// Those of the system: the address is in use, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

/// Serves until `shutdown` is done, then closes the socket and lets requests under way end, which takes at most ten
/// seconds. `shutdown` should be done only after the workers have drained, so that a drain can be watched.
///
/// # Errors
/// The runtime does not take the socket.
pub async fn serve(
    listener: Listener,
    state: AdminState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let socket = TcpListener::from_std(listener.socket)?;
    let state = Arc::new(state);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = socket.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&state), CONNECTION_TIMEOUT));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept a connection");
                    // Out of file descriptors, most likely: trying again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// One connection: one request. A scraper's next connection costs nothing on loopback, and an idle one nothing at all.
async fn serve_connection(stream: TcpStream, state: Arc<AdminState>, within: Duration) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let response = pages::respond(&state, request.method(), request.uri().path(), request.headers());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(within, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}
