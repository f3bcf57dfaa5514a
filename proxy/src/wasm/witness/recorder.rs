//! What is put together of one instance's steps while they go on.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::Witness;
use super::blob::{Blob, Fields, Value};
use super::sight::Sight;
use super::step::{End, GuestCall, Hostcall, Line, Op, Step, StreamChange};
use super::tape::Tape;
use crate::wasm::abi::{Callback, LogLevel};
use crate::wasm::body::MAX_EDITED_LEN;
use crate::wasm::fault::Fault;
use crate::wasm::hostcalls::{Call, Form};
use crate::wasm::memory::{Out, give, load_u32, load_u64, peek, slice_mut, store_u32, store_u64, view};
use crate::wasm::pairs;
use crate::wasm::services::nanoseconds;
use crate::wasm::stream::StreamRef;
use crate::wasm::tally;

/// How much is kept of what a guest says and hears in one step, in bytes: twice what [a body may
/// have](crate::wasm::body::MAX_EDITED_LEN). A hostcall costs a guest the same whatever the length of what it names, and
/// what it names is looked at before the host refuses it.
const MOST_OF_STEP: usize = 2 * MAX_EDITED_LEN;

/// How much more a serialised map takes when it is apart: a name and a value may be empty.
const APART: usize = 8;

/// Why nothing more is told of an instance.
const TOO_MUCH: &str = "in one call of the filter more than 128 MiB went between it and the proxy";

/// Puts together what a witness is told of one instance.
pub(crate) struct Recorder {
    witness: Arc<dyn Witness>,
    instance: u64,
    began: Instant,
    /// The step that goes on.
    step: Option<Unfinished>,
    /// A step was too much: there are no more.
    has_given_up: bool,
    /// The exchanges that it has contexts for, as it left them.
    known: HashMap<u32, Sight>,
    /// Paths of properties that the guest has written, by context: what it reads there is its own.
    written: HashMap<u32, HashSet<Blob>>,
}

struct Unfinished {
    at: u64,
    op: Op,
    streams: Vec<Found>,
    calls: Vec<GuestCall>,
    tape: Option<Tape>,
    /// How many bytes it holds of what the guest said and heard.
    holds: usize,
    /// When the guest was called that runs.
    called: Option<Instant>,
}

/// An exchange as the guest found it.
struct Found {
    context: u32,
    stream: StreamRef,
    stage: usize,
    sight: Sight,
    change: StreamChange,
}

impl Recorder {
    pub(crate) fn new(witness: Arc<dyn Witness>, instance: u64, began: Instant) -> Recorder {
        Recorder {
            witness,
            instance,
            began,
            step: None,
            has_given_up: false,
            known: HashMap::new(),
            written: HashMap::new(),
        }
    }

    pub(crate) fn begin_step(&mut self, op: Op, now: Instant) {
        if self.has_given_up {
            return;
        }
        let at = nanoseconds(now.saturating_duration_since(self.began));
        let tape = self.witness.tape(self.instance).map(Tape::new);
        let (streams, calls) = (Vec::new(), Vec::new());
        self.step = Some(Unfinished { at, op, streams, calls, tape, holds: 0, called: None });
    }

    /// The guest can reach this exchange from now on, as the filter at `stage` of its chain.
    pub(crate) fn find(&mut self, context: u32, stream: &StreamRef, stage: usize) {
        let Some(step) = &mut self.step else { return };
        if step.streams.iter().any(|found| found.context == context) {
            return;
        }
        let Ok(borrowed) = stream.try_borrow() else { return };
        let sight = Sight::of(&borrowed, stage);
        drop(borrowed);
        let before = match self.known.get(&context) {
            Some(known) => sight.since(known),
            None => sight.since(&Sight::default()),
        };
        let change = StreamChange { context, before, after: Default::default() };
        step.streams.push(Found { context, stream: stream.clone(), stage, sight, change });
    }

    pub(crate) fn begin_call(&mut self, callback: Callback) {
        let Some(step) = &mut self.step else { return };
        step.called = Some(Instant::now());
        step.calls.push(GuestCall {
            callback: callback.name().into(),
            result: None,
            instructions: 0,
            nanoseconds: 0,
            hostcalls: Vec::new(),
            logs: Vec::new(),
        });
    }

