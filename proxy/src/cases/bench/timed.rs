//! Nanoseconds, on instances that stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::exact::play;
use super::{ALL, BenchError, Spread};
use crate::cases::exercise::{Exercise, Script};
use crate::cases::run::Stage;
use crate::kit::{Kit, LogLevel, Module, Usage};
use crate::wasm::{Callback, Clock};

/// How many batches there are at least where each has a mean of its own.
const BATCHES: u32 = 21;

/// How many requests a batch has at least where the host measures only some of an instance's calls: one in eight, once it
/// has made 256.
const SAMPLED: u64 = 400;

/// Calls that the host measures one by one, fewer than all of them: what starts the instance is among them.
const EXACT: u64 = 240;

/// How much time passes between two rounds, so that limits and caches of filters are as they are in use.
const PAUSE: Duration = Duration::from_secs(1);

/// The machine's clock, and what was skipped.
#[derive(Debug, Default)]
struct Skipping(AtomicU64);

impl Skipping {
    fn skip(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn skipped(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for Skipping {
    fn wall(&self) -> SystemTime {
        SystemTime::now() + self.skipped()
    }

    fn monotonic(&self) -> Instant {
        Instant::now() + self.skipped()
    }
}

/// What was measured of one module.
#[derive(Debug, Default)]
pub(super) struct Timed {
    pub(super) requests: u64,
    /// Each batch's mean of each callback, and of all together.
    samples: Vec<Batch>,
}

impl Timed {
    /// How a callback's batches spread, by its name.
    pub(super) fn spread(&self, name: &str) -> Option<Spread> {
        let place = match name {
            ALL => Callback::COUNT,
            name => *Callback::ALL.iter().find(|callback| callback.name() == name)? as usize,
        };
        Spread::of(self.samples.iter().filter_map(|batch| batch.mean(place)).collect())
    }
}

/// Nanoseconds, and requests that led to them: of each callback, and of all together.
#[derive(Debug, Clone, Copy)]
struct Batch([(u64, u64); Callback::COUNT + 1]);

impl Batch {
    fn mean(&self, place: usize) -> Option<f64> {
        let (nanoseconds, requests) = self.0[place];
        (requests > 0 && nanoseconds > 0).then(|| nanoseconds as f64 / requests as f64)
    }
}

/// A module's filters, one for each script.
struct Runner<'a> {
    module: &'a Module,
    exercise: &'a Exercise,
    kits: Vec<(Kit, Arc<Skipping>)>,
}

/// Measures modules in turn, a batch each, for `time` each. `progress` is told which share is done.
pub(super) fn time(
    modules: &[Module],
    exercise: &Exercise,
    time: Duration,
    mut progress: impl FnMut(f64),
) -> Result<Vec<Timed>, BenchError> {
    let runners = modules.iter().map(|module| Runner::new(module, exercise));
    let mut runners = runners.collect::<Result<Vec<_>, _>>()?;
    let plans = runners.iter_mut().map(|runner| runner.plan(time)).collect::<Result<Vec<_>, _>>()?;
    let mut all: Vec<Timed> = modules.iter().map(|_| Timed::default()).collect();
    let whole = time * modules.len() as u32;
    let began = Instant::now();
    loop {
        for ((runner, plan), timed) in runners.iter_mut().zip(&plans).zip(&mut all) {
            if plan.is_fresh {
                *runner = Runner::new(runner.module, exercise)?;
                runner.rounds(1)?;
            }
            let (batch, requests) = runner.rounds(plan.rounds)?;
            timed.samples.push(batch);
            timed.requests += requests;
        }
        let share = began.elapsed().as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        progress(share.min(1.0));
        if share >= 1.0 && all.iter().all(|timed| timed.samples.len() >= 5) {
            return Ok(all);
        }
    }
}

/// How batches are made.
struct Plan {
    rounds: u64,
    /// Whether each has instances of its own, whose first calls the host measures one by one.
    is_fresh: bool,
}

impl<'a> Runner<'a> {
    fn new(module: &'a Module, exercise: &'a Exercise) -> Result<Runner<'a>, BenchError> {
        let start = |script: &Script| {
            let clock = Arc::new(Skipping::default());
            let mut setup = Stage::new(&script.world, module).setup().log_level(LogLevel::Info);
            setup.clock = Some(clock.clone());
            let kit = Kit::build(setup).map_err(|refused| BenchError::Refused(refused.to_string()))?;
            Ok((kit, clock))
        };
        let kits = exercise.scripts.iter().map(start).collect::<Result<_, BenchError>>()?;
        Ok(Runner { module, exercise, kits })
    }

    fn plan(&mut self, time: Duration) -> Result<Plan, BenchError> {
        const PILOT: u64 = 3;
        self.rounds(1)?;
        let began = Instant::now();
        let (_, requests) = self.rounds(PILOT)?;
        let round = began.elapsed().as_secs_f64() / PILOT as f64;
        let fit = (time.as_secs_f64() / f64::from(BATCHES) / round.max(1e-9)) as u64;
        let per_script = requests / PILOT / self.kits.len().max(1) as u64;
        if fit * per_script.max(1) >= SAMPLED {
            return Ok(Plan { rounds: fit, is_fresh: false });
        }
        let calls = self.calls() / (PILOT + 1);
        let most = (EXACT / calls.max(1)).saturating_sub(1).max(1); // one round is not counted
        Ok(Plan { rounds: fit.clamp(1, most), is_fresh: true })
    }

    /// The most calls that a kit has seen.
    fn calls(&self) -> u64 {
        let of = |(kit, _): &(Kit, _)| {
            kit.workers.iter().map(|worker| Usage::of(&worker.usage).all_calls()).max().unwrap_or(0)
        };
        self.kits.iter().map(of).max().unwrap_or(0)
    }

    fn rounds(&mut self, rounds: u64) -> Result<(Batch, u64), BenchError> {
        let mut batch = Batch([(0, 0); Callback::COUNT + 1]);
        let before = self.nanoseconds();
        let mut requests = 0;
        for _ in 0..rounds {
            for ((kit, clock), script) in self.kits.iter().zip(&self.exercise.scripts) {
                play(kit, script, |usage| {
                    requests += 1;
                    for &callback in Callback::ALL {
                        batch.0[callback as usize].1 += u64::from(usage.calls(callback) > 0);
                    }
                })?;
                clock.skip(PAUSE);
                kit.try_advance(PAUSE).map_err(|stuck| BenchError::Failed {
                    script: script.name.clone(),
                    why: stuck.to_string(),
                })?;
                kit.forget();
            }
        }
        let spent = self.nanoseconds();
        for (place, (spent, before)) in spent.into_iter().zip(before).enumerate() {
            batch.0[place].0 = spent - before;
        }
        let led = |place: &usize| batch.0[*place].1 > 0;
        batch.0[Callback::COUNT] =
            ((0..Callback::COUNT).filter(led).map(|place| batch.0[place].0).sum(), requests);
        Ok((batch, requests))
    }

    fn nanoseconds(&self) -> [u64; Callback::COUNT] {
        let mut all = [0; Callback::COUNT];
        for worker in self.kits.iter().flat_map(|(kit, _)| &kit.workers) {
            for &callback in Callback::ALL {
                all[callback as usize] += worker.usage.cost(callback).nanoseconds;
            }
        }
        all
    }
}
