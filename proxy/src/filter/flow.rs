//! One direction of one exchange through the chain: who holds what, and what comes out at the far end.
//!
//! A flow is pushed events (a head, chunks of body, trailers, the end) and turns them into events for the next place,
//! calling the guests on the way. It never waits: where a guest pauses, what arrives is held at its place until the
//! guest resumes. The rules are Envoy's (proxy-wasm-abi.md, 1.7(b)).

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::interrupt::{Interrupt, Wish};
use super::run::Run;
use crate::wasm::stream::{BodyBuffer, Direction, Injection};
use crate::wasm::{DataStatus, HeadersStatus, TrailersStatus};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

/// What leaves a flow, in this order: one `Head`, any number of `Data`, and one of `Trailers` or `End` unless the head
/// already said that it is the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The head, which is in the stream. Whether it is all there is.
    Head { end: bool },
    /// A chunk of body, never empty.
    Data(Bytes),
    /// The trailers, which are in the stream; the message ends with them.
    Trailers,
    /// The message ends without trailers.
    End,
}

/// What a filter's place in the flow is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Events go through the guest and on.
    #[default]
    Flowing,
    /// The head is held and the guest sees nothing more until it resumes. What arrives is kept (`StopAllIteration…`);
    /// with `buffering` up to the limit, without it the source is not read.
    HeadStopped { end: bool, buffering: bool },
    /// The head is held, the guest goes on to see the body (`StopIteration`).
    HeadHeld { end: bool },
    /// The head has gone on; body or trailers are held.
    BodyHeld,
}

/// One filter's place in a flow. The chunk or body that its guest sees is in the stream's `stages`.
#[derive(Debug, Default)]
struct Place {
    state: State,
    /// Body that is held out of the guest's sight (`StopIterationAndWatermark`), until it answers that it would see all
    /// that is held.
    retained: BodyBuffer,
    /// The guest answered the last piece so (`StopIterationAndBuffer`): the next is held from the moment that it comes.
    buffering: bool,
    /// Body that the guest has not seen yet, because everything is stopped.
    unseen: BodyBuffer,
    /// How the message ended as far as this place has been told; what is held comes before it.
    ended: Option<Ending>,
    /// How far the head has come.
    head: HeadPart,
    /// The next place was told that the message ends: nothing goes on from here any more.
    closed: bool,
}

/// How far the head has come at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HeadPart {
    /// Not here.
    #[default]
    Before,
    /// Not here, and the guest has something to put behind it.
    Awaited,
    /// Here.
    Here,
    /// It has gone on, though the guest holds what belongs to it.
    Ahead,
}

/// How a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With its last chunk of body.
    Body,
    /// With trailers that the guest has not been shown yet.
    UnseenTrailers,
    /// With trailers that the guest has seen.
    Trailers,
}

/// One direction of one exchange through the chain.
#[derive(Debug)]
pub(super) struct Flow {
    direction: Direction,
    run: Rc<Run>,
    places: Vec<Place>,
    output: VecDeque<Event>,
    edited: bool,
    /// A guest has ended the message before its source did.
    cut: bool,
}

impl Flow {
    pub(super) fn new(run: Rc<Run>, direction: Direction) -> Flow {
        let places = (0..run.len()).map(|_| Place::default()).collect();
        // A head, a chunk and the end: nothing comes out here where there is no filter.
        let output = if run.is_empty() { VecDeque::new() } else { VecDeque::with_capacity(4) };
        Flow { direction, run, places, output, edited: false, cut: false }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn run(&self) -> &Rc<Run> {
        &self.run
    }

    /// The next event that has come through the whole chain.
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.output.pop_front()
    }

    /// How many bytes of body are left to come out, where all of them are here and no trailers follow: those need a
    /// message that does not say its length ([RFC 9112 section 6.5]).
    ///
    /// [RFC 9112 section 6.5]: https://www.rfc-editor.org/rfc/rfc9112#section-6.5
    pub(super) fn remaining(&self) -> Option<u64> {
        matches!(self.output.back(), Some(Event::End)).then(|| self.ready_bytes())
    }

    fn ready_bytes(&self) -> u64 {
        self.output
            .iter()
            .map(|event| if let Event::Data(data) = event { data.len() as u64 } else { 0 })
            .sum()
    }

    /// Whether something has come out.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Puts an event back that was looked at.
    pub(super) fn unpop(&mut self, event: Event) {
        self.output.push_front(event);
    }

    /// Whether a guest changed any of the body that has come out.
    pub(super) fn is_edited(&self) -> bool {
        self.edited
    }

