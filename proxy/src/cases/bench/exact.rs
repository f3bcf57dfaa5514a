//! Instructions and memory, which are the same in every run.

use super::{ALL, BenchError, CallbackFigures, Instructions, Memory, failure};
use crate::cases::exercise::{Exercise, Script};
use crate::cases::run::Stage;
use crate::kit::{Kit, LogLevel, Module, Usage};
use crate::wasm::Callback;

/// What was counted.
pub(super) struct Exact {
    pub(super) start: u64,
    pub(super) memory: Memory,
    pub(super) callbacks: Vec<CallbackFigures>,
}

/// Runs each script once.
pub(super) fn count(module: &Module, exercise: &Exercise) -> Result<Exact, BenchError> {
    let mut requests: Vec<Usage> = Vec::new();
    let mut memory = Memory { start: 0, end: 0 };
    let mut start = 0;
    for script in &exercise.scripts {
        let kit = kit(module, script)?;
        start = start.max(kit.workers[0].usage.instructions());
        memory.start = memory.start.max(kit.memory(0));
        play(&kit, script, |usage| requests.push(usage))?;
        failure(&kit, &script.name)?;
        let largest = (0..kit.workers.len()).map(|worker| kit.memory(worker)).max();
        memory.end = memory.end.max(largest.unwrap_or(0));
    }
    let callbacks = Callback::ALL.iter().filter_map(|callback| {
        let led = requests.iter().filter(|usage| usage.calls(*callback) > 0);
        let cost = |usage: &Usage| (usage.calls(*callback), usage.instructions_in(*callback));
        figures(callback.name(), led.map(cost).collect())
    });
    let all = figures(ALL, requests.iter().map(|usage| (usage.all_calls(), usage.instructions())).collect());
    Ok(Exact { start, memory, callbacks: callbacks.chain(all).collect() })
}

/// Calls and instructions of requests, in short.
fn figures(name: &str, costs: Vec<(u64, u64)>) -> Option<CallbackFigures> {
    let mut instructions: Vec<u64> = costs.iter().map(|(_, instructions)| *instructions).collect();
    instructions.sort_unstable();
    Some(CallbackFigures {
        name: name.to_owned(),
        requests: costs.len() as u64,
        calls: costs.iter().map(|(calls, _)| calls).sum(),
        instructions: Instructions {
            median: instructions.get(instructions.len().checked_sub(1)? / 2).copied()?,
            max: instructions.last().copied()?,
        },
        nanoseconds: None,
    })
}

/// A filter for a script, just started.
pub(super) fn kit(module: &Module, script: &Script) -> Result<Kit, BenchError> {
    // The level that the proxy begins with: a filter may ask, and spare itself what nobody would read.
    let setup = Stage::new(&script.world, module).setup().log_level(LogLevel::Info);
    let kit = Kit::build(setup).map_err(|refused| BenchError::Refused(refused.to_string()))?;
    let stuck = kit.try_settle().map_err(|stuck| stuck.to_string());
    stuck.map_err(|why| BenchError::Failed { script: script.name.clone(), why })?;
    Ok(kit)
}

/// Plays a script, and tells what each request cost; what a filter does while time passes is told beside them.
pub(super) fn play(kit: &Kit, script: &Script, mut cost: impl FnMut(Usage)) -> Result<(), BenchError> {
    let failed =
        |stuck: crate::kit::Stuck| BenchError::Failed { script: script.name.clone(), why: stuck.to_string() };
    for step in &script.steps {
        if !step.advance.is_zero() {
            kit.try_advance(step.advance).map_err(failed)?;
        }
        let Some(request) = &step.request else { continue };
        for _ in 0..step.times {
            let usage = &kit.workers[request.worker].usage;
            let before = Usage::of(usage);
            kit.try_send(request.clone()).map_err(failed)?;
            cost(Usage::of(usage).since(&before));
        }
    }
    Ok(())
}
