//! Plays scripts: decides what is done in a callback, does it, and logs what came of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::callbacks::Callback;
use super::hostcalls::{self, Hostcall};
use super::memory::{self, Cells};
use super::script::{Action, Argument, Condition, Line, Script, Shown};
use super::values::{quoted, shown_pairs};

thread_local! {
    static PROBE: RefCell<Probe> = RefCell::default();
}

/// A callback of the host's. What it returns, where it returns anything.
pub(crate) fn enter(callback: Callback, context: u32, parameters: &[u32]) -> u32 {
    PROBE.with_borrow_mut(|probe| probe.enter(callback, context, parameters))
}

#[derive(Default)]
struct Probe {
    roots: BTreeMap<u32, Root>,
    streams: BTreeMap<u32, Stream>,
    variables: BTreeMap<String, u64>,
    last_stream: u32,
}

/// A root context: one for each plugin of this VM.
struct Root {
    configured: Result<Play, String>,
    /// What the last request that had a script says.
    scripted: Play,
    /// The last request's `x-probe`.
    asked: Vec<u8>,
}

/// A stream context.
struct Stream {
    root: u32,
    configured: Play,
    scripted: Option<Play>,
    asked: Vec<u8>,
}

/// A script and how often each callback was called since it began.
#[derive(Default, Clone)]
struct Play {
    script: Rc<Script>,
    calls: [u32; Callback::COUNT],
}

impl Play {
    fn new(script: Script) -> Play {
        Play { script: Rc::new(script), calls: [0; Callback::COUNT] }
    }

    /// The same script from its beginning.
    fn anew(&self) -> Play {
        Play { script: self.script.clone(), calls: [0; Callback::COUNT] }
    }

    /// Counts a call.
    fn count(&mut self, callback: Callback) -> (Rc<Script>, u32) {
        let calls = &mut self.calls[callback as usize];
        *calls += 1;
        (self.script.clone(), *calls)
    }
}

/// A callback as conditions and arguments see it.
struct Scene<'a> {
    callback: Callback,
    context: u32,
    is_root: bool,
    parameters: &'a [u32],
    asked: Vec<u8>,
}

impl Probe {
    fn enter(&mut self, callback: Callback, context: u32, parameters: &[u32]) -> u32 {
        if callback == Callback::ContextCreate {
            self.create(context, parameters[0]);
        }
        if callback.begins_stream() {
            self.last_stream = context;
        }
        match callback {
            Callback::RequestHeaders => self.read_request(context),
            Callback::DownstreamData => self.read_connection(context),
            _ => {}
        }
        if let (Callback::Configure, Some(Err(problem))) =
            (callback, self.roots.get(&context).map(|root| root.configured.as_ref().map(drop)))
        {
            hostcalls::log(hostcalls::ERROR, problem);
            return 0;
        }
        let is_root = self.roots.contains_key(&context);
        let (plays, asked) = self.plays(callback, context);
        let scene = Scene { callback, context, is_root, parameters, asked };
        let answer = plays.into_iter().find_map(|(script, calls)| self.play(&scene, &script, calls));
        if callback == Callback::Delete {
            self.roots.remove(&context);
            self.streams.remove(&context);
        }
        answer.unwrap_or(callback.default_answer())
    }

    /// A root reads its script at once, so that it has one from its first callback on.
    fn create(&mut self, context: u32, root: u32) {
        if root == 0 {
            let configured = Script::parse(&hostcalls::configuration()).map(Play::new);
            self.roots.insert(context, Root { configured, scripted: Play::default(), asked: Vec::new() });
            return;
        }
        let configured = self.roots.get(&root).and_then(|root| root.configured.as_ref().ok());
        let configured = configured.map(Play::anew).unwrap_or_default();
        self.streams.insert(context, Stream { root, configured, scripted: None, asked: Vec::new() });
    }

