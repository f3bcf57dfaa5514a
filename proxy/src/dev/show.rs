//! Says what happens, as it happens: to people, or as a JSON document a line.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::blame::{Blame, Frame};
use super::paint::{Paint, colours_wanted};
use super::story::{Deed, Outcome, Scene, Stories, Story, Told};
use super::{Event, Source};
use crate::config::Problems;
use crate::server::News;
use crate::wasm::witness::{Beginning, End, Op, Step};

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// A JSON document a line.
    Json,
}

/// How often the line is drawn that says what goes on.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// How much of a call stack is shown that has nothing of the author's own sources.
const STACK_LINES: usize = 8;

/// The thread that says it.
#[derive(Debug)]
pub(super) struct Show(JoinHandle<()>);

impl Show {
    pub(super) fn start(
        form: Form,
        name: String,
        source: Source,
        events: Receiver<Event>,
    ) -> io::Result<Show> {
        let narrator = Narrator {
            form,
            name,
            source,
            blame: None,
            paint: Paint(form == Form::Text && colours_wanted(&io::stdout())),
            draws: io::stderr().is_terminal() && form == Form::Text,
            stories: Stories::default(),
            building: None,
            built_before: false,
            changed: None,
            modules: 0,
            module: String::new(),
            serves: false,
        };
        let thread = std::thread::Builder::new().name("show".to_owned());
        thread.spawn(move || narrator.tell_all(&events)).map(Show)
    }

    /// Waits until everything is said.
    pub(super) fn finish(self) {
        let _ = self.0.join(); // a panic was reported by its hook
    }
}

struct Narrator {
    form: Form,
    name: String,
    source: Source,
    /// Where its faults come from, once it was built.
    blame: Option<Blame>,
    paint: Paint,
    /// Whether a line may be drawn and drawn over.
    draws: bool,
    stories: Stories,
    building: Option<Instant>,
    built_before: bool,
    /// When what is built or swapped in was changed.
    changed: Option<Instant>,
    /// Builds that were served.
    modules: u64,
    module: String,
    serves: bool,
}

