//! A tunnel's bytes, both ways, and where the task is that carries those of an HTTP/1.1 connection.
//!
//! A tunnel that waits holds no buffer: what is read goes through one that the worker's tunnels share, and only what its
//! destination did not take is kept.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::filter::Meter;
use crate::http2::Duplex;
use crate::transport::BelowTls;
use crate::wasm::stream::Direction;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// How often a direction is read from before others of the worker have their turn.
const ROUNDS: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

type Carrying = Pin<Box<dyn Future<Output = ()>>>;

/// Where a connection's exchange leaves its tunnel, for the connection's own task to carry: so the tunnel counts as the
/// connection that it is, and ends where that is ended.
#[derive(Clone, Default)]
pub(crate) struct Berth(Rc<RefCell<Option<Carrying>>>);

impl Berth {
    pub(super) fn moor(&self, carrying: impl Future<Output = ()> + 'static) {
        *self.0.borrow_mut() = Some(Box::pin(carrying));
    }

    /// Goes on with what was left here, if anything was, while the connection is not its own yet. Ready when it has ended.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.borrow_mut().as_mut() {
            Some(carrying) => carrying.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Carries what was left here to its end, if anything was.
    pub(crate) async fn carry(self) {
        let carrying = self.0.borrow_mut().take();
        if let Some(carrying) = carrying {
            carrying.await;
        }
    }
}

/// A side of a tunnel.
pub(super) trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Ends it when what was written is sent, and does not say that this is the whole: it may not be.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Side for Duplex {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Duplex::poll_cut(self, cx)
    }
}

/// A whole connection as a side.
pub(super) struct Whole {
    io: TokioIo<Upgraded>,
    below_tls: BelowTls,
}

impl Whole {
    pub(super) fn new(upgraded: Upgraded, below_tls: BelowTls) -> Whole {
        Whole { io: TokioIo::new(upgraded), below_tls }
    }
}

impl Side for Whole {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        match self.below_tls.socket() {
            Some(socket) => Poll::Ready(socket.end()),
            None => Pin::new(&mut self.io).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Whole {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Both directions.
pub(super) struct Tunnel<C, U> {
    client: C,
    upstream: U,
    request: Pump,
    response: Pump,
}

impl<C, U> Tunnel<C, U>
where
    C: Side,
    U: Side,
{
    pub(super) fn new(client: C, upstream: U) -> Tunnel<C, U> {
        Tunnel { client, upstream, request: Pump::default(), response: Pump::default() }
    }

    /// Carries what there is to carry, and counts what was. Ready when both sides have ended and got everything, or when
    /// one of them is gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, meter: &Meter) -> Poll<io::Result<()>> {
        let Tunnel { client, upstream, request, response } = self;
        let sent = request.poll(cx, client, upstream, |count| meter.count(Direction::Request, count))?;
        let received =
            response.poll(cx, upstream, client, |count| meter.count(Direction::Response, count))?;
        if sent.is_ready() && received.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Pump {
    /// What was read and not taken: from `taken` on.
    rest: Vec<u8>,
    taken: usize,
    /// The source has ended it.
    read_out: bool,
    /// It did so in TLS, and did not say so.
    is_cut: bool,
    /// The destination was told so.
    done: bool,
}

impl Pump {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut impl Side,
        count: impl Fn(u64),
    ) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            while self.taken < self.rest.len() {
                let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.taken..]))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.taken += taken;
                count(taken as u64);
            }
            if self.read_out {
                // By TLS only what the source ended is ended (RFC 8446, 6.1).
                let ended = if self.is_cut { to.poll_cut(cx) } else { Pin::new(&mut *to).poll_shutdown(cx) };
                ready!(ended)?;
                self.done = true;
                continue;
            }
            let moved = SCRATCH.with_borrow_mut(|scratch| self.poll_move(cx, from, to, scratch, &count));
            if moved?.is_pending() {
                self.rest = Vec::new(); // nothing is in it
                // What was carried may still be on its way out.
                let _ = Pin::new(to).poll_flush(cx)?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, and writes of that what the destination takes at once.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        count: impl Fn(u64),
    ) -> Result<Poll<()>, io::Error> {
        let mut read = ReadBuf::new(scratch);
        match Pin::new(from).poll_read(cx, &mut read) {
            Poll::Pending => return Ok(Poll::Pending),
            // What came before is still to be taken.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.is_cut = true,
            Poll::Ready(read) => read?,
        }
        let piece = read.filled();
        self.read_out = piece.is_empty();
        if self.read_out {
            return Ok(Poll::Ready(()));
        }
        let taken = match Pin::new(to).poll_write(cx, piece)? {
            Poll::Ready(taken) => taken,
            Poll::Pending => 0,
        };
        count(taken as u64);
        self.rest.clear();
        self.rest.extend_from_slice(&piece[taken..]);
        self.taken = 0;
        Ok(Poll::Ready(()))
    }
}
