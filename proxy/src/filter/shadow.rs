//! A second version that only looks on: it is shown a copy of what the first version sees of an exchange.
//!
//! It goes through a chain of its own, in which it is alone, on a stream of its own: whatever it does to heads, bodies
//! and the exchange is done to the copy, and dropped with it. Its callouts are not sent: see [`Mute`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::flow::{Event, Flow};
use super::instance::{Chain, Instance, Performer};
use super::interrupt::Interrupt;
use super::run::Run;
use super::trial::Ended;
use crate::wasm::stream::{BodyBuffer, Direction, RequestHead, Stream, Subject};
use crate::wasm::{Abandoned, CalloutResult, GrpcCallout, GrpcEvent, HttpCall};

/// How long a callout that is not sent takes to fail: a guest that makes one again and again is not to spin.
const MUTE_DELAY: Duration = Duration::from_millis(100);

/// gRPC's `UNAVAILABLE`.
const UNAVAILABLE: u32 = 14;

/// What a shadow has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing yet.
    Undecided,
    /// The request goes on, with another head than the first version's or the same.
    Passed { differs: bool },
    /// It ends the exchange.
    Ended(Ended),
    /// It failed.
    Failed,
    /// What it would have decided cannot be known: it waited for what a shadow is not given, or held too much.
    Lost,
}

/// A second version that looks on at one exchange.
#[derive(Debug)]
pub(super) struct Shadow {
    run: Rc<Run>,
    instance: Rc<Instance>,
    request: Flow,
    response: Flow,
    progress: Progress,
    /// Nothing more is shown to it.
    over: bool,
    instructions: u64,
}

impl Shadow {
    /// Before it has seen anything. `alone` is a chain of the second version.
    pub(super) fn begin(alone: &Rc<Chain>, seen: &Stream, buffer_limit: usize) -> Shadow {
        let mut stream = Stream::new(seen.request.clone(), seen.info.clone(), alone.len());
        stream.properties = seen.properties.clone();
        let run = Run::new(alone.clone(), stream, buffer_limit);
        Shadow {
            instance: alone.instance(0).clone(),
            request: Flow::new(run.clone(), Direction::Request),
            response: Flow::new(run.clone(), Direction::Response),
            progress: Progress::Undecided,
            over: seen.subject != Subject::Exchange,
            instructions: 0,
            run,
        }
    }

    /// Instructions that it ran.
    pub(super) fn instructions(&self) -> u64 {
        self.instructions
    }

    pub(super) fn see_head(&mut self, from: &RefCell<Stream>, direction: Direction, end: bool) {
        if direction == Direction::Response {
            let from = from.borrow();
            let Some(response) = from.response.as_ref().filter(|_| self.has_passed()) else {
                self.over = true;
                return;
            };
            self.run.stream().borrow_mut().info = from.info.clone();
            self.run.take_response(response.status, (*response.headers).clone());
        }
        self.show(direction, |flow| flow.push_head(end));
    }

    pub(super) fn see_body(&mut self, direction: Direction, chunks: impl Iterator<Item = Bytes>, end: bool) {
        self.show(direction, |flow| {
            let mut body = BodyBuffer::new();
            chunks.for_each(|chunk| body.push(chunk));
            flow.push_body(body, end)
        });
    }

    pub(super) fn see_trailers(&mut self, from: &RefCell<Stream>, direction: Direction) {
        self.show(direction, |flow| match from.borrow().trailers(direction) {
            Some(trailers) => flow.push_trailers(trailers.clone()),
            None => Ok(()),
        });
    }

    /// Compares the head that the first version lets go on with its own, if that has gone on too.
    pub(super) fn compare(&mut self, first: &RequestHead) {
        if let Progress::Passed { differs } = &mut self.progress {
            let own = &self.run.stream().borrow().request;
            *differs = own.method != first.method || own.uri != first.uri || own.headers != first.headers;
        }
    }

