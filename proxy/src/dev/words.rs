//! What happened, in words for people. What filters, clients and services said is shown without what a terminal obeys.

use std::time::Duration;

use super::blame::Frame;
use super::ends::{Ended, Whole};
use super::flood::Sum;
use super::scene::{Deed, Scene};
use super::story::{Outcome, Story};
use crate::terminal::{Paint, grouped, plain};

/// How much of a call stack is shown that has nothing of the author's own sources.
const STACK_LINES: usize = 8;

/// Puts it into lines, in colour or not.
pub(super) struct Words(pub(super) Paint);

impl Words {
    /// An exchange that is over: `status` is what its client got.
    pub(super) fn exchange(&self, whole: &Whole, status: &str) -> String {
        let Whole { story, ended } = whole;
        let request = match (story, ended) {
            (Some(story), _) => request_line(&story.method, &story.path),
            (None, Some(Ended { method: Some(method), path: Some(path), .. })) => request_line(method, path),
            (None, _) => "a request".to_owned(),
        };
        let (word, status) = self.verdict(story.as_deref(), ended.as_ref(), status);
        let cost = story.as_ref().map(|story| cost(story.instructions, story.nanoseconds));
        let first = format!(
            "{} → {status}  {word}  {}",
            self.0.bold(&request),
            self.0.dim(&cost.unwrap_or_default())
        );
        let mut lines = vec![first.trim_end().to_owned()];
        if let Some(ended) = ended {
            lines.push(format!("  {}", self.0.dim(&traffic(ended))));
        }
        if let Some(story) = story {
            for scene in story.steps.iter().filter(|scene| !scene.is_quiet()) {
                lines.extend(self.scene(scene));
                if scene.waits() {
                    lines.push(format!("    {}", self.0.yellow("holds it")));
                }
            }
            if story.more_steps > 0 {
                lines.push(self.0.dim(&format!("  and {} steps more", grouped(story.more_steps))));
            }
        }
        lines.join("\n")
    }

    /// Something that belongs to no exchange.
    pub(super) fn aside(&self, scene: &Scene) -> String {
        self.scene(scene).join("\n")
    }

    /// An exchange that goes on for long.
    pub(super) fn open(&self, story: &Story) -> String {
        let why = match story.held_at() {
            Some(step) => {
                format!("the filter holds it since the {step}: it waits until the filter lets it go on")
            }
            None => "it waits for the upstream or the client".to_owned(),
        };
        let request = self.0.bold(&request_line(&story.method, &story.path));
        format!("{request} … still open  {}", self.0.yellow(&why))
    }

    /// Requests that were not shown one by one.
    pub(super) fn sum(&self, sum: &Sum) -> String {
        let failed = match sum.failed {
            0 => String::new(),
            failed => format!(", the filter failed on {failed}"),
        };
        let (requests, each) = (grouped(sum.requests), grouped(sum.instructions / sum.requests.max(1)));
        self.0.dim(&format!(
            "… and {requests} requests more: {}{failed}; {each} instructions each",
            sum.statuses()
        ))
    }

    /// What became of it, in words, and its status in the colour of that.
    fn verdict(&self, story: Option<&Story>, ended: Option<&Ended>, status: &str) -> (String, String) {
        let (green, yellow) = (self.0.green(status), self.0.yellow(status));
        let red = self.0.red(status);
        let failure = ended.filter(|ended| ended.outcome != "ok").map(|ended| {
            let details =
                ended.details.as_ref().map(|details| format!(": {}", plain(details))).unwrap_or_default();
            format!("{}{details}", ended.outcome.replace('_', " "))
        });
        let is_skipped = ended.is_some_and(|ended| !ended.skipped.is_empty());
        match (story.map(|story| story.outcome), failure) {
            (Some(Outcome::Replied), _) => ("answered by the filter".to_owned(), yellow),
            (Some(Outcome::Closed), _) => ("closed by the filter".to_owned(), self.0.red("closed")),
            (Some(Outcome::Failed), _) if is_skipped => {
                ("the filter failed, and it went on without it".to_owned(), red)
            }
            (Some(Outcome::Failed), _) => ("the filter failed".to_owned(), red),
            (Some(Outcome::Passed | Outcome::Left), Some(failure)) => {
                (format!("passed, then {failure}"), red)
            }
            (Some(Outcome::Passed), None) => ("passed".to_owned(), green),
            (Some(Outcome::Left), None) => ("passed, and left".to_owned(), green),
            (None, Some(failure)) => (format!("not seen by the filter: {failure}"), red),
            (None, None) => ("not seen by the filter".to_owned(), yellow),
        }
    }

