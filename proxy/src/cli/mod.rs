//! The command line: what can be asked of the binary, and how it ends.
//!
//! Thin: it reads arguments, sets up logging, calls the library and shows an error once. Exit codes are 0 for done,
//! 1 for a configuration, a module or a start that failed, 2 for a command line that makes no sense.

mod canary;
mod completions;
#[cfg(feature = "kit")]
mod dev;
mod filter;
mod log;
mod man;
#[cfg(test)]
mod tests;
mod top;
mod voice;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::model::ModuleSource;
use crate::config::{self, Loaded};
use crate::{server, terminal};
use filter::FilterCommand;
use log::{Level, LogArgs};
use voice::Voice;

/// How something is said.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// JSON, for tools; its fields stay
    Json,
}

/// Most worker threads that may be asked for.
const MAX_WORKERS: u64 = 1024;

/// A programmable proxy for service-to-service traffic: every request passes through a chain of WebAssembly filters.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate check tidegate.yaml              is it valid, and do its filters start?
  tidegate run tidegate.yaml                serve until SIGTERM, then drain
  tidegate top                              what do its filters cost, now?
  tidegate canary list                      how do filters' second versions do?
  tidegate schema > tidegate.schema.json    for editors
  tidegate dev                              what does the filter do that is being written here?
  tidegate filter new my-filter             a filter of one's own, which builds and runs
  tidegate filter inspect filter.wasm       what is in it, and will it load?
  tidegate filter sign --key private.pem filter.wasm
  TIDEGATE_LOG=info,tidegate::wasm=debug tidegate run tidegate.yaml

Next: tidegate check tidegate.yaml, or for a filter of your own: tidegate filter new my-filter";

const RUN_EXAMPLES: &str = "\
Examples:
  tidegate run tidegate.yaml
  tidegate run tidegate.yaml --workers 2

Next: tidegate top";

const CHECK_EXAMPLES: &str = "\
Examples:
  tidegate check tidegate.yaml && systemctl restart tidegate
  envsubst < tidegate.yaml.in | tidegate check --deny-warnings -

Next: tidegate run tidegate.yaml";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  tidegate schema > tidegate.schema.json

Next: put `# yaml-language-server: $schema=tidegate.schema.json` at the top of a configuration";

/// What problems call a configuration that no file has.
const STANDARD_INPUT: &str = "standard input";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve traffic until SIGTERM or SIGINT, then drain
    ///
    /// Starts as a whole or not at all: with a configuration that is not valid, a port in use or a filter that does
    /// not start it says so and ends with 1. When the file or a module changes, and at SIGHUP, it reads them again;
    /// what cannot be served then changes nothing.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Check a configuration as `run` would, and serve nothing
    ///
    /// Fetches, compiles, starts and configures every filter too, and shows what each asks for in its manifest beside
    /// what its `capabilities` grant. Ends with 0 if `run` would start with all of it, with 1 and every problem with its
    /// place in the file otherwise. What is allowed but likely not meant is a warning, and lets it end with 0.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The configuration, in YAML; `-` for standard input, where relative paths begin in the current folder
        file: PathBuf,
        /// End with 1 where there are warnings, those about `capabilities` among them
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Show what the filters of a running proxy cost, live
    ///
    /// Reads the page /filters of its admin listener. On a terminal it shows the filters, those that take the most time
    /// first, until q is pressed; ? lists the keys. Times are those of all workers together: 100 % is one core.
    #[command(after_help = top::EXAMPLES)]
    Top(top::TopArgs),
    /// Show and steer the second versions of a running proxy's filters
    ///
    /// Reads the page /canaries of its admin listener, and says to it what is to become of a filter's `canary`.
    #[command(after_help = canary::EXAMPLES)]
    Canary(canary::CanaryArgs),
    /// Develop a filter: build, serve, watch, swap, and show what it does to each request
    ///
    /// Builds the filter, starts the proxy with it before a sample upstream or a service of yours, and watches the
    /// sources: what is saved is built and swapped in while requests go on. Each request is shown with what the filter
    /// did to it, what it logged and what that took. What does not compile, does not start or fails leaves the version
    /// before serving. Ctrl-C ends it.
    #[cfg(feature = "kit")]
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
    /// Print the JSON Schema of the configuration
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Make, build, test, measure, inspect, sign, record and replay filters
    #[command(subcommand, after_help = filter::EXAMPLES)]
    Filter(FilterCommand),
    /// Print what a shell needs to complete this command line
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Print a manual page, or write all of them into a folder
    #[command(after_help = man::EXAMPLES)]
    Man(man::ManArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration, in YAML
    file: PathBuf,
    /// Worker threads, instead of the configuration's `workers` [default there: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_WORKERS))]
    workers: Option<u64>,
    /// Leave changed files alone until SIGHUP, or POST /reload on the admin listener
    #[arg(long)]
    no_watch: bool,
}

