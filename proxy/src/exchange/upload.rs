//! A request's body as it arrives: it tells the connection when it is whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::decompress::Undecodable;
use super::grpc_web::TextBody;
use super::headers::drop_hop_by_hop;
use super::kept::{Again, Kept};
use super::peer::{Peer, Phase};
use crate::http2;

/// A request's body as it comes from a connection.
#[derive(Debug)]
pub(crate) enum ClientBody {
    /// Over HTTP/1.1.
    Http1(Incoming),
    /// Over HTTP/2. The client may send as much more as is read here.
    Http2(RecvStream),
    /// None: what the client sends is for a tunnel.
    Empty,
    /// In base64, which is taken off it.
    Text(Box<TextBody>),
    /// One that came before, once more.
    Again(Again),
}

/// Why a request's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// It is to be text, and cannot be read as such.
    #[error("a gRPC-Web request's text is no base64")]
    Base64,
    /// It cannot be decompressed.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        match self.get_mut() {
            ClientBody::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(ClientError::Http1),
            ClientBody::Http2(stream) => http2::poll_frame(stream, cx).map_err(ClientError::Http2),
            ClientBody::Empty => Poll::Ready(None),
            ClientBody::Text(body) => Pin::new(body).poll_frame(cx),
            ClientBody::Again(body) => Poll::Ready(body.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ClientBody::Http1(incoming) => incoming.is_end_stream(),
            ClientBody::Http2(stream) => stream.is_end_stream(),
            ClientBody::Empty => true,
            ClientBody::Text(body) => body.is_end_stream(),
            ClientBody::Again(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ClientBody::Http1(incoming) => incoming.size_hint(),
            ClientBody::Http2(_) | ClientBody::Text(_) => SizeHint::default(),
            ClientBody::Empty => SizeHint::with_exact(0),
            ClientBody::Again(body) => body.size_hint(),
        }
    }
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Upload {
    incoming: ClientBody,
    peer: Arc<Peer>,
    kept: Option<Kept>,
}

impl Upload {
    /// `None` where the request ended with its head.
    pub(super) fn begin(incoming: ClientBody, peer: &Arc<Peer>) -> Option<Upload> {
        if incoming.is_end_stream() {
            peer.note_whole_request();
            return None;
        }
        Some(Upload { incoming, peer: peer.clone(), kept: None })
    }

    /// One that came before, once more.
    pub(super) fn again(body: Again, peer: &Arc<Peer>) -> Upload {
        Upload { incoming: ClientBody::Again(body), peer: peer.clone(), kept: None }
    }

    /// Keeps what comes, up to so many bytes.
    pub(super) fn keep(&mut self, limit: usize) -> Kept {
        self.kept.insert(Kept::new(limit)).clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let mut frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            drop_hop_by_hop(trailers);
        }
        // The exchange may be over already, and the connection at something else.
        let last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        let whole = last || self.incoming.is_end_stream();
        if let Some(kept) = &self.kept {
            kept.note(frame.as_ref().and_then(|frame| frame.as_ref().ok()), whole);
        }
        if whole && self.peer.phase() == Phase::Request {
            self.peer.note_whole_request();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
