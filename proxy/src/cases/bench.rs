//! What a filter costs: instructions, which are the same in every run, and nanoseconds, which belong to a machine.
//!
//! Instructions are those of each script's requests on a filter that was just started, as a case runs it. Nanoseconds are
//! measured on instances that stay: every script again and again, a second passing between two rounds, in batches whose means are
//! the samples. The stopwatch is the host's own, around each call into the guest, so that nothing of the kit is in the figures;
//! what tells the guest the time is the machine's clock.

mod compare;
mod exact;
mod text;
mod timed;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::exercise::Exercise;
use super::subject::{Code, SubjectError};
use crate::kit::Kit;
use crate::wasm::Engine;

pub use compare::{Change, Comparison};
pub use text::{against, text};

/// What the JSON calls the sum of all callbacks.
pub const ALL: &str = "all";

/// How often a module is compiled to say how long that takes, unless it has taken too long by then.
const COMPILATIONS: usize = 3;
const COMPILING: Duration = Duration::from_secs(1);

/// How often an instance is started.
const STARTS: usize = 25;

/// Everything that is measured of one module. Its fields are the stable JSON, and what a baseline is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bench {
    /// The version of this form.
    pub version: u32,
    /// The module: its path, or `builtin:NAME`.
    pub module: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Linear memory of an instance that was just started, and the most after a script, in bytes.
    pub memory_bytes: Memory,
    /// Instructions from instantiation to the end of its configuration.
    pub start_instructions: u64,
    /// The scripts, and how many requests each has.
    pub requests: Vec<Sent>,
    /// Each callback that requests lead to, and last their sum.
    pub callbacks: Vec<CallbackFigures>,
    /// What belongs to the machine.
    pub machine: Machine,
}

/// Linear memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Of an instance that was just started.
    pub start: u64,
    /// The most after a script.
    pub end: u64,
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its name: that of its case.
    pub name: String,
    /// How many requests it has.
    pub count: u64,
}

/// What a callback costs a request that leads to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallbackFigures {
    /// The export's name, or `all`.
    pub name: String,
    /// How many requests led to it.
    pub requests: u64,
    /// How often it was called for all of them together.
    pub calls: u64,
    /// Instructions of one request.
    pub instructions: Instructions,
    /// Nanoseconds of one request, of batches' means; nothing where too little was measured.
    pub nanoseconds: Option<Spread>,
}

/// Instructions of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// Half of the requests take no more.
    pub median: u64,
    /// None takes more.
    pub max: u64,
}

/// A sample's middle, and how far it spreads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// A tenth is below.
    pub p10: f64,
    /// Half is below.
    pub median: f64,
    /// A tenth is above.
    pub p90: f64,
}

/// What belongs to the machine, and is compared only within one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Compiling the module, in nanoseconds.
    pub compile_ns: Spread,
    /// Starting an instance, in nanoseconds.
    pub start_ns: Spread,
    /// Reading the clock around one call, in nanoseconds, which is part of every call's.
    pub clock_ns: f64,
    /// How many requests were measured.
    pub requests: u64,
    /// Whether the proxy is an unoptimised build, in which hostcalls cost many times what they do otherwise.
    pub unoptimised: bool,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The module cannot be had.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The filter does not start.
    #[error(
        "the filter does not start: {0}\ngive it a configuration in a file of cases, and that with --cases FILE"
    )]
    Refused(String),
    /// The filter failed, so that its costs would be those of something else.
    #[error("the filter failed in `{script}`: {why}\n`tidegate filter test` with these cases shows more")]
    Failed {
        /// The script.
        script: String,
        /// How.
        why: String,
    },
}

impl Spread {
    /// Of a sample that is not empty.
    pub(super) fn of(mut sample: Vec<f64>) -> Option<Spread> {
        sample.sort_by(f64::total_cmp);
        let last = sample.len().checked_sub(1)?;
        let at = |share: f64| sample[(last as f64 * share).round() as usize];
        Some(Spread { p10: at(0.1), median: at(0.5), p90: at(0.9) })
    }
}

