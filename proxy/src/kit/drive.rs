//! Takes one exchange through the chain as the proxy does: the request up, the response or an answer in its place down.
//! What the proxy has sockets for is here what the test gives and what is noted for it.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::task::AbortHandle;

use super::cluster::pass;
use super::feed::{CutOff, Feed};
use super::message::{Payload, PayloadEnd, Response};
use super::panics::Panics;
use super::seen::{Flowed, Forwarded, Outcome, Received};
use crate::error::Failure;
use crate::exchange::{self, Ending};
use crate::filter::{FlowBody, FlowError, HeadError, Interrupt, Run};
use crate::wasm::stream::{Direction, Progress};

/// How the upstream answers a whole request.
pub(crate) type Upstream = Rc<RefCell<dyn FnMut(&Forwarded) -> Response>>;

/// One exchange: what went in and what came out.
pub(crate) struct Line {
    pub(crate) run: Rc<Run>,
    head_only: bool,
    began: tokio::time::Instant,
    panics: Rc<Panics>,
    /// What the pieces of a body that is given whole are apart.
    pub(crate) gap: Duration,
    pub(crate) forwarded: RefCell<Option<Forwarded>>,
    pub(crate) received: RefCell<Option<Received>>,
    pub(crate) outcome: Cell<Outcome>,
    pub(crate) details: RefCell<String>,
    /// How long it took, once it is over.
    pub(crate) over: Cell<Option<Duration>>,
    /// What the upstream answers, until it is taken; and who waits for it.
    response: RefCell<Option<(Response, Option<Feed>)>>,
    upstream: RefCell<Option<Upstream>>,
    waiting: RefCell<Option<Waker>>,
    /// Why the request's body did not come to its end, until it is taken.
    upload: RefCell<Option<Stop>>,
    tasks: RefCell<Vec<AbortHandle>>,
}

/// What ends an exchange otherwise than with the upstream's response.
pub(crate) enum Stop {
    Interrupt(Interrupt),
    Failed(Failure),
}

impl From<Interrupt> for Stop {
    fn from(interrupt: Interrupt) -> Stop {
        Stop::Interrupt(interrupt)
    }
}

