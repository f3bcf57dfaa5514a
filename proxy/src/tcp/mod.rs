//! One TCP connection's life, from its acceptance to its last byte.
//!
//! ```text
//!   open     the filters are told of it, in the order of the chain
//!   connect  pick a cluster and an endpoint, connect
//!   carry    bytes both ways through the chain, until both sides have ended
//! ```
//!
//! Nothing is read from the client before the upstream's connection is made, as in Envoy. `Connection::run` is the
//! straight way; whatever leaves it is an `Ending`. A connection is reported once, when it is dropped.

mod carry;
mod introduction;

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::Interest;
use tokio::time::Sleep;

use carry::Carrier;

use crate::error::Failure;
use crate::exchange::Site;
use crate::filter::{Chain, Interrupt, Opening, Run};
use crate::route;
use crate::telemetry::TcpReport;
use crate::transport::Transport;
use crate::upstream::{Attempt, Criteria, Tunnel, UpstreamError};
use crate::wasm::PeerType;
use crate::wasm::stream::{Direction, Stream, StreamInfo, Tls};

/// Serves one connection to its end. Dropping the future means that the drain's time is over.
pub(crate) async fn serve(client: Transport, arrived: Arrived, site: Rc<Site>) {
    let Some(mut connection) = Connection::begin(site, arrived) else { return };
    let mut upstream = None;
    let way = tokio::select! {
        biased;
        way = connection.run(&client, &mut upstream) => way,
        // A client is not read from before there is an upstream, nor while a filter holds what it may: a reset is
        // noticed all the same.
        _ = client.socket().ready(Interest::ERROR) => Err(Failure::ClientLeft.into()),
    };
    if connection.end(way) == Manner::Reset {
        // A reset is passed on as one: the other side must not take what it has for the whole.
        for stream in [Some(&client), upstream.as_ref().map(Tunnel::transport)].into_iter().flatten() {
            stream.socket().close_with_reset();
        }
    }
}

/// A connection as the listener hands it over.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The client's address and this side's.
    pub(crate) ends: (SocketAddr, SocketAddr),
    pub(crate) id: u64,
    /// What its handshake said, where TLS ended here.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where it goes.
    pub(crate) cluster: usize,
    /// No filter looks into it: the chain is for something else that comes in on the listener.
    pub(crate) opaque: bool,
}

/// How a connection ends otherwise than by both sides ending it.
#[derive(Debug)]
struct Ending {
    failure: Failure,
    /// More about it than the failure says.
    details: Option<&'static str>,
    /// The filter that ended it.
    filter: Option<Arc<str>>,
}

/// How sockets are closed.
#[derive(Debug, PartialEq, Eq)]
enum Manner {
    /// With an end, as far as the kernel lets it.
    Orderly,
    /// With a reset.
    Reset,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Ending {
        Ending { failure, details: None, filter: None }
    }
}

impl From<Interrupt> for Ending {
    fn from(interrupt: Interrupt) -> Ending {
        match interrupt {
            // Guests' replies have no effect on a connection.
            Interrupt::Reply { filter, .. } | Interrupt::Close { filter } => {
                Ending { filter: Some(filter), ..Failure::FilterClosed.into() }
            }
            Interrupt::Fault { filter, kind } => {
                Ending { details: Some(kind.word()), filter: Some(filter), ..Failure::FilterFault.into() }
            }
            Interrupt::OverRate { filter } => {
                Ending { filter: Some(filter), ..Failure::FilterOverRate.into() }
            }
            Interrupt::BodyTooLarge(Direction::Request) => Failure::RequestTooLarge.into(),
            Interrupt::BodyTooLarge(Direction::Response) => Failure::ResponseTooLarge.into(),
        }
    }
}

impl From<UpstreamError> for Ending {
    fn from(error: UpstreamError) -> Ending {
        match error {
            UpstreamError::NoEndpoint => Failure::NoEndpoint,
            UpstreamError::Overflow(_) => Failure::UpstreamOverflow,
            UpstreamError::ConnectTimeout => Failure::ConnectTimeout,
            UpstreamError::ConnectRefused(_) | UpstreamError::Connect(_) => Failure::ConnectFailed,
            UpstreamError::Tls(_) => Failure::UpstreamTlsFailed,
            // The others are of requests.
            UpstreamError::Closed { .. }
            | UpstreamError::Malformed(_)
            | UpstreamError::HeadTooLarge(_)
            | UpstreamError::RefusedStream(_)
            | UpstreamError::NoUpgrade
            | UpstreamError::RequestBody(_)
            | UpstreamError::ResponseBody(_)
            | UpstreamError::Undecodable(_)
            | UpstreamError::Http2(_) => Failure::UpstreamReset,
        }
        .into()
    }
}

/// One connection under way. Reported when dropped.
struct Connection {
    site: Rc<Site>,
    run: Rc<Run>,
    report: TcpReport,
    cluster: usize,
    idle: Duration,
    /// Who ended it, once it has ended.
    ended_by: Option<PeerType>,
}

