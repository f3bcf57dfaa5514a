//! One direction of a TCP connection through the chain: who holds what, and what comes out at the far end.
//!
//! A data flow is pushed what was read and turns it into what is to be written, calling the guests on the way. It never
//! waits: where a guest pauses, what arrives is held at its place, and shown to it again with what follows, until it
//! lets it go on or resumes. The rules are Envoy's (proxy-wasm-abi.md, 1.7(m)); that the direction to the client can be
//! resumed as well is ours.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use bytes::{Buf, Bytes};

use super::interrupt::Interrupt;
use super::run::Run;
use crate::wasm::stream::{BodyBuffer, Direction};
use crate::wasm::{ConnectionStatus, PeerType};

/// One direction of one connection through the chain.
#[derive(Debug)]
pub struct DataFlow {
    direction: Direction,
    run: Rc<Run>,
    places: Vec<Place>,
    output: VecDeque<Bytes>,
    ended: bool,
}

/// One filter's place in a flow. The data that its guest sees is in the stream's `stages`.
#[derive(Debug, Default)]
struct Place {
    /// Its guest has paused.
    held: bool,
    /// Its guest was told that the direction ends; what is held comes before the end.
    ended: bool,
}

impl DataFlow {
    /// A direction that nothing has passed yet.
    pub fn new(run: Rc<Run>, direction: Direction) -> DataFlow {
        let places = (0..run.len()).map(|_| Place::default()).collect();
        DataFlow { direction, run, places, output: VecDeque::new(), ended: false }
    }

    /// Sends what was read into the chain; `end` where the sender has ended the direction, after which nothing is
    /// pushed any more.
    ///
    /// # Errors
    ///
    /// What a filter decided instead.
    pub fn push(&mut self, data: Bytes, end: bool) -> Result<(), Interrupt> {
        if self.direction == Direction::Request {
            self.run.count(self.direction, data.len());
        }
        let mut piece = BodyBuffer::new();
        piece.push(data);
        self.data_at(0, piece, end)
    }

    /// How many more bytes may be pushed: none while the filters hold what they may, or something waits to be written.
    pub fn room(&self) -> usize {
        if !self.output.is_empty() {
            return 0;
        }
        let held: usize = (0..self.places.len()).map(|at| self.held_at(at)).sum();
        self.run.buffer_limit().saturating_sub(held)
    }

    /// Whether a filter holds something.
    pub fn holds(&self) -> bool {
        self.places.iter().any(|place| place.held)
    }

    /// What has come through the chain and is to be written, in order; no piece is empty.
    pub fn output(&self) -> &VecDeque<Bytes> {
        &self.output
    }

    /// So many bytes of it were written.
    pub fn advance(&mut self, mut count: usize) {
        if self.direction == Direction::Response {
            self.run.count(self.direction, count);
        }
        while let Some(first) = self.output.front_mut().filter(|_| count > 0) {
            let part = first.len().min(count);
            first.advance(part);
            count -= part;
            if first.is_empty() {
                self.output.pop_front();
            }
        }
    }

    /// Whether the direction's end has come through the chain: nothing follows the [`output`](DataFlow::output).
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Has `waker` woken when a guest asks for something.
    pub fn wait(&self, waker: &Waker) {
        if !self.places.is_empty() {
            self.run.stream().borrow_mut().wait(self.direction, waker);
        }
    }

    /// Performs what guests asked of this direction since they were last called, and lets go on what a filter held that
    /// was lost and whose policy says so.
    ///
    /// # Errors
    ///
    /// What a filter decided instead.
    pub fn settle(&mut self) -> Result<(), Interrupt> {
        if self.places.is_empty() {
            return Ok(());
        }
        self.run.take_losses()?;
        if self.run.is_interrupted() {
            return Ok(());
        }
        while let Some((stage, _resume)) = self.run.take_wish(self.direction) {
            self.resume(self.stage_of(stage))?;
        }
        for at in 0..self.places.len() {
            if self.run.is_bypassed(self.stage_of(at)) {
                self.resume(at)?;
            }
        }
        Ok(())
    }

    /// The filter at a place, or the place of a filter: what goes to the client passes the chain in reverse.
    fn stage_of(&self, place: usize) -> usize {
        match self.direction {
            Direction::Request => place,
            Direction::Response => self.places.len() - 1 - place,
        }
    }

    fn held_at(&self, at: usize) -> usize {
        if self.places[at].held { self.run.body_len(self.stage_of(at), self.direction) } else { 0 }
    }

