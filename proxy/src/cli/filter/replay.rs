//! `tidegate filter replay`: a recording against a build.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::super::{Format, print};
use super::progress::Progress;
use crate::recording::compare::{Comparison, Cost, Difference, Report, plain};
use crate::recording::replay::Player;
use crate::recording::{Line, Reader};
use crate::terminal::{grouped, many};
use crate::wasm::Engine;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter replay shop.jsonl target/wasm/modules/shop.wasm
  tidegate filter replay shop.jsonl shop.wasm --exact       does it cost the same too?
  tidegate filter replay authz.jsonl builtin:authz --format json | jq .differences
  tidegate filter replay --schema > recording.schema.json

Next: tidegate filter test";

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// The recording
    #[arg(required_unless_present = "schema")]
    recording: Option<PathBuf>,
    /// The build: a module, or one that is shipped: builtin:NAME
    #[arg(required_unless_present = "schema")]
    module: Option<PathBuf>,
    /// Print the JSON Schema of a recording's lines, and do nothing else
    #[arg(long, exclusive = true)]
    schema: bool,
    /// What the recording's masks stand for [default: RECORDING.secrets, where there is one]
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// How many differences to list; the others are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    most: usize,
    /// List it too, and end with 1, where the build does the same but asks otherwise or at another cost
    #[arg(long)]
    exact: bool,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// After how many steps it is said how far it is.
const PROGRESS_STEPS: u64 = 1024;

