//! One downstream connection in HTTP/2 (RFC 9113), by `h2`.
//!
//! The connection and its streams are one task: a stream that writes is followed by the connection that sends it, and a
//! connection that ends drops its streams, which is how exchanges learn that the client left. A stream gives `h2` no more
//! than the client takes at once, so that what is not taken is not held either.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{DATE, EXPECT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::sync::oneshot;

use super::flood::{Heir, Patience, Watched};
use super::observed::Observed;
use super::warden::{Verdict, Warden};
use crate::boxed;
use crate::config::model::ListenerLimits;
use crate::error::Failure;
use crate::exchange::{self, ClientBody, ClientTunnel, Peer, Phase, ReplyBody};
use crate::http2::{Duplex, Gone, Keepalive, Sending, framing_budget};
use crate::listener::Door;

/// How much is held of one response that the client would take but its socket does not, in bytes.
const SEND_BUFFER: usize = 32 * 1024;

/// Requests that may be taken back at once before the proxy has seen them.
const UNSEEN: usize = 100;

/// How long a connection that ends may take to say so.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
pub(super) async fn serve(
    io: Observed,
    peer: &Arc<Peer>,
    door: &Rc<Door>,
    limits: &ListenerLimits,
    warden: &mut Warden<'_>,
) {
    let heir = Heir::default();
    let way = drive(io, &heir, peer, door, limits, warden).await;
    if let Err(failure) = way {
        door.site().reporter().cell().count_protocol_error(failure);
        tracing::debug!(listener = door.site().listener().name, %failure, "closed a connection");
    }
    // What it was told last is not to be lost.
    if !matches!(way, Ok(By::Client))
        && let Some(io) = heir.take().filter(|io| !io.ended)
    {
        io.linger().await;
    }
}

/// Who ended a connection of which nobody broke the rules.
enum By {
    Client,
    Proxy,
}

/// Why a connection is not served any further.
enum End {
    /// By itself, or `h2` ended it.
    Closed(Result<(), h2::Error>),
    Verdict(Verdict),
    /// It sends too much that is of no use.
    Flood,
    /// It answers no pings.
    Gone,
}

/// Serves a connection until it is closed, but for its socket, which `heir` gets.
///
/// # Errors
///
/// What the client did for which it was closed.
async fn drive(
    io: Observed,
    heir: &Heir,
    peer: &Arc<Peer>,
    door: &Rc<Door>,
    limits: &ListenerLimits,
    warden: &mut Warden<'_>,
) -> Result<By, Failure> {
    let patience = Patience::new();
    let settings = door.site().listener().http2.clone();
    let mut shake = pin!(
        Builder::new()
            .initial_window_size(settings.initial_stream_window_size)
            .initial_connection_window_size(settings.initial_connection_window_size)
            .data_frame_budget(framing_budget(settings.initial_connection_window_size))
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(UNSEEN)
            .enable_connect_protocol()
            .handshake::<_, Bytes>(Watched::new(io, patience.clone(), heir.clone()))
    );
    let shaken = poll_fn(|cx| match shake.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending => warden.poll(cx).map(Err),
    });
    let mut connection = match shaken.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return blame(&error),
        Err(_) => return Ok(By::Client),
    };
    peer.multiplex();
    let mut keepalive = Keepalive::begin(settings.keepalive, connection.ping_pong());
    let mut streams = Streams { connection, running: FuturesUnordered::new(), ends: false };
    let open = |request, respond| {
        boxed::pin(|| stream(door.clone(), peer.clone(), patience.clone(), request, respond))
    };
    let ended = poll_fn(|cx| {
        if let Some(Poll::Ready(Gone)) = keepalive.as_mut().map(|keepalive| keepalive.poll(cx)) {
            return Poll::Ready(End::Gone);
        }
        if let Poll::Ready(result) = streams.poll(cx, &open) {
            return Poll::Ready(End::Closed(result));
        }
        if patience.is_over() {
            return Poll::Ready(End::Flood);
        }
        if door.drain().is_begun() || door.site().admission().is_relieving() {
            streams.end();
            // What it says by this is to be sent at once.
            if let Poll::Ready(result) = streams.poll(cx, &open) {
                return Poll::Ready(End::Closed(result));
            }
        }
        match warden.poll(cx) {
            // What goes on may end: the drain has a limit of its own.
            Poll::Ready(Verdict::Drain) if peer.phase() != Phase::Idle => Poll::Pending,
            verdict => verdict.map(End::Verdict),
        }
    });
    let (reason, blame) = match ended.await {
        End::Closed(Ok(())) => return Ok(if streams.ends { By::Proxy } else { By::Client }),
        End::Closed(Err(error)) => return blame(&error),
        End::Gone => return Ok(By::Client),
        End::Verdict(Verdict::Stalled) => {
            peer.note_stalled();
            return Ok(By::Client);
        }
        End::Verdict(Verdict::Idle | Verdict::HeadTimeout | Verdict::Drain) => {
            (Reason::NO_ERROR, Ok(By::Proxy))
        }
        End::Flood => (Reason::ENHANCE_YOUR_CALM, Err(Failure::Http2Flood)),
    };
    streams.connection.abrupt_shutdown(reason);
    let goodbye = poll_fn(|cx| streams.poll(cx, &open));
    let _ = tokio::time::timeout(GOODBYE, goodbye).await; // one that does not listen is cut off
    blame
}

