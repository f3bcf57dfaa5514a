//! A program that a test starts: what it says is kept, and it never outlives the test.
//!
//! Its outputs are files, not pipes: what the program has written before it did something that a test saw (an answer,
//! a metric) is there when the test looks.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::eventually;

/// A running program.
pub(crate) struct Process {
    name: &'static str,
    child: Mutex<Child>,
    /// What it writes to its standard error.
    pub(crate) stderr: Output,
    /// What it writes to its standard output.
    pub(crate) stdout: Output,
}

/// Lines that a program wrote so far.
#[derive(Debug)]
pub(crate) struct Output {
    read: Mutex<Collected>,
}

#[derive(Debug)]
struct Collected {
    file: File,
    /// The last line where it has no end yet.
    rest: Vec<u8>,
    lines: Vec<String>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Process {
        let (stderr, error_end) = Output::open();
        let (stdout, out_end) = Output::open();
        let command = command.stdin(Stdio::null()).stdout(out_end).stderr(error_end);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Process { name, child: Mutex::new(child), stderr, stdout }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child().id()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child()), signal).expect("a child can be signalled");
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> ExitStatus {
        let end = || self.child().try_wait().expect("a child can be waited for");
        eventually(&format!("the end of {}", self.name), end)
    }

    /// Waits until `find` finds what it looks for among the lines of an output of this program; `None` where the
    /// program ended before that.
    pub(crate) fn find<T>(
        &self,
        output: &Output,
        what: &str,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        eventually(what, || {
            let runs = self.is_running();
            let found = find(&output.lines());
            (found.is_some() || !runs).then_some(found)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child().kill();
        let _ = self.child().wait();
        if std::thread::panicking() {
            // Through the test's captured output, so that it stands beside the failure.
            println!("---- what {} said on stderr ----\n{}", self.name, self.stderr.tail());
            println!("---- and on stdout ----\n{}", self.stdout.tail());
        }
    }
}

impl Output {
    /// An empty one, and the end of it that a program writes to.
    fn open() -> (Output, File) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let writing = std::fs::OpenOptions::new().append(true).open(file.path());
        let writing = writing.expect("a temporary file can be opened again");
        let collected = Collected { file: file.into_file(), rest: Vec::new(), lines: Vec::new() };
        (Output { read: Mutex::new(collected) }, writing)
    }

    /// All that there are now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines_from(0)
    }

    /// Those that there are now but for the first so many: for programs that write very many.
    pub(crate) fn lines_from(&self, first: usize) -> Vec<String> {
        let mut read = self.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut new = Vec::new();
        read.file.read_to_end(&mut new).expect("a temporary file can be read");
        for byte in new {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut read.rest)).into_owned();
                    read.lines.push(line);
                }
                byte => read.rest.push(byte),
            }
        }
        read.lines.get(first..).unwrap_or_default().to_vec()
    }

    /// All of it as a text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(200)..].join("\n")
    }
}
