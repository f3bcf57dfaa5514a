//! One downstream connection, from its first byte to its last: HTTP/1.1 by hyper, time limits by us.
//!
//! A connection has one timer, which is looked at when it fires and not touched by requests.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Door;
use crate::config::model::ListenerLimits;
use crate::error::Failure;
use crate::exchange::{self, Peer, Phase, Stage};

/// How long an idle connection may stay after a drain has begun: a request may be on its way on it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a client may go on sending when it has its last answer, as with Envoy's `delayed_close_timeout`.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read at once of what nobody wants, in bytes.
const DISCARD_BYTES: usize = 64 * 1024;

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: Arc<Peer>, door: Rc<Door>) {
    // Its own: an idle connection keeps no configuration.
    let limits = &door.site().listener().limits.clone();
    let io = TokioIo::new(Observed { stream, peer: peer.clone(), ended: false, alarm: None });
    let service = {
        let (door, peer) = (door.clone(), peer.clone());
        service_fn(move |request: Request<Incoming>| exchange::serve(door.site(), peer.clone(), request))
    };
    let mut connection = http1::Builder::new()
        .half_close(true)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES))
        .header_read_timeout(None)
        .serve_connection(io, service)
        .with_upgrades();
    let mut warden = Warden::new(limits, &peer, door.drain());
    let verdict = std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Verdict::Ended(result)),
        Poll::Pending => warden.poll(cx),
    })
    .await;
    let result = match verdict {
        Verdict::Ended(result) => result,
        Verdict::Drain => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
        Verdict::HeadTimeout => {
            door.site().reporter().cell().count_protocol_error(Failure::RequestHeadTimeout);
            if let Some(parts) = connection.into_parts() {
                Box::pin(refuse(parts.io.into_inner(), Failure::RequestHeadTimeout)).await;
            }
            return;
        }
        Verdict::Stalled => {
            peer.note_stalled(); // the exchange is told so by what is dropped here
            return;
        }
        Verdict::Idle => return, // dropped: closed
    };
    match result {
        // hyper has ended this side: that is how it ends. The protocol may have changed: then there are no parts.
        Ok(()) => {
            let Some(parts) = connection.into_parts() else { return };
            let io = parts.io.into_inner();
            if !parts.read_buf.is_empty() || io.may_receive() {
                Box::pin(io.linger()).await;
            }
        }
        Err(error) if error.is_parse() => {
            let Some(parts) = connection.into_parts() else { return };
            let failure = refusal(&error, &parts.read_buf, limits);
            door.site().reporter().cell().count_protocol_error(failure);
            tracing::debug!(listener = door.site().listener().name, %error, "refused a request");
            let io = parts.io.into_inner();
            if error.is_parse_version_h2() {
                Box::pin(refuse(io, failure)).await; // hyper leaves this answer to its user
            } else if !io.ended {
                Box::pin(io.linger()).await;
            }
        }
        Err(_) => {} // the client left, or an exchange was cut: reported there, and closed at once
    }
}

/// How much a connection reads at once, and holds of what it could not write yet, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// What hyper refused before it became an exchange.
fn refusal(error: &hyper::Error, head: &[u8], limits: &ListenerLimits) -> Failure {
    if error.is_parse_version_h2() {
        Failure::UnsupportedVersion
    } else if !error.is_parse_too_large() {
        Failure::MalformedRequest
    } else if is_target_too_long(head, limits.header_bytes) {
        Failure::UriTooLong
    } else {
        Failure::RequestHeadTooLarge
    }
}

/// Whether it is for its target that a head was too large: hyper then answers 414, but looks at the target only once
/// the head is there and within the limit.
fn is_target_too_long(head: &[u8], limit: usize) -> bool {
    const MOST: usize = u16::MAX as usize - 1;
    let head = &head[..head.len().min(limit)];
    let target = head.split(|byte| *byte == b' ').nth(1);
    target.is_some_and(|target| target.len() > MOST) && head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// Answers what hyper does not: a head that did not come in time (RFC 9110, 15.5.9), and another version of HTTP.
async fn refuse(mut io: Observed, failure: Failure) {
    let status = failure.status().unwrap_or(StatusCode::BAD_REQUEST);
    let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let answer = async {
        io.stream.write_all(response.as_bytes()).await?;
        io.stream.shutdown().await
    };
    // A peer that does not take even this is cut off.
    if let Ok(Ok(())) = tokio::time::timeout(DRAIN_GRACE, answer).await {
        io.linger().await;
    }
}

/// Why a connection is not polled any further.
enum Verdict {
    Ended(hyper::Result<()>),
    /// Idle since the drain began: it finishes what it is at, and ends.
    Drain,
    HeadTimeout,
    /// The client does not take its answer.
    Stalled,
    Idle,
}

/// Watches over one connection's time.
struct Warden<'a> {
    limits: &'a ListenerLimits,
    peer: &'a Peer,
    drain: &'a Drain,
    timer: Option<Pin<Box<Sleep>>>,
    registered: bool,
    /// The moves that were seen last, and when they were first seen.
    seen: (u64, Instant),
}

