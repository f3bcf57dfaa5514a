//! What the demonstration shows, and in which colours.

use std::env;
use std::io::{self, IsTerminal, Write};

/// Standard output: in colours where it is a terminal whose user wants them (<https://no-color.org>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    colours: bool,
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    Bold,
    Dim,
    Good,
    Bad,
    Warning,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { colours: io::stdout().is_terminal() && !refused }
    }

    /// Writes a line. A reader that has gone does not stop the demonstration.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        let _ = writeln!(io::stdout(), "{}", text.as_ref());
    }

    /// A line about what is being done.
    pub(crate) fn step(self, text: impl AsRef<str>) {
        self.line(format!("{} {}", self.paint(Look::Dim, "--"), text.as_ref()));
    }

    pub(crate) fn title(self, text: &str) {
        self.line(format!("\n{}", self.paint(Look::Bold, text)));
    }

    /// A line of a table: what it is about, and what there is to say.
    pub(crate) fn row(self, about: &str, text: impl AsRef<str>) {
        self.line(format!("  {} {}", self.paint(Look::Dim, &format!("{about:<12}")), text.as_ref()));
    }

    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Good => "32",
            Look::Bad => "1;31",
            Look::Warning => "33",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
