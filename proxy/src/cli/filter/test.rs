//! `tidegate filter test`: runs cases in YAML against a module.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::super::{Format, print};
use super::progress::Progress;
use crate::cases::{self, Report, Subject, Suite};
use crate::server;
use crate::terminal;
use crate::wasm::Engine;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter test                           build the filter in this folder, run its cases
  tidegate filter test filter.wasm cases.yaml    a module from any language
  tidegate filter test builtin:rate-limit limits.yaml --filter burst
  tidegate filter test --format json | jq '.files[].cases[] | select(.passed | not)'
  tidegate filter test --schema > tidegate-cases.schema.json    for editors

Next: tidegate filter bench";

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// What is tried, then files of cases
    ///
    /// The first is a module (FILE.wasm), one that is shipped (builtin:NAME), or a folder with a Rust filter, which is built
    /// first [default: this folder]. Without files of cases these are `cases.yaml`, or every `cases/*.yaml`, in its folder.
    #[arg(value_name = "MODULE_OR_CASES")]
    arguments: Vec<PathBuf>,
    /// Run only the cases that have this text in their names
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The profile of cargo that a folder's filter is built with
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print the JSON Schema of files of cases, and run nothing
    #[arg(long)]
    schema: bool,
}

pub(super) fn perform(arguments: &TestArgs) -> anyhow::Result<ExitCode> {
    if arguments.schema {
        print(&format!("{:#}", cases::schema()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (subject, files) = subject_and_cases(&arguments.arguments)?;
    let files = with_usual_cases(&subject, files)?;
    // A mistake in the cases is said before anything is built.
    let mut suites = files.iter().map(|file| Suite::load(file, &subject)).collect::<Result<Vec<_>, _>>()?;
    let all: usize = suites.iter().map(Suite::len).sum();
    if let Some(text) = &arguments.filter {
        suites.iter_mut().for_each(|suite| suite.retain(text));
        suites.retain(|suite| !suite.is_empty());
        if suites.is_empty() {
            bail!("no case has `{text}` in its name, of {all}: leave --filter out to see all of them");
        }
    }
    let chosen: usize = suites.iter().map(Suite::len).sum();
    let code = subject.code(&arguments.profile)?;
    let progress = Progress::begin("compiling");
    let module = code.compile(&Engine::new(server::compiled_folder())?)?;
    let mut at = 0;
    let suites = suites.iter().map(|suite| {
        cases::run(suite, &module, |name| {
            at += 1;
            progress.say(|| format!("case {at} of {chosen}: {name}"));
        })
    });
    let report = Report { module: code.name, suites: suites.collect(), left_out: all - chosen };
    drop(progress);
    match arguments.format {
        Format::Text => print(&report.text(terminal::colours_wanted_on(&std::io::stdout())))?,
        Format::Json => print(&format!("{:#}", report.json()))?,
    }
    Ok(if report.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The module, and the files of cases that were named.
pub(super) fn subject_and_cases(arguments: &[PathBuf]) -> anyhow::Result<(Subject, Vec<PathBuf>)> {
    match arguments {
        [first, rest @ ..] if !is_yaml(first) => Ok((Subject::named(first)?, rest.to_vec())),
        files => Ok((Subject::named(Path::new("."))?, files.to_vec())),
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn with_usual_cases(subject: &Subject, files: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    if !files.is_empty() {
        return Ok(files);
    }
    let usual = subject.usual_cases();
    if usual.is_empty() {
        let place = match subject {
            Subject::Builtin(name) => bail!(
                "a shipped filter has no cases beside it: name a file, as in `tidegate filter test builtin:{name} cases.yaml`"
            ),
            Subject::File(file) => file.parent().unwrap_or(Path::new("")),
            Subject::Folder(folder) => folder,
        };
        let place = if place == Path::new("") { Path::new(".") } else { place };
        bail!(
            "there are no cases: neither cases.yaml nor cases/*.yaml is in {}. A first one is \
             `cases: [{{name: it passes, request: GET /, expect: {{outcome: forwarded}}}}]`; `tidegate filter test --schema` \
             tells editors what else there is",
            place.display()
        );
    }
    Ok(usual)
}
