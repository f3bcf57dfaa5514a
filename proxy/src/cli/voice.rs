//! How a command says what is wrong, or likely not meant: to people, or to programs that read the log.

use std::io::{self, Write};
use std::path::Path;

use super::log;
use crate::config::{Level, Problem, Problems};

/// Whom a command speaks to on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// People: excerpts of the file, with what is wrong under a caret.
    People,
    /// Programs: each problem is an event in JSON, like those of the log, whatever level that begins at.
    Log,
}

impl Voice {
    /// Says what is allowed but likely not meant.
    pub(super) fn warn(self, warnings: &Problems) {
        match self {
            // A warning that nobody can read is none.
            Voice::People if !warnings.is_empty() => {
                let _ = writeln!(io::stderr(), "{}\n", warnings.render(log::colours_wanted()));
            }
            Voice::People => {}
            Voice::Log => log::in_json(|| record_all(warnings)),
        }
    }

    /// Says why the command failed.
    pub(super) fn fail(self, error: &anyhow::Error) {
        match (self, error.downcast_ref::<Problems>()) {
            (Voice::People, _) => {
                // With nobody to read stderr the exit code still tells.
                let _ = writeln!(io::stderr(), "{}", describe(error, log::colours_wanted()));
            }
            (Voice::Log, Some(problems)) => log::in_json(|| record_all(problems)),
            (Voice::Log, None) => log::in_json(|| tracing::error!("{error:#}")),
        }
    }
}

/// An error as text: problems of a configuration as the excerpts that they are, anything else in one line with its
/// causes.
pub(super) fn describe(error: &anyhow::Error, colours: bool) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.render(colours),
        None => format!("error: {error:#}"),
    }
}

/// An event for each problem.
fn record_all(problems: &Problems) {
    problems.iter().for_each(|problem| record(problems.path(), problem));
    if problems.omitted() > 0 {
        tracing::error!("and {} more", problems.omitted());
    }
}

fn record(path: &Path, Problem { level, message, place, hint }: &Problem) {
    let place = match place {
        Some(place) => format!("{}:{}:{}", path.display(), place.line, place.column),
        None => path.display().to_string(),
    };
    match level {
        Level::Error => tracing::error!(place, hint, "{message}"),
        Level::Warning => tracing::warn!(place, hint, "{message}"),
    }
}
