//! What a client may ask of an HTTP/2 connection besides requests: frames that cost the proxy more than the client, and
//! that no client needs many of.
//!
//! `h2` bounds what it holds, so that none of these takes memory; it does not mind the work. It closes a connection for too
//! many CONTINUATION frames, header lists far over their limit, and small DATA frames; what it lets pass is counted here:
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE and RST_STREAM frames, and those of unknown types (CVE-2019-9511 to 9518), and
//! requests that are taken back as soon as they are made (CVE-2023-44487).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::observed::{Observed, PREFACE};
use crate::http2::frame::{CONTINUATION, DATA, HEADERS, Partial};

/// Frames that a connection may send before it has earned any, and more for each second: a client that measures its
/// bandwidth pings for every round trip on which it has received something.
const AT_FIRST: u32 = 1000;
const EACH_SECOND: u32 = 100;

/// Frames that the client may send for each frame of a response's body, and for each request, as in Envoy
/// (`max_inbound_window_update_frames_per_data_frame_sent`).
const EARNED: u32 = 10;

/// The most that can be saved up.
const MOST: u32 = 10_000;

/// A request that is taken back before this is premature, and a connection is closed when so many were, and that is more
/// than half of all: as in Envoy (`overload.premature_reset_total_stream_count`).
const PREMATURE: Duration = Duration::from_secs(1);
const MOST_PREMATURE: u32 = 500;

/// How much patience there is left for a connection.
#[derive(Debug)]
pub(super) struct Patience {
    frames: Cell<u32>,
    since: Cell<Instant>,
    /// Requests that have ended, and those of them that were taken back at once.
    ended: Cell<u32>,
    premature: Cell<u32>,
    over: Cell<bool>,
}

impl Patience {
    pub(super) fn new() -> Rc<Patience> {
        Rc::new(Patience {
            frames: Cell::new(AT_FIRST),
            since: Cell::new(Instant::now()),
            ended: Cell::default(),
            premature: Cell::default(),
            over: Cell::default(),
        })
    }

    /// Whether the connection is to be closed.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// A request came, or a part of a response was sent: the client may have something to say of it.
    fn earn(&self) {
        self.frames.set(self.frames.get().saturating_add(EARNED).min(MOST));
    }

    /// A frame came that has to be earned.
    fn spend(&self) {
        let left = self.frames.get().checked_sub(1).or_else(|| self.restored().checked_sub(1));
        match left {
            Some(left) => self.frames.set(left),
            None => self.over.set(true),
        }
    }

    /// What time has brought. The clock is read only when there is nothing left.
    fn restored(&self) -> u32 {
        let now = Instant::now();
        let seconds = now.duration_since(self.since.get()).as_secs();
        if seconds == 0 {
            return 0;
        }
        self.since.set(now);
        u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(EACH_SECOND).min(AT_FIRST)
    }

    /// A request that began at this time has ended: answered, or taken back by the client.
    pub(super) fn note_end(&self, began: Instant, taken_back: bool) {
        self.ended.set(self.ended.get().saturating_add(1));
        if taken_back && began.elapsed() < PREMATURE {
            let premature = self.premature.get().saturating_add(1);
            self.premature.set(premature);
            if premature >= MOST_PREMATURE && premature > self.ended.get() / 2 {
                self.over.set(true);
            }
        }
    }
}

/// A client's socket whose frames are counted as they are read. It can be had back after `h2` has dropped it.
pub(super) struct Watched {
    io: Option<Observed>,
    received: Scan,
    sent: Scan,
    patience: Rc<Patience>,
    heir: Heir,
}

/// Where a socket is left.
pub(super) type Heir = Rc<Cell<Option<Observed>>>;

impl Watched {
    /// The socket, whose next byte is the preface's first.
    pub(super) fn new(io: Observed, patience: Rc<Patience>, heir: Heir) -> Watched {
        Watched { io: Some(io), received: Scan::after(PREFACE.len()), sent: Scan::after(0), patience, heir }
    }

    fn note_sent(&mut self, bytes: &[u8]) {
        self.sent.frames(bytes, |kind| {
            if kind == DATA {
                self.patience.earn();
            }
        });
    }

    fn io(self: Pin<&mut Self>) -> io::Result<Pin<&mut Observed>> {
        self.get_mut().io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.heir.set(self.io.take());
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.patience.is_over() {
            return Poll::Pending; // nothing more is heard; whoever polls this sees to the end
        }
        let before = buf.filled().len();
        ready!(self.as_mut().io()?.poll_read(cx, buf))?;
        let this = self.get_mut();
        this.received.frames(&buf.filled()[before..], |kind| match kind {
            HEADERS => this.patience.earn(),
            DATA | CONTINUATION => {}
            _ => this.patience.spend(),
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.as_mut().io()?.poll_write(cx, buf))?;
        self.note_sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.as_mut().io()?.poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.note_sent(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

/// Finds the beginnings of frames in what comes in pieces.
#[derive(Debug)]
struct Scan {
    /// The preface, then a frame's content: bytes that are none of its business.
    skip: usize,
    header: Partial,
}

impl Scan {
    fn after(skip: usize) -> Scan {
        Scan { skip, header: Partial::default() }
    }

    /// Says of which type the frames are that begin in these bytes.
    fn frames(&mut self, mut bytes: &[u8], mut begins: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            self.header.take(&mut bytes);
            if let Some(header) = self.header.whole() {
                self.header = Partial::default();
                self.skip = header.length;
                begins(header.kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        let mut frame = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        frame.resize(9 + length, 0x6);
        frame
    }

    #[test]
    fn frames_are_found_however_their_bytes_come() {
        let frames = [frame(0x4, 0), frame(0x1, 40), frame(0x0, 300), frame(0x9, 3), frame(0xfa, 70_000)];
        let bytes = [&PREFACE[..], &frames.concat()].concat();
        for piece in [1, 2, 9, 10, 1000] {
            let (mut found, mut scan) = (Vec::new(), Scan::after(PREFACE.len()));
            bytes.chunks(piece).for_each(|piece| scan.frames(piece, |kind| found.push(kind)));
            assert_eq!(found, [0x4, 0x1, 0x0, 0x9, 0xfa], "in pieces of {piece}");
        }
    }

    #[test]
    fn what_was_not_earned_ends_the_patience() {
        let patience = Patience::new();
        (0..AT_FIRST).for_each(|_| patience.spend());
        assert!(!patience.is_over());
        patience.earn();
        (0..EARNED).for_each(|_| patience.spend());
        assert!(!patience.is_over());
        patience.spend();
        assert!(patience.is_over());
    }

    #[test]
    fn a_client_that_takes_some_of_its_requests_back_is_none_that_takes_all() {
        let (began, patience) = (Instant::now(), Patience::new());
        for _ in 0..MOST_PREMATURE {
            patience.note_end(began, false);
            patience.note_end(began, true);
        }
        assert!(!patience.is_over(), "half of them were answered");
        patience.note_end(began, true);
        assert!(patience.is_over());
    }
}
