//! Says what happens, as it happens: to people, or as a JSON document a line.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::blame::{Blame, Frame};
use super::ends::{Ended, Ends, Whole};
use super::flood::{self, Backlog, Flood};
use super::story::{Deed, Outcome, Scene, Stories, Story, Told};
use super::{Event, Options, Source};
use crate::config::Problems;
use crate::server::News;
use crate::terminal::{Paint, can_be_drawn_on, colours_wanted_on, grouped};
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

/// An exchange that has been open for so long is told of: a filter may have forgotten to let it go on.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much of a call stack is shown that has nothing of the author's own sources.
const STACK_LINES: usize = 8;

/// The thread that says it.
#[derive(Debug)]
pub(super) struct Show(JoinHandle<()>);

impl Show {
    pub(super) fn start(
        options: &Options,
        name: String,
        events: Receiver<Event>,
        backlog: Arc<Backlog>,
    ) -> io::Result<Show> {
        let form = options.form;
        let narrator = Narrator {
            form,
            name,
            wanted: options.listen,
            source: options.source.clone(),
            blame: None,
            paint: Paint(form == Form::Text && colours_wanted_on(&io::stdout())),
            draws: can_be_drawn_on(&io::stderr()) && form == Form::Text,
            stories: Stories::default(),
            ends: Ends::default(),
            flood: Flood::new(),
            backlog,
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
    /// Where it was to listen.
    wanted: SocketAddr,
    source: Source,
    /// Where its faults come from, once it was built.
    blame: Option<Blame>,
    paint: Paint,
    /// Whether a line may be drawn and drawn over.
    draws: bool,
    stories: Stories,
    ends: Ends,
    flood: Flood,
    backlog: Arc<Backlog>,
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
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= STATUS_INTERVAL {
                self.look_around(false);
                looked = Instant::now();
            }
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
        self.look_around(true);
    }

    /// Says what only time shows. `all`: nothing more comes.
    fn look_around(&mut self, all: bool) {
        for whole in self.ends.overdue(all, |id| self.stories.has_open(id)) {
            self.tell_whole(&whole);
        }
        if !all {
            let slow: Vec<_> = self.stories.slow(PATIENCE).into_iter().map(open_fields).collect();
            for fields in slow {
                self.clear_status();
                let word = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
                let held = match fields["held_at"].as_str() {
                    Some(step) => format!(
                        "the filter holds it since the {step}: it waits until the filter lets it go on"
                    ),
                    None => "it waits for the upstream or the client".to_owned(),
                };
                let line = self.paint.bold(&format!("{} {}", word("method"), word("path")));
                self.say(
                    "open",
                    fields.clone(),
                    &format!("{line} … still open  {}", self.paint.yellow(&held)),
                );
            }
        }
        if let Some(sum) = self.flood.sum(all) {
            let failed =
                if sum.failed > 0 { format!(", the filter failed on {}", sum.failed) } else { String::new() };
            let each = grouped(sum.instructions / sum.requests.max(1));
            let line = format!(
                "… and {} requests more: {}{failed}; {each} instructions each",
                grouped(sum.requests),
                sum.statuses()
            );
            self.clear_status();
            self.say_text(&self.paint.dim(&line));
        }
        match self.backlog.missed() {
            0 => {}
            missed => {
                let line = format!("… and {} requests that came too fast to be watched", grouped(missed));
                self.say("missed", flood::missed(missed), &self.paint.dim(&line));
            }
        }
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
            Event::Did { instance, step } => {
                self.tell_step(instance, &step);
            }
            Event::RecordingEnded(why) => {
                let line =
                    self.paint.red(&format!("the recording has ended, what follows is not in it: {why}"));
                self.say("recording_ended", json!({"reason": why}), &line);
            }
            Event::Ended(mut ends) => {
                for ended in ends.take() {
                    if let Some(whole) = self.ends.add_end(ended) {
                        self.tell_whole(&whole);
                    }
                }
            }
            Event::End => {}
        }
    }

    fn note_module(&mut self, beginning: &Beginning) {
        self.stories.know(beginning.clusters.iter().map(|(name, _)| name.clone()));
        if beginning.module != self.module {
            self.module.clone_from(&beginning.module);
            self.modules += 1;
        }
    }

