//! The measurements, in order: rounds of every setup under every load, turns of all of them, then rounds of every setup
//! at a fixed rate.
//!
//! A setup is started afresh in every round and is alone while it is measured; only for the turns all of them run. A void
//! measurement is kept as a failure and not tried again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::chain::Chain;
use crate::contender::{Contender, Laboratory, Running, Setup};
use crate::load::{self, Manner, Shape, Target};
use crate::machine::{TICKS_PER_SECOND, busy_ticks};
use crate::options::{Effort, Options, Schedule, repository};
use crate::pace::{self, Latencies};
use crate::process::{CpuTime, Memory};
use crate::stats::Spread;

/// Requests that tell how fast a setup is, so that the measured ones can be counted out.
const SOUNDING: u64 = 2000;

/// Everything that was measured, by setup, a value for each round.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) loads: BTreeMap<(Shape, Setup), Vec<LoadSample>>,
    pub(crate) paces: BTreeMap<Setup, Vec<PaceSample>>,
    pub(crate) memory: BTreeMap<Setup, Vec<Memory>>,
    /// CPU time in µs for each request, a value for each turn: those of a shape at one place were measured one right after
    /// the other.
    pub(crate) turns: BTreeMap<(Shape, Setup), Vec<f64>>,
    /// What is void, and why.
    pub(crate) failures: Vec<String>,
    /// Programs and their versions.
    pub(crate) versions: Vec<String>,
    pub(crate) took: Duration,
}

/// What the proxy's process used while it was loaded. Nothing of it is known of a direct connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Microseconds of CPU time for each request.
    pub(crate) us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    /// The share of the time for which it ran, 0 to 1.
    pub(crate) busy: f64,
    /// The share of the time that its core gave to somebody else, 0 to 1.
    pub(crate) others: f64,
}

/// One measurement as fast as possible.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadSample {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) cost: Option<Cost>,
}

/// One measurement at a fixed rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceSample {
    pub(crate) latencies: Latencies,
    pub(crate) cost: Option<Cost>,
}

/// Measures what the options ask for. An error only when nothing can be measured at all.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Results> {
    let began = Instant::now();
    let folder = repository().join("build/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(&folder).context("cannot make a folder for this run")?;
    let lab = Laboratory::open(options, scratch.path())?;
    let setups = options.setups();
    let mut run =
        Run { options, effort: options.effort(), lab, results: Results::default(), voided: Vec::new() };
    run.results.versions = run.lab.versions(&setups);
    for round in 0..run.effort.rounds {
        for &setup in turned(&setups, round) {
            run.load_setup(round, setup);
        }
    }
    for shape in Shape::ALL {
        run.take_turns(shape);
    }
    for round in 0..run.effort.latency_rounds {
        for &setup in turned(&setups, round) {
            run.pace_setup(round, setup);
        }
    }
    run.results.took = began.elapsed();
    Ok(run.results)
}

/// Each round begins with another setup, so that none always follows the same neighbour's noise.
fn turned<T>(setups: &[T], round: usize) -> impl Iterator<Item = &T> {
    setups.iter().cycle().skip(round % setups.len().max(1)).take(setups.len())
}

struct Run<'a> {
    options: &'a Options,
    effort: Effort,
    lab: Laboratory,
    results: Results,
    /// Measurements that are not tried again.
    voided: Vec<String>,
}