/// Measures a module, or two in turn, for `time` each.
///
/// # Errors
/// A module is no filter, does not start, or fails.
pub fn measure(
    codes: &[Code],
    exercise: &Exercise,
    time: Duration,
    mut progress: impl FnMut(String),
) -> Result<Vec<Bench>, BenchError> {
    let mut benches = Vec::new();
    let mut modules = Vec::new();
    for code in codes {
        progress(format!("compiling {}", code.name));
        let (module, compile_ns) = compile(code)?;
        progress(format!("counting the instructions of {}", code.name));
        let exact = exact::count(&module, exercise)?;
        let requests = exercise
            .scripts
            .iter()
            .map(|script| Sent { name: script.name.clone(), count: script.requests() });
        benches.push(Bench {
            version: 1,
            module: code.name.clone(),
            size_bytes: code.bytes.len() as u64,
            memory_bytes: exact.memory,
            start_instructions: exact.start,
            requests: requests.collect(),
            callbacks: exact.callbacks,
            machine: Machine {
                compile_ns,
                start_ns: Spread::default(),
                clock_ns: clock_ns(),
                requests: 0,
                unoptimised: cfg!(debug_assertions),
            },
        });
        modules.push(module);
    }
    for (bench, spread) in benches.iter_mut().zip(starts(&modules, exercise)?) {
        bench.machine.start_ns = spread;
    }
    let timed = timed::time(&modules, exercise, time, |share| {
        progress(format!("measuring time: {} %", (share * 100.0) as u32));
    })?;
    for (bench, timed) in benches.iter_mut().zip(timed) {
        bench.machine.requests = timed.requests;
        for figures in &mut bench.callbacks {
            figures.nanoseconds = timed.spread(&figures.name);
        }
    }
    Ok(benches)
}

fn compile(code: &Code) -> Result<(crate::kit::Module, Spread), BenchError> {
    let (mut sample, first) = (Vec::new(), Instant::now());
    loop {
        // Without the folder of compiled modules: it is to be compiled.
        let engine = Engine::new(None).map_err(|error| BenchError::Refused(error.to_string()))?;
        let began = Instant::now();
        let module = code.compile(&engine)?;
        sample.push(began.elapsed().as_nanos() as f64);
        if (sample.len() == COMPILATIONS || first.elapsed() > COMPILING)
            && let Some(spread) = Spread::of(sample.clone())
        {
            return Ok((module, spread));
        }
    }
}

/// How long an instance of each takes to start, in turn.
fn starts(modules: &[crate::kit::Module], exercise: &Exercise) -> Result<Vec<Spread>, BenchError> {
    let mut samples = vec![Vec::new(); modules.len()];
    if let Some(script) = exercise.scripts.first() {
        for _ in 0..STARTS {
            for (module, sample) in modules.iter().zip(&mut samples) {
                sample.push(exact::kit(module, script)?.started_in.as_nanos() as f64);
            }
        }
    }
    Ok(samples.into_iter().map(|sample| Spread::of(sample).unwrap_or_default()).collect())
}

/// What it costs to read the clock as the host does around each call.
fn clock_ns() -> f64 {
    const READINGS: u32 = 10_000;
    let clock = quanta::Clock::new();
    let began = clock.raw();
    for _ in 0..READINGS {
        std::hint::black_box(clock.raw());
    }
    clock.delta_as_nanos(began, clock.raw()) as f64 / f64::from(READINGS)
}

/// Faults that a kit has seen, if there were any.
fn failure(kit: &Kit, script: &str) -> Result<(), BenchError> {
    match kit.faults().first() {
        Some(fault) => Err(BenchError::Failed { script: script.to_owned(), why: fault.to_string() }),
        None => Ok(()),
    }
}
