//! The operator's listener: what the proxy knows about itself, and a way to have it read its configuration again, over
//! HTTP/1.1.
//!
//! It runs on the control thread, away from traffic, and takes its answers from closures, so it depends on nobody who
//! could depend on it. Its limits are fixed and small: nobody but a scraper, a probe and a person should be here.

pub(crate) mod client;
mod origin;
mod pages;
mod readiness;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[cfg(test)]
mod tests;

pub use readiness::{Readiness, Stage};

use pages::Answer;

use crate::canary::Order;
use crate::telemetry::metrics::Format;

/// Connections served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// From a connection's beginning to its end, but for a reload that it waits for and a recording: one request, one
/// response.
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
    /// `/ready` too: what is wrong though every worker serves.
    pub troubles: Box<dyn Fn() -> Vec<Trouble> + Send + Sync>,
    /// `/filters`: what the filters cost, as JSON text.
    pub filters: Box<dyn Fn() -> String + Send + Sync>,
    /// `/clusters`: the clusters' endpoints, as JSON text.
    pub clusters: Box<dyn Fn() -> String + Send + Sync>,
    /// `/config`: the configuration in effect, as JSON text.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// `GET /reload`: what is served and how the last reload went, as JSON text.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
    /// `GET /canaries`: filters' second versions, as JSON text.
    pub canaries: Box<dyn Fn() -> String + Send + Sync>,
    /// `POST /canaries/FILTER`: says what is to become of a filter's second version.
    pub steer: Steer,
    /// `POST /recordings/FILTER`: records what the filter sees and answers.
    pub record: Record,
    /// `POST /reload`: has the configuration read again.
    pub reload: Box<dyn Fn() -> Reloading + Send + Sync>,
}

/// Something that does not work as it should.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What, in a line.
    pub what: String,
    /// Whether traffic had better go elsewhere until it is over.
    pub is_severe: bool,
}

/// A reload that is under way, or waits for one that is.
pub type Reloading = Pin<Box<dyn Future<Output = Reloaded> + Send>>;

/// Says to the canary of the filter of this name what is to become of it.
pub type Steer = Box<dyn Fn(&str, Order) -> Steered + Send + Sync>;

/// What came of an order to a filter's second version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steered {
    /// It was followed: what the canary does now, as JSON text.
    Done(String),
    /// The filter has no second version, or there is no such filter.
    NoSuch,
    /// It makes no sense now, and why.
    Refused(String),
}

/// Begins a recording of the filter of this name.
pub type Record = Box<dyn Fn(&str, Wanted) -> Result<Feed, NoRecording> + Send + Sync>;

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How many exchanges.
    pub exchanges: u64,
    /// How many bytes, about.
    pub bytes: u64,
    /// Which, in the form of a route's `match`; all, where it says nothing.
    pub matches: Option<String>,
    /// Whether secrets are recorded as they are.
    pub keeps_secrets: bool,
}

/// Why nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRecording {
    /// There is no such filter.
    NoSuch,
    /// What is to match makes no sense.
    Match(String),
    /// It cannot be done now.
    Refused(String),
}

/// A body that comes as it is made, until its sender is gone.
#[derive(Debug)]
pub struct Feed(pub mpsc::Receiver<Bytes>);

impl hyper::body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// How a reload went.
#[derive(Debug, Clone)]
pub enum Reloaded {
    /// What was read is served: the status, as JSON text.
    Served(String),
    /// What was read cannot be served, and why.
    Refused(String),
    /// It is not the configuration's fault.
    Failed(String),
    /// The process ends.
    Ending,
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
    // A reader of a recording may stand still: it is cut off.
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(CONNECTION_TIMEOUT, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "admin connections were cut off");
    }
    Ok(())
}

/// One connection: one request. A scraper's next connection costs nothing on loopback, and an idle one nothing at all.
async fn serve_connection(stream: TcpStream, state: Arc<AdminState>, within: Duration) {
    let takes_its_time = AtomicBool::new(false);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (state, takes_its_time) = (&state, &takes_its_time);
        async move {
            let (head, body) = request.into_parts();
            let response = match pages::respond(state, &head) {
                Answer::Record { filter, wanted } => match pages::is_small(body).await {
                    Err(response) => response,
                    Ok(()) => match (state.record)(&filter, wanted) {
                        Err(refusal) => pages::not_recorded(&filter, refusal),
                        Ok(feed) => {
                            takes_its_time.store(true, Ordering::Relaxed);
                            return Ok(pages::recording(feed).map(Either::Right));
                        }
                    },
                },
                Answer::Page(response) => response,
                Answer::Steer { filter, order } => match pages::is_small(body).await {
                    Err(response) => response,
                    Ok(()) => pages::steered(&filter, (state.steer)(&filter, order)),
                },
                Answer::Reload => match pages::is_small(body).await {
                    Err(response) => response,
                    Ok(()) => {
                        takes_its_time.store(true, Ordering::Relaxed);
                        let reloaded = (state.reload)().await;
                        takes_its_time.store(false, Ordering::Relaxed);
                        pages::reloaded(reloaded)
                    }
                },
            };
            Ok::<_, Infallible>(response.map(Either::Left))
        }
    });
    let patience = async {
        loop {
            tokio::time::sleep(within).await;
            if !takes_its_time.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "an admin connection failed");
        },
        () = patience => tracing::debug!("an admin connection took too long"),
    }
}
