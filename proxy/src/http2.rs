//! What HTTP/2 connections of both sides have in common.

pub(crate) mod frame;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::config::model;

/// What small DATA frames that wait to be read may cost besides what they hold, in bytes, where the other side may send
/// `window` bytes on the connection before they are read. `h2` counts each frame of fewer than 256 bytes as that many; half
/// a window's worth, which it allows unless told otherwise, is soon used up by the messages of an ordinary gRPC stream
/// whose receiver is slow. With this a window may be filled with frames of 52 bytes, and a fourth of one (a stream's, as
/// they are by default) with frames of 16.
pub(crate) fn framing_budget(window: u32) -> usize {
    usize::try_from(window).unwrap_or(usize::MAX).saturating_mul(4)
}

/// Finds out whether the other side is still there (RFC 9113, 6.7). A connection that is not asked has none.
pub(crate) struct Keepalive {
    settings: model::Keepalive,
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    /// A ping is to be answered before the timer fires.
    asked: bool,
}

/// The other side did not answer in time.
#[derive(Debug)]
pub(crate) struct Gone;

impl Keepalive {
    /// Begins with the first wait. `pings` are the connection's.
    pub(crate) fn begin(settings: Option<model::Keepalive>, pings: Option<PingPong>) -> Option<Keepalive> {
        let (settings, pings) = settings.zip(pings)?;
        let timer = Box::pin(tokio::time::sleep(settings.interval));
        Some(Keepalive { settings, pings, timer, asked: false })
    }

    /// Asks, and waits for the answers. To be polled with the connection, before it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        loop {
            if self.asked && self.pings.poll_pong(cx).is_ready() {
                self.asked = false;
                self.wait(self.settings.interval);
            }
            ready!(self.timer.as_mut().poll(cx));
            // Refused only where the connection is closed, as whoever polls that finds out.
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(Gone);
            }
            self.asked = true;
            self.wait(self.settings.timeout);
        }
    }

    fn wait(&mut self, time: std::time::Duration) {
        self.timer.as_mut().reset((Instant::now() + time).into());
    }
}

/// A DATA frame of fewer bytes is passed on together with those that have come after it, until there is so much.
const SMALL: usize = 1024;
const TOGETHER: usize = 16 * 1024;

/// The next frame of a message's body. The peer may send as much more as is read here.
///
/// Small frames that are there already are put together: what they hold is copied for less than each of them would cost on
/// its way through filters and out. None is waited for.
pub(crate) fn poll_frame(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    Poll::Ready(match ready!(stream.poll_data(cx)) {
        Some(Ok(first)) => {
            let data = if first.len() < SMALL { together(stream, cx, first) } else { first };
            // That fails only where nothing more can come.
            let _ = stream.flow_control().release_capacity(data.len());
            Some(Ok(Frame::data(data)))
        }
        Some(Err(error)) => Some(Err(error)),
        None => ready!(stream.poll_trailers(cx)).map(|trailers| trailers.map(Frame::trailers)).transpose(),
    })
}

/// The frame and what has come after it. How the stream ends, and that it failed, is said again when it is asked again.
fn together(stream: &mut RecvStream, cx: &mut Context<'_>, first: Bytes) -> Bytes {
    let Poll::Ready(Some(Ok(second))) = stream.poll_data(cx) else { return first };
    let mut data = BytesMut::with_capacity(2 * SMALL);
    data.extend_from_slice(&first);
    data.extend_from_slice(&second);
    while data.len() < TOGETHER
        && let Poll::Ready(Some(Ok(next))) = stream.poll_data(cx)
    {
        data.extend_from_slice(&next);
    }
    data.freeze()
}

/// A message's body on its way.
pub(crate) struct Sending<B> {
    pub(crate) body: B,
    /// What the peer has not taken yet of the last that the body gave.
    piece: Bytes,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    pub(crate) fn new(body: B) -> Sending<B> {
        Sending { body, piece: Bytes::new() }
    }

