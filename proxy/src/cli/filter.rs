//! `tidegate filter`: what the authors of filters ask.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::print;
use crate::inspect::Report;
use crate::snapshot;
use crate::wasm::Engine;

/// What can be done with a filter.
#[derive(Debug, Subcommand)]
pub(super) enum FilterCommand {
    /// Say what a module is, what it needs, and whether it will load
    ///
    /// Shows the version of the ABI, what it was made with, what it asks to be allowed, exports and imports, its memory, every reason why
    /// it would not load, and what its author may not have meant. The module is compiled and not run. Ends with 0 if it
    /// will load, with 1 if not.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  tidegate filter inspect filter.wasm
  tidegate filter inspect filter.wasm --format json | jq .module.imports";

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The module, of 64 MiB at most
    file: PathBuf,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object, for tools; its fields stay
    Json,
}

pub(super) fn perform(command: FilterCommand) -> anyhow::Result<ExitCode> {
    match command {
        FilterCommand::Inspect(InspectArgs { file, format }) => {
            let bytes = snapshot::read_module(&file)?;
            let report = Report::of(&Engine::new(None)?, &bytes);
            match format {
                Format::Text => print(&report.text(&file.display().to_string()))?,
                Format::Json => print(&serde_json::to_string_pretty(&report)?)?,
            }
            Ok(if report.loads { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
