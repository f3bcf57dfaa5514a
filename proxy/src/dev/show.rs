//! Says what happens, as it happens: to people, or as a JSON document a line.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::blame::Blame;
use super::ends::{Ended, Ends, Whole};
use super::flood::{Backlog, Flood};
use super::outlet::{Form, Outlet};
use super::scene::{Deed, Scene};
use super::story::{Outcome, Stories, Story, Told};
use super::words::Words;
use super::{Event, Options, Source};
use crate::config::model::Address;
use crate::files::Sha256;
use crate::server::News;
use crate::terminal::{Paint, colours_wanted_on, grouped, plain};
use crate::wasm::witness::{Beginning, End, Op, Step};

/// How often the line is drawn that says what goes on.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// An exchange that has been open for so long is told of: a filter may have forgotten to let it go on.
const PATIENCE: Duration = Duration::from_secs(2);

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
        let paint = Paint(options.form == Form::Text && colours_wanted_on(&io::stdout()));
        let narrator = Narrator {
            outlet: Outlet::new(options.form),
            paint,
            words: Words(paint),
            name,
            wanted: options.listen,
            source: options.source.clone(),
            blame: None,
            stories: Stories::default(),
            ends: Ends::default(),
            flood: Flood::new(),
            backlog,
            building: None,
            built_before: false,
            changed: None,
            modules: 0,
            live: 0,
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
    name: String,
    /// Where it was to listen.
    wanted: SocketAddr,
    source: Source,
    /// Where its faults come from, once it was built.
    blame: Option<Blame>,
    outlet: Outlet,
    paint: Paint,
    words: Words,
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
    /// The one that serves.
    live: u64,
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
                    self.outlet.clear();
                    self.tell(event);
                }
                Err(RecvTimeoutError::Timeout) => self.draw_progress(),
            }
        }
        self.outlet.clear();
        self.look_around(true);
    }

    /// Says that a build goes on. cargo itself does the first time.
    fn draw_progress(&mut self) {
        if let Some(began) = self.building.filter(|_| self.built_before) {
            let line = format!("building, {:.1} s", began.elapsed().as_secs_f64());
            self.outlet.draw(&self.paint.dim(&line));
        }
    }

    /// Says what only time shows. `all`: nothing more comes.
    fn look_around(&mut self, all: bool) {
        for whole in self.ends.overdue(all, |id| self.stories.has_open(id)) {
            self.tell_whole(&whole);
        }
        if !all {
            let slow = self.stories.slow(PATIENCE);
            let slow: Vec<_> =
                slow.into_iter().map(|story| (open_fields(story), self.words.open(story))).collect();
            for (fields, line) in slow {
                self.outlet.clear();
                self.outlet.say("open", fields, &line);
            }
        }
        if let Some(sum) = self.flood.sum(all) {
            self.outlet.clear();
            self.outlet.text(&self.words.sum(&sum));
        }
        match self.backlog.missed() {
            0 => {}
            missed => {
                let line = format!("… and {} requests that came too fast to be watched", grouped(missed));
                self.outlet.say("missed", json!({"exchanges": missed}), &self.paint.dim(&line));
            }
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Building => {
                // cargo itself says what it does the first time.
                if !self.built_before {
                    self.outlet.say(
                        "building",
                        json!({}),
                        &self.paint.dim(&format!("building {}", self.name)),
                    );
                }
                self.building = Some(Instant::now());
            }
            Event::Built { module, changed, messages } => {
                self.outlet.pass_on(&messages);
                if let Source::Crate { folder, .. } = &self.source {
                    let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                    self.blame = Some(Blame::new(&folder, &module));
                }
                let took = self.building.take().map(|began| began.elapsed()).unwrap_or_default();
                let serves_already = self.serves && is_module(&module, &self.module);
                let what = if serves_already { ": the module is the same as before" } else { "" };
                self.changed = changed.filter(|_| !serves_already);
                if !self.built_before || serves_already || self.outlet.form == Form::Json {
                    let line = format!("built in {:.1} s{what}", took.as_secs_f64());
                    let fields = json!({"milliseconds": milliseconds(took), "changed": !serves_already});
                    self.outlet.say("built", fields, &self.paint.dim(&line));
                }
                self.built_before = true;
            }
            Event::Failed { messages, reason } => {
                self.building = None;
                self.outlet.pass_on(&messages);
                let reason = reason.unwrap_or_else(|| "it does not compile".to_owned());
                self.complain("build_failed", &reason);
            }
            Event::News(News::Served(addresses)) => self.tell_of_service(&addresses),
            Event::News(News::Refused(error)) | Event::CannotStart(error) => {
                self.complain("refused", &format!("{error:#}"));
            }
            Event::Began(beginning) => self.note_module(&beginning),
            Event::Did { instance, step } => self.tell_step(instance, &step),
            Event::Gone { instance } => self.forget(instance),
            Event::RecordingEnded(why) => {
                let line =
                    self.paint.red(&format!("the recording has ended, what follows is not in it: {why}"));
                self.outlet.say("recording_ended", json!({"reason": why}), &line);
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

    fn tell_of_service(&mut self, addresses: &[(String, Address)]) {
        if let Some((_, address)) = addresses.first() {
            let (name, url) = (self.paint.bold(&self.name), self.paint.bold(&format!("http://{address}")));
            let line = format!("{name} serves at {url}: save a source and it is swapped in; Ctrl-C ends it");
            self.outlet.say("serving", json!({"address": address.to_string()}), &line);
            if self.wanted.port() != 0 && *address != self.wanted {
                let taken = format!("{} is taken; --listen names another one", self.wanted);
                self.outlet.text(&self.paint.yellow(&taken));
            }
            self.outlet.text(&format!("try: curl -i http://{address}/\n"));
            if cfg!(debug_assertions) {
                self.outlet.text(
                    &self.paint.dim("this is an unoptimised build of tidegate: its times say nothing\n"),
                );
            }
        } else if self.serves {
            let (changed, what) = match self.modules > self.live {
                true => ("module", ""),
                false => ("settings", " with the settings as they are now"),
            };
            let took = self.changed.take().map(|changed| changed.elapsed());
            let after = took.map(|took| format!(", {:.1} s after the change", took.as_secs_f64()));
            let line = format!("version {} is live{what}{}", self.modules, after.unwrap_or_default());
            let fields =
                json!({"version": self.modules, "changed": changed, "milliseconds": took.map(milliseconds)});
            self.outlet.say("live", fields, &self.paint.green(&line));
        }
        (self.serves, self.live) = (true, self.modules);
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
            self.forget(instance);
        }
    }

    /// An instance is not called again.
    fn forget(&mut self, instance: u64) {
        self.stories.forget(instance);
        self.backlog.forget(instance);
    }

    fn tell_aside(&self, scene: &Scene) {
        self.outlet.say("aside", json!({"step": scene}), &self.words.aside(scene));
    }

    /// An exchange is over for both the filter and the client, as far as is known.
    fn tell_whole(&mut self, whole: &Whole) {
        let Whole { story, ended } = whole;
        let status = ended.as_ref().map(|ended| ended.status);
        let status = status.unwrap_or_else(|| story.as_ref().and_then(|story| story.status));
        if self.outlet.form == Form::Json {
            let fields = match story {
                Some(story) => serde_json::to_value(story).unwrap_or_default(),
                // It never came to the filter.
                None => json!({"outcome": "unseen", "steps": []}),
            };
            return self.outlet.say("exchange", with_end(fields, status, ended.as_ref()), "");
        }
        let shown = status.map_or("…".to_owned(), |status| status.to_string());
        if !self.flood.passes() {
            let failed = story.as_ref().is_some_and(|story| story.outcome == Outcome::Failed);
            let instructions = story.as_ref().map_or(0, |story| story.instructions);
            return self.flood.leave_out(shown, failed, instructions);
        }
        self.outlet.text(&self.words.exchange(whole, &shown));
    }

    /// What is wrong, and that the last version serves on, if one does.
    fn complain(&mut self, event: &str, reason: &str) {
        self.changed = None;
        let stays = match self.serves {
            true => format!("version {} serves on", self.modules.max(1)),
            false => "nothing is served yet: it is tried again when a file changes".to_owned(),
        };
        // A filter may have said it.
        let lines: Vec<_> = reason.lines().map(plain).collect();
        let line = format!("{}\n{}", self.paint.red(&lines.join("\n")), self.paint.dim(&stays));
        self.outlet.say(event, json!({"reason": reason, "serves": self.serves}), &line);
    }
}

/// Whether this file has the module of this digest. One that cannot be read has not: whoever serves it says why.
fn is_module(file: &Path, digest: &str) -> bool {
    fs::read(file).is_ok_and(|bytes| Sha256::of(&bytes).to_string() == digest)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
