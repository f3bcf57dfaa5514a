//! Plays a recording against a build of the filter.
//!
//! Every instance of the recording has one here, which is called for the same in the same order, with the exchanges as
//! they were when the recorded one found them; what the world answered is answered again. The clock stands still within a
//! step. Nothing waits and nothing is sent anywhere: what a guest asks for comes back when the recording says so.

mod stage;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Line;
use super::compare::plain;
use crate::config::model::{CapabilitiesForm, Filter, Grant, ModuleSource};
use crate::wasm::properties::ConnectionProperties;
use crate::wasm::stream::StreamRef;
use crate::wasm::witness::{Beginning, End, Hostcall, Op, Step, Value, Witness, is_of_world};
use crate::wasm::{Fault, Module, PeerType, Plugin, Services, SharedData, Vm};
use stage::{Seeded, Silence, Standing};

/// How long a callback may take: instructions bound it, as they did, and the clock of another machine does not.
const WALL_CLOCK: Duration = Duration::from_secs(3600);

/// A step that was played.
#[derive(Debug)]
pub struct Played {
    /// The instance, as the recording calls it.
    pub instance: u64,
    /// What the recording has.
    pub recorded: Step,
    /// What this build did.
    pub replayed: Result<Step, NotPlayed>,
}

/// Why a step was not played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPlayed {
    /// Its instance has failed before, or never had this exchange.
    Failed,
    /// It is an answer of a callout that this build did not make.
    NotAsked,
}

/// Why a recording cannot be played on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A step of an instance that never began.
    #[error("the recording has a step of instance {0}, which never began: lines are missing")]
    NoInstance(u64),
    /// What the filter may do cannot be read.
    #[error("what filter `{filter}` may do cannot be read: {message}")]
    Capabilities {
        /// The filter.
        filter: String,
        /// What is wrong.
        message: String,
    },
}

/// Plays recordings against one build.
pub struct Player {
    module: Module,
    shared_data: Arc<SharedData>,
    instances: HashMap<u64, Playing>,
}

/// An instance, and what it has of the recorded one.
struct Playing {
    beginning: Beginning,
    plugin: Plugin,
    services: Services,
    clock: Arc<Standing>,
    collector: Arc<Collector>,
    vm: Option<Vm>,
    contexts: HashMap<u32, Context>,
    /// Those of the recording that have ended, where this build's waits for `proxy_done`.
    ended: Vec<u32>,
    tokens: HashMap<u32, u32>,
    /// What guests store for as long as a connection lives, by its id.
    connections: HashMap<u64, Arc<ConnectionProperties>>,
}

/// An exchange: its number here, and its state.
struct Context {
    id: u32,
    stage: usize,
    stream: StreamRef,
}

impl Player {
    /// For this build.
    pub fn new(module: Module) -> Player {
        Player { module, shared_data: Arc::default(), instances: HashMap::new() }
    }

    /// Plays a line of the recording. What it did, where it is a step.
    ///
    /// # Errors
    ///
    /// The recording is not whole.
    pub fn play(&mut self, line: Line) -> Result<Option<Played>, ReplayError> {
        match line {
            Line::Instance { instance, given } => {
                let playing = Playing::new(*given, &self.module, &self.shared_data)?;
                self.instances.insert(instance, playing);
                Ok(None)
            }
            Line::Step { instance, did } => {
                let playing = self.instances.get_mut(&instance).ok_or(ReplayError::NoInstance(instance))?;
                let recorded = *did;
                let replayed = playing.step(&recorded);
                if playing.is_over(&recorded) {
                    self.instances.remove(&instance);
                }
                Ok(Some(Played { instance, recorded, replayed }))
            }
            Line::Gone { instance } => {
                self.instances.remove(&instance);
                Ok(None)
            }
            Line::Recording(_) | Line::Cut { .. } => Ok(None),
        }
    }
}

impl Playing {
    fn new(beginning: Beginning, module: &Module, shared: &Arc<SharedData>) -> Result<Playing, ReplayError> {
        let filter = filter(&beginning)?;
        let clock = Arc::new(Standing::at(beginning.wall));
        let collector = Arc::new(Collector::default());
        let services = Services {
            clock: clock.clone(),
            randomness: Arc::new(Seeded::default()),
            log: Arc::new(Silence(beginning.log_level.into())),
            shared_data: shared.clone(),
            clusters: Arc::new(beginning.clusters.iter().cloned().collect()),
            witness: Some(collector.clone()),
            ..Services::new()
        };
        let plugin = Plugin::new(Arc::new(filter), module.clone());
        Ok(Playing {
            beginning,
            plugin,
            services,
            clock,
            collector,
            vm: None,
            contexts: HashMap::new(),
            ended: Vec::new(),
            tokens: HashMap::new(),
            connections: HashMap::new(),
        })
    }

