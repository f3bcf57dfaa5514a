//! A request's body that can pass the chain once more: what came of it is kept, up to a limit.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

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

    /// All of it, if it has come and was kept, and has no more data than this, in bytes. Nothing is kept from then on.
    pub(super) fn take(&self, limit: usize) -> Option<Again> {
        let mut state = self.0.borrow_mut();
        if !state.ended || !state.fits || state.data.len() > limit {
            return None;
        }
        state.fits = false;
        let data = std::mem::take(&mut state.data).freeze();
        Some(Again { data: Some(data).filter(|data| !data.is_empty()), trailers: state.trailers.take() })
    }

    /// A frame came, or the end.
    pub(super) fn note(&self, frame: Option<&Frame<Bytes>>, ended: bool) {
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
    /// How long it is, where it ends with its data.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.trailers {
            None => SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64),
            Some(_) => SizeHint::default(),
        }
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        self.data.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers))
    }

    pub(super) fn is_over(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}