    fn read_request(&mut self, context: u32) {
        let Some(stream) = self.streams.get_mut(&context) else { return };
        let Some(root) = self.roots.get_mut(&stream.root) else { return };
        stream.asked = hostcalls::request_header("x-probe").unwrap_or_default();
        root.asked.clone_from(&stream.asked);
        if let Some(text) = hostcalls::request_header("x-probe-script") {
            self.read_script(context, &text);
        }
    }

    /// A connection's first line, unless it has had one.
    fn read_connection(&mut self, context: u32) {
        if self.streams.get(&context).is_none_or(|stream| stream.scripted.is_some()) {
            return;
        }
        let data = hostcalls::downstream_data();
        let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Some(text) = line.strip_prefix(b"x-probe-script: ") {
            self.read_script(context, text);
        }
    }

    fn read_script(&mut self, context: u32, text: &[u8]) {
        let Some(stream) = self.streams.get_mut(&context) else { return };
        let Some(root) = self.roots.get_mut(&stream.root) else { return };
        match Script::parse(text) {
            Ok(script) => {
                root.scripted = Play::new(script);
                stream.scripted = Some(root.scripted.clone());
            }
            Err(problem) => hostcalls::log(hostcalls::ERROR, &problem),
        }
    }

    /// What is played in a context, each with how often the callback was called in it, and the `x-probe` that holds
    /// there.
    fn plays(&mut self, callback: Callback, context: u32) -> (Vec<(Rc<Script>, u32)>, Vec<u8>) {
        let mut plays = Vec::new();
        if let Some(stream) = self.streams.get_mut(&context) {
            plays.push(stream.configured.count(callback));
            match (&mut stream.scripted, self.roots.get_mut(&stream.root)) {
                (Some(scripted), _) => plays.push(scripted.count(callback)),
                (None, Some(root)) if callback.is_before_script() => {
                    plays.push(root.scripted.count(callback));
                }
                (None, _) => {}
            }
            return (plays, stream.asked.clone());
        }
        let Some(root) = self.roots.get_mut(&context) else { return (plays, Vec::new()) };
        if let Ok(configured) = &mut root.configured {
            plays.push(configured.count(callback));
        }
        plays.push(root.scripted.count(callback));
        (plays, root.asked.clone())
    }

    /// Plays the lines that are for this call of the callback, up to one that returns.
    fn play(&mut self, scene: &Scene<'_>, script: &Script, calls: u32) -> Option<u32> {
        let is_due = |line: &&Line| {
            line.callback == scene.callback
                && line.conditions.iter().all(|condition| scene.holds(condition, calls))
        };
        for line in script.lines.iter().filter(is_due) {
            match &line.action {
                Action::Return(answer) => return Some(*answer),
                Action::Trap => trap(),
                Action::Say(text) => {
                    let text = String::from_utf8_lossy(text);
                    hostcalls::log(hostcalls::INFO, &format!("{}: {text}", scene.callback.name()));
                }
                Action::Call(hostcall, arguments) => {
                    let answer = self.call(scene, hostcall, arguments);
                    let line = format!("{}: {} -> {answer}", scene.callback.name(), line.text);
                    hostcalls::log(hostcalls::INFO, &line);
                }
            }
        }
        None
    }

