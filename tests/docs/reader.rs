//! Pages that are followed literally: their commands are run with a shell in a folder, their edits are made, and what they show
//! is held against what is printed.
//!
//! | block | what is done |
//! |---|---|
//! | `console` | each line that begins with `$ ` is run, and has to print what follows it, on either output; the last may fail where the block is marked `console,fails`, no other may |
//! | `console`, with a first line `# terminal: NAME` | a terminal of its own, whose command goes on: what is shown is waited for. `^C` at the end interrupts it, a lone `$` waits for its end, and it has to end in order |
//! | `yaml,file`, with a first line `# FILE` | the file is written |
//! | `diff`, with a first line `--- FILE` | each part, up to `@@`, is found in the file exactly once and changed |
//!
//! In what is shown, `…` stands for anything within a line, a line of it alone for any lines, and a number with a unit for
//! any number with a unit of that kind, as one with a thousands separator does without. Two things are not literal, so that tests may run beside one another: the proxy's addresses are on a
//! loopback address of this process's own, and those of `dev` where it says that it serves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What `dev` serves at where nobody else has the port.
const DEV: &str = "http://127.0.0.1:8080";

/// The longest that is waited for anything: reaching it is a fault.
const BOUND: Duration = Duration::from_secs(300);

/// Follows a page in the folder `work`, where these files are already, and says how many blocks it had.
pub(crate) fn follow(page: &str, files: &[(&str, Vec<u8>)]) -> usize {
    let mut reader = Reader::new();
    for (name, content) in files {
        fs::write(reader.place.join(name), content).expect("a file can be written");
    }
    let mut blocks = 0;
    for (mark, block) in blocks_of(page) {
        match mark {
            "yaml,file" => reader.write(block),
            "diff" => reader.edit(block),
            "console" => reader.console(block, true),
            "console,fails" => reader.console(block, false),
            // What other tests look at.
            _ => continue,
        }
        blocks += 1;
    }
    let left = reader.terminals.iter().filter(|terminal| terminal.is_open).map(|terminal| &terminal.name);
    assert_eq!(left.collect::<Vec<_>>(), [""; 0], "the page leaves these running");
    blocks
}

/// A page's blocks and how they are marked.
fn blocks_of(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = page.split("\n```").skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').expect("a block has lines"))
}

/// Who follows the page.
struct Reader {
    /// Gone before the folder that they are in.
    terminals: Vec<Terminal>,
    /// Where the first terminal is.
    place: PathBuf,
    /// The address in place of 127.0.0.1.
    loopback: String,
    /// Where `dev` serves, while it does.
    dev: Option<String>,
    folder: TempDir,
}

/// Another terminal, in which a command goes on.
struct Terminal {
    name: String,
    child: Child,
    /// What it has said, on either output.
    output: PathBuf,
    /// How much of that the page has shown so far, in bytes.
    shown: usize,
    is_open: bool,
}

impl Reader {
    fn new() -> Reader {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let place = folder.path().join("work");
        fs::create_dir(&place).expect("a folder can be made");
        let [.., high, low] = std::process::id().to_be_bytes();
        let loopback = format!("127.71.{high}.{}", low.max(1));
        Reader { terminals: Vec::new(), place, loopback, dev: None, folder }
    }

    /// A text of the page with the addresses that hold here.
    fn here(&self, text: &str) -> String {
        match &self.dev {
            Some(dev) => text.replace(DEV, dev),
            None => text.replace("127.0.0.1", &self.loopback),
        }
    }

    fn write(&self, block: &str) {
        let (name, content) = block.split_once('\n').expect("its first line names the file");
        let name = name.strip_prefix("# ").expect("its first line names the file");
        fs::write(self.place.join(name), self.here(content) + "\n").expect("a file can be written");
    }