pub(super) fn perform(arguments: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let ReplayArgs { recording, module, schema: _, secrets, most, exact, format } = arguments;
    let (Some(recording), Some(module)) = (recording, module) else {
        print(&format!("{:#}", crate::recording::schema()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let reader = Reader::open(recording, secrets.as_deref())?;
    let masked = reader.is_masked();
    let bytes = super::module(module)?;
    let compiled = Engine::new(None)?.compile(&bytes);
    let compiled = compiled.map_err(|error| anyhow::anyhow!("{}: {error}", module.display()))?;
    let sha256 = compiled.sha256().to_string();
    let (mut player, mut comparison) = (Player::new(compiled), Comparison::new(*most, *exact));
    let began = Instant::now();
    let progress = Progress::begin("replaying");
    let (mut steps, mut is_other) = (0u64, false);
    for line in reader.read_ahead() {
        let line = line?;
        match &line {
            Line::Instance { given, .. } => is_other |= given.module != sha256,
            Line::Cut { reason } => comparison.note_cut(reason),
            Line::Step { .. } | Line::Gone { .. } | Line::Recording(_) => {}
        }
        if let Some(played) = player.play(line)? {
            comparison.add(&played);
            steps += 1;
            if steps.is_multiple_of(PROGRESS_STEPS) {
                progress.say(|| format!("replaying: {}", many(steps, "step")));
            }
        }
    }
    drop(progress);
    let report = comparison.finish();
    let outcome = Outcome {
        recording: recording.display().to_string(),
        module: module.display().to_string(),
        same_module: !is_other,
        masked,
        seconds: began.elapsed().as_secs_f64(),
        report: &report,
    };
    match format {
        Format::Json => print(&serde_json::to_string_pretty(&outcome)?)?,
        Format::Text => print(text(&outcome, *exact).trim_end())?,
    }
    let is_the_same = is_the_same(&report);
    let is_exact = report.identical == report.steps;
    Ok(if is_the_same && (is_exact || !exact) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is said in the end.
#[derive(serde::Serialize)]
struct Outcome<'a> {
    recording: String,
    module: String,
    /// Whether it is the module that was recorded.
    same_module: bool,
    /// Whether secrets are missing.
    masked: bool,
    /// How long it took.
    seconds: f64,
    #[serde(flatten)]
    report: &'a Report,
}

fn text(outcome: &Outcome<'_>, exact: bool) -> String {
    let Outcome { recording, module, same_module, masked, seconds, report } = outcome;
    let mut text = String::new();
    let build = if *same_module { ", the build that was recorded" } else { ", another build" };
    let _ = writeln!(
        text,
        "{recording}: {}, {}\n{module}{build}: {} in {seconds:.1} s",
        many(report.exchanges, "exchange"),
        many(report.steps, "step"),
        many(report.callbacks, "callback"),
    );
    if let Some(reason) = &report.cut {
        let _ = writeln!(text, "the recording is not whole: {}", one_line(reason));
    }
    list(&mut text, &report.differences);
    if report.omitted > 0 {
        let _ = writeln!(text, "\nand {}; --most lists more", many(report.omitted, "more difference"));
    }
    costs(&mut text, report);
    text.push('\n');
    verdict(&mut text, report);
    let is_identical = report.identical == report.steps;
    let next = match is_identical {
        _ if *masked && !is_identical => {
            "its secrets are masked, and what depends on them differs: --secrets FILE puts them back, or record with \
             --secrets keep"
                .to_owned()
        }
        true => format!("next: tidegate filter replay {recording} ANOTHER.wasm"),
        false if is_the_same(report) && !exact => {
            "next: --exact lists what it asked otherwise, and what that cost".to_owned()
        }
        false => "next: --format json has it for a tool, --most lists more".to_owned(),
    };
    text.push_str(&next);
    text
}

/// Whether the build did the same, as far as it is known.
fn is_the_same(report: &Report) -> bool {
    report.different + report.not_played + report.not_asked == 0
}

/// The one line that counts.
fn verdict(text: &mut String, report: &Report) {
    let steps = many(report.steps, "step");
    let missed = missed(report);
    let _ = match report.different {
        _ if report.steps == 0 => writeln!(text, "nothing to replay: no exchange was recorded"),
        0 if !missed.is_empty() => writeln!(text, "{missed}"),
        0 if report.identical == report.steps => writeln!(text, "identical: all {steps}, bit for bit"),
        0 => writeln!(
            text,
            "the same: in {} of {steps} it asked otherwise, or at another cost",
            grouped(report.same_effect),
        ),
        different => {
            let exchanges = many(report.different_exchanges, "exchange");
            let semicolon = if missed.is_empty() { "" } else { "; " };
            writeln!(text, "different: {} of {steps}, in {exchanges}{semicolon}{missed}", grouped(different))
        }
    };
}

/// What was not played, and why.
fn missed(report: &Report) -> String {
    let mut missed = Vec::new();
    if report.not_played > 0 {
        missed.push(format!("{} could not be played after a failure", many(report.not_played, "step")));
    }
    if report.not_asked > 0 {
        missed.push(format!("{} came to a callout that it did not make", many(report.not_asked, "answer")));
    }
    missed.join("; ")
}

/// A text of a stranger's, in one line.
fn one_line(text: &str) -> String {
    plain(text).replace('\n', "\\n")
}

fn list(text: &mut String, differences: &[Difference]) {
    let mut last = None;
    for difference in differences {
        let Difference { exchange, request, instance, step, what, recorded, replayed } = difference;
        let place = (*instance, *exchange, step);
        if last != Some(place) {
            last = Some(place);
            let whose = match (exchange, request) {
                (Some(exchange), Some(request)) => format!("exchange {exchange}  {}", one_line(request)),
                (Some(exchange), None) => format!("exchange {exchange}"),
                (None, _) => format!("instance {instance}"),
            };
            let _ = writeln!(text, "\n{whose}: {step}");
        }
        let side = |side: &Option<String>| {
            side.as_deref().map_or_else(|| "nothing".to_owned(), |side| plain(side).replace('\n', "\n      "))
        };
        let _ = writeln!(text, "  {}", one_line(what));
        let _ = writeln!(text, "    - {}", side(recorded));
        let _ = writeln!(text, "    + {}", side(replayed));
    }
}

fn costs(text: &mut String, report: &Report) {
    let changed = report.instructions.iter().filter(|(_, cost)| cost.recorded != cost.replayed);
    let changed: Vec<(String, &Cost)> = changed.map(|(callback, cost)| (one_line(callback), cost)).collect();
    if changed.is_empty() {
        return;
    }
    let width = changed.iter().map(|(callback, _)| callback.len()).max().unwrap_or(0);
    let _ = writeln!(text, "\ninstructions");
    for (callback, cost) in changed {
        let change = match cost.recorded {
            0 => "new".to_owned(),
            recorded => {
                format!("{:+.1} %", (cost.replayed as f64 - recorded as f64) / recorded as f64 * 100.0)
            }
        };
        let (recorded, replayed) = (grouped(cost.recorded), grouped(cost.replayed));
        let _ = writeln!(text, "  {callback:width$}  {recorded} → {replayed}  {change}");
    }
}
