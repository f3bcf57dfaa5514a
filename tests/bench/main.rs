//! `make bench`: what tidegate costs beside Envoy, nginx, HAProxy and no proxy at all.
//!
//! One run compares them on one machine, one after another and round after round, so that whatever drifts hits all of
//! them. A proxy has one worker and one core to itself; the upstream and the load have another. `README.md` in this
//! folder says what is measured, how to read the report and what can be chosen.
//!
//! The map, in reading order: `options` (what was asked for), `contender` and `chain` (who is measured with
//! which filters, and how each is configured), `process` (a pinned process, its CPU time and memory), `probe` and `grpc` (is the answer right?), `load` (as fast
//! as possible), `pace` (at a fixed rate), `rounds` (the measurements in order), `verdict` (the bounds of the design),
//! `report` (the page), `machine` and `stats`.
//!
//! A benchmark must not flatter: a wrong answer, a failed request or a missed rate is never a number. It voids that
//! measurement, is printed, stands in the report, and makes the run fail.

mod chain;
mod contender;
mod grpc;
mod load;
mod machine;
mod options;
mod pace;
mod probe;
mod process;
mod report;
mod rounds;
mod stats;
mod verdict;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::options::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.command {
        Some(Command::Pace(schedule)) => pace::run(schedule).map(|()| ExitCode::SUCCESS),
        Some(Command::Serve { address }) => grpc::serve(*address).map(|()| ExitCode::SUCCESS),
        None => compare(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Measures everything that was asked for and writes the report; fails if any measurement is void.
fn compare(options: &Options) -> anyhow::Result<ExitCode> {
    let machine = machine::Machine::observe();
    let results = rounds::measure(options)?;
    let verdicts = verdict::judge(&results);
    let page = report::render(options, &machine, &results, &verdicts);
    let path = options.report_path();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;

    print!("\n{}", report::summary(&results, &verdicts));
    println!("\nthe report: {}", path.display());
    for failure in &results.failures {
        eprintln!("bench: VOID: {failure}");
    }
    let missed = verdicts.iter().any(verdict::Verdict::missed);
    let failed = !results.failures.is_empty() || (options.strict && missed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