    /// A step, and what was done in it.
    fn scene(&self, scene: &Scene) -> Vec<String> {
        let cost = match scene.instructions {
            0 => String::new(),
            some => cost(some, scene.nanoseconds),
        };
        let heading = format!("  {:<18}{}", scene.step, self.0.dim(&cost));
        let did = scene.did.iter().map(|deed| format!("    {}", self.deed(deed)));
        std::iter::once(heading.trim_end().to_owned()).chain(did).collect()
    }

    fn deed(&self, deed: &Deed) -> String {
        match deed {
            Deed::Change { name, from, to } => self.change(&plain(name), from.as_deref(), to.as_deref()),
            Deed::Reply { status, details, body } => {
                let details = if details.is_empty() { String::new() } else { format!(" {}", plain(details)) };
                self.0.yellow(&format!("answers {status}{details}: {:?}", body))
            }
            Deed::Act { text } => plain(text),
            Deed::Log { level, text } => {
                // A panic is told in two lines. Those behind the first stand further in: none looks like another deed.
                let lines: Vec<_> = text.lines().map(plain).collect();
                format!("{} {}", self.0.dim(&format!("{level}:")), lines.join("\n      "))
            }
            Deed::Fault { kind, callback, message, at } => self.fault(kind, callback, message, at),
        }
    }

    fn change(&self, name: &str, from: Option<&str>, to: Option<&str>) -> String {
        let (from, to) = (from.map(plain), to.map(plain));
        match (from, to) {
            (None, to) => self.0.green(&format!("+ {name}: {}", to.unwrap_or_default())),
            (Some(from), None) => self.0.red(&format!("- {name}: {from}")),
            (Some(from), Some(to)) => self.0.yellow(&format!("~ {name}: {from} → {to}")),
        }
    }

    /// A fault with the lines of the author's own sources that led to it; with the beginning of the whole call stack,
    /// where there are none.
    fn fault(&self, kind: &str, callback: &str, message: &str, frames: &[Frame]) -> String {
        let (cause, stack) = message.split_once('\n').unwrap_or((message, ""));
        let mut text = self.0.red(&format!("{kind} fault in {callback}: {}", plain(cause)));
        for (at, Frame { function, file, line, source }) in frames.iter().enumerate() {
            let file = plain(file);
            let place = line.map_or(file.clone(), |line| format!("{file}:{line}"));
            text.push_str(&format!("\n      at {}  {}", self.0.bold(&place), self.0.dim(&plain(function))));
            if let (0, Some(source)) = (at, source) {
                text.push_str(&format!("\n      | {}", plain(&source.replace('\t', "    "))));
            }
        }
        if frames.is_empty() {
            let lines = stack.lines().take(STACK_LINES);
            lines.for_each(|line| text.push_str(&format!("\n    {}", plain(&line.replace('\t', "    ")))));
        }
        text
    }
}

/// The beginning of a request, as whoever sent it wrote it.
fn request_line(method: &str, path: &str) -> String {
    format!("{} {}", plain(method), plain(path))
}

/// What a filter took.
fn cost(instructions: u64, nanoseconds: u64) -> String {
    format!("{} instructions, {}", grouped(instructions), time(nanoseconds))
}

/// A time as people read it.
fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000_000 => format!("{:.1} µs", nanoseconds as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanoseconds as f64 / 1e6),
        _ => format!("{:.2} s", nanoseconds as f64 / 1e9),
    }
}

/// How long the whole exchange took, what came and went, and by which id other logs have it.
fn traffic(ended: &Ended) -> String {
    let whole = Duration::from_secs_f64((ended.duration_ms / 1e3).clamp(0.0, 1e9));
    let mut text = format!("took {}", time(u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX)));
    for (bytes, way) in [(ended.request_bytes, "in"), (ended.response_bytes, "out")] {
        if bytes > 0 {
            text.push_str(&format!(", {} {way}", size(bytes)));
        }
    }
    if let Some(id) = &ended.request_id {
        text.push_str(&format!(", id {}", plain(id)));
    }
    text
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