impl CommandLine {
    fn of_this_process() -> Self {
        // clap's own rule gives colours to every terminal of a CI, the one that says it has none too.
        let colours = if terminal::colours_refused() { ColorChoice::Never } else { ColorChoice::Auto };
        let said = Self::command().color(colours).get_matches();
        Self::from_arg_matches(&said).unwrap_or_else(|error| error.exit())
    }
}

/// Reads the process's arguments and does what they ask.
pub fn main() -> ExitCode {
    let CommandLine { command, log } = CommandLine::of_this_process();
    let voice = match command {
        Command::Run(_) => log.voice(),
        _ => Voice::People,
    };
    perform(command, &log, voice).unwrap_or_else(|error| {
        voice.fail(&error);
        ExitCode::FAILURE
    })
}

fn perform(command: Command, log: &LogArgs, voice: Voice) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(RunArgs { file, workers, no_watch }) => {
            log.set_up(Level::Info)?;
            let options = server::Options {
                workers: workers.map(|workers| workers as usize),
                no_watch,
                ..Default::default()
            };
            let loaded = config::load(&file)?;
            voice.warn(&loaded.warnings);
            server::run(loaded, options)?;
        }
        Command::Check { file, deny_warnings } => {
            log.set_up(Level::Warn)?;
            let loaded = match file.as_os_str() == "-" {
                true => config::load_from(io::stdin().lock(), Path::new(STANDARD_INPUT)),
                false => config::load(&file),
            }?;
            voice.warn(&loaded.warnings);
            let checked = server::check(&loaded)?;
            print(&summary(&loaded, &checked.modules))?;
            for permissions in checked.permissions.iter().filter(|permissions| permissions.are_worth_a_look())
            {
                print(&format!("\n{permissions}"))?;
            }
            let are_there = !loaded.warnings.is_empty()
                || checked.permissions.iter().any(|permissions| permissions.have_warnings());
            if deny_warnings && are_there {
                bail!("there are warnings, which --deny-warnings does not let pass");
            }
        }
        Command::Top(arguments) => {
            log.set_up(Level::Warn)?;
            crate::top::run(&arguments.options())?;
        }
        Command::Canary(arguments) => {
            log.set_up(Level::Warn)?;
            return canary::perform(arguments);
        }
        #[cfg(feature = "kit")]
        Command::Dev(arguments) => {
            log.set_up_for_development()?;
            dev::perform(arguments)?;
        }
        Command::Schema => print(&format!("{:#}", config::schema()))?,
        Command::Completions(arguments) => completions::perform(&arguments)?,
        Command::Man(arguments) => man::perform(&arguments)?,
        Command::Filter(command) => {
            log.set_up(Level::Warn)?;
            return filter::perform(command);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is; of a filter whose module is the newest of a folder also which that is.
fn summary(loaded: &Loaded, modules: &[String]) -> String {
    let config = &loaded.config;
    let count = |number: usize, noun: &str| terminal::many(number as u64, noun);
    let parts = [
        count(config.listeners.len(), "listener"),
        count(config.listeners.iter().map(|listener| listener.routes.len()).sum(), "route"),
        count(config.filters.len() - config.canaries.len(), "filter"),
        count(config.clusters.len(), "cluster"),
    ];
    let chosen = config.filters.iter().zip(modules).filter_map(|(filter, module)| {
        let is_in_a_folder = matches!(&filter.module, ModuleSource::File(path) if path != Path::new(module));
        is_in_a_folder.then(|| format!("\nfilter `{}`: {module}", filter.name))
    });
    let chosen: String = chosen.collect();
    format!("{} is valid: {}{chosen}", loaded.path().display(), parts.join(", "))
}

/// Prints a line to stdout. A reader who has read enough (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("stdout cannot be written"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
