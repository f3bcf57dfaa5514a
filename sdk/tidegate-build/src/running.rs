//! cargo as a child process, which can be waited for and cancelled: a build that runs, and the question what a crate is
//! made of.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::build::{Build, BuildError};
use crate::sources::Sources;
use crate::toolchain::Toolchain;

/// Most of cargo's messages that is kept, in bytes: beyond it they end.
const MAX_MESSAGES: u64 = 1 << 20;

/// Where cargo's messages go: what it compiles, and what rustc says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// To the standard error of this process: in colours and with a progress bar where that is a terminal.
    Inherited,
    /// Into [`Built::messages`] and [`BuildError::Failed`], the first MiB of them.
    Captured {
        /// With the escapes of a terminal.
        colours: bool,
    },
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The module.
    pub module: PathBuf,
    /// What cargo said, warnings among it, where that is captured.
    pub messages: String,
}

/// A build that runs. It ends with this value: dropped, it is cancelled.
#[derive(Debug)]
pub struct Running {
    build: Build,
    toolchain: Toolchain,
    cargo: Cargo,
}

/// The question what a crate is made of, while cargo finds the answer: that may wait for another cargo, or for a
/// registry. It ends with this value: dropped, it is cancelled.
#[derive(Debug)]
pub struct Asking {
    build: Build,
    cargo: Cargo,
}

/// cargo, as long as it runs. It ends with this value.
#[derive(Debug)]
struct Cargo {
    program: PathBuf,
    child: Child,
    cancel: Cancel,
}

/// The way to cancel a build or a question from elsewhere, also from another thread, and also when it is over.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What runs; none when its id may be another's.
    group: Option<Pid>,
    is_cancelled: bool,
}

impl Running {
    pub(crate) fn start(
        build: &Build,
        toolchain: &Toolchain,
        mut cargo: Command,
        has_own_group: bool,
    ) -> Result<Running, BuildError> {
        if let Messages::Captured { colours } = build.where_messages_go() {
            cargo.stderr(Stdio::piped()).env("CARGO_TERM_COLOR", if colours { "always" } else { "never" });
            cargo.env("CARGO_TERM_PROGRESS_WHEN", "never");
        }
        let cargo = Cargo::start(cargo, toolchain, has_own_group)?;
        Ok(Running { build: build.clone(), toolchain: toolchain.clone(), cargo })
    }

    /// What cancels it.
    pub fn cancel(&self) -> Cancel {
        self.cargo.cancel.clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// cargo failed, or it was cancelled.
    pub fn wait(mut self) -> Result<Built, BuildError> {
        let folder = self.build.folder().to_owned();
        let Ended { found: linked, messages, succeeded } = self.cargo.end(&folder, |out| {
            let lines = BufReader::new(out).lines();
            lines.map_while(Result::ok).filter_map(|line| module_in(&line)).last()
        })?;
        if !succeeded {
            let why = self.build.explain(&self.toolchain);
            return Err(why.unwrap_or(BuildError::Failed { folder, messages }));
        }
        let linked = linked.ok_or(BuildError::NoModule { folder })?;
        let finished = self.build.finish(&linked);
        let module = finished.map_err(|source| BuildError::Write { linked, source })?;
        Ok(Built { module, messages })
    }
}

impl Asking {
    pub(crate) fn start(
        build: &Build,
        toolchain: &Toolchain,
        mut cargo: Command,
        has_own_group: bool,
    ) -> Result<Asking, BuildError> {
        cargo.stderr(Stdio::piped());
        let cargo = Cargo::start(cargo, toolchain, has_own_group)?;
        Ok(Asking { build: build.clone(), cargo })
    }

    /// What cancels it.
    pub fn cancel(&self) -> Cancel {
        self.cargo.cancel.clone()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// cargo cannot say, or it was cancelled.
    pub fn wait(mut self) -> Result<Sources, BuildError> {
        let folder = self.build.folder().to_owned();
        let Ended { found: answer, messages, succeeded } = self.cargo.end(&folder, |mut out| {
            let mut answer = Vec::new();
            out.read_to_end(&mut answer).ok().map(|_| answer)
        })?;
        let unknown = |message: String| BuildError::Unknown { folder: folder.clone(), message };
        if !succeeded {
            return Err(unknown(messages.trim().to_owned()));
        }
        let metadata = serde_json::from_slice(&answer.unwrap_or_default());
        let metadata = metadata.map_err(|error| unknown(error.to_string()))?;
        Ok(self.build.sources_in(&metadata))
    }
}

/// What cargo has left.
struct Ended<T> {
    /// What was made of its output.
    found: Option<T>,
    /// What it said, where that is captured.
    messages: String,
    succeeded: bool,
}

impl Cargo {
    fn start(mut cargo: Command, toolchain: &Toolchain, has_own_group: bool) -> Result<Cargo, BuildError> {
        if has_own_group {
            cargo.process_group(0);
        }
        let program = toolchain.cargo.clone();
        match cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
            Ok(child) => {
                let group = has_own_group.then(|| Pid::from_child(&child));
                let cancel = Cancel(Arc::new(Mutex::new(State { group, is_cancelled: false })));
                Ok(Cargo { program, child, cancel })
            }
            Err(source) => Err(BuildError::Run { program, source }),
        }
    }

    /// Reads what it says, and waits for its end.
    fn end<T>(
        &mut self,
        folder: &Path,
        read: impl FnOnce(ChildStdout) -> Option<T>,
    ) -> Result<Ended<T>, BuildError> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (found, messages) = thread::scope(|scope| {
            let messages = scope.spawn(|| read_messages(stderr));
            (stdout.and_then(read), messages.join().unwrap_or_default())
        });
        let status = self.reap();
        let status = status.map_err(|source| BuildError::Run { program: self.program.clone(), source })?;
        if self.cancel.state().is_cancelled {
            return Err(BuildError::Cancelled { folder: folder.to_owned() });
        }
        Ok(Ended { found, messages, succeeded: status.success() })
    }

    /// Waits for it. Its id means nothing from then on.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let mut state = self.cancel.state();
        let status = self.child.wait();
        state.group = None;
        status
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        // Where it was waited for there is nothing to cancel any more.
        self.cancel.now();
        let _ = self.reap();
    }
}

impl Cancel {
    /// Ends cargo and what it started. A build that is over stays what it is.
    pub fn now(&self) {
        let mut state = self.state();
        if let Some(group) = state.group {
            state.is_cancelled = true;
            // It may have ended by itself just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads to the end, so that cargo never waits, and keeps the beginning.
fn read_messages(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stderr) = stderr {
        let _ = stderr.by_ref().take(MAX_MESSAGES).read_to_end(&mut kept);
        let _ = io::copy(&mut stderr, &mut io::sink());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The module that one of cargo's JSON messages reports, if it does.
fn module_in(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}