impl Run<'_> {
    /// All loads on one setup.
    fn load_setup(&mut self, round: usize, setup: Setup) {
        let title = setup.title();
        let Some(running) = self.attempt(&title, |run| run.lab.start(setup)) else { return };
        for shape in self.options.shapes().into_iter().filter(|shape| shape.concerns(setup)) {
            let what = format!("{title}, {}", shape.title());
            if let Some(sample) = self.attempt(&what, |run| run.load(&running, setup, shape)) {
                announce(round, &what, sample.rate, sample.cost, "");
                self.results.loads.entry((shape, setup)).or_default().push(sample);
            }
        }
        if let Some(process) = &running.process
            && let Some(memory) = self.attempt(&format!("{title}, memory"), |_| process.memory())
        {
            self.results.memory.entry(setup).or_default().push(memory);
        }
    }

    /// All that are compared run, and one at a time is loaded, for so short a time that what drifts hits all of them alike:
    /// a machine is not for half an hour as fast as it was, and what a filter costs is a small part of what a request does.
    /// Both would be lost in what lies between two rounds.
    fn take_turns(&mut self, shape: Shape) {
        let mut warm = Vec::new();
        for setup in self.options.setups_in_turns(shape) {
            let ready = self.attempt(&format!("{}, {}, in turns", setup.title(), shape.title()), |run| {
                let running = run.lab.start(setup)?;
                let rate = run.load(&running, setup, shape)?.rate;
                Ok((setup, running, rate))
            });
            warm.extend(ready);
        }
        let turns = self.attempt(&format!("turns, {}", shape.title()), |run| {
            let mut turns: BTreeMap<Setup, Vec<f64>> = BTreeMap::new();
            for turn in 0..run.effort.turns {
                for (setup, running, rate) in turned(&warm, turn) {
                    let cost = run.turn(running, shape, *rate).with_context(|| setup.title())?;
                    turns.entry(*setup).or_default().push(cost);
                }
            }
            Ok(turns)
        });
        for (setup, costs) in turns.into_iter().flatten() {
            let spread = Spread::of(costs.iter().copied());
            let middle = spread.map_or(f64::NAN, |spread| spread.median);
            eprintln!("turns: {:<42} {middle:7.2} µs", format!("{}, {}", setup.title(), shape.title()));
            self.results.turns.insert((shape, setup), costs);
        }
    }

    /// One setup at half of Envoy's peak with as many filters.
    fn pace_setup(&mut self, round: usize, setup: Setup) {
        let what = format!("{}, fixed rate", setup.title());
        let Some(rate) = self.options.rate.or_else(|| self.half_of_envoys_peak(setup.filters)) else {
            let reason = "no rate: Envoy was not measured with as many filters, and --rate was not given";
            self.attempt(&what, |_| -> anyhow::Result<()> { anyhow::bail!(reason) });
            return;
        };
        if let Some(sample) = self.attempt(&what, |run| run.pace(round, setup, rate)) {
            let Latencies { p50_us, p99_us, .. } = sample.latencies;
            let latencies = format!("p50 {p50_us:.0} µs, p99 {p99_us:.0} µs");
            announce(round, &what, sample.latencies.rate, sample.cost, &latencies);
            self.results.paces.entry(setup).or_default().push(sample);
        }
    }

    fn half_of_envoys_peak(&self, filters: Chain) -> Option<f64> {
        let envoy = Setup { contender: Contender::Envoy, filters };
        let samples = self.results.loads.get(&(Shape::KeepAlive60B, envoy))?;
        Some(Spread::of(samples.iter().map(|sample| sample.rate))?.median / 2.0)
    }

    fn target(&self, running: &Running, shape: Shape) -> Target<'_> {
        let (address, core) = (running.address, self.options.load_core);
        Target { shape, address, core, message: &self.lab.message }
    }

    fn load(&self, running: &Running, setup: Setup, shape: Shape) -> anyhow::Result<LoadSample> {
        let target = self.target(running, shape);
        let load = |time, expected| load::run(target, time, expected);
        let sounding = match shape.manner() {
            Manner::KeepAlive | Manner::Http2 { .. } => load::counted(target, SOUNDING)?.rate,
            Manner::NewConnections => 0.0,
        };
        let expected = load(self.effort.warm_up, sounding)?.rate;
        let watch = Watch::begin(running, self.options.proxy_core)?;
        let throughput = load(self.effort.measured, expected)?;
        let cost = watch.end(throughput.requests)?;
        self.lab.check_answer(running.address, setup.filters, shape).context("after the load")?;
        Ok(LoadSample { rate: throughput.rate, cost })
    }

    /// A short load on a setup that is warm: µs of CPU time for each request.
    fn turn(&self, running: &Running, shape: Shape, rate: f64) -> anyhow::Result<f64> {
        let watch = Watch::begin(running, self.options.proxy_core)?;
        let throughput = load::run(self.target(running, shape), shape.turn(), rate)?;
        Ok(watch.end(throughput.requests)?.context("nothing is known of a direct connection")?.us)
    }

    fn pace(&self, round: usize, setup: Setup, rate: f64) -> anyhow::Result<PaceSample> {
        let running = self.lab.start(setup)?;
        let seconds = self.effort.measured.as_secs_f64() * 1.6;
        let warm_up = self.effort.warm_up.as_secs_f64();
        let schedule = Schedule { address: running.address, rate, seconds, seed: round as u64 };
        pace::start(&Schedule { seconds: warm_up, ..schedule.clone() }, self.options.load_core)?;
        let watch = Watch::begin(&running, self.options.proxy_core)?;
        let latencies = pace::start(&schedule, self.options.load_core)?;
        let cost = watch.end(latencies.requests)?;
        Ok(PaceSample { latencies, cost })
    }

    /// Does something that may fail; a failure is told, kept, and not tried again in later rounds.
    fn attempt<T>(&mut self, what: &str, act: impl FnOnce(&Self) -> anyhow::Result<T>) -> Option<T> {
        if self.voided.iter().any(|voided| voided == what) {
            return None;
        }
        match act(self) {
            Ok(value) => Some(value),
            Err(error) => {
                let failure = format!("{what}: {error:#}");
                eprintln!("bench: VOID: {failure}");
                self.results.failures.push(failure);
                self.voided.push(what.to_owned());
                None
            }
        }
    }
}

/// Looks at a process before and after.
struct Watch<'a> {
    running: &'a Running,
    core: usize,
    began: Instant,
    cpu: Option<CpuTime>,
    core_ticks: Option<u64>,
}

impl<'a> Watch<'a> {
    fn begin(running: &'a Running, core: usize) -> anyhow::Result<Watch<'a>> {
        let cpu = running.process.as_ref().map(|process| process.cpu_time()).transpose()?;
        Ok(Watch { running, core, began: Instant::now(), cpu, core_ticks: busy_ticks(core) })
    }

    fn end(self, requests: u64) -> anyhow::Result<Option<Cost>> {
        let (Some(process), Some(before)) = (&self.running.process, self.cpu) else { return Ok(None) };
        let used = process.cpu_time()?.since(&before)?;
        let elapsed = self.began.elapsed().as_secs_f64();
        let core_busy = match (self.core_ticks, busy_ticks(self.core)) {
            (Some(before), Some(after)) => after.saturating_sub(before) as f64 / TICKS_PER_SECOND,
            _ => used.total,
        };
        let each = 1e6 / requests.max(1) as f64;
        Ok(Some(Cost {
            us: used.total * each,
            user_us: used.user * each,
            system_us: used.system * each,
            busy: used.total / elapsed,
            others: ((core_busy - used.total) / elapsed).max(0.0),
        }))
    }
}

fn announce(round: usize, what: &str, rate: f64, cost: Option<Cost>, rest: &str) {
    let cost = cost.map(|cost| {
        format!(
            "{:7.2} µs ({:.2} user, {:.2} system), busy {:3.0} %",
            cost.us,
            cost.user_us,
            cost.system_us,
            cost.busy * 100.0
        )
    });
    eprintln!("round {}: {what:<42} {rate:8.0}/s {} {rest}", round + 1, cost.unwrap_or_default());
}
