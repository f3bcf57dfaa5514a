//! A body that the test feeds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body whose pieces come when the test gives them. Its clones are one body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    /// How much is left, where the head says how much there is.
    length: Option<u64>,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Cut,
}

/// The sender broke the body off.
#[derive(Debug, thiserror::Error)]
#[error("the sender broke the body off")]
pub(crate) struct CutOff;

impl Feed {
    /// An empty one, which has not ended. `length` is what the head says of it.
    pub(crate) fn new(length: Option<u64>) -> Feed {
        let feed = Feed::default();
        feed.0.borrow_mut().length = length;
        feed
    }

    pub(crate) fn push(&self, piece: Bytes) {
        self.change(|state| state.pieces.push_back(piece));
    }

    /// Ends it, unless it has ended.
    pub(crate) fn end(&self, trailers: Option<HeaderMap>) {
        self.change(|state| {
            if state.end.is_none() {
                state.trailers = trailers;
                state.end = Some(End::Whole);
            }
        });
    }

    /// Breaks it off, unless it has ended.
    pub(crate) fn cut(&self) {
        self.change(|state| _ = state.end.get_or_insert(End::Cut));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().end.is_some()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.borrow_mut();
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let mut state = self.0.borrow_mut();
        if let Some(piece) = state.pieces.pop_front() {
            state.length = state.length.map(|length| length.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match (state.trailers.take(), state.end) {
            (Some(trailers), _) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            (None, Some(End::Whole)) => Poll::Ready(None),
            (None, Some(End::Cut)) => Poll::Ready(Some(Err(CutOff))),
            (None, None) => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.borrow();
        state.pieces.is_empty() && state.trailers.is_none() && state.end == Some(End::Whole)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_announced_length_goes_down() {
        let mut feed = Feed::new(Some(5));
        feed.push(Bytes::from_static(b"abc"));
        assert_eq!(feed.size_hint().exact(), Some(5));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut feed).poll_frame(&mut cx).is_ready());
        assert_eq!(feed.size_hint().exact(), Some(2));
    }

    #[test]
    fn the_first_end_counts() {
        let mut feed = Feed::new(None);
        feed.end(Some(HeaderMap::new()));
        feed.end(None);
        feed.cut();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut feed).poll_frame(&mut cx) else {
            panic!("there are trailers")
        };
        assert!(frame.is_trailers() && feed.is_end_stream());
    }
}
