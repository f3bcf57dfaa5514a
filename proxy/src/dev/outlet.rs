//! Where it is said: standard output, for people or for tools; and a line on the terminal that is drawn over.

use std::io::{self, Write as _};

use serde_json::{Map, Value};

use crate::terminal::can_be_drawn_on;

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// A JSON document a line.
    Json,
}

/// Whoever reads it.
pub(super) struct Outlet {
    pub(super) form: Form,
    /// Whether a line may be drawn and drawn over.
    draws: bool,
    /// Whether there is one.
    drawn: bool,
}

impl Outlet {
    pub(super) fn new(form: Form) -> Outlet {
        Outlet { form, draws: form == Form::Text && can_be_drawn_on(&io::stderr()), drawn: false }
    }

    /// Something that happened: its name and fields for tools, these lines for people.
    pub(super) fn say(&self, event: &str, fields: Value, text: &str) {
        match (self.form, fields) {
            (Form::Text, _) => self.text(text),
            (Form::Json, Value::Object(fields)) => {
                let event = std::iter::once(("event".to_owned(), event.into()));
                let whole: Map<_, _> = event.chain(fields).collect();
                print(&Value::from(whole).to_string());
            }
            (Form::Json, _) => {}
        }
    }

    /// Something that is for people only.
    pub(super) fn text(&self, text: &str) {
        if self.form == Form::Text {
            print(text);
        }
    }

    /// cargo's and rustc's own words.
    pub(super) fn pass_on(&self, messages: &str) {
        let _ = io::stderr().write_all(messages.as_bytes()); // there is nobody else to tell
    }

    /// What goes on, in the place of what was drawn before.
    pub(super) fn draw(&mut self, line: &str) {
        if self.draws {
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.drawn = true;
        }
    }

    /// Takes away what was drawn.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush()); // a reader who has read enough is no error
}
