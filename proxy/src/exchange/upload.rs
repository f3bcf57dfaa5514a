//! A request's body as it arrives: it tells the connection when it is whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::peer::{Peer, Phase};

/// A request's body.
#[derive(Debug)]
pub(super) struct Upload {
    incoming: Incoming,
    peer: Arc<Peer>,
}

impl Upload {
    /// `None` where the request ended with its head.
    pub(super) fn begin(incoming: Incoming, peer: &Arc<Peer>) -> Option<Upload> {
        if incoming.is_end_stream() {
            peer.enter_exchange(Phase::Answer);
            return None;
        }
        Some(Upload { incoming, peer: peer.clone() })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        // The exchange may be over already, and the connection at something else.
        let last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        let whole = last || self.incoming.is_end_stream();
        if whole && self.peer.phase() == Phase::Request {
            self.peer.enter_exchange(Phase::Answer);
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