    /// Whether a guest has ended the message by itself: what is left of the source is not wanted.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// What the head says of how long the body is, if it says anything: no number where that is none, or there is more than
    /// one.
    pub(super) fn said_length(&self) -> Option<Option<u64>> {
        let stream = self.run.stream().borrow();
        let mut said = stream.headers(self.direction)?.get_all(CONTENT_LENGTH).iter();
        let first = said.next()?;
        Some(if said.next().is_none() { length(first) } else { None })
    }

    /// Has the head say how long the body is, or nothing of it.
    pub(super) fn say_length(&self, length: Option<u64>) {
        let mut stream = self.run.stream().borrow_mut();
        let Some(headers) = stream.headers_mut(self.direction) else { return };
        match length {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.remove(CONTENT_LENGTH),
        };
    }

    /// Whether nothing but the end is left to come out.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.output.front(), Some(Event::End))
    }

    /// Has `waker` woken when a guest asks for something.
    pub(super) fn wait(&self, waker: &Waker) {
        if !self.places.is_empty() {
            self.run.stream().borrow_mut().wait(self.direction, waker);
        }
    }

    /// Whether more of the message may be pushed: false while a place holds what it may not exceed.
    pub(super) fn wants_input(&self) -> bool {
        self.places.iter().all(|place| match place.state {
            State::HeadStopped { buffering, .. } => buffering,
            State::BodyHeld | State::HeadHeld { .. } => place.retained.len() < self.run.buffer_limit(),
            State::Flowing => true,
        })
    }

    pub(super) fn push_head(&mut self, end: bool) -> Result<(), Interrupt> {
        self.head_at(0, end)
    }

    pub(super) fn push_data(&mut self, data: Bytes, end: bool) -> Result<(), Interrupt> {
        let mut body = BodyBuffer::new();
        body.push(data);
        self.data_at(0, body, end)
    }

    pub(super) fn push_body(&mut self, body: BodyBuffer, end: bool) -> Result<(), Interrupt> {
        self.data_at(0, body, end)
    }

    pub(super) fn push_trailers(&mut self, trailers: HeaderMap) -> Result<(), Interrupt> {
        self.run.stream().borrow_mut().set_trailers(self.direction, trailers);
        self.trailers_at(0)
    }

    /// The trailers that have come through the chain: from here on nothing of this direction can be changed.
    pub(super) fn leave(&self) -> Option<HeaderMap> {
        let mut stream = self.run.stream().borrow_mut();
        stream.finish(self.direction);
        stream.trailers(self.direction).cloned()
    }

    /// Performs what guests asked of this direction since they were last called, and lets go on what a filter held that
    /// left, or was lost and its policy says so.
    pub(super) fn settle(&mut self) -> Result<(), Interrupt> {
        if !self.run.is_quiet() {
            self.run.take_losses()?;
            if self.run.is_interrupted() {
                return Ok(()); // a filter that replied may be gone, and what it stopped still does not go on
            }
            while let Some((stage, wish)) = self.run.take_wish(self.direction) {
                self.grant(self.place_of(stage), wish)?;
            }
        }
        for place in 0..self.places.len() {
            if self.places[place].state != State::Flowing && self.run.is_bypassed(self.stage_of(place)) {
                self.resume(place)?;
            }
        }
        Ok(())
    }

    /// The filter at a place: the response goes through the chain in reverse.
    fn stage_of(&self, place: usize) -> usize {
        match self.direction {
            Direction::Request => place,
            Direction::Response => self.places.len() - 1 - place,
        }
    }

    fn place_of(&self, stage: usize) -> usize {
        self.stage_of(stage) // its own inverse
    }

    fn head_at(&mut self, at: usize, end: bool) -> Result<(), Interrupt> {
        if at == self.places.len() {
            self.output.push_back(Event::Head { end });
            return Ok(());
        }
        let (stage, direction) = (self.stage_of(at), self.direction);
        if direction == Direction::Request {
            self.run.take_seat(stage);
        }
        let awaited = std::mem::replace(&mut self.places[at].head, HeadPart::Here) == HeadPart::Awaited;
        if self.run.has_shadow() {
            self.run.shadow_head(stage, direction, end);
        }
        let status = self.run.call(stage, direction, |vm, context| vm.on_headers(context, direction, end))?;
        if status == Some(HeadersStatus::Leave) {
            self.run.leave(stage, direction);
        }
        let state = match status {
            _ if self.run.is_answered() => State::HeadStopped { end, buffering: false },
            None | Some(HeadersStatus::Continue | HeadersStatus::Leave) => {
                self.pass_head(at, end)?;
                return if awaited { self.inject(at) } else { Ok(()) };
            }
            Some(HeadersStatus::StopIteration) => State::HeadHeld { end },
            Some(HeadersStatus::StopAllIterationAndBuffer) => State::HeadStopped { end, buffering: true },
            Some(HeadersStatus::StopAllIterationAndWatermark) => State::HeadStopped { end, buffering: false },
        };
        self.places[at].state = state;
        if awaited && !self.run.is_answered() {
            self.inject(at)?;
        }
        self.grant_wishes(at)
    }

    fn data_at(&mut self, at: usize, data: BodyBuffer, end: bool) -> Result<(), Interrupt> {
        if at == self.places.len() {
            self.edited |= data.edited();
            self.output.extend(data.into_chunks().map(Event::Data));
            if end {
                self.output.push_back(Event::End);
            }
            return Ok(());
        }
        if self.places[at].closed {
            return Ok(());
        }
        if let State::HeadStopped { buffering, .. } = self.places[at].state {
            let place = &mut self.places[at];
            place.unseen.join(data);
            if end {
                place.ended = Some(Ending::Body);
            }
            return self.check_limit(at, buffering);
        }
        let (stage, direction) = (self.stage_of(at), self.direction);
        if self.run.has_shadow() {
            self.run.shadow_body(stage, direction, data.chunks(), end);
        }
        if self.places[at].state == State::Flowing && self.run.is_bypassed(stage) {
            return self.pass_data(at, data, end);
        }
        self.run.show_body(stage, direction, data);
        let status = self.run.call(stage, direction, |vm, context| vm.on_body(context, direction, end))?;
        if end {
            self.places[at].ended = Some(Ending::Body);
        }
        let buffers = status == Some(DataStatus::StopIterationAndBuffer);
        let was_held = std::mem::replace(&mut self.places[at].buffering, buffers);
        match status {
            _ if self.run.is_answered() => {
                self.hold_body(at);
                Ok(())
            }
            None | Some(DataStatus::Continue) => self.release(at),
            Some(DataStatus::StopIterationAndBuffer) => {
                self.retain(at);
                let held = std::mem::take(&mut self.places[at].retained);
                self.run.show_body(stage, direction, held);
                self.hold_body(at);
                self.check_limit(at, true)?;
                self.grant_wishes(at)
            }
            Some(DataStatus::StopIterationAndWatermark) => {
                self.retain(at);
                self.hold_body(at);
                self.grant_wishes(at)
            }
            Some(DataStatus::StopIterationNoBuffer) => {
                if was_held {
                    self.retain(at);
                } else {
                    self.run.take_body(stage, direction);
                }
                self.hold_body(at);
                self.grant_wishes(at)
            }
        }
    }

    fn trailers_at(&mut self, at: usize) -> Result<(), Interrupt> {
        if at == self.places.len() {
            self.output.push_back(Event::Trailers);
            return Ok(());
        }
        if self.places[at].closed {
            return Ok(());
        }
        self.places[at].ended = Some(Ending::UnseenTrailers);
        if let State::HeadStopped { .. } = self.places[at].state {
            return Ok(());
        }
        let (stage, direction) = (self.stage_of(at), self.direction);
        if self.run.has_shadow() {
            self.run.shadow_trailers(stage, direction);
        }
        let status = self.run.call(stage, direction, |vm, context| vm.on_trailers(context, direction))?;
        self.places[at].ended = Some(Ending::Trailers);
        match status {
            _ if self.run.is_answered() => {
                self.hold_body(at);
                Ok(())
            }
            None | Some(TrailersStatus::Continue) => self.release(at),
            Some(TrailersStatus::StopIteration) => {
                self.hold_body(at);
                self.grant_wishes(at)
            }
        }
    }

    /// Takes what the guest was shown out of its sight, behind what is retained.
    fn retain(&mut self, at: usize) {
        let shown = self.run.take_body(self.stage_of(at), self.direction);
        self.places[at].retained.join(shown);
    }

    /// Marks a place as holding body, unless it already holds more than that.
    fn hold_body(&mut self, at: usize) {
        if self.places[at].state == State::Flowing {
            self.places[at].state = State::BodyHeld;
        }
    }

    /// Everything that a place holds goes on to the next: the head, the body, the end.
    fn release(&mut self, at: usize) -> Result<(), Interrupt> {
        let stage = self.stage_of(at);
        let mut body = std::mem::take(&mut self.places[at].retained);
        body.join(self.run.take_body(stage, self.direction));
        let place = &mut self.places[at];
        let ended = place.ended.take_if(|ended| *ended != Ending::UnseenTrailers);
        let state = std::mem::take(&mut place.state);
        // A guest may have created trailers when it saw the last of the body.
        let trailers =
            ended == Some(Ending::Trailers) || (ended.is_some() && self.run.has_trailers(self.direction));
        if let State::HeadHeld { end } | State::HeadStopped { end, .. } = state {
            self.pass_head(at, end)?;
        }
        let end = ended.is_some() && !trailers;
        if !body.is_empty() || end {
            self.pass_data(at, body, end)?;
        }
        if trailers { self.pass_trailers(at) } else { Ok(()) }
    }

    /// The head goes on from a place, unless it has.
    fn pass_head(&mut self, from: usize, end: bool) -> Result<(), Interrupt> {
        let place = &mut self.places[from];
        if place.head == HeadPart::Ahead {
            return Ok(());
        }
        place.head = HeadPart::Ahead;
        place.closed = end;
        if self.run.has_shadow() && self.direction == Direction::Request {
            self.run.note_passed(self.stage_of(from));
        }
        self.head_at(from + 1, end)
    }

    /// Body goes on from a place, as long as it may.
    fn pass_data(&mut self, from: usize, data: BodyBuffer, end: bool) -> Result<(), Interrupt> {
        let place = &mut self.places[from];
        if place.closed {
            return Ok(());
        }
        place.closed = end;
        self.data_at(from + 1, data, end)
    }

    /// The trailers go on from a place, as long as they may.
    fn pass_trailers(&mut self, from: usize) -> Result<(), Interrupt> {
        if std::mem::replace(&mut self.places[from].closed, true) {
            return Ok(());
        }
        self.trailers_at(from + 1)
    }

    /// A guest resumed at a place, or is gone from it.
    fn resume(&mut self, at: usize) -> Result<(), Interrupt> {
        match self.places[at].state {
            State::Flowing => Ok(()), // resuming twice is nothing
            State::HeadHeld { .. } | State::BodyHeld | State::HeadStopped { end: true, .. } => {
                self.release(at)
            }
            State::HeadStopped { end: false, .. } => {
                let place = &mut self.places[at];
                place.state = State::Flowing;
                let unseen = std::mem::take(&mut place.unseen);
                let ended = place.ended.take();
                self.pass_head(at, false)?;
                if !unseen.is_empty() || ended == Some(Ending::Body) {
                    self.data_at(at, unseen, ended == Some(Ending::Body))?;
                }
                if ended == Some(Ending::UnseenTrailers) { self.trailers_at(at) } else { Ok(()) }
            }
        }
    }

    /// Puts what a guest has to say behind what it has let go on: before that goes the head, if it holds it. What it
    /// holds of the body stays where it is. The guests that the response has passed are not shown it.
    fn inject(&mut self, at: usize) -> Result<(), Interrupt> {
        match self.places[at].head {
            HeadPart::Before | HeadPart::Awaited => {
                self.places[at].head = HeadPart::Awaited;
                return Ok(());
            }
            HeadPart::Here => {
                // The end, which the head was, is held from now on.
                if let State::HeadHeld { end: true } | State::HeadStopped { end: true, .. } =
                    self.places[at].state
                {
                    self.places[at].ended = Some(Ending::Body);
                }
                self.pass_head(at, false)?;
            }
            HeadPart::Ahead => {}
        }
        let Injection { data, end } = self.run.take_injection(self.stage_of(at));
        self.cut |= end && !self.places[at].closed;
        if data.is_empty() && !end { Ok(()) } else { self.pass_data(at, data, end) }
    }

    fn grant(&mut self, at: usize, wish: Wish) -> Result<(), Interrupt> {
        match wish {
            Wish::Resume => self.resume(at),
            Wish::Inject => self.inject(at),
        }
    }

    /// A guest may resume within the very callback that pauses.
    fn grant_wishes(&mut self, at: usize) -> Result<(), Interrupt> {
        let stage = self.stage_of(at);
        while let Some(wish) = self.run.take_wish_of(stage, self.direction) {
            self.grant(at, wish)?;
        }
        Ok(())
    }

    fn check_limit(&self, at: usize, buffering: bool) -> Result<(), Interrupt> {
        let place = &self.places[at];
        let held =
            place.unseen.len() + place.retained.len() + self.run.body_len(self.stage_of(at), self.direction);
        if buffering && held > self.run.buffer_limit() {
            Err(Interrupt::BodyTooLarge(self.direction))
        } else {
            Ok(())
        }
    }
}

/// A `content-length`, which is digits alone ([RFC 9110 section 8.6]).
///
/// [RFC 9110 section 8.6]: https://www.rfc-editor.org/rfc/rfc9110#section-8.6
fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
