//! Whether an endpoint has said what it takes (its SETTINGS): some requests may be sent only when it has, and `h2` does not
//! tell. They are the first frame of a connection (RFC 9113, 3.4), so it is enough to see that go by.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Bytes before a frame's payload, of which the first three are the payload's length (RFC 9113, 4.1).
const HEADER: usize = 9;

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Settled {
    is: Cell<bool>,
    changed: Notify,
}

impl Settled {
    /// The first frame was read, or never will be.
    pub(super) fn set(&self) {
        if !self.is.replace(true) {
            self.changed.notify_waiters();
        }
    }

    /// Waits for that.
    pub(super) async fn wait(&self) {
        while !self.is.get() {
            self.changed.notified().await;
        }
    }
}

/// A socket that sees the first frame go by.
pub(super) struct FirstFrame<S> {
    socket: S,
    /// The frame's beginning, as far as it was read.
    header: [u8; HEADER],
    /// How many bytes were read, until that is the whole frame.
    read: usize,
    whole: Rc<Cell<bool>>,
}

impl<S> FirstFrame<S> {
    /// `whole` is set when all of it was read.
    pub(super) fn new(socket: S, whole: Rc<Cell<bool>>) -> FirstFrame<S> {
        FirstFrame { socket, header: [0; HEADER], read: 0, whole }
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.read < HEADER {
            let taken = bytes.len().min(HEADER - self.read);
            self.header[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
        }
        self.read += bytes.len();
        let [high, middle, low, ..] = self.header;
        let payload = u32::from_be_bytes([0, high, middle, low]) as usize;
        if self.read >= HEADER && self.read - HEADER >= payload {
            self.whole.set(true);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstFrame<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if !self.whole.get() {
            self.note(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstFrame<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_whole_however_it_is_cut() {
        let frame = b"\0\0\x06\x04\0\0\0\0\0\0\x08\0\0\0\x01";
        for size in 1..=frame.len() {
            let whole = Rc::new(Cell::new(false));
            let mut first = FirstFrame::new((), whole.clone());
            let mut pieces = frame.chunks(size).peekable();
            while let Some(piece) = pieces.next() {
                first.note(piece);
                assert_eq!(whole.get(), pieces.peek().is_none(), "pieces of {size}");
            }
        }
    }
}