/// What the client did, where it is this side that ended the connection.
fn blame(error: &h2::Error) -> Result<By, Failure> {
    if error.is_io() || error.is_remote() {
        return Ok(By::Client); // it left
    }
    Err(match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => Failure::Http2Flood,
        _ => Failure::Http2Protocol,
    })
}

/// A connection and what goes on on it.
struct Streams<F> {
    connection: Connection<Watched, Bytes>,
    running: FuturesUnordered<F>,
    /// It was told to open no more streams.
    ends: bool,
}

impl<F: Future<Output = ()>> Streams<F> {
    /// Goes on with all of them, and with the connection, until it is closed.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        open: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    ) -> Poll<Result<(), h2::Error>> {
        loop {
            while let Poll::Ready(Some(())) = Pin::new(&mut self.running).poll_next(cx) {}
            match ready!(self.connection.poll_accept(cx)) {
                Some(Ok((request, respond))) => self.running.push(open(request, respond)),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Lets what goes on end, and nothing new begin.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ends, true) {
            self.connection.graceful_shutdown();
        }
    }
}

/// One request, to the last byte of its response. A reset by the client drops the exchange.
async fn stream(
    door: Rc<Door>,
    peer: Arc<Peer>,
    patience: Rc<Patience>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let began = Instant::now();
    if awaits_continue(&request) {
        let _ = respond.send_informational(informational()); // an error: the client left
    }
    let (request, client, tunnel) = tunnelled(request);
    let response = {
        let mut answered = pin!(exchange::serve(door.site(), peer, request, client));
        poll_fn(|cx| match answered.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await
    };
    patience.note_end(began, response.is_none());
    match response {
        None => {}
        Some(Err(_)) => respond.send_reset(Reason::INTERNAL_ERROR),
        Some(Ok(response)) => match tunnel.filter(Tunnel::is_agreed) {
            Some(tunnel) => tunnel.begin(respond, response),
            None => send(respond, response).await,
        },
    }
}

/// Whether the client sends its body when it is asked to (RFC 9110, 10.1.1). It is asked at once.
fn awaits_continue(request: &Request<RecvStream>) -> bool {
    let expected =
        request.headers().get(EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    expected && !request.body().is_end_stream()
}

fn informational() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// A stream that may become a tunnel (RFC 8441): what it is to be made of, and who wants it.
struct Tunnel {
    incoming: RecvStream,
    wanted: oneshot::Sender<Duplex>,
}

impl Tunnel {
    /// Whether the exchange waits for it.
    fn is_agreed(&self) -> bool {
        !self.wanted.is_closed()
    }

    /// Answers, and leaves the stream to the exchange.
    fn begin(self, mut respond: SendResponse<Bytes>, response: Response<ReplyBody>) {
        let (mut head, _) = response.into_parts();
        add_date(&mut head.headers);
        if let Ok(outgoing) = respond.send_response(Response::from_parts(head, ()), false) {
            let _ = self.wanted.send(Duplex::new(self.incoming, outgoing)); // an error: it was cut
        }
    }
}

/// Keeps what follows a CONNECT for the tunnel that it asks for; what follows anything else is its body.
fn tunnelled(request: Request<RecvStream>) -> (Request<ClientBody>, Option<ClientTunnel>, Option<Tunnel>) {
    if request.extensions().get::<Protocol>().is_none() {
        return (request.map(ClientBody::Http2), None, None);
    }
    let (wanted, client) = oneshot::channel();
    let (head, incoming) = request.into_parts();
    let request = Request::from_parts(head, ClientBody::Empty);
    (request, Some(ClientTunnel::Http2(client)), Some(Tunnel { incoming, wanted }))
}

async fn send(mut respond: SendResponse<Bytes>, response: Response<ReplyBody>) {
    let (mut head, body) = response.into_parts();
    add_date(&mut head.headers);
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), body.is_end_stream()) else {
        return; // the client left
    };
    if body.is_end_stream() {
        return;
    }
    let mut sending = Sending::new(body);
    let sent = poll_fn(|cx| {
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Ok(())); // the client left
        }
        match sending.poll(&mut stream, cx) {
            // The client may take its time, but not for ever.
            Poll::Pending if sending.is_held() => Pin::new(&mut sending.body).poll_overdue(cx).map(Err),
            sent => sent,
        }
    });
    if sent.await.is_err() {
        stream.send_reset(Reason::INTERNAL_ERROR); // what was sent cannot be completed
    }
}

/// As an origin server with a clock does (RFC 9110, 6.6.1), where the upstream did not.
fn add_date(headers: &mut HeaderMap) {
    headers.entry(DATE).or_insert_with(super::date::now);
}
