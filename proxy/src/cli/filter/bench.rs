//! `tidegate filter bench`: what a module's callbacks cost.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::super::{Format, print};
use super::progress::Progress;
use crate::cases::bench::{self, Bench, Comparison};
use crate::cases::{Exercise, Subject, Suite};
use crate::files;
use crate::terminal;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter bench                          build the filter in this folder, and measure it
  tidegate filter bench filter.wasm --cases cases.yaml
  tidegate filter bench --save baseline.json     and later, in CI:
  tidegate filter bench --baseline baseline.json    end with 1 if it costs more
  tidegate filter bench new.wasm --against old.wasm

Next: tidegate filter build, and a configuration that has the module";

/// Bytes of a baseline.
const MAX_BASELINE: u64 = 16 << 20;

/// The form of baselines that is read.
const VERSION: u32 = 1;

#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArgs {
    /// A module (FILE.wasm), one that is shipped (builtin:NAME), or a folder with a Rust filter, which is built first
    #[arg(default_value = ".")]
    module: PathBuf,
    /// Send the requests of these cases. May be given several times. What they expect is not looked at
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Write what was measured into a file, as a baseline
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with what --save wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// How much more than the baseline instructions, memory and size may be: a percentage
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percentage)]
    tolerance: f64,
    /// Measure this module too, in turn with the other, and compare their costs
    #[arg(long, value_name = "MODULE")]
    against: Option<PathBuf>,
    /// How long times are measured, for each module
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    time: Duration,
    /// The profile of cargo that a folder's filter is built with
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn percentage(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').trim().parse().ok();
    let share = number.filter(|number| (0.0..=1000.0).contains(number)).map(|percent| percent / 100.0);
    share.ok_or_else(|| "give a percentage from 0 to 1000, such as 1% or 0.5%".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = <Duration as crate::config::Parse>::parse(text);
    let parsed = parsed.map_err(|refusal| refusal.to_string().replace('\n', ": "))?;
    match parsed <= Duration::from_secs(3600) {
        true => Ok(parsed),
        false => Err("an hour is the most".to_owned()),
    }
}

pub(super) fn perform(arguments: &BenchArgs) -> anyhow::Result<ExitCode> {
    let baseline = arguments.baseline.as_deref().map(read_baseline).transpose()?;
    let subject = Subject::named(&arguments.module)?;
    let exercise = exercise(&subject, &arguments.cases)?;
    let mut codes = vec![subject.code(&arguments.profile)?];
    if let Some(other) = &arguments.against {
        codes.push(Subject::named(other)?.code(&arguments.profile)?);
    }
    let progress = Progress::begin("measuring");
    let benches = bench::measure(&codes, &exercise, arguments.time, |what| progress.say(|| what))?;
    drop(progress);
    let [first, rest @ ..] = benches.as_slice() else { bail!("nothing was measured") };
    let comparison =
        baseline.map(|baseline| Comparison::of(first, &baseline, arguments.tolerance)).transpose()?;
    if let Some(file) = &arguments.save {
        let content = format!("{:#}\n", serde_json::to_value(first)?);
        std::fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    match arguments.format {
        Format::Text => print(&text(arguments, first, rest.first(), comparison.as_ref()))?,
        Format::Json => print(&format!("{:#}", json(first, rest.first(), comparison.as_ref())?))?,
    }
    let holds = comparison.is_none_or(|comparison| comparison.holds());
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn exercise(subject: &Subject, files: &[PathBuf]) -> anyhow::Result<Exercise> {
    if files.is_empty() {
        return Ok(Exercise::usual(subject));
    }
    let suites = files.iter().map(|file| Suite::load(file, subject)).collect::<Result<Vec<_>, _>>()?;
    let exercise = Exercise::of(suites);
    if exercise.is_empty() {
        bail!("the cases send no request: leave --cases out to send a few plain ones");
    }
    Ok(exercise)
}

fn read_baseline(path: &Path) -> anyhow::Result<Bench> {
    let bytes = files::read_stream(path, MAX_BASELINE)
        .map_err(|error| anyhow::anyhow!("{} {error}; `--save` writes one", path.display()))?;
    let unreadable = || format!("{} is no baseline: `--save` writes one", path.display());
    let value: serde_json::Value = serde_json::from_slice(&bytes).with_context(unreadable)?;
    match value["version"].as_u64() {
        Some(version) if version != u64::from(VERSION) => bail!(
            "{} is of version {version}, and this tidegate reads {VERSION}: write it anew with --save",
            path.display()
        ),
        _ => serde_json::from_value(value).with_context(unreadable),
    }
}

fn text(
    arguments: &BenchArgs,
    bench: &Bench,
    other: Option<&Bench>,
    comparison: Option<&Comparison>,
) -> String {
    let mut parts = vec![bench::text(bench)];
    if let Some(other) = other {
        parts.push(bench::text(other));
        parts.push(bench::against(bench, other));
    }
    if let (Some(comparison), Some(file)) = (comparison, &arguments.baseline) {
        let colours = terminal::colours_wanted_on(&std::io::stdout());
        parts.push(comparison.text(&file.display().to_string(), colours));
    }
    parts.join("\n\n")
}

/// What was measured; with --against and --baseline what came of them beside it.
fn json(
    bench: &Bench,
    other: Option<&Bench>,
    comparison: Option<&Comparison>,
) -> anyhow::Result<serde_json::Value> {
    let mut document = serde_json::to_value(bench)?;
    if let Some(other) = other {
        document["against"] = serde_json::to_value(other)?;
    }
    if let Some(comparison) = comparison {
        let changes = comparison.changes.iter().map(|change| {
            let growth = Some(change.growth()).filter(|growth| growth.is_finite());
            json!({ "what": change.what, "was": change.was, "is": change.is, "growth": growth })
        });
        document["baseline"] = json!({
            "tolerance": comparison.tolerance,
            "holds": comparison.holds(),
            "changes": changes.collect::<Vec<_>>(),
        });
    }
    Ok(document)
}
