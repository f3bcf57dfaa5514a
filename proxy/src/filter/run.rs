//! One exchange's way through a chain: its contexts in the guests, and what they asked of the stream.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::instance::{Chain, Instance};
use super::interrupt::Interrupt;
use super::meter::Meter;
use super::slot::Generation;
use super::trial::Trial;
use super::ways::{Course, Guide};
use crate::config::model::OnFault;
use crate::wasm::stream::{Direction, Injection, ResponseHead, Stage, Stream, StreamAction, StreamRef};
use crate::wasm::{ContextId, Fault, FaultKind, Vm, Work};

/// One exchange's way through a chain. Shared by the two flows and the exchange that owns them; every context that was
/// opened is closed once, by [`Run::finish_after`].
#[derive(Debug)]
pub struct Run {
    pub(super) chain: Rc<Chain>,
    stream: StreamRef,
    buffer_limit: usize,
    pub(super) seats: Vec<Seat>,
    /// Where filters depend on the route.
    pub(super) course: Option<Course>,
    meter: Meter,
    interrupt: RefCell<Option<Interrupt>>,
    /// How long it took to the response's head, and whether its status is 5xx: noted where a filter has two versions.
    answer: Cell<Option<(Duration, bool)>>,
    aside: Cell<bool>,
    finished: Cell<bool>,
}

/// One filter's part in an exchange.
#[derive(Debug, Default)]
pub(super) struct Seat {
    context: Cell<Option<(Generation, ContextId)>>,
    pub(super) bypassed: Cell<bool>,
    /// What the route makes of it is known.
    pub(super) taken: Cell<bool>,
    /// What it is instead of the chain's, if the route says so.
    pub(super) other: OnceCell<Rc<Instance>>,
    /// It failed on this exchange, or could not be called for it.
    failed: Cell<bool>,
    /// The exchange goes on without it, though not because it wanted that.
    skipped: Cell<bool>,
    /// Where there are two versions of it.
    trial: Option<Box<Trial>>,
}

impl Seat {
    fn at(chain: &Chain, stage: usize) -> Seat {
        Seat { trial: chain.split(stage).map(|split| Box::new(Trial::new(split))), ..Seat::default() }
    }
}

impl Run {
    /// Takes a seat for every filter of the chain; contexts are opened when a guest is first called.
    pub fn new(chain: Rc<Chain>, stream: Stream, buffer_limit: usize) -> Rc<Run> {
        Run::guided(chain, stream, buffer_limit, None)
    }

    /// The same where routes say what filters of the chain are, and somebody finds those.
    pub fn guided(
        chain: Rc<Chain>,
        mut stream: Stream,
        buffer_limit: usize,
        guide: Option<Rc<dyn Guide>>,
    ) -> Rc<Run> {
        stream.buffer_limit = buffer_limit;
        let seats = (0..chain.len()).map(|stage| Seat::at(&chain, stage)).collect();
        Rc::new(Run {
            course: guide.map(Course::new),
            chain,
            stream: Rc::new(RefCell::new(stream)),
            buffer_limit,
            seats,
            meter: Meter::default(),
            interrupt: RefCell::new(None),
            answer: Cell::new(None),
            aside: Cell::new(false),
            finished: Cell::new(false),
        })
    }

    /// Passes another chain instead. Before any filter was called.
    pub fn change_chain(&mut self, chain: Rc<Chain>) {
        self.seats = (0..chain.len()).map(|stage| Seat::at(&chain, stage)).collect();
        self.stream.borrow_mut().stages = std::iter::repeat_with(Stage::default).take(chain.len()).collect();
        self.course = None;
        self.chain = chain;
    }