    /// Ends the exchange, which took `duration`, for its guest. What it has decided.
    pub(super) fn finish(&mut self, duration: Duration) -> Progress {
        self.catch_up();
        let before = self.instance.instructions();
        self.run.finish_after(duration);
        self.instructions += self.instance.instructions().wrapping_sub(before);
        self.progress
    }

    fn has_passed(&self) -> bool {
        matches!(self.progress, Progress::Passed { .. })
    }

    fn show(&mut self, direction: Direction, push: impl FnOnce(&mut Flow) -> Result<(), Interrupt>) {
        self.catch_up();
        if self.over {
            return;
        }
        let before = self.instance.instructions();
        let flow = match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        };
        // One that holds as much as it may is shown no more: nobody waits for it.
        let pushed = if flow.wants_input() { push(flow) } else { Err(Interrupt::BodyTooLarge(direction)) };
        self.instructions += self.instance.instructions().wrapping_sub(before);
        self.note(pushed, false);
    }

    /// Takes note of what it did since it was last shown something: it went on by itself, on the word of a callout that
    /// was never sent or of a tick. What it decided then is not what it would have.
    fn catch_up(&mut self) {
        if !self.over {
            let settled = self.request.settle().and_then(|()| self.response.settle());
            self.note(settled, true);
        }
    }

    fn note(&mut self, outcome: Result<(), Interrupt>, by_itself: bool) {
        let interrupt = outcome.err().or_else(|| self.run.take_interrupt());
        let mut passed = false;
        while let Some(event) = self.request.pop() {
            passed |= matches!(event, Event::Head { .. });
        }
        while self.response.pop().is_some() {}
        let decided = match interrupt {
            None if self.run.has_failed(0) => Some(Progress::Failed),
            None => passed.then_some(Progress::Passed { differs: false }),
            Some(Interrupt::Reply { reply, .. }) => Some(Progress::Ended(Ended::Replied(reply.status))),
            Some(Interrupt::Close { .. }) => Some(Progress::Ended(Ended::Closed)),
            Some(Interrupt::Fault { .. }) => Some(Progress::Failed),
            // It holds more than it may, or is over its rate: the former may have decided before.
            Some(Interrupt::BodyTooLarge(_) | Interrupt::OverRate { .. }) => {
                self.over = true;
                (!self.has_passed()).then_some(Progress::Lost)
            }
        };
        let Some(decided) = decided else { return };
        self.over |= !matches!(decided, Progress::Passed { .. });
        self.progress = if by_itself && decided != Progress::Failed { Progress::Lost } else { decided };
    }
}

/// The performer of a shadow's guests: what they ask of others is not sent, and answered as where no endpoint takes it.
pub struct Mute(Rc<dyn Performer>);

impl Mute {
    /// In the place of `performer`, which still hears of guests that have [worn out](Instance::is_worn).
    pub fn over(performer: Rc<dyn Performer>) -> Rc<Mute> {
        Rc::new(Mute(performer))
    }
}

impl Performer for Mute {
    fn http_call(&self, from: &Rc<Instance>, generation: u64, call: Box<HttpCall>, abandoned: Abandoned) {
        let (from, token) = (Rc::downgrade(from), call.token);
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                () = abandoned.wait() => return,
                () = tokio::time::sleep(MUTE_DELAY) => {}
            }
            if let Some(instance) = from.upgrade() {
                let why = "a shadow sends nothing".to_owned();
                instance.deliver(generation, token, CalloutResult::Unavailable(why));
            }
        });
    }

    fn grpc(&self, from: &Rc<Instance>, generation: u64, callout: Box<GrpcCallout>) {
        let (from, token) = (Rc::downgrade(from), callout.token);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(MUTE_DELAY).await;
            if let Some(instance) = from.upgrade() {
                let message = "a shadow sends nothing".to_owned();
                instance.deliver_grpc(generation, token, GrpcEvent::Close { status: UNAVAILABLE, message });
            }
        });
    }

    fn recycle(&self) {
        self.0.recycle();
    }
}