    pub(crate) fn end_call(&mut self, result: Option<u32>, instructions: u64) {
        let Some(step) = &mut self.step else { return };
        let took = step.called.take().map(|called| nanoseconds(called.elapsed()));
        if let Some(call) = step.calls.last_mut() {
            call.result = result;
            call.instructions = instructions;
            call.nanoseconds = took.unwrap_or(0);
        }
    }

    /// Notes a line that the guest logs, whether it is kept or not.
    pub(crate) fn note_line(&mut self, level: LogLevel, line: &[u8]) {
        if !self.has_room_for(line.len()) {
            return;
        }
        let line = Line { level: level.into(), text: Blob::copy(line) };
        self.hold(line.weight());
        if let Some(call) = self.call() {
            call.logs.push(line);
        }
    }

    /// Whether the step has room for so many bytes more. One that has not is given up.
    fn has_room_for(&mut self, bytes: usize) -> bool {
        let Some(step) = &self.step else { return false };
        let has_room = step.holds.saturating_add(bytes) <= MOST_OF_STEP;
        if !has_room {
            self.step = None;
            self.has_given_up = true;
            self.known.clear();
            self.written.clear();
            self.witness.give_up(self.instance, TOO_MUCH);
        }
        has_room
    }

    fn hold(&mut self, bytes: usize) {
        if self.has_room_for(bytes)
            && let Some(step) = &mut self.step
        {
            step.holds += bytes;
        }
    }

    /// Ends a step. `is_open`: whether a context is one still. Only those are asked for that may have ended in it: there
    /// may be thousands.
    pub(crate) fn end_step(&mut self, end: End, is_open: impl Fn(u32) -> bool) {
        let Some(Unfinished { at, op, streams, calls, .. }) = self.step.take() else { return };
        let mut contexts: Vec<u32> = streams.iter().map(|found| found.context).collect();
        contexts.extend(op.context());
        if let Op::GiveUp { contexts: late } = &op {
            contexts.extend(late);
        }
        let streams = streams.into_iter().filter_map(|found| self.leave(found)).collect();
        for context in contexts.into_iter().filter(|context| !is_open(*context)) {
            self.known.remove(&context);
            self.written.remove(&context);
        }
        self.witness.see(self.instance, Step { at, op, streams, calls, end });
    }

    /// What a guest did to an exchange; none, if nothing at all is new about it.
    fn leave(&mut self, found: Found) -> Option<StreamChange> {
        let Found { context, stream, stage, sight, mut change } = found;
        let left = stream.try_borrow().map_or_else(|_| sight.clone(), |stream| Sight::of(&stream, stage));
        change.after = left.since(&sight);
        self.known.insert(context, left);
        (!change.before.is_empty() || !change.after.is_empty()).then_some(change)
    }

    fn call(&mut self) -> Option<&mut GuestCall> {
        self.step.as_mut()?.calls.last_mut()
    }

    /// What the world answers to a question, where there is a tape.
    fn answer(&mut self, context: u32, call: &str, args: &[Value]) -> Option<Hostcall> {
        let step = self.step.as_mut()?;
        let tape = step.tape.as_mut()?;
        if let ("proxy_get_property", [Value::Bytes(path)]) = (call, args)
            && self.written.get(&context).is_some_and(|paths| paths.contains(path))
        {
            return None;
        }
        tape.answer(call, args)
    }