impl Narrator {
    fn tell_all(mut self, events: &Receiver<Event>) {
        loop {
            match events.recv_timeout(STATUS_INTERVAL) {
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => {
                    self.clear_status();
                    self.tell(event);
                }
                Err(RecvTimeoutError::Timeout) => self.draw_status(),
            }
        }
        self.clear_status();
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Building => {
                // cargo itself says what it does the first time.
                if !self.built_before {
                    self.say("building", json!({}), &self.paint.dim(&format!("building {}", self.name)));
                }
                self.building = Some(Instant::now());
            }
            Event::Built { module, changed, messages } => {
                self.pass_on(&messages);
                if let Source::Crate { folder, .. } = &self.source {
                    let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                    self.blame = Some(Blame::new(&folder, &module));
                }
                let took = self.building.take().map(|began| began.elapsed()).unwrap_or_default();
                self.changed = changed;
                if !self.built_before || self.form == Form::Json {
                    let line = format!("built in {:.1} s", took.as_secs_f64());
                    self.say("built", json!({"milliseconds": milliseconds(took)}), &self.paint.dim(&line));
                }
                self.built_before = true;
            }
            Event::Failed { messages, reason } => {
                self.building = None;
                self.pass_on(&messages);
                let reason = reason.unwrap_or_else(|| "it does not compile".to_owned());
                self.complain("build_failed", &reason);
            }
            Event::News(News::Served(addresses)) => self.tell_of_service(&addresses),
            Event::News(News::Refused(error)) | Event::CannotStart(error) => {
                self.complain("refused", &described(&error));
            }
            Event::Began(beginning) => self.note_module(&beginning),
            Event::Did { instance, step } => self.tell_step(instance, &step),
            Event::End => {}
        }
    }

    fn note_module(&mut self, beginning: &Beginning) {
        if beginning.module != self.module {
            self.module.clone_from(&beginning.module);
            self.modules += 1;
        }
    }

    fn tell_of_service(&mut self, addresses: &[(String, std::net::SocketAddr)]) {
        if let Some((_, address)) = addresses.first() {
            let (name, url) = (self.paint.bold(&self.name), self.paint.bold(&format!("http://{address}")));
            let line = format!("{name} serves at {url}: save a source and it is swapped in; Ctrl-C ends it");
            self.say("serving", json!({"address": address.to_string()}), &line);
            self.say_text(&format!("try: curl -i http://{address}/\n"));
        } else if self.serves {
            let took = self.changed.take().map(|changed| changed.elapsed());
            let after = took.map(|took| format!(", {:.1} s after the change", took.as_secs_f64()));
            let line = format!("version {} is live{}", self.modules, after.unwrap_or_default());
            let fields = json!({"version": self.modules, "milliseconds": took.map(milliseconds)});
            self.say("live", fields, &self.paint.green(&line));
        }
        self.serves = true;
    }

    fn tell_step(&mut self, instance: u64, step: &Step) {
        let starts = matches!(step.op, Op::Start);
        for mut told in self.stories.add(instance, step) {
            if let Some(blame) = &self.blame {
                match &mut told {
                    Told::Exchange(story) => story.steps.iter_mut().for_each(|scene| scene.blame(blame)),
                    Told::Aside(scene) => scene.blame(blame),
                }
            }
            match told {
                Told::Exchange(story) => self.tell_exchange(&story),
                // A filter says at its start what it defines: that is of no interest here.
                Told::Aside(scene) if starts => {
                    let said = |deed: &Deed| matches!(deed, Deed::Log { .. } | Deed::Fault { .. });
                    let did: Vec<Deed> = scene.did.iter().filter(|deed| said(deed)).cloned().collect();
                    if !did.is_empty() {
                        self.tell_aside(&Scene { did, ..scene });
                    }
                }
                Told::Aside(scene) => self.tell_aside(&scene),
            }
        }
        if matches!(step.op, Op::Shutdown) || matches!(step.end, End::Fault { .. }) {
            self.stories.forget(instance);
        }
    }

    fn tell_aside(&self, scene: &Scene) {
        match self.form {
            Form::Json => self.say("aside", json!({"step": scene}), ""),
            Form::Text => {
                self.say_text(&self.heading(scene));
                self.tell_deeds(scene);
            }
        }
    }

    fn tell_exchange(&self, story: &Story) {
        if self.form == Form::Json {
            return self.say("exchange", serde_json::to_value(story).unwrap_or_default(), "");
        }
        let Story { method, path, status, outcome, instructions, nanoseconds, .. } = story;
        let status = status.map_or("…".to_owned(), |status| status.to_string());
        let (word, status) = match outcome {
            Outcome::Passed => ("passed", self.paint.green(&status)),
            Outcome::Left => ("passed, and left", self.paint.green(&status)),
            Outcome::Replied => ("answered by the filter", self.paint.yellow(&status)),
            Outcome::Closed => ("closed by the filter", self.paint.red("closed")),
            Outcome::Failed => ("the filter failed", self.paint.red("failed")),
        };
        let cost = format!("{} instructions, {}", separated(*instructions), micros(*nanoseconds));
        let line = format!("{method} {path}");
        self.say_text(&format!("{} → {status}  {word}  {}", self.paint.bold(&line), self.paint.dim(&cost)));
        for scene in &story.steps {
            let waits = scene.answer.starts_with("stop");
            if scene.did.is_empty() && !waits {
                continue;
            }
            self.say_text(&self.heading(scene));
            self.tell_deeds(scene);
            if waits && !scene.did.iter().any(|deed| matches!(deed, Deed::Reply { .. })) {
                self.say_text(&format!("    {}", self.paint.yellow("holds it")));
            }
        }
    }

    fn heading(&self, scene: &Scene) -> String {
        let cost = match scene.instructions {
            0 => String::new(),
            some => format!("{} instructions, {}", separated(some), micros(scene.nanoseconds)),
        };
        format!("  {:<18}{}", scene.step, self.paint.dim(&cost)).trim_end().to_owned()
    }

    fn tell_deeds(&self, scene: &Scene) {
        for deed in &scene.did {
            let line = match deed {
                Deed::Change { name, from: None, to } => {
                    self.paint.green(&format!("+ {name}: {}", to.as_deref().unwrap_or_default()))
                }
                Deed::Change { name, from: Some(from), to: None } => {
                    self.paint.red(&format!("- {name}: {from}"))
                }
                Deed::Change { name, from: Some(from), to: Some(to) } => {
                    self.paint.yellow(&format!("~ {name}: {from} → {to}"))
                }
                Deed::Reply { status, details, body } => {
                    let details = if details.is_empty() { String::new() } else { format!(" {details}") };
                    self.paint.yellow(&format!("answers {status}{details}: {:?}", body))
                }
                Deed::Act { text } => text.clone(),
                Deed::Log { level, text } => format!("{} {text}", self.paint.dim(&format!("{level}:"))),
                Deed::Fault { kind, callback, message, at } => self.fault(kind, callback, message, at),
            };
            self.say_text(&format!("    {line}"));
        }
    }

    /// A fault with the lines of the author's own sources that led to it; with the beginning of the whole call stack,
    /// where there are none.
    fn fault(&self, kind: &str, callback: &str, message: &str, frames: &[Frame]) -> String {
        let (cause, stack) = message.split_once('\n').unwrap_or((message, ""));
        let mut text = self.paint.red(&format!("{kind} fault in {callback}: {cause}"));
        for (at, Frame { function, file, line, source }) in frames.iter().enumerate() {
            let place = line.map_or(file.clone(), |line| format!("{file}:{line}"));
            text.push_str(&format!("\n      at {}  {}", self.paint.bold(&place), self.paint.dim(function)));
            if let (0, Some(source)) = (at, source) {
                text.push_str(&format!("\n      | {source}"));
            }
        }
        if frames.is_empty() {
            stack.lines().take(STACK_LINES).for_each(|line| text.push_str(&format!("\n    {line}")));
        }
        text
    }

    /// What is wrong, and that the last version serves on, if one does.
    fn complain(&mut self, event: &str, reason: &str) {
        self.changed = None;
        let stays = match self.serves {
            true => format!("version {} serves on", self.modules.max(1)),
            false => "nothing is served yet: it is tried again when a file changes".to_owned(),
        };
        let line = format!("{}\n{}", self.paint.red(reason), self.paint.dim(&stays));
        self.say(event, json!({"reason": reason, "serves": self.serves}), &line);
    }

    /// cargo's and rustc's own words.
    fn pass_on(&self, messages: &str) {
        let _ = io::stderr().write_all(messages.as_bytes()); // there is nobody else to tell
    }

    fn say(&self, event: &str, fields: serde_json::Value, line: &str) {
        match (self.form, fields) {
            (Form::Text, _) => self.say_text(line),
            (Form::Json, serde_json::Value::Object(fields)) => {
                let event = std::iter::once(("event".to_owned(), event.into()));
                let whole: serde_json::Map<_, _> = event.chain(fields).collect();
                self.print(&serde_json::Value::from(whole).to_string());
            }
            (Form::Json, _) => {}
        }
    }

    fn say_text(&self, line: &str) {
        if self.form == Form::Text {
            self.print(line);
        }
    }

    fn print(&self, line: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // a reader who has read enough is no error
    }

    fn draw_status(&self) {
        if let Some(began) = self.building.filter(|_| self.draws && self.built_before) {
            let status = format!("building, {:.1} s", began.elapsed().as_secs_f64());
            let _ = write!(io::stderr(), "\r\x1b[K{}", self.paint.dim(&status));
        }
    }

    fn clear_status(&self) {
        if self.draws && self.built_before {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What is wrong with a configuration: the problems alone, as their places are in a file that nobody wrote.
fn described(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => {
            let lines = problems.iter().map(|problem| match &problem.hint {
                Some(hint) => format!("{}\n  {hint}", problem.message),
                None => problem.message.clone(),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        None => format!("{error:#}"),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(nanoseconds: u64) -> String {
    format!("{:.1} µs", nanoseconds as f64 / 1000.0)
}

/// A number with its thousands apart.
fn separated(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
