//! A body that is read once and goes to several: its reader sets the pace, and whoever cannot keep it loses the rest.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::{BoxError, RequestBody};

/// A copy's reader was too slow: what it had not read would have taken more memory than it may.
#[derive(Debug, thiserror::Error)]
#[error("the mirror reads its copy more slowly than the request comes")]
pub(super) struct Overrun;

/// The body did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was cut")]
struct Cut;

/// A body whose frames go into pipes as they are read.
pub(super) struct Tee {
    source: RequestBody,
    pipes: Vec<Rc<Pipe>>,
}

/// What has been read of a body and not yet by the reader of a copy.
#[derive(Debug)]
pub(super) struct Pipe {
    state: RefCell<State>,
    /// Bytes that may wait in it.
    limit: usize,
    held: Rc<Held>,
}

/// What waits in all pipes together, in bytes, and how much that may be.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Cell<usize>,
    limit: usize,
}

impl Held {
    pub(super) fn new(limit: usize) -> Rc<Held> {
        Rc::new(Held { bytes: Cell::new(0), limit })
    }
}

/// What a piece counts for besides its bytes, and below which size it is copied: a piece of a few bytes may be all that
/// keeps what was read together with it.
const PIECE: usize = 64;
const SMALL: usize = 4096;

fn charge(data: &Bytes) -> usize {
    data.len() + PIECE
}

#[derive(Debug, Default)]
struct State {
    data: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    reader: Option<Waker>,
    /// Who waits for the end: a reader whose peer takes nothing does not ask again.
    watcher: Option<Waker>,
}

/// How a copy ended, or will when what waits was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Cut,
    Overrun,
}

/// A copy of a body, for its reader.
pub(super) struct Copy {
    pipe: Rc<Pipe>,
    length: SizeHint,
}

impl Copy {
    /// A copy of a body of this length, of which no more than `limit` bytes wait to be read, and of all that share `held` as
    /// much as that says.
    pub(super) fn new(length: SizeHint, limit: usize, held: &Rc<Held>) -> (Rc<Pipe>, Copy) {
        let pipe = Rc::new(Pipe { state: RefCell::default(), limit, held: held.clone() });
        (pipe.clone(), Copy { pipe, length })
    }
}

impl Pipe {
    fn push(&self, data: &Bytes) {
        let mut state = self.state.borrow_mut();
        if state.end.is_some() {
            return;
        }
        let (more, held) = (charge(data), &self.held);
        if state.bytes + more > self.limit || held.bytes.get() + more > held.limit {
            self.empty(&mut state);
            state.end = Some(End::Overrun);
        } else {
            state.bytes += more;
            held.bytes.set(held.bytes.get() + more);
            let is_small = data.len() < SMALL;
            state.data.push_back(if is_small { Bytes::copy_from_slice(data) } else { data.clone() });
        }
        state.wake();
    }

    /// Drops what waits.
    fn empty(&self, state: &mut State) {
        state.data.clear();
        self.held.bytes.set(self.held.bytes.get() - state.bytes);
        state.bytes = 0;
    }

    /// Waits until the body has ended, or the reader has lost the rest of it.
    pub(super) async fn ended(&self) -> End {
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            match state.end {
                Some(end) => Poll::Ready(end),
                None => {
                    state.watcher = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn end(&self, end: End, trailers: Option<&HeaderMap>) {
        let mut state = self.state.borrow_mut();
        if state.end.is_none() {
            state.end = Some(end);
            state.trailers = trailers.cloned();
            state.wake();
        }
    }
}

impl State {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        if self.end.is_some() {
            self.watcher.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Tee {
    pub(super) fn new(source: RequestBody, pipes: Vec<Rc<Pipe>>) -> Tee {
        Tee { source, pipes }
    }

    fn end(&mut self, end: End, trailers: Option<&HeaderMap>) {
        self.pipes.drain(..).for_each(|pipe| pipe.end(end, trailers));
    }
}

impl Body for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.pipes.iter().for_each(|pipe| pipe.push(data));
                }
                let trailers = frame.trailers_ref();
                if trailers.is_some() || self.source.is_end_stream() {
                    self.end(End::Whole, trailers);
                }
            }
            Some(Err(_)) => self.end(End::Cut, None),
            None => self.end(End::Whole, None),
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

impl Drop for Tee {
    fn drop(&mut self) {
        self.end(End::Cut, None);
    }
}

impl Body for Copy {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let state = &mut *self.pipe.state.borrow_mut();
        if let Some(data) = state.data.pop_front() {
            state.bytes -= charge(&data);
            let held = &self.pipe.held.bytes;
            held.set(held.get() - charge(&data));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match state.end {
            Some(End::Whole) => {
                Poll::Ready(state.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Cut) => Poll::Ready(Some(Err(Box::new(Cut)))),
            Some(End::Overrun) => Poll::Ready(Some(Err(Box::new(Overrun)))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.pipe.state.borrow();
        state.end == Some(End::Whole) && state.data.is_empty() && state.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Nobody reads it any more: what comes is not kept.
        let mut state = self.pipe.state.borrow_mut();
        self.pipe.empty(&mut state);
        state.end.get_or_insert(End::Cut);
    }
}