    fn data_at(&mut self, at: usize, data: BodyBuffer, end: bool) -> Result<(), Interrupt> {
        if at == self.places.len() {
            self.output.extend(data.into_chunks());
            if end {
                self.ended = true;
                self.run.stream().borrow_mut().finish(self.direction);
            }
            return Ok(());
        }
        let (stage, direction) = (self.stage_of(at), self.direction);
        if !self.places[at].held && self.run.is_bypassed(stage) {
            return self.data_at(at + 1, data, end);
        }
        self.places[at].ended |= end;
        self.run.show_body(stage, direction, data);
        let status = self.run.call(stage, direction, |vm, context| vm.on_data(context, direction, end))?;
        if end && direction == Direction::Response {
            // As in Envoy: with the last of the data, and without saying who ended it.
            self.run.call_on(stage, |vm, context| vm.on_upstream_close(context, PeerType::Unknown))?;
        }
        match status {
            _ if self.run.is_answered() => {
                self.places[at].held = true;
                Ok(())
            }
            None | Some(ConnectionStatus::Continue) => self.release(at),
            Some(ConnectionStatus::StopIteration) => {
                self.places[at].held = true;
                // A guest may resume within the very callback that pauses.
                if self.run.take_wish_of(stage, direction).is_some() { self.release(at) } else { Ok(()) }
            }
        }
    }

    /// A guest resumed at a place, or is gone from it. Resuming what is not held is nothing.
    fn resume(&mut self, at: usize) -> Result<(), Interrupt> {
        if self.places[at].held { self.release(at) } else { Ok(()) }
    }

    /// Everything that a place holds goes on to the next: the data, the end.
    fn release(&mut self, at: usize) -> Result<(), Interrupt> {
        let data = self.run.take_body(self.stage_of(at), self.direction);
        let place = &mut self.places[at];
        place.held = false;
        let end = std::mem::take(&mut place.ended);
        if data.is_empty() && !end { Ok(()) } else { self.data_at(at + 1, data, end) }
    }
}

/// The beginning of a connection: its filters are told of it in the order of the chain, each when those before it let
/// it go on.
#[derive(Debug)]
pub struct Opening {
    run: Rc<Run>,
    next: usize,
    held: bool,
}

impl Opening {
    /// The beginning of a connection that no filter knows of yet.
    pub fn new(run: Rc<Run>) -> Opening {
        Opening { run, next: 0, held: false }
    }

    /// Goes on as far as the filters let it; whether it came to the end of the chain. `waker` is woken when it may go
    /// on.
    ///
    /// # Errors
    ///
    /// What a filter decided instead.
    pub fn advance(&mut self, waker: &Waker) -> Result<bool, Interrupt> {
        while self.next < self.run.len() {
            if let Some(interrupt) = self.run.take_interrupt() {
                return Err(interrupt);
            }
            let stage = self.next;
            if !self.held {
                let status =
                    self.run.call(stage, Direction::Request, |vm, context| vm.on_new_connection(context));
                self.held = status? == Some(ConnectionStatus::StopIteration);
                if let Some(interrupt) = self.run.take_interrupt() {
                    return Err(interrupt);
                }
            }
            let goes_on = !self.held
                || self.run.take_wish_of(stage, Direction::Request).is_some()
                || self.run.is_bypassed(stage);
            if !goes_on {
                self.run.stream().borrow_mut().wait(Direction::Request, waker);
                return Ok(false);
            }
            self.held = false;
            self.next += 1;
        }
        Ok(true)
    }
}

impl Run {
    /// Ends a TCP connection for its guests, which took `duration`: each that knows it is told who ended it, and ends
    /// it, in the order of the chain and as in Envoy. Once; later calls do nothing.
    pub fn close_connection(&self, peer: PeerType, duration: std::time::Duration) {
        if self.is_empty() || self.is_finished() {
            return;
        }
        {
            let mut stream = self.stream().borrow_mut();
            stream.info.duration = Some(duration);
            stream.finish(Direction::Request);
            stream.finish(Direction::Response);
        }
        for stage in 0..self.len() {
            // A fault here can no longer change anything: it is counted by the instance.
            let _ = self.call_on(stage, |vm, context| vm.close_connection(context, peer));
        }
        self.mark_finished(duration);
    }

    /// Counts what was read from the client, or written to it.
    fn count(&self, direction: Direction, bytes: usize) {
        self.meter().count(direction, bytes as u64);
        if !self.is_empty() {
            let info = &mut self.stream().borrow_mut().info;
            info.request_bytes = self.meter().bytes(Direction::Request);
            info.response_bytes = self.meter().bytes(Direction::Response);
        }
    }
}