    /// Holds so much of a body while a filter waits, in bytes. Before any filter was called.
    pub fn limit_buffers(&mut self, limit: usize) {
        self.buffer_limit = limit;
        self.stream.borrow_mut().buffer_limit = limit;
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether no filter takes part any more: all have left, or failed where that is allowed.
    pub fn is_idle(&self) -> bool {
        self.seats.iter().all(|seat| seat.bypassed.get())
    }

    /// The exchange as its guests see it.
    pub fn stream(&self) -> &StreamRef {
        &self.stream
    }

    /// Whether a filter of the chain is able to change bodies, so that a length which was announced
    /// may turn out wrong.
    pub fn edits_bodies(&self) -> bool {
        self.chain.edits_bodies()
    }

    /// What moved, and when.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How much longer the exchange may take, because guests said so.
    pub fn timeout_extension(&self) -> Duration {
        self.stream.borrow().timeout_extension
    }

    /// From now on no guest sees what flows: an answer to their own answer goes out directly. They still get to log
    /// the exchange.
    pub fn step_aside(&self) {
        self.aside.set(true);
        for stage in &mut self.stream.borrow_mut().stages {
            stage.response_body.clear();
            stage.injection = Injection::default();
        }
    }

    /// Waits for `work`, unless a guest ends the exchange before.
    pub async fn interruptible<T, E: From<Interrupt>>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        std::future::poll_fn(|cx| match self.poll_interrupt(cx) {
            Poll::Ready(interrupt) => Poll::Ready(Err(interrupt.into())),
            Poll::Pending => work.as_mut().poll(cx),
        })
        .await
    }