    fn note(&mut self, context: u32, hostcall: Hostcall) {
        self.hold(hostcall.weight());
        if self.step.is_none() {
            return;
        }
        if let ("proxy_set_property", Some(0), [Value::Bytes(path), _]) =
            (&*hostcall.call, hostcall.status, &hostcall.args[..])
        {
            self.written.entry(context).or_default().insert(path.clone());
        }
        if let Some(call) = self.call() {
            call.hostcalls.push(hostcall);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.witness.end(self.instance);
    }
}

impl From<&Fault> for End {
    fn from(fault: &Fault) -> End {
        End::Fault {
            kind: fault.kind.word().into(),
            callback: fault.callback.into(),
            message: fault.message.clone(),
        }
    }
}

/// A hostcall that is watched, while the host does it.
pub(crate) struct Watched {
    name: &'static str,
    args: Vec<Value>,
    context: u32,
}

/// What becomes of a hostcall that somebody may look on.
pub(crate) enum Watching {
    /// The host does it, and nobody notes it.
    Nobody,
    /// The host does it, and both sides are noted.
    Watched(Watched),
    /// The tape has answered it.
    Played(wasmtime::Result<u32>),
}

/// Before the host does a hostcall of an instance that is watched. It comes before and [`Watched::noted`] after, rather than
/// one function around it, so that the hostcall itself is there once.
#[cold]
pub(crate) fn watch(
    call: &mut Call<'_>,
    name: &'static str,
    forms: &'static [Form],
    raw: &[u64],
) -> Watching {
    if matches!(name, "proxy_log" | "fd_write" | "fd_pwrite") {
        return Watching::Nobody; // its lines are noted where they are written
    }
    let given = length_of_arguments(call, forms, raw);
    if !call.data_mut().recorder.as_deref_mut().is_some_and(|recorder| recorder.has_room_for(given)) {
        return Watching::Nobody;
    }
    let args = arguments(call, forms, raw);
    let context = call.data().active.context;
    let recorder = call.data_mut().recorder.as_deref_mut();
    if let Some(answer) = recorder.and_then(|recorder| recorder.answer(context, name, &args)) {
        let outcome = play(call, forms, raw, &answer);
        note(call, context, Hostcall { call: Cow::Borrowed(name), args, ..answer });
        return Watching::Played(outcome);
    }
    Watching::Watched(Watched { name, args, context })
}

impl Watched {
    /// The host has done it.
    #[cold]
    pub(crate) fn noted(
        self,
        call: &mut Call<'_>,
        forms: &'static [Form],
        raw: &[u64],
        outcome: &wasmtime::Result<u32>,
    ) {
        let Watched { name, args, context } = self;
        let status = outcome.as_ref().ok().copied();
        let answer = if status == Some(0) { answers(call, forms, raw) } else { Vec::new() };
        note(call, context, Hostcall { call: Cow::Borrowed(name), args, status, answer });
    }
}

fn note(call: &mut Call<'_>, context: u32, hostcall: Hostcall) {
    if let Some(recorder) = call.data_mut().recorder.as_deref_mut() {
        recorder.note(context, hostcall);
    }
}

/// A parameter that is a 32-bit number.
fn narrow(raw: u64) -> u32 {
    raw as u32 // it was made from one
}

/// About how many bytes a copy of what a hostcall is given takes.
fn length_of_arguments(call: &mut Call<'_>, forms: &[Form], raw: &[u64]) -> usize {
    let memory = view(call).map_or(&mut [][..], |(memory, _)| memory);
    let length = |(at, form): (usize, &Form)| {
        let copies = match form {
            Form::In => 1,
            Form::InFields => APART,
            _ => return 0,
        };
        let len = raw.get(at + 1).copied().unwrap_or(0);
        peek(memory, narrow(raw[at]), narrow(len)).map_or(0, |bytes| bytes.len().saturating_mul(copies))
    };
    forms.iter().enumerate().map(length).fold(0, usize::saturating_add)
}

/// What a hostcall is given. What does not lie in the guest's memory is empty: the hostcall says so itself.
fn arguments(call: &mut Call<'_>, forms: &[Form], raw: &[u64]) -> Vec<Value> {
    let memory = view(call).map_or(&mut [][..], |(memory, _)| memory);
    let bytes = |at: usize| {
        let len = raw.get(at + 1).copied().unwrap_or(0);
        peek(memory, narrow(raw[at]), narrow(len)).unwrap_or_default()
    };
    let value = |(at, form): (usize, &Form)| match form {
        Form::Number => Some(Value::Number(raw[at])),
        Form::In => Some(Value::Bytes(Blob::copy(bytes(at)))),
        Form::InFields => Some(fields(bytes(at))),
        Form::Len => None,
        Form::Give | Form::GiveIfWanted | Form::GiveFields | Form::GivePiece => None,
        Form::OutU32 | Form::OutU64 | Form::Fill | Form::Pointer => None,
    };
    forms.iter().enumerate().filter_map(value).collect()
}

/// What a hostcall has answered.
fn answers(call: &mut Call<'_>, forms: &[Form], raw: &[u64]) -> Vec<Value> {
    let memory = view(call).map_or(&mut [][..], |(memory, _)| memory);
    let given = |at: usize| {
        let (pointer, len) = (narrow(raw[at]), narrow(*raw.get(at + 1)?));
        let (pointer, len) = (load_u32(memory, pointer).ok()?, load_u32(memory, len).ok()?);
        peek(memory, pointer, len).ok()
    };
    let value = |(at, form): (usize, &Form)| match form {
        Form::Give => Some(Value::Bytes(Blob::copy(given(at)?))),
        Form::GiveIfWanted => {
            let is_wanted = raw[at] != 0 && raw.get(at + 1) != Some(&0);
            Some(Value::Bytes(Blob::copy(if is_wanted { given(at)? } else { &[] })))
        }
        // What it is a piece of is in the step, or in what the instance was given.
        Form::GivePiece => Some(Value::Number(given(at)?.len() as u64)),
        Form::GiveFields => Some(fields(given(at)?)),
        Form::OutU32 => load_u32(memory, narrow(raw[at])).ok().map(|number| Value::Number(number.into())),
        Form::OutU64 => load_u64(memory, narrow(raw[at])).ok().map(Value::Number),
        Form::Fill => {
            let bytes = peek(memory, narrow(raw[at]), narrow(*raw.get(at + 1)?)).ok()?;
            Some(Value::Bytes(Blob::copy(bytes)))
        }
        Form::Number | Form::In | Form::InFields | Form::Len | Form::Pointer => None,
    };
    forms.iter().enumerate().filter_map(value).collect()
}

/// Answers a hostcall as it was answered once. It counts as the host's own work does.
fn play(call: &mut Call<'_>, forms: &[Form], raw: &[u64], answer: &Hostcall) -> wasmtime::Result<u32> {
    for (at, form) in forms.iter().enumerate() {
        if matches!(form, Form::In | Form::InFields) {
            tally::bytes_out(raw.get(at + 1).copied().map_or(0, narrow));
        }
    }
    let mut values = answer.answer.iter();
    for (at, form) in forms.iter().enumerate() {
        if !form.is_answer() {
            continue;
        }
        let Some(value) = values.next() else { break };
        if let Err(halt) = put(call, *form, at, raw, value) {
            return halt.settle();
        }
    }
    match answer.status {
        Some(status) => Ok(status),
        None => Err(wasmtime::Error::msg("the host stopped the guest here when this was recorded")),
    }
}

/// Puts one value where the guest wants it.
fn put(
    call: &mut Call<'_>,
    form: Form,
    at: usize,
    raw: &[u64],
    value: &Value,
) -> crate::wasm::hostcalls::Outcome {
    let pointer = narrow(raw[at]);
    let next = raw.get(at + 1).copied().map_or(0, narrow);
    let (memory, _) = view(call)?;
    match (form, value) {
        (Form::OutU32, Value::Number(number)) => store_u32(memory, pointer, narrow(*number))?,
        (Form::OutU64, Value::Number(number)) => store_u64(memory, pointer, *number)?,
        (Form::Fill, Value::Bytes(blob)) => {
            let place = slice_mut(memory, pointer, next)?;
            let count = place.len().min(blob.0.len());
            place[..count].copy_from_slice(&blob.0[..count]);
        }
        (Form::GiveIfWanted, _) if pointer == 0 || next == 0 => {}
        (Form::Give | Form::GiveIfWanted, Value::Bytes(blob)) => {
            give(call, Out { pointer, len: next }, &blob.0)?;
        }
        (Form::GiveFields, Value::Fields(fields)) => {
            let pairs = || fields.iter().map(|(name, value)| (&name.0[..], &value.0[..]));
            let mut bytes = vec![0; pairs::serialised_len(pairs())];
            pairs::write(&mut bytes, fields.len(), pairs());
            give(call, Out { pointer, len: next }, &bytes)?;
        }
        _ => {}
    }
    Ok(())
}

/// A serialised map; what is none stays bytes.
fn fields(bytes: &[u8]) -> Value {
    match pairs::parse(bytes) {
        Ok(pairs) => {
            let fields: Fields =
                pairs.iter().map(|(name, value)| (Blob::copy(name), Blob::copy(value))).collect();
            Value::Fields(fields)
        }
        Err(_) => Value::Bytes(Blob::copy(bytes)),
    }
}