impl Line {
    pub(crate) fn new(run: Rc<Run>, head_only: bool, gap: Duration, panics: Rc<Panics>) -> Rc<Line> {
        Rc::new(Line {
            run,
            head_only,
            began: tokio::time::Instant::now(),
            panics,
            gap,
            forwarded: RefCell::default(),
            received: RefCell::default(),
            outcome: Cell::new(Outcome::Answered),
            details: RefCell::default(),
            over: Cell::default(),
            response: RefCell::default(),
            upstream: RefCell::default(),
            waiting: RefCell::default(),
            upload: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    /// Begins the exchange, on the kit's runtime.
    pub(crate) fn begin(self: &Rc<Self>, request: Option<Feed>) {
        let line = self.clone();
        self.spawn(async move {
            match line.pass(request).await {
                Ok(flow) => line.reply(flow).await,
                Err(stop) => line.answer(stop).await,
            }
            line.finish();
        });
    }

    /// The client leaves.
    pub(crate) fn leave(&self) {
        if self.over.get().is_none() {
            self.note(Outcome::Left, "client_left");
            self.finish();
        }
    }

    /// The upstream answers.
    pub(crate) fn respond(&self, response: Response, feed: Option<Feed>) {
        *self.response.borrow_mut() = Some((response, feed));
        self.wake();
    }

    /// From now on the upstream answers when it has the whole request, unless it has answered.
    pub(crate) fn respond_with(&self, upstream: Upstream) {
        *self.upstream.borrow_mut() = Some(upstream);
        self.wake();
    }

    /// Feeds what a message is made of, its pieces apart as far as they are to be.
    pub(crate) fn feed(self: &Rc<Self>, payload: Payload, feed: Feed) {
        let gap = self.gap;
        let give = async move {
            for (at, piece) in payload.pieces.into_iter().enumerate() {
                if at > 0 {
                    pass(gap).await;
                }
                feed.push(piece);
            }
            match payload.end {
                PayloadEnd::Whole => feed.end(payload.trailers),
                PayloadEnd::Cut => feed.cut(),
                PayloadEnd::Open => {}
            }
        };
        // Without gaps everything is there at once.
        let mut give = Box::pin(give);
        if give.as_mut().poll_now().is_pending() {
            self.spawn(give);
        }
    }

    /// The straight way: through the chain, to the upstream, and back into the chain.
    async fn pass(self: &Rc<Self>, request: Option<Feed>) -> Result<FlowBody<Feed>, Stop> {
        let mut flow = FlowBody::new(self.run.clone(), Direction::Request, request);
        flow.head().await.map_err(|error| Stop::of_head(error, Failure::RequestBodyCut))?;
        flow.frame();
        self.forward(flow);
        let (response, feed) = self.run.interruptible(pin!(self.response())).await?;
        let Response { status, mut headers, payload, after } = response;
        let taking_its_time = async {
            pass(after).await;
            Ok::<_, Stop>(())
        };
        self.run.interruptible(pin!(taking_its_time)).await?;
        exchange::drop_hop_by_hop(&mut headers);
        let length = length_in(&headers);
        self.run.take_response(status, headers);
        self.run.stream().borrow_mut().info.code_details = Some("via_upstream".into());
        *self.details.borrow_mut() = "via_upstream".to_owned();
        let source =
            (!payload.is_empty() && !self.head_only).then(|| feed.unwrap_or_else(|| Feed::new(length)));
        if let Some(source) = &source {
            self.feed(payload, source.clone());
        }
        let mut flow = FlowBody::new(self.run.clone(), Direction::Response, source);
        flow.head().await.map_err(|error| Stop::of_head(error, Failure::UpstreamReset))?;
        Ok(flow)
    }

    /// Sends the request on, its body as it comes.
    fn forward(self: &Rc<Self>, mut flow: FlowBody<Feed>) {
        let mut stream = self.run.stream().borrow_mut();
        stream.request_progress = Progress::Body;
        let head = &stream.request;
        let mut headers = head.headers.clone();
        exchange::drop_hop_by_hop(&mut headers); // a guest may have written some
        let (method, target) = (head.method.clone(), head.uri.to_string());
        drop(stream);
        *self.forwarded.borrow_mut() = Some(Forwarded { method, target, headers, body: Flowed::default() });
        let line = self.clone();
        self.spawn(async move {
            let end = transfer(&mut flow, |change| {
                if let Some(forwarded) = &mut *line.forwarded.borrow_mut() {
                    change(&mut forwarded.body);
                }
            });
            let stop = match end.await {
                Ok(()) => None,
                Err(FlowError::Source(CutOff)) => Some(Failure::RequestBodyCut),
                Err(FlowError::Length) => Some(Failure::Unframable),
                Err(FlowError::Interrupted) => None, // whoever waits for the response meets it
            };
            *line.upload.borrow_mut() = stop.map(Stop::Failed);
            line.wake();
        });
    }

    /// What the upstream answers, or why it does not get to.
    async fn response(&self) -> Result<(Response, Option<Feed>), Stop> {
        std::future::poll_fn(|cx| {
            if let Some(stop) = self.upload.borrow_mut().take() {
                return Poll::Ready(Err(stop));
            }
            if let Some(response) = self.response.borrow_mut().take().or_else(|| self.scripted()) {
                return Poll::Ready(Ok(response));
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn scripted(&self) -> Option<(Response, Option<Feed>)> {
        let forwarded = self.forwarded.borrow().clone().filter(|forwarded| forwarded.body.complete)?;
        let upstream = self.upstream.borrow_mut().take()?;
        let response = self.panics.keep(|| upstream.borrow_mut()(&forwarded))?;
        Some((response, None))
    }

    /// Answers in the upstream's place, or cuts the exchange.
    async fn answer(self: &Rc<Self>, mut stop: Stop) {
        loop {
            match self.take(stop) {
                Ending::Cut { .. } => return,
                Ending::Answer(answer) => {
                    let mut flow = answer.enter(&self.run, self.head_only);
                    match flow.head().await {
                        Ok(()) => {
                            flow.gather();
                            return self.reply(flow).await;
                        }
                        Err(HeadError::Interrupted(interrupt)) => stop = interrupt.into(),
                        Err(HeadError::Source(never)) => match never {},
                    }
                }
            }
        }
    }

    /// Sends a response to the client, its body as it comes.
    async fn reply<B>(&self, mut flow: FlowBody<B>)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (status, mut headers) = exchange::leave(&self.run, &mut flow, self.head_only);
        exchange::drop_hop_by_hop(&mut headers); // a guest may have written some
        *self.received.borrow_mut() =
            Some(Received { status: status.as_u16(), headers, body: Flowed::default() });
        self.panics.ring();
        let end = transfer(&mut flow, |change| {
            if let Some(received) = &mut *self.received.borrow_mut() {
                change(&mut received.body);
            }
        });
        match end.await {
            Ok(()) => {}
            Err(FlowError::Interrupted) => {
                let interrupt = self.run.take_interrupt();
                _ = self.take(interrupt.map_or(Stop::Failed(Failure::FilterClosed), Stop::Interrupt));
                if self.outcome.get() == Outcome::Replied {
                    self.outcome.set(Outcome::Failed(Failure::FilterClosed)); // too late for an answer
                }
            }
            Err(FlowError::Length) => _ = self.take(Stop::Failed(Failure::Unframable)),
            Err(FlowError::Source(_)) => _ = self.take(Stop::Failed(Failure::UpstreamBodyCut)),
        }
    }

    /// What becomes of the exchange, which is noted.
    fn take(&self, stop: Stop) -> Ending {
        let (outcome, ending) = match stop {
            Stop::Failed(failure) => (Outcome::Failed(failure), failure.into()),
            Stop::Interrupt(interrupt) => {
                let outcome = match &interrupt {
                    Interrupt::Reply { reply, .. } if !reply.is_granted => {
                        Outcome::Failed(Failure::ReplyNotGranted)
                    }
                    Interrupt::Reply { .. } => Outcome::Replied,
                    Interrupt::Fault { kind, .. } => Outcome::Fault(*kind),
                    Interrupt::Close { .. } => Outcome::Failed(Failure::FilterClosed),
                    Interrupt::OverRate { .. } => Outcome::Failed(Failure::FilterOverRate),
                    Interrupt::BodyTooLarge(Direction::Request) => Outcome::Failed(Failure::RequestTooLarge),
                    Interrupt::BodyTooLarge(Direction::Response) => {
                        Outcome::Failed(Failure::ResponseTooLarge)
                    }
                };
                (outcome, Ending::from(interrupt))
            }
        };
        match &ending {
            Ending::Answer(answer) => self.note(outcome, &answer.details),
            Ending::Cut { details, .. } => self.note(outcome, details),
        }
        ending
    }

    fn note(&self, outcome: Outcome, details: &str) {
        self.outcome.set(outcome);
        *self.details.borrow_mut() = details.to_owned();
        self.run.stream().borrow_mut().info.code_details = Some(details.to_owned().into());
    }

    /// The end of the exchange, whichever way it came.
    fn finish(&self) {
        let duration = self.began.elapsed();
        self.run.finish_after(duration);
        self.over.set(Some(duration));
        self.panics.ring();
        for task in self.tasks.take() {
            task.abort();
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(tokio::task::spawn_local(task).abort_handle());
    }

    fn wake(&self) {
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
        self.panics.ring();
    }
}

impl Stop {
    /// Why a head did not come out of the chain; `cut` is what it is if its sender broke off.
    fn of_head(error: HeadError<CutOff>, cut: Failure) -> Stop {
        match error {
            HeadError::Interrupted(interrupt) => Stop::Interrupt(interrupt),
            HeadError::Source(CutOff) => Stop::Failed(cut),
        }
    }
}

/// Takes a body out of the chain and notes what comes.
async fn transfer<B>(
    flow: &mut FlowBody<B>,
    note: impl Fn(&mut dyn FnMut(&mut Flowed)),
) -> Result<(), FlowError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    while !flow.is_end_stream() {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *flow).poll_frame(cx)).await;
        let Some(frame) = frame.transpose()? else { break };
        match frame.into_data() {
            Ok(piece) => note(&mut |body| body.pieces.push(piece.clone())),
            Err(frame) => {
                let trailers = frame.into_trailers().ok();
                note(&mut |body| body.trailers.clone_from(&trailers));
            }
        }
    }
    note(&mut |body| body.complete = true);
    Ok(())
}

/// The length of a body, where its head says it.
pub(crate) fn length_in(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Polls a future once.
trait PollNow: Future {
    fn poll_now(self: Pin<&mut Self>) -> Poll<Self::Output> {
        self.poll(&mut Context::from_waker(Waker::noop()))
    }
}

impl<F: Future> PollNow for F {}
