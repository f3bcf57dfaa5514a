//! The log: what the process says about itself, to stderr. stdout belongs to the access log.

use std::env;
use std::io;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::voice::Voice;
use crate::terminal;

/// The environment's say in what is logged.
const VARIABLE: &str = "TIDEGATE_LOG";

/// How the log is asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogArgs {
    /// Least level that is logged
    ///
    /// In its place, the environment variable TIDEGATE_LOG takes levels by module, such as
    /// `warn,tidegate::wasm=debug`. The default is info for `run` and warn for `check`.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<Level>,
    /// How the log is written to stderr
    ///
    /// With json, `run` says in it too what is wrong with its configuration, and what is likely not meant.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// Least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    fn directive(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// What clients do wrong is a warning to the HTTP/2 library, and any client can do so as often as it likes. It is counted
/// elsewhere; who wants to see it says so.
const QUIET: &str = "h2=error";

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl LogArgs {
    /// How a command speaks whose standard error is the process's log.
    pub(super) fn voice(&self) -> Voice {
        match self.log_format {
            Format::Text => Voice::People,
            Format::Json => Voice::Log,
        }
    }

    /// Sets up the process's log. Called once, before anything is logged.
    ///
    /// # Errors
    /// `TIDEGATE_LOG` makes no sense.
    pub(super) fn set_up(&self, default: Level) -> anyhow::Result<()> {
        let directives = directives(self.log_level, env::var(VARIABLE).ok(), default);
        let filter = EnvFilter::builder().parse(format!("{QUIET},{directives}")).with_context(|| {
            format!("{VARIABLE}={directives:?} makes no sense; give a level, or levels by module: warn,tidegate::wasm=debug")
        })?;
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        match self.log_format {
            Format::Text => lines.compact().with_ansi(colours_wanted()).finish().try_init()?,
            Format::Json => lines.json().flatten_event(true).finish().try_init()?,
        }
        Ok(())
    }
}

/// What `tidegate dev` shows itself: lines of the filter, its faults, and configurations that are not served.
#[cfg(feature = "kit")]
const SHOWN_OTHERWISE: [&str; 3] =
    ["tidegate::guest", "tidegate::wasm::services", "tidegate::server::reload"];

impl LogArgs {
    /// Sets up the log of `tidegate dev`: warnings, but for what is shown otherwise. Guests may log from `debug` on.
    ///
    /// # Errors
    /// `TIDEGATE_LOG` makes no sense.
    #[cfg(feature = "kit")]
    pub(super) fn set_up_for_development(&self) -> anyhow::Result<()> {
        use tracing_subscriber::Layer as _;
        use tracing_subscriber::filter::filter_fn;
        use tracing_subscriber::layer::SubscriberExt as _;
        if self.log_level.is_some() || env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
            return self.set_up(Level::Warn);
        }
        let lines =
            tracing_subscriber::fmt::layer().with_writer(io::stderr).compact().with_ansi(colours_wanted());
        let lines = lines.with_filter(filter_fn(|about| {
            let is_shown = SHOWN_OTHERWISE.iter().any(|target| about.target().starts_with(target));
            *about.level() <= tracing::Level::WARN && !is_shown
        }));
        // Whether a level of the guests' log is kept is asked of all layers.
        let guests = tracing_subscriber::layer::Identity::new();
        let guests = guests.with_filter(filter_fn(|about| {
            about.target() == "tidegate::guest" && *about.level() <= tracing::Level::DEBUG
        }));
        tracing_subscriber::registry().with(lines).with(guests).try_init()?;
        Ok(())
    }
}

/// Has what `record` logs written as JSON, whatever the log's levels are and whether there is a log yet.
pub(super) fn in_json(record: impl FnOnce()) {
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).json().flatten_event(true).finish();
    tracing::subscriber::with_default(lines, record);
}

/// The command line's level, else the environment's directives, else the command's default.
fn directives(level: Option<Level>, variable: Option<String>, default: Level) -> String {
    match (level, variable) {
        (Some(level), _) => level.directive().to_owned(),
        (None, Some(directives)) if !directives.trim().is_empty() => directives,
        (None, _) => default.directive().to_owned(),
    }
}

/// Whether stderr is a terminal whose user wants colours (<https://no-color.org>).
pub(super) fn colours_wanted() -> bool {
    terminal::colours_wanted_on(&io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_default() {
        let variable = || Some("warn,tidegate::wasm=debug".to_owned());
        assert_eq!(directives(Some(Level::Trace), variable(), Level::Info), "trace");
        assert_eq!(directives(None, variable(), Level::Info), "warn,tidegate::wasm=debug");
        assert_eq!(directives(None, Some(" ".to_owned()), Level::Info), "info");
        assert_eq!(directives(None, None, Level::Warn), "warn");
    }
}