    fn edit(&self, block: &str) {
        let (name, changes) = block.split_once('\n').expect("its first line names the file");
        let file = self.place.join(name.strip_prefix("--- ").expect("its first line names the file"));
        let mut text = fs::read_to_string(&file).expect("the file is there");
        for change in changes.split("@@\n") {
            let side = |without: char| {
                let lines = change.lines().filter(|line| !line.starts_with(without));
                lines.map(|line| line.get(1..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
            };
            let (before, after) = (side('+'), side('-'));
            assert_eq!(text.matches(&before).count(), 1, "this is not there once:\n{before}\nin\n{text}");
            text = text.replacen(&before, &after, 1);
        }
        fs::write(file, text).expect("a file can be written");
    }

    fn console(&mut self, block: &str, succeeds: bool) {
        if let Some(rest) = block.strip_prefix("# terminal: ") {
            let (name, lines) = rest.split_once('\n').expect("something happens in it");
            return self.terminal(name, lines);
        }
        let commands: Vec<&str> =
            block.strip_prefix("$ ").expect("it begins with a command").split("\n$ ").collect();
        for (at, command) in commands.iter().enumerate() {
            let (command, shown) = command.split_once('\n').unwrap_or((command, ""));
            self.run(&self.here(command), shown, succeeds || at + 1 < commands.len());
        }
    }

    /// A shell in the folder where the reader is.
    fn shell(&self, script: &str) -> (Command, PathBuf) {
        let output = self.folder.path().join(format!("output-{}", self.terminals.len()));
        let writing = File::options().create(true).truncate(true).write(true).open(&output);
        drop(writing.expect("a file can be made"));
        let open = || File::options().append(true).open(&output).expect("it can be opened");
        let binary = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("it lies in a folder");
        let path = std::env::var("PATH").expect("there is a path");
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .current_dir(&self.place)
            .env("PATH", format!("{}:{path}", binary.display()))
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open());
        (command, output)
    }

    /// Runs a command to its end, and goes where it leads.
    fn run(&mut self, command: &str, shown: &str, succeeds: bool) {
        let place = self.folder.path().join("place");
        let script = format!("{command}\nstatus=$?; pwd > '{}'; exit $status", place.display());
        let (mut shell, output) = self.shell(&script);
        let status = shell.status().expect("there is bash");
        let said = fs::read_to_string(output).expect("it is text");
        assert_eq!(status.success(), succeeds, "$ {command}\n{said}");
        self.place = fs::read_to_string(place).expect("it was written").trim().into();
        let pattern = Regex::new(&format!("^{}$", self.pattern(shown.trim()))).expect("it is one");
        assert!(pattern.is_match(said.trim()), "$ {command}\nis to print\n{shown}\nand prints\n{said}");
    }

    fn terminal(&mut self, name: &str, lines: &str) {
        let lines = match lines.strip_prefix("$ ") {
            Some(rest) => {
                let (command, lines) = rest.split_once('\n').unwrap_or((rest, ""));
                let (mut shell, output) = self.shell(&format!("exec {}", self.here(command)));
                let child = shell.spawn().expect("there is bash");
                let name = name.to_owned();
                self.terminals.push(Terminal { name, child, output, shown: 0, is_open: true });
                lines
            }
            None => lines,
        };
        let ending = ["^C", "$"].into_iter().find(|ending| lines.ends_with(ending));
        let lines = lines.strip_suffix(ending.unwrap_or_default()).expect("it ends so");
        let pattern = Regex::new(&format!("(?m)^{}$", self.pattern(lines.trim()))).expect("it is one");
        let dev = Regex::new("serves at (http://[0-9.]+:[0-9]+)").expect("it is one");
        let is_it = |terminal: &&mut Terminal| terminal.name == name;
        let terminal = self.terminals.iter_mut().find(is_it).expect("it was opened before");
        let said = terminal.wait_for(&pattern);
        if let Some(found) = dev.captures(&said) {
            self.dev = Some(found[1].to_owned());
        }
        if ending == Some("^C") {
            kill_process(Pid::from_child(&terminal.child), Signal::INT).expect("a child can be signalled");
        }
        if ending.is_some() {
            let status = terminal.child.wait().expect("a child can be waited for");
            assert!(status.success(), "{name} ended with {status}:\n{}", terminal.said());
            terminal.is_open = false;
            self.dev = self.dev.take().filter(|_| name != "dev");
        }
    }

    /// What is shown as a regular expression.
    fn pattern(&self, shown: &str) -> String {
        let time = Regex::new(r"\d[\d,.]*( *)(ns|µs|ms|s)\b").expect("it is one");
        let number = Regex::new(r"\d[\d,.]*( *(?:KiB|bytes|instructions)\b)|\d+,\d{3}\b").expect("it is one");
        let column = Regex::new(" {2,}").expect("it is one");
        let shown = shown.replace(DEV, "<dev>");
        let mut pattern = String::new();
        for line in shown.lines() {
            if line == "…" {
                pattern.push_str("(?:[^\n]*\n)*?");
                continue;
            }
            let line = self.here(line);
            let line = time.replace_all(&line, "<time>");
            let line = number.replace_all(&line, "<number>$1");
            let line = column.replace_all(&line, "<column>");
            let line = regex::escape(&line).replace("<dev>", "http://[0-9.]+:[0-9]+").replace('…', "[^\n]*");
            let line = line.replace("<time>", r"\d[\d,.]* *(?:ns|µs|ms|s)").replace("<number>", r"\d[\d,.]*");
            pattern.push_str(&line.replace("<column>", " +"));
            pattern.push('\n');
        }
        match pattern.strip_suffix("\n(?:[^\n]*\n)*?") {
            Some(before) => format!("{before}(?:\n[^\n]*)*"),
            None if shown.trim() == "…" => "(?s:.*)".to_owned(),
            None => pattern.trim_end_matches('\n').to_owned(),
        }
    }
}

impl Terminal {
    fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("it is text")
    }

    /// Waits until it has said this behind what was shown already. The longest wait is for a first build on a busy machine.
    fn wait_for(&mut self, pattern: &Regex) -> String {
        let start = Instant::now();
        loop {
            let ended = self.is_open && matches!(self.child.try_wait(), Ok(Some(_)));
            let said = self.said();
            let new = said.get(self.shown..).unwrap_or_default();
            if let Some(found) = pattern.find(new) {
                self.shown += found.end();
                return new.to_owned();
            }
            let name = &self.name;
            assert!(!ended && start.elapsed() < BOUND, "{name} is to say\n{pattern}\nand says\n{new}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("---- what the terminal {} showed ----\n{}", self.name, self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