    /// Calls the host, and shows what it answered.
    fn call(&mut self, scene: &Scene<'_>, hostcall: &Hostcall, arguments: &[Argument]) -> String {
        let cells = Cells::new(arguments.len() * 2);
        let mut buffers: Vec<Vec<u8>> = Vec::new();
        let mut parameters = Vec::new();
        for (at, argument) in arguments.iter().enumerate() {
            let cell = cells.address(at * 2);
            match argument {
                Argument::Number(number) => parameters.push(*number),
                Argument::Variable(name) => parameters.push(self.variable(scene, name)),
                Argument::Bytes(bytes) => {
                    parameters.extend([memory::address(bytes.as_slice()).into(), bytes.len() as u64]);
                }
                Argument::Vector(bytes) => {
                    let vector = [memory::address(bytes.as_slice()), bytes.len() as u32];
                    buffers.push(vector.into_iter().flat_map(u32::to_le_bytes).collect());
                    parameters.extend(buffers.last().map(|buffer| u64::from(memory::address(&buffer[..]))));
                }
                Argument::Buffer(size) => {
                    buffers.push(vec![0; *size]);
                    parameters.extend(buffers.last().map(|buffer| u64::from(memory::address(&buffer[..]))));
                }
                Argument::U32(_) | Argument::U64(_) | Argument::Any(_) => parameters.push(cell.into()),
                Argument::Value(_) => parameters.extend([cell, cells.address(at * 2 + 1)].map(u64::from)),
            }
        }
        let status = (hostcall.call)(&parameters);
        let mut answer = status.map_or_else(|| "done".to_owned(), |status| status.to_string());
        let mut buffers = buffers.iter();
        for (at, argument) in arguments.iter().enumerate() {
            let shown = match argument {
                Argument::Vector(_) => {
                    buffers.next();
                    continue;
                }
                Argument::Buffer(_) => buffers.next().map(|buffer| quoted(std::hint::black_box(buffer))),
                Argument::U32(name) => self.keep(name, cells.u32(at * 2).map(u64::from)),
                Argument::U64(name) => self.keep(name, cells.u64(at * 2)),
                Argument::Any(name) => {
                    self.keep(name, cells.u32(at * 2).map(u64::from)).map(|_| "something".to_owned())
                }
                Argument::Value(shown) => value(&cells, at * 2, *shown),
                _ => continue,
            };
            // A call that failed has nothing to show.
            if shown.is_some() || status == Some(0) {
                answer.push(' ');
                answer.push_str(shown.as_deref().unwrap_or("untouched"));
            }
        }
        answer
    }

    fn keep(&mut self, name: &Option<String>, found: Option<u64>) -> Option<String> {
        let found = found?;
        if let Some(name) = name {
            self.variables.insert(name.clone(), found);
        }
        Some(found.to_string())
    }

    fn variable(&self, scene: &Scene<'_>, name: &str) -> u64 {
        match (name, name.parse::<usize>()) {
            ("context", _) => scene.context.into(),
            ("stream", _) => self.last_stream.into(),
            (_, Ok(at)) => {
                at.checked_sub(1).and_then(|at| scene.parameters.get(at)).copied().unwrap_or(0).into()
            }
            _ => self.variables.get(name).copied().unwrap_or(0),
        }
    }
}

impl Scene<'_> {
    fn holds(&self, condition: &Condition, calls: u32) -> bool {
        let end = self.callback.end_parameter().and_then(|at| self.parameters.get(at));
        match condition {
            Condition::Call(number) => *number == calls,
            Condition::Asked(value) => value.as_bytes() == self.asked,
            Condition::Root => self.is_root,
            Condition::Stream => !self.is_root,
            Condition::End => end.is_some_and(|end| *end != 0),
            Condition::More => end.is_some_and(|end| *end == 0),
        }
    }
}

/// A value that the host put into a block of its own.
fn value(cells: &Cells, cell: usize, shown: Shown) -> Option<String> {
    let (pointer, size) = match (cells.u32(cell), cells.u32(cell + 1)) {
        (None, None) => return None,
        (Some(pointer), Some(size)) => (pointer, size),
        _ => return Some("half of it untouched".to_owned()),
    };
    let Some(bytes) = memory::take(pointer, size) else { return Some("astray".to_owned()) };
    Some(match shown {
        Shown::Bytes => quoted(&bytes),
        Shown::Size => format!("{} bytes", bytes.len()),
        Shown::Pairs => shown_pairs(&bytes).unwrap_or_else(|| format!("no pairs: {}", quoted(&bytes))),
    })
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}
