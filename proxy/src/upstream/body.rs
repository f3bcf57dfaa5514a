//! The bodies of requests and responses on the upstream side.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::UpstreamError;
use super::http2::{Http2Body, Http2Tunnel};
use super::pool::Lease;
use crate::http2::Duplex;

/// What a request's body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body.
///
/// Its length, where it knows one, frames the request unless the request has a `content-length` of its own.
#[derive(Default)]
pub enum RequestBody {
    /// None.
    #[default]
    Empty,
    /// All of it is at hand.
    Full(Bytes),
    /// It comes bit by bit.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            RequestBody::Stream(stream) => stream.as_mut().poll_frame(cx),
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Full(bytes) => {
                let bytes = mem::take(bytes);
                *this = RequestBody::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Full(bytes) => bytes.is_empty(),
            RequestBody::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            RequestBody::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestBody::Empty => f.write_str("Empty"),
            RequestBody::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            RequestBody::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A response's body as it comes.
///
/// Over HTTP/1.1 the connection goes back to the pool at its end, where it can be used again; dropped before its end, it
/// closes the connection. Over HTTP/2 it is a stream's end, or its reset. Either way the request stops counting as in
/// flight. The body of a 101 response is empty, but stands for the tunnel: the request counts until it is dropped.
#[derive(Debug)]
pub enum ResponseBody {
    /// Over HTTP/1.1.
    Http1(Http1Body),
    /// Over HTTP/2.
    Http2(Http2Body),
    /// None: the stream is a tunnel.
    Tunnel(Http2Tunnel),
}

impl ResponseBody {
    /// The tunnel for which a 101 response over HTTP/2 stands, the first time. This is to be kept for as long as it lasts.
    pub(crate) fn take_tunnel(&mut self) -> Option<Duplex> {
        match self {
            ResponseBody::Http1(_) | ResponseBody::Http2(_) => None,
            ResponseBody::Tunnel(tunnel) => tunnel.take(),
        }
    }
}

/// A response's body over HTTP/1.1.
#[derive(Debug)]
pub struct Http1Body {
    incoming: Incoming,
    /// Until the end.
    lease: Option<Lease>,
}

impl Http1Body {
    pub(super) fn new(incoming: Incoming, lease: Lease) -> Http1Body {
        let mut body = Http1Body { incoming, lease: Some(lease) };
        // Nobody polls a body that is known to be empty.
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    /// The body of the response to an upgrade: empty.
    pub(super) fn tunnel(incoming: Incoming, lease: Lease) -> Http1Body {
        Http1Body { incoming, lease: Some(lease) }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if let (Some(trailers), Some(lease)) = (frame.trailers_ref(), &self.lease) {
                    lease.ended(Some(trailers));
                }
                // A sized body ends with its last byte: whoever reads it need not ask again.
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                if let Some(lease) = self.lease.take() {
                    lease.cut();
                }
                Poll::Ready(Some(Err(UpstreamError::ResponseBody(error))))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            ResponseBody::Http1(body) => body.poll_frame(cx),
            ResponseBody::Http2(body) => Pin::new(body).poll_frame(cx),
            ResponseBody::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Http1(body) => body.incoming.is_end_stream(),
            ResponseBody::Http2(body) => body.is_end_stream(),
            ResponseBody::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Http1(body) => body.incoming.size_hint(),
            ResponseBody::Http2(body) => body.size_hint(),
            ResponseBody::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
