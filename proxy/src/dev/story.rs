//! One exchange as its filter saw it: what happened in which order, what the filter did, and what that took.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::flood::id_of;
use super::scene::{Deed, Reader, Scene};
use crate::recording::compare::{done, shown};
use crate::wasm::witness::{Change, End, Op, Step};

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It passed the filter.
    Passed,
    /// The filter answered it.
    Replied,
    /// The filter broke it off.
    Closed,
    /// It passed, and the filter wanted to see nothing more of it.
    Left,
    /// The filter failed.
    Failed,
}

/// An exchange.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Story {
    /// Which, from 1.
    pub(super) exchange: u64,
    pub(super) method: String,
    pub(super) path: String,
    /// The response's status, where the filter got to know it.
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    /// WebAssembly instructions of the filter, all its callbacks together.
    pub(super) instructions: u64,
    /// How long they took.
    pub(super) nanoseconds: u64,
    pub(super) steps: Vec<Scene>,
    /// How many steps more there were.
    pub(super) more_steps: u64,
    /// `x-request-id`, as the filter found it.
    #[serde(skip)]
    pub(super) request_id: Option<String>,
    #[serde(skip)]
    found: Change,
    #[serde(skip)]
    began: Instant,
    #[serde(skip)]
    announced: bool,
}

/// Steps that are kept of an exchange, and of them such in which nothing was done: a stream may have any number.
const MAX_STEPS: usize = 500;
const MAX_QUIET_STEPS: usize = 50;

/// Stories that go on.
#[derive(Debug, Default)]
pub(super) struct Stories {
    exchanges: u64,
    open: HashMap<(u64, u32), Story>,
    reader: Reader,
}

/// What a step adds up to.
#[derive(Debug)]
pub(super) enum Told {
    /// An exchange has ended for the filter.
    Exchange(Box<Story>),
    /// Something happened that belongs to no exchange.
    Aside(Scene),
}

impl Stories {
    /// An instance that is not called again is forgotten.
    pub(super) fn forget(&mut self, instance: u64) {
        self.reader.forget(instance);
        self.open.retain(|(of, _), _| *of != instance);
    }

    /// These are the clusters that filters may ask.
    pub(super) fn know(&mut self, clusters: impl Iterator<Item = String>) {
        self.reader.know(clusters);
    }

    /// Whether an exchange with this id is not over for the filter.
    pub(super) fn has_open(&self, request_id: &str) -> bool {
        self.open.values().any(|story| story.request_id.as_deref() == Some(request_id))
    }

    /// Those that have been open for so long, each once.
    pub(super) fn slow(&mut self, patience: Duration) -> Vec<&Story> {
        let mut slow: Vec<_> = self
            .open
            .values_mut()
            .filter(|story| !story.announced && story.began.elapsed() > patience)
            .collect();
        slow.sort_by_key(|story| story.exchange);
        slow.into_iter()
            .map(|story| {
                story.announced = true;
                &*story
            })
            .collect()
    }

    /// Adds a step.
    pub(super) fn add(&mut self, instance: u64, step: &Step) -> Vec<Told> {
        if let Op::Open { context, .. } = &step.op {
            self.exchanges += 1;
            self.open.insert((instance, *context), Story::new(self.exchanges));
        }
        let scene = self.reader.read(instance, step);
        for stream in &step.streams {
            if let Some(story) = self.open.get_mut(&(instance, stream.context)) {
                story.found.update(&stream.before);
                let deeds = done(&story.found, &stream.after).into_iter();
                let deeds = deeds.map(|(name, from, to)| Deed::Change { name, from, to });
                story.found.update(&stream.after);
                // A change from a tick or an answer belongs to the exchange that it was made to.
                let mut own = Scene { did: deeds.collect(), ..scene.clone() };
                if Some(stream.context) != step.op.context() {
                    (own.instructions, own.nanoseconds) = (0, 0);
                    if !own.did.is_empty() {
                        story.steps.push(own);
                    }
                } else {
                    own.did.extend(scene.did.iter().cloned());
                    story.add(own);
                }
            }
        }
        let had_stream = step.streams.iter().any(|stream| Some(stream.context) == step.op.context());
        let mut told = Vec::new();
        match step.op.context() {
            Some(context) if !had_stream => {
                if let Some(story) = self.open.get_mut(&(instance, context)) {
                    story.add(scene);
                }
            }
            Some(_) => {}
            None if !scene.did.is_empty() => told.push(Told::Aside(scene)),
            None => {}
        }
        self.end(instance, step, &mut told);
        told
    }

    fn end(&mut self, instance: u64, step: &Step, told: &mut Vec<Told>) {
        let failed = matches!(step.end, End::Fault { .. });
        let has_left = matches!(&step.end, End::Answer(answer) if answer == "leave");
        let over = match &step.op {
            Op::Release { context } | Op::CloseConnection { context, .. } => Some(*context),
            Op::Headers { context, .. } if has_left => Some(*context),
            _ => None,
        };
        let mut ended: Vec<Story> =
            over.and_then(|context| self.open.remove(&(instance, context))).into_iter().collect();
        if failed {
            let of_instance = |(of, _): &(u64, u32), _: &mut Story| *of == instance;
            ended.extend(self.open.extract_if(of_instance).map(|(_, story)| story));
            ended.sort_by_key(|story| story.exchange);
        }
        for mut story in ended {
            story.conclude(failed, has_left);
            told.push(Told::Exchange(Box::new(story)));
        }
    }
}

impl Story {
    fn new(exchange: u64) -> Story {
        Story {
            exchange,
            method: String::new(),
            path: String::new(),
            status: None,
            outcome: Outcome::Passed,
            instructions: 0,
            nanoseconds: 0,
            steps: Vec::new(),
            more_steps: 0,
            request_id: None,
            found: Change::default(),
            began: Instant::now(),
            announced: false,
        }
    }

    fn add(&mut self, scene: Scene) {
        self.instructions += scene.instructions;
        self.nanoseconds += scene.nanoseconds;
        if self.method.is_empty()
            && let Some(request) = &self.found.request
        {
            self.method = request.method.clone();
            self.path = shown(&request.path);
            self.request_id = id_of(request);
        }
        for deed in &scene.did {
            match deed {
                Deed::Reply { status, .. } if self.outcome == Outcome::Passed => {
                    self.outcome = Outcome::Replied;
                    self.status = u16::try_from(*status).ok();
                }
                Deed::Act { text } if text == "closes the stream" => self.outcome = Outcome::Closed,
                _ => {}
            }
        }
        let most = if scene.is_quiet() { MAX_QUIET_STEPS } else { MAX_STEPS };
        match self.steps.len() < most {
            true => self.steps.push(scene),
            false => self.more_steps += 1,
        }
    }

    /// Where the filter holds it, if it does.
    pub(super) fn held_at(&self) -> Option<&'static str> {
        self.steps.last().filter(|scene| scene.waits()).map(|scene| scene.step)
    }

    fn conclude(&mut self, failed: bool, has_left: bool) {
        match self.outcome {
            Outcome::Passed if failed => self.outcome = Outcome::Failed,
            Outcome::Passed if has_left => self.outcome = Outcome::Left,
            _ => {}
        }
        if let Some(response) = &self.found.response {
            self.status = Some(response.status);
        }
    }
}