    fn tell_of_service(&mut self, addresses: &[(String, SocketAddr)]) {
        if let Some((_, address)) = addresses.first() {
            let (name, url) = (self.paint.bold(&self.name), self.paint.bold(&format!("http://{address}")));
            let line = format!("{name} serves at {url}: save a source and it is swapped in; Ctrl-C ends it");
            self.say("serving", json!({"address": address.to_string()}), &line);
            if self.wanted.port() != 0 && self.wanted != *address {
                let taken = format!("{} is taken; --listen names another one", self.wanted);
                self.say_text(&self.paint.yellow(&taken));
            }
            self.say_text(&format!("try: curl -i http://{address}/\n"));
            if cfg!(debug_assertions) {
                self.say_text(
                    &self.paint.dim("this is an unoptimised build of tidegate: its times say nothing\n"),
                );
            }
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
                Told::Exchange(story) => {
                    if let Some(whole) = self.ends.add_story(story) {
                        self.tell_whole(&whole);
                    }
                }
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
            self.backlog.forget(instance);
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

    /// An exchange is over for both the filter and the client, as far as is known.
    fn tell_whole(&mut self, whole: &Whole) {
        let Whole { story, ended } = whole;
        let status = ended.as_ref().map(|ended| ended.status);
        let status = status.unwrap_or_else(|| story.as_ref().and_then(|story| story.status));
        if self.form == Form::Json {
            let fields = match story {
                Some(story) => serde_json::to_value(story).unwrap_or_default(),
                // It never came to the filter.
                None => json!({"outcome": "unseen", "steps": []}),
            };
            return self.say("exchange", with_end(fields, status, ended.as_ref()), "");
        }
        let shown = status.map_or("…".to_owned(), |status| status.to_string());
        if !self.flood.passes() {
            let failed = story.as_ref().is_some_and(|story| story.outcome == Outcome::Failed);
            let instructions = story.as_ref().map_or(0, |story| story.instructions);
            return self.flood.leave_out(shown, failed, instructions);
        }
        let request = match (story, ended) {
            (Some(story), _) => format!("{} {}", story.method, story.path),
            (None, Some(Ended { method: Some(method), path: Some(path), .. })) => format!("{method} {path}"),
            (None, _) => "a request".to_owned(),
        };
        let (word, status) = self.verdict(story.as_deref(), ended.as_ref(), &shown);
        let cost = story.as_ref().map(|story| {
            format!("{} instructions, {}", grouped(story.instructions), time(story.nanoseconds))
        });
        let line = format!(
            "{} → {status}  {word}  {}",
            self.paint.bold(&request),
            self.paint.dim(&cost.unwrap_or_default())
        );
        self.say_text(line.trim_end());
        if let Some(ended) = ended {
            self.say_text(&format!("  {}", self.paint.dim(&traffic(ended))));
        }
        let Some(story) = story else { return };
        for scene in story.steps.iter().filter(|scene| !scene.is_quiet()) {
            self.say_text(&self.heading(scene));
            self.tell_deeds(scene);
            if scene.waits() {
                self.say_text(&format!("    {}", self.paint.yellow("holds it")));
            }
        }
        if story.more_steps > 0 {
            self.say_text(&self.paint.dim(&format!("  and {} steps more", grouped(story.more_steps))));
        }
    }

    /// What became of it, in words, and its status in the colour of that.
    fn verdict(&self, story: Option<&Story>, ended: Option<&Ended>, status: &str) -> (String, String) {
        let (green, yellow) = (self.paint.green(status), self.paint.yellow(status));
        let red = self.paint.red(status);
        let failure = ended.filter(|ended| ended.outcome != "ok").map(|ended| {
            let details = ended.details.as_ref().map(|details| format!(": {details}")).unwrap_or_default();
            format!("{}{details}", ended.outcome.replace('_', " "))
        });
        let is_skipped = ended.is_some_and(|ended| !ended.skipped.is_empty());
        match (story.map(|story| story.outcome), failure) {
            (Some(Outcome::Replied), _) => ("answered by the filter".to_owned(), yellow),
            (Some(Outcome::Closed), _) => ("closed by the filter".to_owned(), self.paint.red("closed")),
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

    fn heading(&self, scene: &Scene) -> String {
        let cost = match scene.instructions {
            0 => String::new(),
            some => format!("{} instructions, {}", grouped(some), time(scene.nanoseconds)),
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

    fn say(&self, event: &str, fields: Value, line: &str) {
        match (self.form, fields) {
            (Form::Text, _) => self.say_text(line),
            (Form::Json, Value::Object(fields)) => {
                let event = std::iter::once(("event".to_owned(), event.into()));
                let whole: serde_json::Map<_, _> = event.chain(fields).collect();
                self.print(&Value::from(whole).to_string());
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
        text.push_str(&format!(", id {id}"));
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

/// What is known of an exchange that goes on.
fn open_fields(story: &Story) -> Value {
    json!({
        "exchange": story.exchange, "method": story.method, "path": story.path,
        "request_id": story.request_id, "held_at": story.held_at(),
    })
}

/// A story with its end.
fn with_end(mut fields: Value, status: Option<u16>, ended: Option<&Ended>) -> Value {
    if let (Some(ended), Value::Null) = (ended, &fields["method"]) {
        fields["method"] = json!(ended.method);
        fields["path"] = json!(ended.path);
    }
    fields["status"] = json!(status);
    fields["ended"] = json!(ended);
    fields
}