    /// Whether no guest asks for anything, and nothing was met that ends the exchange: nearly always.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.borrow().actions.is_empty() && self.interrupt.borrow().is_none()
    }

    /// Waits for a reason to leave the ordinary way: a reply, a close, a fault.
    fn poll_interrupt(&self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        if self.is_empty() {
            return Poll::Pending;
        }
        match self.take_interrupt() {
            Some(interrupt) => Poll::Ready(interrupt),
            None => {
                self.stream.borrow_mut().wait(Direction::Response, cx.waker());
                Poll::Pending
            }
        }
    }

    /// The first reason to leave the ordinary way, if there is one.
    pub fn take_interrupt(&self) -> Option<Interrupt> {
        if self.is_empty() || self.aside.get() || self.is_quiet() {
            return None;
        }
        if let Some(interrupt) = self.interrupt.borrow_mut().take() {
            return Some(interrupt);
        }
        if let Err(interrupt) = self.take_losses() {
            return Some(interrupt);
        }
        let ends = |_, action: &StreamAction| matches!(action, StreamAction::Reply(_) | StreamAction::Close);
        let (stage, action) = self.stream.borrow_mut().take_action(ends)?;
        if let Some(trial) = self.trial(stage) {
            trial.note_end(&action);
        }
        let filter = self.name(stage);
        Some(match action {
            StreamAction::Reply(reply) => Interrupt::Reply { filter, reply },
            _ => Interrupt::Close { filter },
        })
    }

    /// Applies the policies of the filters whose guest, with this exchange's context in it, was lost on another
    /// exchange.
    pub(super) fn take_losses(&self) -> Result<(), Interrupt> {
        if self.aside.get() {
            return Ok(()); // nothing waits for a guest any more
        }
        let lost = |_, action: &StreamAction| matches!(action, StreamAction::Fault);
        loop {
            let Some((stage, _)) = self.stream.borrow_mut().take_action(lost) else { return Ok(()) };
            self.apply_policy(stage, FaultKind::Dead)?;
        }
    }

    /// Hands an interrupt that one direction met to the task that answers.
    pub(super) fn interrupt(&self, interrupt: Interrupt) {
        self.interrupt.borrow_mut().get_or_insert(interrupt);
        self.stream.borrow_mut().wake();
    }

    /// Shows a response's head to the guests, with what they staged for it.
    pub fn take_response(&self, status: StatusCode, mut headers: HeaderMap) {
        let mut stream = self.stream.borrow_mut();
        if let Some(staged) = stream.staged_response_headers.take() {
            headers.extend(*staged);
        }
        stream.response = Some(ResponseHead { status, headers: headers.into() });
    }

    /// Ends the exchange for its guests, which took `duration`: they are told the sums, then they end it.
    pub fn finish_after(&self, duration: Duration) {
        if !self.is_idle() {
            let info = &mut self.stream.borrow_mut().info;
            info.request_bytes = self.meter.bytes(Direction::Request);
            info.response_bytes = self.meter.bytes(Direction::Response);
            info.duration = Some(duration);
        }
        self.finish(duration);
    }

    /// Ends the exchange for its guests, in the order of the chain and as in Envoy: every one of them logs it before
    /// the first is told `on_done` and `on_delete`. Once; later calls do nothing. A guest that never saw the exchange
    /// still gets to log it.
    fn finish(&self, duration: Duration) {
        if self.finished.replace(true) {
            return;
        }
        self.trials().for_each(Trial::settle);
        self.finish_guests();
        self.trials().for_each(|trial| trial.count(self.answer.get(), duration));
    }

    fn finish_guests(&self) {
        for stage in 0..self.len() {
            self.take_seat(stage);
            // One that has not seen the exchange is only told of its end if it may be.
            if self.is_withheld(stage) {
                self.seats[stage].bypassed.set(true);
            }
        }
        let seated = |stage: &usize| !self.seats[*stage].bypassed.get();
        // A fault here can no longer change the answer: it is counted by the instance. Where there is a single filter
        // nobody comes between its callbacks, and the guest is entered once.
        if let [only] = &self.seats[..] {
            if !only.bypassed.get() {
                let _ = self.enter(0, Vm::close);
            }
            return;
        }
        for stage in (0..self.len()).filter(seated) {
            let logged = self.enter(stage, Vm::log);
            self.seats[stage].bypassed.set(logged.is_err());
        }
        for stage in (0..self.len()).filter(seated) {
            let _ = self.enter(stage, Vm::release);
        }
    }

    pub(super) fn buffer_limit(&self) -> usize {
        self.buffer_limit
    }

    /// A guest has ended its part in the exchange, when it saw the head of this direction: what it holds of the request
    /// goes on.
    pub(super) fn leave(&self, stage: usize, direction: Direction) {
        self.seats[stage].bypassed.set(true);
        if direction == Direction::Response {
            self.stream.borrow_mut().wake_for(Direction::Request);
        }
    }

    pub(super) fn is_bypassed(&self, stage: usize) -> bool {
        self.seats[stage].bypassed.get()
    }

    /// Whether there is a reason to leave the ordinary way.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.borrow().is_some() || self.is_answered()
    }

    /// Whether a guest has answered or closed the stream, so that nothing more may flow.
    pub(super) fn is_answered(&self) -> bool {
        let stream = self.stream.borrow();
        if stream.actions.is_empty() {
            return false; // nearly always
        }
        let ends = |action: &StreamAction| matches!(action, StreamAction::Reply(_) | StreamAction::Close);
        !self.aside.get() && stream.actions.iter().any(|(_, action)| ends(action))
    }

    /// Calls a guest. `None` where it takes no part; an error where it failed and its policy is to close.
    pub(super) fn call<R>(
        &self,
        stage: usize,
        direction: Direction,
        work: impl FnOnce(&mut Vm, ContextId) -> Result<R, Fault>,
    ) -> Result<Option<R>, Interrupt> {
        if self.finished.get() || self.aside.get() || self.is_bypassed(stage) {
            return Ok(None);
        }
        if direction == Direction::Response && self.seats[stage].context.get().is_none() {
            return Ok(None); // it never saw the request: an earlier filter answered
        }
        if let Some(trial) = self.trial(stage) {
            trial.note_seen();
        }
        if self.is_withheld(stage) {
            return self.apply_rate_policy(stage).map(|()| None);
        }
        self.forget_resume_of(stage, direction);
        match self.enter(stage, work) {
            Ok(result) => Ok(Some(result)),
            Err(kind) => self.apply_policy(stage, kind).map(|()| None),
        }
    }

    /// Calls a guest that has the connection's context; one that has not, or takes no part, is left alone. A resume
    /// that it asked for before stays.
    pub(super) fn call_on(
        &self,
        stage: usize,
        work: impl FnOnce(&mut Vm, ContextId) -> Result<(), Fault>,
    ) -> Result<(), Interrupt> {
        if self.is_bypassed(stage) || self.seats[stage].context.get().is_none() {
            return Ok(());
        }
        self.enter(stage, work).or_else(|kind| self.apply_policy(stage, kind))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// The end of a connection, which took `duration`.
    pub(super) fn mark_finished(&self, duration: Duration) {
        self.finished.set(true);
        self.trials().for_each(|trial| trial.count(None, duration));
    }

    /// Whether some filter has two versions, so that how the exchange is answered is to be [noted](Run::note_answer).
    pub fn is_compared(&self) -> bool {
        self.chain.compares()
    }

    /// The response's head is there, so long after the exchange began.
    pub fn note_answer(&self, status: StatusCode, after: Duration) {
        self.answer.set(Some((after, status.is_server_error())));
    }

    pub(super) fn has_shadow(&self) -> bool {
        self.chain.has_shadow()
    }

    /// Whether a filter failed on this exchange.
    pub(super) fn has_failed(&self, stage: usize) -> bool {
        self.seats[stage].failed.get()
    }

    pub(super) fn trial(&self, stage: usize) -> Option<&Trial> {
        let seat = &self.seats[stage];
        seat.trial.as_deref().filter(|_| seat.other.get().is_none())
    }

    fn trials(&self) -> impl Iterator<Item = &Trial> {
        (0..self.len()).filter_map(|stage| self.trial(stage))
    }

    /// The version of a filter that the exchange has.
    fn instance(&self, stage: usize) -> &Rc<Instance> {
        self.version(stage, self.trial(stage))
    }

    fn version<'a>(&'a self, stage: usize, trial: Option<&'a Trial>) -> &'a Rc<Instance> {
        if let Some(other) = self.seats[stage].other.get() {
            return other;
        }
        trial
            .and_then(|trial| trial.instance(&self.stream, self.buffer_limit))
            .unwrap_or_else(|| self.chain.instance(stage))
    }

    fn name(&self, stage: usize) -> Arc<str> {
        self.instance(stage).name()
    }

    fn enter<R>(
        &self,
        stage: usize,
        work: impl FnOnce(&mut Vm, ContextId) -> Result<R, Fault>,
    ) -> Result<R, FaultKind> {
        let seat = &self.seats[stage];
        let seated = seat.context.get();
        let trial = self.trial(stage);
        let instance = self.version(stage, trial);
        let enter = || match seated {
            Some((generation, context)) => instance.enter(generation, |vm, _| work(vm, context)),
            None => instance.open(|vm, generation| {
                let context = vm.open(instance.root_in(vm, generation), &self.stream, stage)?;
                seat.context.set(Some((generation, context)));
                work(vm, context)
            }),
        };
        match trial {
            None => enter(),
            Some(trial) => trial.measure(instance, enter),
        }
    }

    /// What a filter's failure does to this exchange: it goes on without it, or it ends.
    fn apply_policy(&self, stage: usize, kind: FaultKind) -> Result<(), Interrupt> {
        let seat = &self.seats[stage];
        seat.bypassed.set(true);
        // The loss of a guest is told to every exchange that it had, the one that it failed on included.
        if seat.failed.replace(true) {
            return Ok(());
        }
        if let Some(trial) = self.trial(stage) {
            trial.note_fault();
        }
        self.instance(stage).note_policy();
        let policy = self.instance(stage).on_fault();
        self.go_on_without(stage, policy, |filter| Interrupt::Fault { filter, kind })
    }

    /// Whether the exchange is kept from a filter that has not seen it yet, because that is over its rate. One that has
    /// seen its beginning sees all of it.
    fn is_withheld(&self, stage: usize) -> bool {
        let seat = &self.seats[stage];
        let is_new = seat.context.get().is_none() && !seat.bypassed.get();
        is_new && self.instance(stage).withholds(Work::Exchange)
    }

    /// What it does to this exchange that a filter is over its rate: it goes on without it, or it ends.
    fn apply_rate_policy(&self, stage: usize) -> Result<(), Interrupt> {
        self.seats[stage].bypassed.set(true);
        let policy = self.instance(stage).on_rate_exceeded();
        self.go_on_without(stage, policy, |filter| Interrupt::OverRate { filter })
    }

    fn go_on_without(
        &self,
        stage: usize,
        policy: OnFault,
        otherwise: impl FnOnce(Arc<str>) -> Interrupt,
    ) -> Result<(), Interrupt> {
        match policy {
            OnFault::Open => {
                self.seats[stage].skipped.set(true);
                Ok(())
            }
            OnFault::Closed => Err(otherwise(self.name(stage))),
        }
    }

    /// The names of the filters that the exchange went on without, by the policy for their failure or their rate.
    pub fn skipped(&self) -> Vec<Arc<str>> {
        let skipped = (0..self.len()).filter(|stage| self.seats[*stage].skipped.get());
        skipped.map(|stage| self.name(stage)).collect()
    }
}