    /// Whether nothing follows a step.
    fn is_over(&self, recorded: &Step) -> bool {
        matches!(recorded.end, End::Fault { .. })
    }

    fn step(&mut self, recorded: &Step) -> Result<Step, NotPlayed> {
        self.clock.set(self.beginning.wall.saturating_add(recorded.at));
        let asked = recorded.calls.iter().flat_map(|call| &call.hostcalls);
        let tape = asked.filter(|hostcall| is_of_world(hostcall)).cloned().collect();
        self.collector.begin(tape);
        if let Op::Open { context, facts } = &recorded.op {
            let stream = stage::stream(facts);
            let there = Context { id: 0, stage: facts.stage, stream: Rc::new(RefCell::new(stream)) };
            self.contexts.insert(*context, there);
        }
        for change in &recorded.streams {
            if let Some(context) = self.contexts.get(&change.context) {
                stage::apply(&mut context.stream.borrow_mut(), context.stage, &change.before);
            }
        }
        if let Op::Open { context, facts } = &recorded.op
            && facts.connection
            && let Some(context) = self.contexts.get(context)
        {
            let mut stream = context.stream.borrow_mut();
            let id = stream.info.connection_id;
            stream.connection = Some(self.connections.entry(id).or_default().clone());
        }
        // What comes of it is in the step that was collected.
        let _ = self.perform(&recorded.op);
        if let Some(vm) = &mut self.vm {
            vm.take_effects();
        }
        let replayed = self.collector.end();
        if replayed.as_ref().is_some_and(|step| matches!(step.end, End::Fault { .. })) {
            self.vm = None;
        }
        if let Some(replayed) = &replayed {
            self.match_tokens(recorded, replayed);
        }
        let touched = recorded.streams.iter().chain(replayed.iter().flat_map(|step| &step.streams));
        for context in touched.map(|stream| stream.context).chain(recorded.op.context()) {
            if let Some(context) = self.contexts.get(&context) {
                context.stream.borrow_mut().actions.clear();
            }
        }
        self.ended.extend(recorded.ended());
        self.forget_ended();
        replayed.ok_or(if self.is_unasked(&recorded.op) { NotPlayed::NotAsked } else { NotPlayed::Failed })
    }

    /// Whether it is the answer of a callout that this build did not make, and would have taken.
    fn is_unasked(&self, op: &Op) -> bool {
        match op {
            Op::HttpCallResponse { token, .. } | Op::Grpc { token, .. } => {
                self.vm.is_some() && !self.tokens.contains_key(token)
            }
            _ => false,
        }
    }

    /// Forgets exchanges that have ended and that this build is done with.
    fn forget_ended(&mut self) {
        let Playing { vm, contexts, ended, .. } = self;
        ended.retain(|context| {
            let here = contexts.get(context).map(|context| context.id);
            let waits = here.zip(vm.as_ref()).is_some_and(|(id, vm)| vm.is_parked(id));
            if !waits {
                contexts.remove(context);
            }
            waits
        });
    }

    fn perform(&mut self, op: &Op) -> Option<Result<(), Fault>> {
        if matches!(op, Op::Start) {
            let started = self.plugin.start(self.services.clone());
            return Some(started.map(|vm| self.vm = Some(vm)));
        }
        let vm = self.vm.as_mut()?;
        let root = vm.first_root();
        let contexts = &mut self.contexts;
        let id = |context: &u32| contexts.get(context).map(|context| context.id);
        Some(match op {
            Op::Start => Ok(()),
            Op::Open { context, .. } => {
                let context = contexts.get_mut(context)?;
                let opened = vm.open(root, &context.stream, context.stage);
                opened.map(|id| context.id = id)
            }
            Op::Headers { context, direction, end_of_stream } => {
                vm.on_headers(id(context)?, (*direction).into(), *end_of_stream).map(drop)
            }
            Op::Body { context, direction, end_of_stream } => {
                vm.on_body(id(context)?, (*direction).into(), *end_of_stream).map(drop)
            }
            Op::Trailers { context, direction } => {
                vm.on_trailers(id(context)?, (*direction).into()).map(drop)
            }
            Op::NewConnection { context } => vm.on_new_connection(id(context)?).map(drop),
            Op::Data { context, direction, end_of_stream } => {
                vm.on_data(id(context)?, (*direction).into(), *end_of_stream).map(drop)
            }
            Op::UpstreamClose { context, peer: by } => vm.on_upstream_close(id(context)?, peer(*by)),
            Op::CloseConnection { context, peer: by } => vm.close_connection(id(context)?, peer(*by)),
            Op::Log { context } => vm.log(id(context)?),
            Op::Release { context } => vm.release(id(context)?),
            Op::GiveUp { contexts: late } => vm.give_up(late.iter().filter_map(id).collect()),
            Op::Tick => vm.on_tick(root),
            Op::QueueReady { queue } => vm.tell_of_queue(root, *queue),
            Op::HttpCallResponse { token, result } => {
                vm.on_http_call_response(*self.tokens.get(token)?, result.into())
            }
            Op::Grpc { token, event } => vm.on_grpc(*self.tokens.get(token)?, event.into()).map(drop),
            Op::ForeignFunction { context, function, arguments } => {
                let context = id(context).unwrap_or(root);
                vm.on_foreign_function(context, *function, arguments.0.clone())
            }
            Op::Clusters { clusters } => {
                vm.know_clusters(Arc::new(clusters.iter().cloned().collect()));
                Ok(())
            }
            Op::Shutdown => vm.shutdown(root),
        })
    }

