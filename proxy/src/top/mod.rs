//! `tidegate top`: what the filters of a running proxy cost, read from its admin listener.
//!
//! | file | what |
//! |---|---|
//! | `source` | asks the admin listener for its page `/filters` |
//! | `costs`  | two such pages make what happened between them |
//! | `column` | what is shown of a filter and of a callback, in numbers that people read |
//! | `text`   | the same as plain lines |
//! | `screen` | the same on a terminal: what is picked, what keys do, how it is drawn |
//! | `live`   | the terminal itself, and who asks meanwhile |
//!
//! It is a client like any other: it knows nothing of the proxy but that page, so that it can be run from another build.

mod column;
mod costs;
mod live;
mod screen;
mod source;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::telemetry::metrics::Overview;
use costs::Costs;
use source::{Source, SourceError};

/// What to show, and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the admin listener is: `HOST:PORT`.
    pub(crate) admin: String,
    /// The time between two looks.
    pub(crate) interval: Duration,
    /// Whether one interval is enough.
    pub(crate) once: bool,
    /// How it is said.
    pub(crate) format: Format,
}

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Shows what the filters cost, until it was enough.
///
/// # Errors
///
/// Nobody answers where the admin listener should be, what answers is none, or there is no terminal to draw on.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let source = Source::new(&options.admin);
    match options.format {
        Format::Text if !options.once => {
            if !io::stdout().is_terminal() {
                bail!("standard output is no terminal: use --once, or --format json");
            }
            live::run(source, options.interval).context("the terminal cannot be used")
        }
        Format::Text => {
            let (before, now) = (look(&source)?, after(&source, options.interval)?);
            print(&text::page(&source, &now, &Costs::between(&before, &now))).map(drop)
        }
        Format::Json => stream(&source, options),
    }
}

/// An object for each interval, until nobody reads them.
fn stream(source: &Source, options: &Options) -> anyhow::Result<()> {
    let mut before = look(source)?;
    loop {
        let now = after(source, options.interval)?;
        let more = print(&(serde_json::to_string(&Costs::between(&before, &now))? + "\n"))?;
        if options.once || !more {
            return Ok(());
        }
        before = now;
    }
}

fn after(source: &Source, interval: Duration) -> Result<Overview, SourceError> {
    std::thread::sleep(interval);
    look(source)
}

fn look(source: &Source) -> Result<Overview, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(source.ask())
}

/// Writes to standard output. Whether anybody still reads it.
fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("standard output cannot be written"),
    }
}
