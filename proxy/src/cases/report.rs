//! What came of the cases: for people, and as JSON whose fields stay.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::judge::Mismatch;
use super::model::{Case, Suite};
use crate::config::{Source, Span};
use crate::kit::LogLine;
use crate::terminal::{Paint, grouped, plain};

/// Log lines of a case that failed that are shown.
const LOGS: usize = 20;

/// What came of some files' cases.
#[derive(Debug)]
pub struct Report {
    /// The module that was tried.
    pub module: String,
    /// Each file's.
    pub suites: Vec<SuiteReport>,
    /// How many cases were not run, because a filter on names left them out.
    pub left_out: usize,
}

/// What came of one file's cases.
#[derive(Debug)]
pub struct SuiteReport {
    source: Arc<Source>,
    cases: Vec<CaseReport>,
}

/// What came of one case.
#[derive(Debug)]
pub(super) struct CaseReport {
    name: String,
    span: Span,
    pub(super) mismatches: Vec<Mismatch>,
    /// Those that its exchanges took, and what happened between them.
    pub(super) instructions: Option<u64>,
    /// What the filter logged, where the case failed.
    pub(super) logs: Vec<LogLine>,
}

impl CaseReport {
    pub(super) fn of(case: &Case) -> CaseReport {
        CaseReport {
            name: case.name.clone(),
            span: case.span,
            mismatches: Vec::new(),
            instructions: None,
            logs: Vec::new(),
        }
    }

    fn has_passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

impl SuiteReport {
    pub(super) fn new(suite: &Suite, cases: Vec<CaseReport>) -> SuiteReport {
        SuiteReport { source: suite.source.clone(), cases }
    }
}

impl Report {
    /// Whether every case has passed.
    pub fn has_passed(&self) -> bool {
        self.cases().all(CaseReport::has_passed)
    }

    fn cases(&self) -> impl Iterator<Item = &CaseReport> {
        self.suites.iter().flat_map(|suite| &suite.cases)
    }

    fn count(&self) -> (usize, usize) {
        let failed = self.cases().filter(|case| !case.has_passed()).count();
        (self.cases().count() - failed, failed)
    }

    /// A line for each case, what is wrong with those that failed, and how many there are. Ends without a line break.
    pub fn text(&self, colours: bool) -> String {
        let paint = Paint(colours);
        let mut text = String::new();
        for suite in &self.suites {
            let _ = writeln!(text, "{}", paint.bold(&suite.source.path().display().to_string()));
            let widths = suite.cases.iter().map(|case| case.name.chars().count());
            let width = widths.max().unwrap_or(0).min(72);
            for case in &suite.cases {
                suite.case(case, width, paint, &mut text);
            }
        }
        let (passed, failed) = self.count();
        let mut parts = vec![format!("{passed} passed")];
        if failed > 0 {
            parts.push(paint.red(&format!("{failed} failed")));
        }
        if self.left_out > 0 {
            parts.push(format!("{} left out", self.left_out));
        }
        if !text.ends_with("\n\n") {
            text.push('\n');
        }
        let _ = write!(text, "{}: {}", self.module, parts.join(", "));
        text
    }

    /// The same as one document.
    pub fn json(&self) -> Value {
        let (passed, failed) = self.count();
        json!({
            "version": 1,
            "module": self.module,
            "passed": passed,
            "failed": failed,
            "left_out": self.left_out,
            "files": self.suites.iter().map(SuiteReport::json).collect::<Vec<_>>(),
        })
    }
}

impl SuiteReport {
    fn case(&self, case: &CaseReport, width: usize, paint: Paint, text: &mut String) {
        let mark = if case.has_passed() { paint.green("✓") } else { paint.red("✗") };
        let cost = case.instructions.map(|count| format!("{} instructions", grouped(count)));
        let line = format!("  {mark} {:width$}  {:>21}", case.name, cost.unwrap_or_default());
        let _ = writeln!(text, "{}", line.trim_end());
        for mismatch in &case.mismatches {
            let _ = writeln!(text, "\n{}", indented(&self.excerpt(mismatch, paint)));
        }
        if case.has_passed() {
            return;
        }
        text.push('\n');
        if !case.logs.is_empty() {
            let skipped = case.logs.len().saturating_sub(LOGS);
            let first = if skipped > 0 { format!(" (its last {LOGS} lines)") } else { String::new() };
            let _ = writeln!(text, "    the filter logged{first}:");
            for line in super::run::said(&case.logs[skipped..]) {
                let line = format!("      {}", plain(&line));
                let _ = writeln!(text, "{}", line.trim_end());
            }
            text.push('\n');
        }
    }

    /// What is wrong, at its place in the file.
    fn excerpt(&self, mismatch: &Mismatch, paint: Paint) -> String {
        let (source, place) = (&self.source, self.source.place(mismatch.span));
        let line = source.line(place.line);
        let start =
            (mismatch.span.start as usize).saturating_sub(source.line_start(place.line)).min(line.len());
        let length = mismatch.span.end.saturating_sub(mismatch.span.start) as usize;
        let end = start + line[start..].get(..length).unwrap_or(&line[start..]).trim_end().len();
        let mut annotation = AnnotationKind::Primary.span(start..end);
        if let Some(expected) = &mismatch.expected {
            annotation = annotation.label(format!("expected {expected}"));
        }
        let path = source.path().display().to_string();
        let excerpt = Snippet::source(line).line_start(place.line).path(path).annotation(annotation);
        let mut group =
            Group::with_title(Level::ERROR.primary_title(mismatch.message.as_str())).element(excerpt);
        if let Some(found) = &mismatch.found {
            group = group.element(Level::NOTE.message(format!("found {found}")));
        }
        if !mismatch.lines.is_empty() {
            group = group.element(Level::NOTE.message(mismatch.lines.join("\n")));
        }
        let renderer = if paint.0 { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }

    fn json(&self) -> Value {
        let mismatch = |mismatch: &Mismatch| {
            let place = self.source.place(mismatch.span);
            json!({
                "line": place.line,
                "column": place.column,
                "message": mismatch.message,
                "expected": mismatch.expected,
                "found": mismatch.found,
                "lines": mismatch.lines,
            })
        };
        let case = |case: &CaseReport| {
            json!({
                "name": case.name,
                "line": self.source.place(case.span).line,
                "passed": case.has_passed(),
                "instructions": case.instructions,
                "mismatches": case.mismatches.iter().map(mismatch).collect::<Vec<_>>(),
                "logs": super::run::said(&case.logs).collect::<Vec<_>>(),
            })
        };
        json!({ "path": shown(self.source.path()), "cases": self.cases.iter().map(case).collect::<Vec<_>>() })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {line}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
