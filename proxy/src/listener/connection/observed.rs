//! The socket of a client's connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};

use crate::exchange::{Peer, Phase};
use crate::transport::{Socket, Transport};

/// What a client sends first that speaks HTTP/2 (RFC 9113, 3.4).
pub(in crate::listener) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may go on sending when it has its last answer, as with Envoy's `delayed_close_timeout`.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read at once of what nobody wants, in bytes.
const DISCARD_BYTES: usize = 64 * 1024;

/// The bytes that were read ahead, at most as many as the preface has.
#[derive(Debug, Default)]
struct Ahead {
    held: [u8; PREFACE.len()],
    length: usize,
}

impl Ahead {
    fn bytes(&self) -> &[u8] {
        &self.held[..self.length]
    }

    fn push(&mut self, more: &[u8]) {
        self.held[self.length..self.length + more.len()].copy_from_slice(more);
        self.length += more.len();
    }

    /// Whether there was anything to give.
    fn read(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let given = self.length.min(buf.remaining());
        buf.put_slice(&self.held[..given]);
        self.held.copy_within(given..self.length, 0);
        self.length -= given;
        given > 0
    }
}

/// Waits for a client to leave.
struct Alarm {
    /// That it ends its side counts as well as that it resets the connection.
    ends: bool,
    left: Pin<Box<dyn Future<Output = io::Error> + Send>>,
}

/// A connection whose bytes are noted at its peer, and whose client's leaving is noticed.
///
/// A client that ends its side while an answer is owed to it has left, as for Envoy and nginx: what closes a connection
/// looks like this, and nobody could be told apart who means to go on reading. hyper would see it by itself only where
/// nothing else is to be read, and would drop an answer that is there; so it is told not to look (`half_close`). It
/// flushes whenever it is polled, after it has written what it has, so that is where we look.
pub(super) struct Observed {
    pub(super) stream: Transport,
    peer: Arc<Peer>,
    /// What was read to find out which version of HTTP it is, and comes before all else.
    ahead: Ahead,
    /// What was read and put back, which comes after that.
    back: Bytes,
    /// The client has ended its side.
    pub(super) ended: bool,
    /// Waits for the client to leave while there is something to read that is left unread.
    alarm: Option<Alarm>,
}

impl Observed {
    pub(super) fn new(stream: Transport, peer: Arc<Peer>) -> Observed {
        Observed { stream, peer, ahead: Ahead::default(), back: Bytes::new(), ended: false, alarm: None }
    }

    /// Waits until it is certain whether the client speaks HTTP/2 from the start (RFC 9113, 3.3): as much as that takes
    /// is read, and read again by whoever serves it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn poll_prior_knowledge(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let known = self.ahead.bytes();
            if known != &PREFACE[..known.len()] {
                return Poll::Ready(Ok(false));
            }
            if known.len() == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            let mut room = [0; PREFACE.len()];
            let mut room = ReadBuf::new(&mut room[known.len()..]);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            if room.filled().is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(false));
            }
            self.note_read();
            self.ahead.push(room.filled());
        }
    }

    /// Has these bytes read before what was put back earlier, and before what is read from the socket.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.back =
            if self.back.is_empty() { bytes } else { [bytes, self.back.split_off(0)].concat().into() };
    }

    fn note_read(&self) {
        if self.peer.phase() == Phase::Idle && !self.peer.is_multiplexed() {
            self.peer.enter(Phase::Head);
        }
    }

    /// Whether the client may have sent something that was not read, or may be sending it. Asks the kernel nothing.
    pub(super) fn may_receive(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.ended && (self.peer.has_unread() || self.stream.socket().poll_read_ready(&mut cx).is_ready())
    }

    /// Takes what the client still sends, after this side was ended, until it ends its own or has had its time. A
    /// socket that is closed with something unread in it is reset, and a reset can overtake an answer and destroy it
    /// (RFC 9112, 9.6).
    pub(super) async fn linger(mut self) {
        let mut discarded = vec![0; DISCARD_BYTES];
        let _ = tokio::time::timeout(LINGER, async {
            while matches!(self.stream.read(&mut discarded).await, Ok(1..)) {}
        })
        .await;
    }

    /// Fails if the client has left while an answer is owed to it. In the ordinary case, where there is nothing to read,
    /// it sees to it that the task is woken when it leaves, and asks the kernel nothing.
    ///
    /// This is so from the request's head on: who takes its body from hyper, and so learns that it is whole, is another
    /// task, and nothing wakes this one for it. In a tunnel each side ends by itself, and only a reset is looked for.
    fn check_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let ends = match self.peer.phase() {
            Phase::Request | Phase::Answer => true,
            Phase::Tunnel => false,
            Phase::Idle | Phase::Head => {
                self.alarm = None;
                return Ok(());
            }
        };
        if self.peer.is_multiplexed() {
            self.alarm = None; // something is always read
            return Ok(());
        }
        if self.alarm.as_ref().is_none_or(|alarm| alarm.ends != ends) {
            // What there is to read, if anything, is left for hyper: a body that nobody has room for yet, the next
            // request.
            let mut byte = [0];
            match self.stream.socket().poll_peek(cx, &mut byte) {
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(0)) if ends => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Pending => return Ok(()),
                // A connection for which there is no descriptor left has to do without.
                Poll::Ready(Ok(_)) => self.alarm = Alarm::new(self.stream.socket(), ends).ok(),
            }
        }
        match self.alarm.as_mut().map(|alarm| alarm.left.as_mut().poll(cx)) {
            Some(Poll::Ready(error)) => Err(error),
            Some(Poll::Pending) | None => Ok(()),
        }
    }
}

impl Alarm {
    /// It takes a descriptor of its own: the one that is read from wakes its reader when there is something, and not
    /// again before that was read.
    fn new(socket: &Socket, ends: bool) -> io::Result<Alarm> {
        let twin = socket.twin()?;
        let interest = if ends { Interest::ERROR | Interest::READABLE } else { Interest::ERROR };
        let left = async move {
            loop {
                match twin.ready(interest).await {
                    Err(error) => return error,
                    Ok(ready) if ready.is_error() => return io::ErrorKind::ConnectionReset.into(),
                    Ok(ready) if ready.is_read_closed() => return io::ErrorKind::UnexpectedEof.into(),
                    // Only more to read, which others do: waits for the next news.
                    Ok(_) => {
                        let _: io::Result<()> =
                            twin.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
                    }
                }
            }
        };
        Ok(Alarm { ends, left: Box::pin(left) })
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.read(buf) {
            return Poll::Ready(Ok(()));
        }
        if !self.back.is_empty() {
            let given = self.back.len().min(buf.remaining());
            buf.put_slice(&self.back.split_to(given));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.note_read();
        } else if buf.remaining() > 0 {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.peer.note_taking(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.peer.note_taking(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_client(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