    /// Notes which callout of this build is which of the recording: the first like it that has none yet.
    fn match_tokens(&mut self, recorded: &Step, replayed: &Step) {
        let mut there: Vec<_> = callouts(replayed).collect();
        for (call, token) in callouts(recorded) {
            let same = there.iter().position(|(other, _)| other.args == call.args);
            let alike = || {
                let is_alike =
                    |other: &Hostcall| other.call == call.call && other.args.first() == call.args.first();
                there.iter().position(|(other, _)| is_alike(other))
            };
            if let Some(place) = same.or_else(alike) {
                self.tokens.insert(token, there.remove(place).1);
            }
        }
    }
}

/// Callouts that a step began, with their tokens.
fn callouts(step: &Step) -> impl Iterator<Item = (&Hostcall, u32)> {
    let calls = step.calls.iter().flat_map(|call| &call.hostcalls);
    calls.filter_map(|call| {
        let begins = matches!(&*call.call, "proxy_http_call" | "proxy_grpc_call" | "proxy_grpc_stream");
        match call.answer.first() {
            Some(Value::Number(token)) if begins => Some((call, u32::try_from(*token).ok()?)),
            _ => None,
        }
    })
}

fn peer(number: u32) -> PeerType {
    match number {
        1 => PeerType::Local,
        2 => PeerType::Remote,
        _ => PeerType::Unknown,
    }
}

/// The filter that the recorded instance was of.
fn filter(beginning: &Beginning) -> Result<Filter, ReplayError> {
    let mut filter = Filter::new(&beginning.filter, ModuleSource::File(beginning.filter.clone().into()));
    filter.config = beginning.config.0.clone();
    filter.vm_config = beginning.vm_config.0.clone();
    filter.vm_id = beginning.vm_id.clone();
    filter.root_id = beginning.root_id.clone();
    filter.env =
        beginning.env.iter().map(|(name, value)| (name.clone(), value.text().into_owned())).collect();
    filter.allow_on_headers_stop_iteration = beginning.allow_on_headers_stop_iteration;
    filter.limits.instructions = beginning.instructions;
    filter.limits.memory = beginning.memory;
    filter.limits.wall_clock = WALL_CLOCK;
    // What the world refused is refused by the tape, and nothing else.
    filter.limits.log_bytes = usize::MAX;
    filter.limits.callouts = usize::MAX;
    filter.limits.metrics = usize::MAX;
    if !beginning.cells {
        filter.limits.cells = 0;
    }
    if let Some(capabilities) = &beginning.capabilities {
        let wrong = |message: String| ReplayError::Capabilities {
            filter: plain(&beginning.filter).into_owned(),
            message: plain(&message).into_owned(),
        };
        let form: CapabilitiesForm =
            serde_json::from_value(capabilities.clone()).map_err(|error| wrong(error.to_string()))?;
        let checked = form.check().map_err(|error| wrong(error.to_string()))?;
        filter.capabilities = Grant::Only(checked.into());
    }
    Ok(filter)
}

/// Watches an instance that is played: answers from the tape, and keeps the step.
#[derive(Debug, Default)]
struct Collector(Mutex<Collected>);

#[derive(Debug, Default)]
struct Collected {
    tape: Vec<Hostcall>,
    step: Option<Step>,
}

impl Collector {
    fn begin(&self, tape: Vec<Hostcall>) {
        *self.lock() = Collected { tape, step: None };
    }

    fn end(&self) -> Option<Step> {
        self.lock().step.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Collector {
    fn begin(&self, _: Beginning) -> u64 {
        0 // it watches one
    }

    fn see(&self, _: u64, step: Step) {
        self.lock().step = Some(step);
    }

    fn tape(&self, _: u64) -> Option<Vec<Hostcall>> {
        Some(std::mem::take(&mut self.lock().tape))
    }
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("module", &self.module).finish_non_exhaustive()
    }
}
