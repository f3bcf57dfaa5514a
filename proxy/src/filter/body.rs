//! A message's body on its way through a flow, as a body that hyper polls.
//!
//! Backpressure is the poll itself: the source is asked for a frame only when the flow has nothing left to give and no
//! filter holds as much as it may.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::flow::{Event, Flow};
use super::interrupt::Interrupt;
use super::run::Run;
use crate::wasm::stream::Direction;

/// What a body gives next: nothing after its end.
type NextFrame<E> = Option<Result<Frame<Bytes>, FlowError<E>>>;

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum FlowError<E> {
    /// Where it comes from failed.
    #[error("the body was cut short")]
    Source(#[source] E),
    /// A filter ended the exchange; [`Run::take_interrupt`] says how.
    #[error("a filter ended the exchange")]
    Interrupted,
    /// A filter changed the length of a body after the head had said it.
    #[error("a filter changed the length of a body after its head had gone on with a content-length")]
    Length,
}

/// A message on its way through the chain: its source, and the flow that it passes.
#[derive(Debug)]
pub struct FlowBody<B> {
    flow: Flow,
    source: Option<B>,
    /// No filter takes part: it goes through as it comes.
    direct: bool,
    /// The head came through and said that it is all, or the last frame was given.
    ended: bool,
    /// How long the body is that comes out, where the head says so.
    promised: Option<u64>,
    /// How much of it came out.
    given: u64,
}

impl<B> FlowBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Sends a message whose head is in the stream into the chain. `None` for a message without a body.
    pub fn new(run: Rc<Run>, direction: Direction, source: Option<B>) -> FlowBody<B> {
        if source.is_none() {
            run.meter().end(direction, false);
        }
        let direct = run.is_idle();
        FlowBody { flow: Flow::new(run, direction), source, direct, ended: false, promised: None, given: 0 }
    }

    /// Pushes the head through the chain and waits until it has come out at the far end. Returns whether the head is
    /// all there is.
    ///
    /// # Errors
    ///
    /// What a filter decided instead, or the source's failure while the head was held.
    pub async fn head(&mut self) -> Result<(), HeadError<B::Error>> {
        let end = self.source.is_none();
        if self.direct {
            self.ended = end;
            return Ok(());
        }
        let declared = self.source.as_ref().and_then(|source| source.size_hint().exact());
        self.flow.push_head(end).map_err(HeadError::Interrupted)?;
        std::future::poll_fn(|cx| self.poll_head(cx)).await?;
        if !self.ended && self.run().edits_bodies() && self.flow.said_length().is_some() {
            std::future::poll_fn(|cx| self.poll_first(cx)).await?;
        }
        self.promised = declared;
        Ok(())
    }

    /// Waits until the first of the body has come through the chain: only then can a guest that changes bodies be told
    /// from one that never does, and the head's length be believed.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError<B::Error>>> {
        if self.flow.has_output() {
            return Poll::Ready(Ok(()));
        }
        match std::task::ready!(self.poll_event(cx)) {
            Some(Ok(event)) => {
                self.flow.unpop(event);
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => self.fail_head(error),
            None => Poll::Ready(Ok(())),
        }
    }

    fn fail_head(&mut self, error: FlowError<B::Error>) -> Poll<Result<(), HeadError<B::Error>>> {
        match error {
            FlowError::Source(error) => Poll::Ready(Err(HeadError::Source(error))),
            FlowError::Interrupted | FlowError::Length => {
                let interrupt = self.run().take_interrupt();
                Poll::Ready(interrupt.map_or(Ok(()), |interrupt| Err(HeadError::Interrupted(interrupt))))
            }
        }
    }

    /// Decides how the message is framed, and has the head say so: with its whole length where that is known, with the
    /// length that it came with where no guest has changed the body, else with none.
    ///
    /// Guests that mean to change a body that is under way take `content-length` away, as in Envoy. One that does not,
    /// and changes the length only after the first of the body has gone on, breaks the message off: see
    /// [`FlowError::Length`].
    pub fn frame(&mut self) {
        if self.direct {
            return;
        }
        let all = if self.ended { Some(0) } else { self.flow.remaining() };
        let said = self.flow.said_length();
        self.promised = match all {
            Some(length) => Some(length),
            None if said.is_some() && !self.flow.is_edited() => self.promised,
            None => None,
        };
        match (self.promised, said) {
            (Some(0), None) | (None, None) => {} // a message that says nothing has none
            (Some(promised), Some(Some(said))) if promised == said => {}
            (promised, _) => self.flow.say_length(promised),
        }
    }

    /// Pushes what the source has at hand through the chain, so that the length of a body that is all there is known.
    /// For a source that never waits.
    pub fn gather(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !self.direct && self.source.is_some() && self.flow.wants_input() {
            if self.poll_source(&mut cx).is_pending() {
                return;
            }
        }
    }

    /// Whether no filter takes part in it.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    fn run(&self) -> &Rc<Run> {
        self.flow.run()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError<B::Error>>> {
        match std::task::ready!(self.poll_event(cx)) {
            Some(Ok(Event::Head { end })) => {
                self.ended = end;
                Poll::Ready(Ok(()))
            }
            // A head is always the first to come out.
            Some(Ok(_)) | None => Poll::Ready(Ok(())),
            Some(Err(error)) => self.fail_head(error),
        }
    }

    /// The next event that has come through the chain.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, FlowError<B::Error>>>> {
        loop {
            if let Err(interrupt) = self.flow.settle() {
                self.run().interrupt(interrupt);
            }
            if self.run().is_interrupted() {
                return Poll::Ready(Some(Err(FlowError::Interrupted)));
            }
            if let Some(event) = self.flow.pop() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.flow.is_cut() {
                self.source = None;
            }
            if self.source.is_none() || !self.flow.wants_input() {
                self.flow.wait(cx.waker());
                return Poll::Pending;
            }
            match self.poll_source(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(FlowError::Source(error)))),
                Poll::Pending => {
                    self.flow.wait(cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes one frame from the source and pushes it into the flow.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), B::Error>> {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(())) };
        let frame = match std::task::ready!(Pin::new(source).poll_frame(cx)).transpose() {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.count(frame.as_ref());
        if let Err(interrupt) = self.push(frame) {
            self.run().interrupt(interrupt);
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what arrived, and whether it was the last.
    fn count(&self, frame: Option<&Frame<Bytes>>) {
        let meter = self.run().meter();
        if let Some(data) = frame.and_then(Frame::data_ref) {
            meter.count(self.flow.direction(), data.len() as u64);
        }
        let last =
            frame.is_none_or(Frame::is_trailers) || self.source.as_ref().is_some_and(Body::is_end_stream);
        if last {
            meter.end(self.flow.direction(), true);
        }
    }

    /// Pushes what the source gave into the flow.
    fn push(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), Interrupt> {
        let Some(frame) = frame else {
            self.source = None;
            return self.flow.push_data(Bytes::new(), true);
        };
        match frame.into_data() {
            Ok(data) => {
                let end = self.source.as_ref().is_some_and(Body::is_end_stream);
                if end {
                    self.source = None;
                }
                if data.is_empty() && !end { Ok(()) } else { self.flow.push_data(data, end) }
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.source = None;
                    self.flow.push_trailers(trailers)
                }
                Err(_) => Ok(()),
            },
        }
    }
}

impl<B> FlowBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    fn break_promise(&mut self) -> Poll<NextFrame<B::Error>> {
        self.ended = true;
        Poll::Ready(Some(Err(FlowError::Length)))
    }

    /// A frame as it comes, where there is no filter.
    fn poll_through(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame<B::Error>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(source).poll_frame(cx));
        if !matches!(frame, Some(Err(_))) {
            self.count(frame.as_ref().and_then(|frame| frame.as_ref().ok()));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(FlowError::Source)))
    }
}

/// Why a head does not come out of the chain.
#[derive(Debug)]
pub enum HeadError<E> {
    /// Where the body comes from failed while the head was held.
    Source(E),
    /// What a filter decided instead.
    Interrupted(Interrupt),
}

impl<B> Body for FlowBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = FlowError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame<B::Error>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.direct {
            return self.poll_through(cx);
        }
        match std::task::ready!(self.poll_event(cx)) {
            Some(Ok(Event::Data(data))) => {
                self.given += data.len() as u64;
                if self.promised.is_some_and(|promised| self.given > promised) {
                    return self.break_promise();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Ok(_)) if self.promised.is_some_and(|promised| self.given < promised) => {
                self.break_promise()
            }
            Some(Ok(Event::Trailers)) => {
                self.ended = true;
                Poll::Ready(self.flow.leave().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(Ok(Event::End | Event::Head { .. })) | None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
            || match &self.source {
                Some(source) => self.direct && source.is_end_stream(),
                None => self.direct || self.flow.is_at_end(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        match (&self.source, self.promised) {
            (Some(source), _) if self.direct => source.size_hint(),
            (_, Some(promised)) => SizeHint::with_exact(promised - self.given),
            _ => SizeHint::default(),
        }
    }
}