impl Connection {
    /// `None` where the listener has no TCP connections to that cluster.
    fn begin(site: Rc<Site>, arrived: Arrived) -> Option<Connection> {
        let Arrived { ends, id, tls, cluster, opaque } = arrived;
        let listener = site.listener();
        let chain = if opaque { Rc::new(Chain::new(Vec::new())) } else { site.chain().clone() };
        let client = SocketAddr::new(ends.0.ip().to_canonical(), ends.0.port());
        let local = SocketAddr::new(ends.1.ip().to_canonical(), ends.1.port());
        let mut info = StreamInfo::new(SystemTime::now(), client, local);
        info.connection_id = id;
        info.tls.clone_from(&tls);
        info.unix = listener.unix_of(ends.1);
        let stream = Stream::connection(info, chain.len());
        let mut report = TcpReport::begin(site.reporter(), site.tcp_cell(cluster)?);
        report.log(|entry| {
            entry.client = Some(client).filter(|client| !client.ip().is_unspecified());
            entry.protocol = Some("TCP");
            entry.tls = tls;
            entry.cluster = Some(site.cluster_name(cluster));
        });
        let idle = listener.limits.idle_timeout;
        let run = Run::new(chain, stream, listener.buffer_limit);
        Some(Connection { site, run, report, cluster, idle, ended_by: None })
    }

    /// The straight way. The upstream's connection stays where it is put: closed with the client's.
    async fn run(&mut self, client: &Transport, upstream: &mut Option<Tunnel>) -> Result<PeerType, Ending> {
        self.open().await?;
        let upstream = upstream.insert(self.connect().await?);
        let mut carrier = Carrier::new(&self.run, client, upstream.transport());
        let mut idle = Idle::new(self.idle);
        let way = std::future::poll_fn(|cx| match carrier.poll(cx) {
            Poll::Ready(way) => Poll::Ready(way),
            Poll::Pending => idle.poll(carrier.moves(), cx).map(Err),
        })
        .await;
        if let Err(Ending { failure: Failure::FilterClosed, .. }) = &way {
            carrier.flush().await;
        }
        way
    }

    /// Tells the filters of the connection, and waits until they let it go on.
    async fn open(&self) -> Result<(), Ending> {
        let mut opening = Opening::new(self.run.clone());
        let mut idle = Idle::new(self.idle);
        std::future::poll_fn(|cx| match opening.advance(cx.waker()) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => idle.poll(0, cx).map(Err),
            Err(interrupt) => Poll::Ready(Err(interrupt.into())),
        })
        .await
    }

    async fn connect(&mut self) -> Result<Tunnel, Ending> {
        self.run.stream().borrow_mut().info.cluster_name = Some(self.site.cluster_name(self.cluster));
        let mut attempt = Attempt::default();
        let prelude = self.introduction().map_err(|_| Ending::from(Failure::UpstreamReset))?;
        let connected = {
            let upstreams = self.site.upstreams();
            let client = self.run.stream().borrow().info.source.ip();
            let criteria = Criteria { hash: Some(route::hash_of_address(client)), ..Criteria::default() };
            let connecting = pin!(async {
                upstreams.connect(self.cluster, &criteria, &prelude, &mut attempt).await.map_err(Ending::from)
            });
            self.run.interruptible(connecting).await
        };
        {
            let info = &mut self.run.stream().borrow_mut().info;
            info.upstream = attempt.endpoint;
            info.upstream_local = attempt.local;
        }
        self.report.log(|entry| entry.upstream = attempt.endpoint);
        let upstream = connected?;
        Ok(upstream)
    }

    /// What the upstream is told first of whose connection it is, if it is told.
    fn introduction(&self) -> io::Result<Vec<u8>> {
        let Some(version) = self.site.listener().send_proxy_protocol else { return Ok(Vec::new()) };
        let stream = self.run.stream().borrow();
        introduction::header(version, stream.info.source, stream.info.destination)
    }

    /// Notes how the connection ended.
    fn end(&mut self, way: Result<PeerType, Ending>) -> Manner {
        let (by, manner) = match &way {
            Ok(by) => (*by, Manner::Orderly),
            Err(Ending { failure: Failure::ClientLeft, .. }) => (PeerType::Remote, Manner::Reset),
            Err(Ending { failure: Failure::UpstreamReset, .. }) => (PeerType::Local, Manner::Reset),
            Err(_) => (PeerType::Local, Manner::Orderly),
        };
        self.ended_by = Some(by);
        if let Err(ending) = way {
            self.report.fail(ending.failure);
            self.report.log(|entry| {
                entry.details = Some(ending.details.unwrap_or(ending.failure.reason()).to_owned());
                entry.filter = ending.filter;
            });
        }
        manner
    }
}

impl Drop for Connection {
    /// The end of the connection, whichever way it came: guests end it, then it is reported.
    fn drop(&mut self) {
        if self.ended_by.is_none() {
            self.end(Err(Failure::Draining.into()));
        }
        let meter = self.run.meter();
        self.report.count(meter.bytes(Direction::Request), meter.bytes(Direction::Response));
        self.run.close_connection(self.ended_by.unwrap_or(PeerType::Local), self.report.lasted());
        self.report.log(|entry| entry.skipped = self.run.skipped());
    }
}

/// A limit on how long nothing may move.
struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The moves that were seen last, and when they were first seen.
    seen: (u64, Instant),
}

impl Idle {
    fn new(limit: Duration) -> Idle {
        Idle { limit, timer: None, seen: (0, Instant::now()) }
    }

    /// Ready when nothing has moved for too long; `moves` counts what did. What moved puts the deadline off, which is
    /// only looked at when the timer fires.
    fn poll(&mut self, moves: u64, cx: &mut Context<'_>) -> Poll<Ending> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            None => self.timer.insert(Box::pin(tokio::time::sleep_until((self.seen.1 + self.limit).into()))),
        };
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.seen.0 == moves {
                return Poll::Ready(Failure::ConnectionIdle.into());
            }
            self.seen = (moves, now);
            timer.as_mut().reset((now + self.limit).into());
        }
    }
}
