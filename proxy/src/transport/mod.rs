//! What a connection's bytes go through, on either side: a socket, plain or with TLS on it.
//!
//! It knows no HTTP and makes no connections. What was read to find out what a connection is comes before all else.
//! Whoever reads and writes without anybody else (hyper, `h2`) uses it as the `AsyncRead` and `AsyncWrite` that it is;
//! who has both directions of two connections in hand at once ([`tcp`](crate::tcp)) does the same by reference.

mod socket;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::CommonState;

pub(crate) use socket::Socket;

/// A connection's bytes.
#[derive(Debug)]
pub(crate) struct Transport {
    /// What was read already, and is to be read again.
    ahead: RefCell<Bytes>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Plain(Socket),
    Tls(Box<Encrypted>),
}

/// TLS on a socket.
#[derive(Debug)]
struct Encrypted {
    /// Borrowed for the length of one call only, none of which makes another.
    stream: RefCell<TlsStream<Wire>>,
    socket: Arc<Socket>,
    /// Something was written that may still be held back.
    unflushed: Cell<bool>,
}

/// The socket below TLS. Shared, so that it can be looked at beside the encrypted stream.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Arc<Socket>,
    ahead: Bytes,
}

/// The socket below a connection's TLS, where there is TLS, for as long as that is open: for who has no other way to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BelowTls(Weak<Socket>);

impl BelowTls {
    /// The socket.
    pub(crate) fn socket(&self) -> Option<Arc<Socket>> {
        self.0.upgrade()
    }
}

impl Wire {
    /// `ahead` is what was read of it already.
    pub(crate) fn new(socket: Socket, ahead: Bytes) -> Wire {
        Wire { socket: Arc::new(socket), ahead }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Transport {
        Transport { ahead: RefCell::default(), kind: Kind::Plain(socket) }
    }
}

impl From<TlsStream<Wire>> for Transport {
    fn from(stream: TlsStream<Wire>) -> Transport {
        let socket = stream.get_ref().0.socket.clone();
        let stream = RefCell::new(stream);
        let encrypted = Box::new(Encrypted { stream, socket, unflushed: Cell::new(false) });
        Transport { ahead: RefCell::default(), kind: Kind::Tls(encrypted) }
    }
}

impl Transport {
    /// The same, of which these bytes were read already: they come first.
    pub(crate) fn behind(self, ahead: Bytes) -> Transport {
        Transport { ahead: RefCell::new(ahead), ..self }
    }

    /// What TLS is to be spoken on, where there is none yet.
    pub(crate) fn into_wire(self) -> Option<Wire> {
        match self.kind {
            Kind::Plain(socket) => Some(Wire::new(socket, self.ahead.into_inner())),
            Kind::Tls(_) => None,
        }
    }

    /// What it goes over.
    pub(crate) fn socket(&self) -> &Socket {
        match &self.kind {
            Kind::Plain(socket) => socket,
            Kind::Tls(encrypted) => &encrypted.socket,
        }
    }

    /// What its TLS goes over, if there is TLS.
    pub(crate) fn below_tls(&self) -> BelowTls {
        match &self.kind {
            Kind::Plain(_) => BelowTls::default(),
            Kind::Tls(encrypted) => BelowTls(Arc::downgrade(&encrypted.socket)),
        }
    }

    /// The protocol that both sides agreed on (ALPN), if they did.
    pub(crate) fn alpn(&self) -> Option<Box<[u8]>> {
        self.session(|session| session.alpn_protocol().map(Box::from)).flatten()
    }

    /// Looks at the TLS session, if there is one.
    pub(crate) fn session<T>(&self, look: impl FnOnce(&CommonState) -> T) -> Option<T> {
        match &self.kind {
            Kind::Plain(_) => None,
            Kind::Tls(encrypted) => Some(look(encrypted.stream.borrow().get_ref().1)),
        }
    }

    /// Writes what the other side takes now.
    pub(crate) fn poll_write_by_ref(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.kind {
            Kind::Plain(socket) => socket.poll_write(cx, pieces),
            Kind::Tls(encrypted) => {
                encrypted.unflushed.set(true);
                Pin::new(&mut *encrypted.stream.borrow_mut()).poll_write_vectored(cx, pieces)
            }
        }
    }

    /// Sends what was taken and is held back. Costs nothing where nothing is.
    pub(crate) fn poll_flush_by_ref(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Tls(encrypted) if encrypted.unflushed.get() => {
                ready!(Pin::new(&mut *encrypted.stream.borrow_mut()).poll_flush(cx))?;
                encrypted.unflushed.set(false);
                Poll::Ready(Ok(()))
            }
            Kind::Plain(_) | Kind::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells the other side that nothing follows, by TLS where there is TLS.
    pub(crate) fn poll_end_by_ref(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Plain(socket) => Poll::Ready(socket.end()),
            Kind::Tls(encrypted) => Pin::new(&mut *encrypted.stream.borrow_mut()).poll_shutdown(cx),
        }
    }
}

/// Whether there was anything to give.
fn take_ahead(ahead: &mut Bytes, buf: &mut ReadBuf<'_>) -> bool {
    if ahead.is_empty() || buf.remaining() == 0 {
        return false;
    }
    let given = ahead.len().min(buf.remaining());
    buf.put_slice(&ahead[..given]);
    ahead.advance(given);
    if ahead.is_empty() {
        *ahead = Bytes::new(); // what it was a part of is not kept
    }
    true
}

/// For whoever has no more than a reference, and does not read in two places at once.
impl AsyncRead for &Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if take_ahead(&mut self.ahead.borrow_mut(), buf) {
            return Poll::Ready(Ok(()));
        }
        match &self.kind {
            Kind::Plain(socket) => socket.poll_read(cx, buf),
            Kind::Tls(encrypted) => Pin::new(&mut *encrypted.stream.borrow_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take_ahead(self.ahead.get_mut(), buf) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Tls(encrypted) => Pin::new(encrypted.stream.get_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Tls(encrypted) => Pin::new(encrypted.stream.get_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Kind::Tls(encrypted) => Pin::new(encrypted.stream.get_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(_) => Poll::Ready(Ok(())),
            Kind::Tls(encrypted) => Pin::new(encrypted.stream.get_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(socket) => Poll::Ready(socket.end()),
            Kind::Tls(encrypted) => Pin::new(encrypted.stream.get_mut()).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take_ahead(&mut self.ahead, buf) {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self.socket, cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self.socket, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.end())
    }
}