impl<'a> Warden<'a> {
    fn new(limits: &'a ListenerLimits, peer: &'a Peer, drain: &'a Drain) -> Warden<'a> {
        Warden { limits, peer, drain, timer: None, registered: false, seen: (0, Instant::now()) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if !self.registered {
            self.drain.register(self.peer.connection_id, cx.waker());
            self.registered = true;
        }
        loop {
            let now = Instant::now;
            let timer = match &mut self.timer {
                Some(timer) => timer,
                None => {
                    let first = now() + self.limits.header_timeout.min(self.limits.idle_timeout);
                    self.timer.insert(Box::pin(tokio::time::sleep_until(first.into())))
                }
            };
            if self.drain.is_begun() && timer.deadline() > self.drain.deadline().into() {
                timer.as_mut().reset(self.drain.deadline().into());
            }
            std::task::ready!(timer.as_mut().poll(cx));
            if self.drain.is_over() {
                return Poll::Ready(Verdict::Drain);
            }
            let (deadline, verdict) = self.judge(now());
            if deadline <= now() {
                return Poll::Ready(verdict);
            }
            // A phase may begin at any time after this, so look again before the shortest of their limits is over.
            let soon = now() + self.limits.header_timeout;
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(deadline.min(soon).into());
            }
        }
    }

    /// What is left of a limit on the phase that the connection is in.
    fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.peer.lasts())
    }

    /// Until when the connection may go on as it is, and what becomes of it then.
    fn judge(&mut self, now: Instant) -> (Instant, Verdict) {
        match self.peer.phase() {
            Phase::Idle => (now + self.left(self.limits.idle_timeout), Verdict::Idle),
            Phase::Head => (now + self.left(self.limits.header_timeout), Verdict::HeadTimeout),
            Phase::Request | Phase::Answer => {
                // The exchange has its own limits while it waits for somebody; this one is for a client that does not
                // take what it is sent. It leaves the exchange's own a head start.
                if self.peer.moves() != self.seen.0 {
                    self.seen = (self.peer.moves(), now);
                }
                (self.seen.1 + self.limits.stream_idle_timeout + DRAIN_GRACE, Verdict::Stalled)
            }
        }
    }
}

impl Drop for Warden<'_> {
    fn drop(&mut self) {
        self.drain.forget(self.peer.connection_id);
    }
}

/// A worker's drain: whether it has begun, and whom to wake when it does.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    began: Cell<Option<Instant>>,
    stage: Rc<Cell<Stage>>,
    waiting: RefCell<HashMap<u64, Waker>>,
    listeners: tokio::sync::Notify,
}

impl Drain {
    /// Begins it: nothing is accepted any more, responses say `connection: close`, idle connections end soon.
    pub(crate) fn begin(&self) {
        self.began.set(Some(Instant::now()));
        self.stage.set(Stage::Draining);
        self.listeners.notify_waiters();
        for waker in self.waiting.borrow().values() {
            waker.wake_by_ref();
        }
    }

    /// Its time is over: what is left will be dropped.
    pub(crate) fn give_up(&self) {
        self.stage.set(Stage::Over);
    }

    /// How far it has come, for those who only want to know.
    pub(crate) fn stage(&self) -> Rc<Cell<Stage>> {
        self.stage.clone()
    }

    /// Waits for it to begin.
    pub(super) async fn begun(&self) {
        let notified = self.listeners.notified();
        if !self.is_begun() {
            notified.await;
        }
    }

    fn is_begun(&self) -> bool {
        self.stage.get() != Stage::Serving
    }