    /// Whether the peer is to take something before there can be more.
    pub(crate) fn is_held(&self) -> bool {
        !self.piece.is_empty()
    }

    /// Ready when nothing more follows: all was sent, or the stream was closed, of which who reads it is told. No more is
    /// given to a stream than the peer takes at once: what waits in it would be sent, and waited for, also when nobody
    /// wants it any more. An error is the body's, and the stream is to be reset for it.
    pub(crate) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), B::Error>> {
        loop {
            while !self.piece.is_empty() {
                stream.reserve_capacity(self.piece.len());
                while stream.capacity() == 0 {
                    let Some(Ok(_)) = ready!(stream.poll_capacity(cx)) else { return Poll::Ready(Ok(())) };
                }
                let part = self.piece.split_to(self.piece.len().min(stream.capacity()));
                let is_last = self.piece.is_empty() && self.body.is_end_stream();
                if stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let last = match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        self.piece = data;
                        continue;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => stream.send_trailers(trailers),
                        Err(_) => continue,
                    },
                },
                None => stream.send_data(Bytes::new(), true),
            };
            if last.is_err() {
                stream.send_reset(Reason::INTERNAL_ERROR); // no trailers that can be sent, unless it was closed anyway
            }
            return Poll::Ready(Ok(()));
        }
    }
}

/// A stream that carries bytes both ways, once CONNECT was agreed on (RFC 9113, 8.5; RFC 8441). Dropped before both sides
/// have ended, it is reset.
pub(crate) struct Duplex {
    incoming: RecvStream,
    outgoing: SendStream<Bytes>,
    /// What came and was not read.
    piece: Bytes,
    /// Both sides have said that they are done.
    over: (bool, bool),
    /// Dropped when all is sent that was written before this side was cut.
    cut: Option<oneshot::Receiver<Infallible>>,
}

/// Nothing, which is dropped when it is sent.
struct Mark(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<Infallible>);

impl AsRef<[u8]> for Mark {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Duplex {
    pub(crate) fn new(incoming: RecvStream, outgoing: SendStream<Bytes>) -> Duplex {
        Duplex { incoming, outgoing, piece: Bytes::new(), over: (false, false), cut: None }
    }

    /// Resets the stream when what was written is sent, which a reset would take back.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = match &mut self.cut {
            Some(sent) => sent,
            None => {
                let (mark, sent) = oneshot::channel();
                self.outgoing.send_data(Bytes::from_owner(Mark(mark)), false).map_err(broken)?;
                self.cut.insert(sent)
            }
        };
        let _: Result<Infallible, _> = ready!(Pin::new(sent).poll(cx));
        self.outgoing.send_reset(Reason::CANCEL); // RFC 8441, 5
        Poll::Ready(Ok(()))
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        if self.over != (true, true) {
            self.outgoing.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.piece.is_empty() && !this.over.0 {
            match ready!(this.incoming.poll_data(cx)) {
                Some(data) => this.piece = data.map_err(broken)?,
                None => this.over.0 = true,
            }
        }
        let taken = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece[..taken]);
        this.piece.advance(taken);
        // As much more may be sent as is read here. That fails only where nothing more can come.
        let _ = this.incoming.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.outgoing;
        stream.reserve_capacity(buf.len());
        while stream.capacity() == 0 && !buf.is_empty() {
            match ready!(stream.poll_capacity(cx)) {
                Some(capacity) => _ = capacity.map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = buf.len().min(stream.capacity());
        stream.send_data(Bytes::copy_from_slice(&buf[..taken]), false).map_err(broken)?;
        Poll::Ready(Ok(taken))
    }

    /// The connection sends what it has; that nobody takes it any more is found out here, by who has nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.outgoing.poll_reset(cx) {
            Poll::Pending | Poll::Ready(Ok(Reason::NO_ERROR)) => Poll::Ready(Ok(())),
            Poll::Ready(Ok(_)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(error))),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.over.1, true) {
            self.outgoing.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
