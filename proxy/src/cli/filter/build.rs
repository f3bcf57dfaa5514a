//! `tidegate filter build`: the module of a filter's crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use tidegate_build::{Build, Toolchain};

use super::replace;
use crate::cases::from_here;
use crate::cli::{Format, print};
use crate::inspect::Report;
use crate::origin;
use crate::wasm::Engine;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter build                          the crate in this folder, as it ships
  tidegate filter build --profile dev            the same in a moment, while it is written
  tidegate filter build filters/guard --out guard.wasm
  tidegate filter build --format json | jq -r .module

Next: tidegate filter test";

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArgs {
    /// The folder of the crate
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where to put the module too, with its debug information beside it [default: target/wasm/modules only]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The profile of cargo
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// How it is said; what cargo and rustc say goes to stderr
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What the name of a file with a module's debug information ends in, where the module's ends in `wasm`.
const DEBUG: &str = "debug.wasm";

/// What is said of a build, as JSON. Fields may be added in later versions; those that are here stay.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    /// The module's path.
    module: &'a Path,
    /// The file with its debug information, where the profile makes some.
    debug: Option<PathBuf>,
    /// The profile that it was built with.
    profile: &'a str,
    /// How long it took, what cargo took included.
    milliseconds: u64,
    /// What is in it, as `tidegate filter inspect` says it.
    report: Report,
}

/// Builds it, and says what came of it: whether it will load too.
///
/// # Errors
///
/// There is no crate, no toolchain, or cargo could not build it.
pub(super) fn perform(arguments: &BuildArgs) -> anyhow::Result<ExitCode> {
    let BuildArgs { folder, out, profile, format } = arguments;
    let begun = Instant::now();
    if !folder.join("Cargo.toml").is_file() {
        bail!(
            "there is no Cargo.toml in {}: name the folder of a filter's crate, or make one with `tidegate filter new NAME`",
            folder.display()
        );
    }
    let toolchain = Toolchain::find()?;
    let module = Build::new(folder).profile(profile).separate_debug_info().run_with(&toolchain)?;
    let bytes = origin::read_named(&module)?;
    let debug = Some(module.with_extension(DEBUG)).filter(|debug| debug.is_file());
    let module = match out {
        Some(out) => {
            put(out, &module, debug.as_deref()).with_context(|| format!("cannot write {}", out.display()))?;
            out.clone()
        }
        None => module,
    };
    let debug = debug.map(|_| module.with_extension(DEBUG));
    let report = Report::of(&Engine::new(None)?, &bytes);
    let loads = report.loads;
    let taken = begun.elapsed();
    match format {
        Format::Text => {
            let name = from_here(&module).display().to_string();
            print(&format!("{}, built in {:.1} s", report.summary(&name), taken.as_secs_f64()))?;
            if !loads {
                print(&report.reasons())?;
            }
            print(&format!("\nNext: {}", next(&report, folder, &name)))?;
        }
        Format::Json => {
            let milliseconds = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
            let outcome = Outcome { module: &module, debug, profile, milliseconds, report };
            print(&serde_json::to_string_pretty(&outcome)?)?;
        }
    }
    Ok(if loads { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the module there, and its debug information beside it: that first, so that a proxy that sees a new module finds it.
fn put(out: &Path, module: &Path, debug: Option<&Path>) -> std::io::Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    if let Some(debug) = debug {
        replace(&out.with_extension(DEBUG), &fs::read(debug)?)?;
    }
    replace(out, &fs::read(module)?)
}

/// What one would do now.
fn next(report: &Report, folder: &Path, module: &str) -> String {
    let here = if folder == Path::new(".") { String::new() } else { format!(" {}", folder.display()) };
    match folder.join("cases.yaml").is_file() {
        true if report.loads => format!("tidegate filter test{here}"),
        _ => format!("tidegate filter inspect {module}"),
    }
}
