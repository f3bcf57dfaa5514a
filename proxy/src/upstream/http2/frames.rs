//! What an endpoint sends, looked at frame by frame before `h2` reads it (RFC 9113, 4.1).
//!
//! Whether its first frame has come is noted, and DATA frames that hold nothing and end nothing are left out. Servers send
//! them, some with every response: a relay that passes on the last chunk of HTTP/1.1 does. `h2` takes the hundredth of a
//! connection for an attack and closes it, with all that goes on on it. Here they have to be rare among others.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::frame::{DATA, END_STREAM, FrameHeader, PADDED, Partial};

/// Empty frames that a connection may send before it has sent any others, and the most that it may have left.
const EMPTY_AT_FIRST: u32 = 1000;
const MOST_EMPTY: u32 = 10_000;

/// A connection that is read frame by frame.
pub(super) struct Frames<S> {
    socket: S,
    sieve: Sieve,
    /// Set when the first frame was read.
    begun: Rc<Cell<bool>>,
}

impl<S> Frames<S> {
    pub(super) fn new(socket: S, begun: Rc<Cell<bool>>) -> Frames<S> {
        Frames { socket, sieve: Sieve::new(), begun }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Frames { socket, sieve, begun } = &mut *self;
        let before = buf.filled().len();
        loop {
            let held = sieve.held().len();
            if held > 0 && buf.remaining() <= held {
                sieve.give(buf);
                return Poll::Ready(Ok(()));
            }
            if held > 0 {
                // What is held comes first, and only with what is behind it.
                let mut behind = ReadBuf::new(&mut buf.initialize_unfilled()[held..]);
                ready!(Pin::new(&mut *socket).poll_read(cx, &mut behind))?;
                let read = behind.filled().len();
                if read == 0 {
                    sieve.give(buf); // the end, in the middle of a header
                    return Poll::Ready(Ok(()));
                }
                buf.put_slice(sieve.held());
                buf.advance(read);
            } else {
                ready!(Pin::new(&mut *socket).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
            }
            let kept = sieve.sift(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + kept);
            if sieve.patience.is_none() {
                return Poll::Ready(Err(io::Error::other("it sends empty frames and little else")));
            }
            if !begun.get() && sieve.has_begun() {
                begun.set(true);
            }
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
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

/// Finds the frames in what comes in pieces, and takes the empty ones out.
#[derive(Debug)]
struct Sieve {
    header: Partial,
    /// How much of that was given to whoever reads.
    given: usize,
    /// What is to come of a frame's content.
    skip: usize,
    /// Frames whose header has come.
    frames: u64,
    /// Empty frames that may still come. Nothing when there were too many.
    patience: Option<u32>,
}

impl Sieve {
    fn new() -> Sieve {
        Sieve { header: Partial::default(), given: 0, skip: 0, frames: 0, patience: Some(EMPTY_AT_FIRST) }
    }

    /// What has come of a header and was given to nobody yet.
    fn held(&self) -> &[u8] {
        &self.header.bytes()[self.given..]
    }

    /// Gives out what is held, as much as there is room for.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.held().len().min(buf.remaining());
        buf.put_slice(&self.held()[..given]);
        self.given += given;
    }

    /// Whether the first frame has come.
    fn has_begun(&self) -> bool {
        self.frames > 1 || (self.frames == 1 && self.skip == 0)
    }

    /// Takes the empty frames out of what has come, which begins with what was held. What is left comes first in `bytes`;
    /// how much that is, is returned.
    fn sift(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (self.held().len(), 0);
        while read < bytes.len() {
            if self.skip > 0 {
                let part = self.skip.min(bytes.len() - read);
                if kept != read {
                    bytes.copy_within(read..read + part, kept);
                }
                (read, kept, self.skip) = (read + part, kept + part, self.skip - part);
                continue;
            }
            let mut rest = &bytes[read..];
            self.header.take(&mut rest);
            read = bytes.len() - rest.len();
            let Some(header) = self.header.whole() else { break };
            if !self.is_left_out(header) {
                let held = self.held();
                bytes[kept..kept + held.len()].copy_from_slice(held);
                kept += held.len();
            }
            (self.header, self.given) = (Partial::default(), 0);
        }
        kept
    }

    /// Whether the frame that begins with this is one of the empty ones.
    fn is_left_out(&mut self, header: FrameHeader) -> bool {
        self.skip = header.length;
        self.frames += 1;
        let is_empty = header.kind == DATA && header.length == 0 && header.flags & (END_STREAM | PADDED) == 0;
        if !is_empty || header.stream == 0 {
            self.patience = self.patience.map(|left| left.saturating_add(1).min(MOST_EMPTY));
            return false;
        }
        self.patience = self.patience.and_then(|left| left.checked_sub(1));
        self.given == 0
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
    }

    /// A socket that gives so much at a time.
    struct Pieces(Vec<u8>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Pieces(bytes, size) = &mut *self;
            let part = bytes.len().min(*size).min(buf.remaining());
            buf.put_slice(&bytes[..part]);
            bytes.drain(..part);
            Poll::Ready(Ok(()))
        }
    }

    fn read(bytes: Vec<u8>, size: usize, room: usize) -> io::Result<Vec<u8>> {
        let (mut frames, mut all) = (Frames::new(Pieces(bytes, size), Rc::default()), Vec::new());
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let mut space = vec![0; room];
            let mut reading = std::pin::pin!(frames.read(&mut space));
            let Poll::Ready(read) = std::future::Future::poll(reading.as_mut(), &mut cx) else {
                panic!("it never waits")
            };
            match read? {
                0 => return Ok(all),
                read => all.extend_from_slice(&space[..read]),
            }
        }
    }

    #[test]
    fn empty_frames_are_left_out_and_nothing_else_is() {
        let kept = [
            frame(4, 0, 0, b"\0\x03\0\0\0\x64"),
            frame(DATA, 0, 1, b"some"),
            frame(DATA, END_STREAM, 1, b""),
            frame(DATA, PADDED, 3, b""),
            frame(DATA, 0, 0, b""),
            frame(1, 0, 3, b""),
            frame(0x70, 0, 3, &[0; 200]),
        ];
        let empty = frame(DATA, 0, 3, b"");
        let with: Vec<u8> = kept.iter().flat_map(|frame| [&frame[..], &empty, &empty].concat()).collect();
        let without = kept.concat();
        for size in 1..with.len() {
            for room in [10, 30, 1000] {
                assert_eq!(read(with.clone(), size, room).unwrap(), without, "pieces of {size} in {room}");
            }
            // Where there is no room for a header, one that was given away in part cannot be left out.
            for room in 1..10 {
                let read = read(with.clone(), size, room).unwrap();
                assert!(read.len() >= without.len(), "pieces of {size} in {room}");
            }
        }
    }

    #[test]
    fn what_ends_within_a_header_is_given_as_it_came() {
        let bytes = [frame(DATA, 0, 1, b"some"), frame(DATA, 0, 1, b"")[..5].to_vec()].concat();
        for size in 1..=bytes.len() {
            assert_eq!(read(bytes.clone(), size, 100).unwrap(), bytes);
        }
    }

    #[test]
    fn an_endpoint_that_sends_little_else_is_given_up() {
        let empty = frame(DATA, 0, 1, b"");
        assert_eq!(read(empty.repeat(EMPTY_AT_FIRST as usize), 4096, 4096).unwrap(), b"");
        assert!(read(empty.repeat(EMPTY_AT_FIRST as usize + 1), 4096, 4096).is_err());
        let mixed = [empty, frame(DATA, 0, 1, b"x")].concat();
        assert_eq!(read(mixed.repeat(20_000), 4096, 4096).unwrap().len(), 20_000 * 10);
    }

    #[test]
    fn the_first_frame_has_come_with_its_last_byte() {
        let first = frame(4, 0, 0, b"\0\x08\0\0\0\x01");
        for size in 1..=first.len() {
            let mut sieve = Sieve::new();
            let mut read = 0;
            for piece in first.chunks(size) {
                assert!(!sieve.has_begun(), "pieces of {size}");
                let mut bytes = [sieve.held(), piece].concat();
                read += sieve.sift(&mut bytes);
            }
            assert!(sieve.has_begun() && read == first.len(), "pieces of {size}");
        }
    }
}
