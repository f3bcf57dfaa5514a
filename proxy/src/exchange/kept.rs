//! A request's body that can pass the chain once more: what came of it is kept, up to a limit.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// What came of a body. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Kept(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    data: BytesMut,
    trailers: Option<HeaderMap>,
    /// In bytes, of data. Nothing is kept of a body that has more.
    limit: usize,
    fits: bool,
    ended: bool,
}

/// A whole body that was kept.
#[derive(Debug)]
pub(crate) struct Again {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Kept {
    pub(super) fn new(limit: usize) -> Kept {
        let state = State { data: BytesMut::new(), trailers: None, limit, fits: true, ended: false };
        Kept(Rc::new(RefCell::new(state)))
    }

    /// All of it, if it has come and was kept. Nothing is kept from then on.
    pub(super) fn take(&self) -> Option<Again> {
        let mut state = self.0.borrow_mut();
        if !state.ended || !state.fits {
            return None;
        }
        state.fits = false;
        let data = std::mem::take(&mut state.data).freeze();
        Some(Again { data: Some(data).filter(|data| !data.is_empty()), trailers: state.trailers.take() })
    }

    fn note(&self, frame: Option<&Frame<Bytes>>, ended: bool) {
        let mut state = self.0.borrow_mut();
        state.ended |= ended;
        if !state.fits {
            return;
        }
        if let Some(trailers) = frame.and_then(Frame::trailers_ref) {
            state.trailers = Some(trailers.clone());
        }
        let Some(data) = frame.and_then(Frame::data_ref) else { return };
        if state.data.len() + data.len() > state.limit {
            (state.fits, state.data) = (false, BytesMut::new());
        } else {
            state.data.extend_from_slice(data);
        }
    }
}

impl Again {
    /// In bytes, without the trailers.
    pub(super) fn len(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn has_no_trailers(&self) -> bool {
        self.trailers.is_none()
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        self.data.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers))
    }

    pub(super) fn is_over(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

/// A body that is kept as it is read, if it is to be.
#[derive(Debug)]
pub(super) struct Keeping<B> {
    pub(super) source: B,
    pub(super) kept: Option<Kept>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Keeping<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        if let Some(kept) = &self.kept {
            match &frame {
                // Nobody asks for more behind trailers.
                Some(Ok(frame)) => kept.note(Some(frame), frame.is_trailers() || self.source.is_end_stream()),
                Some(Err(_)) => {}
                None => kept.note(None, true),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