    /// Until when idle connections may stay.
    fn deadline(&self) -> Instant {
        self.began.get().unwrap_or_else(Instant::now) + DRAIN_GRACE
    }

    fn is_over(&self) -> bool {
        self.is_begun() && self.deadline() <= Instant::now()
    }

    fn register(&self, connection: u64, waker: &Waker) {
        self.waiting.borrow_mut().insert(connection, waker.clone());
    }

    fn forget(&self, connection: u64) {
        self.waiting.borrow_mut().remove(&connection);
    }
}

/// A socket whose bytes are noted at its peer, and whose reset is noticed.
///
/// A client may end its side and wait for the answer, so hyper is told not to look for an end while it waits
/// (`half_close`); but then it does not see a reset either. It flushes whenever it is polled, so that is where we look.
struct Observed {
    stream: TcpStream,
    peer: Arc<Peer>,
    /// The client has ended its side.
    ended: bool,
    /// Waits for a reset while there is something to read that is left unread.
    alarm: Option<Pin<Box<dyn Future<Output = io::Error> + Send>>>,
}

impl Observed {
    /// Whether the client may have sent something that was not read, or may be sending it. Asks the kernel nothing.
    fn may_receive(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.ended && (self.peer.has_unread() || self.stream.poll_read_ready(&mut cx).is_ready())
    }

    /// Takes what the client still sends, after this side was ended, until it ends its own or has had its time. A
    /// socket that is closed with something unread in it is reset, and a reset can overtake an answer and destroy it
    /// (RFC 9112, 9.6).
    async fn linger(mut self) {
        let mut discarded = vec![0; DISCARD_BYTES];
        let _ = tokio::time::timeout(LINGER, async {
            while matches!(self.stream.read(&mut discarded).await, Ok(1..)) {}
        })
        .await;
    }

    /// Fails if the client has reset the connection while an answer is owed to it. In the ordinary case, where there is
    /// nothing to read, it sees to it that the task is woken by a reset, and asks the kernel nothing.
    ///
    /// This is so from the request's head on: who takes its body from hyper, and so learns that it is whole, is another
    /// task, and nothing wakes this one for it.
    fn check_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.peer.phase(), Phase::Request | Phase::Answer) {
            self.alarm = None;
            return Ok(());
        }
        if self.alarm.is_none() {
            // What there is to read, if anything, is left for hyper: a body that nobody has room for yet, the next
            // request, or the end of the client's side.
            let mut byte = [0];
            match self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
                // A connection for which there is no descriptor left has to do without.
                Poll::Ready(Ok(_)) => {
                    self.alarm = reset_of(&self.stream).ok().map(|alarm| Box::pin(alarm) as _)
                }
            }
        }
        match self.alarm.as_mut().map(|alarm| alarm.as_mut().poll(cx)) {
            Some(Poll::Ready(error)) => Err(error),
            Some(Poll::Pending) | None => Ok(()),
        }
    }
}

/// Waits until a connection is reset, whatever there is to read. It takes a descriptor of its own for that: the one
/// that is read from wakes its reader when there is something, and not again before that was read.
fn reset_of(stream: &TcpStream) -> io::Result<impl Future<Output = io::Error> + Send + use<>> {
    let twin = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    let twin = TcpStream::from_std(twin)?;
    Ok(async move {
        match twin.ready(Interest::ERROR).await {
            Ok(_) => io::ErrorKind::ConnectionReset.into(),
            Err(error) => error,
        }
    })
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.peer.note_move();
            if self.peer.phase() == Phase::Idle {
                self.peer.enter(Phase::Head);
            }
        } else if buf.remaining() > 0 {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.peer.note_move();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.peer.note_move();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_reset(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_has_ended_is_not_told_of_a_drain() {
        let limits = ListenerLimits {
            connections: 1,
            header_bytes: 8192,
            headers: 100,
            header_timeout: Duration::from_secs(10),
            stream_idle_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let (peer, drain) = (Peer::new(address, address, 1), Drain::default());
        let mut warden = Warden::new(&limits, &peer, &drain);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(warden.poll(&mut cx).is_pending());
        assert_eq!(drain.waiting.borrow().len(), 1);
        drop(warden);
        assert!(drain.waiting.borrow().is_empty(), "a proxy would keep a trace of every connection it had");
    }
}
