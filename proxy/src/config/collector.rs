//! Where problems are recorded while a file is read and checked, so that nothing stops at the first.

use std::cell::RefCell;
use std::sync::Arc;

use super::problem::{Level, Problem, Problems};
use super::source::{Source, Span};

/// Problems of one level that are kept; more are only counted. Past this, recording one costs almost nothing, however
/// large the file is.
const MAX_KEPT: usize = 50;

/// Characters of a message or hint that are kept, since both can quote the file.
const MAX_MESSAGE_CHARS: usize = 600;

/// Collects the problems of one file.
pub(crate) struct Collector<'a> {
    source: &'a Source,
    errors: RefCell<Kept>,
    warnings: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    list: Vec<Problem>,
    omitted: usize,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(source: &'a Source) -> Collector<'a> {
        Collector { source, errors: RefCell::default(), warnings: RefCell::default() }
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.source.line_number(span)
    }

    /// Records an error.
    pub(crate) fn error(&self, span: Span, message: impl Into<String>) {
        self.record(Level::Error, Some(span), message.into(), || None);
    }

    /// Records an error and what to do about it.
    pub(crate) fn error_with_hint(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.record(Level::Error, Some(span), message.into(), || Some(hint.into()));
    }

    /// Records an error and a suggestion that takes a while to find, so only if the error is kept.
    pub(crate) fn error_suggesting(&self, span: Span, message: String, suggest: impl FnOnce() -> String) {
        self.record(Level::Error, Some(span), message, || Some(suggest()));
    }

    /// Records something that is allowed but is likely not what was meant.
    pub(crate) fn warning(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.record(Level::Warning, Some(span), message.into(), || Some(hint.into()));
    }

    /// Records a problem, once: what is wrong under a YAML anchor would otherwise be told for each alias of it.
    pub(crate) fn record(
        &self,
        level: Level,
        span: Option<Span>,
        message: String,
        hint: impl FnOnce() -> Option<String>,
    ) {
        let mut kept = match level {
            Level::Error => self.errors.borrow_mut(),
            Level::Warning => self.warnings.borrow_mut(),
        };
        if kept.list.len() >= MAX_KEPT {
            kept.omitted += 1;
            return;
        }
        let place = span.map(|span| self.source.place(span));
        let problem = Problem { level, message: clip(message), place, hint: hint().map(clip) };
        if !kept.list.contains(&problem) {
            kept.list.push(problem);
        }
    }

    /// Whether an error was recorded.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().list.is_empty()
    }

    /// What was recorded. Beside errors there are no warnings: some would be mere echoes of them, such as that a route
    /// is never reached because the match of the one before it could not be read.
    pub(crate) fn finish(self, source: Arc<Source>) -> Problems {
        let kept = if self.has_errors() { self.errors } else { self.warnings };
        let Kept { list, omitted } = kept.into_inner();
        Problems::new(source, list, omitted)
    }
}

fn clip(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
