//! What the demonstration starts, each in a process group of its own so that Ctrl-C reaches the demonstration alone,
//! which ends the others in order.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// For the proxy to compile and start its filters.
const START_LIMIT: Duration = Duration::from_secs(120);
/// For it to end; more than its own `drain_timeout`.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks at whether it has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// A service, until this is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Starts a service; port 0 gets a free one.
    pub(crate) fn start(name: &str, address: SocketAddr) -> anyhow::Result<Service> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["service", name]).arg(address.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| anyhow!("{name} did not start"))?;
        Ok(Service { child, address })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The proxy. Dropped without [`Proxy::stop`] it is killed.
pub(crate) struct Proxy {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    log: Receiver<String>,
    access_log: Receiver<String>,
}

impl Proxy {
    /// Starts it and waits until it serves.
    pub(crate) fn start(configuration: &Path) -> anyhow::Result<Proxy> {
        let mut command = Command::new(beside_this("tidegate")?);
        command.args(["--log-format", "json", "run"]).arg(configuration);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().context("cannot start tidegate")?;
        let log = lines(child.stderr.take());
        let access_log = lines(child.stdout.take());
        let mut proxy = Proxy { child, addresses: HashMap::new(), log, access_log };
        proxy.wait_until_ready()?;
        Ok(proxy)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let line = match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("tidegate was not ready within {START_LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("tidegate did not start"),
            };
            let event = event(&line);
            match event.get("message").and_then(Value::as_str) {
                Some("ready") => return Ok(()),
                Some("listening") => {
                    let text = |field: &str| event[field].as_str().unwrap_or_default();
                    let address = text("address").parse().context("tidegate names no address")?;
                    self.addresses.insert(text("listener").to_owned(), address);
                }
                _ => pass_on(&line),
            }
        }
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        self.addresses.get(listener).copied().with_context(|| format!("tidegate has no listener {listener}"))
    }

    /// The next line of its access log within `limit`.
    pub(crate) fn next_exchange(&self, limit: Duration) -> Option<String> {
        self.access_log.recv_timeout(limit).ok()
    }

    /// Shows what it has to complain about.
    pub(crate) fn show_complaints(&self) {
        self.log.try_iter().for_each(|line| pass_on(&line));
    }

    /// Whether it ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Tells it to end and waits for it to do so: requests in flight end first.
    pub(crate) fn stop(mut self) -> anyhow::Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("tidegate has no process id")?, Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            self.show_complaints();
            if let Some(status) = self.has_ended()? {
                return Ok(status);
            }
            thread::sleep(LOOK_PERIOD);
        }
        bail!("tidegate did not end within {STOP_LIMIT:?}")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that was built with this one, and is beside it.
fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not built: run `make demo`", path.display());
    }
    Ok(path)
}

/// The lines of a pipe as they come, read by a thread of their own so that nobody who writes has to wait.
fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

/// Shows a line of the proxy's log to the user: of its events only those that somebody should look at.
fn pass_on(line: &str) {
    match event(line)["level"].as_str() {
        Some("ERROR" | "WARN") | None => eprintln!("{line}"),
        Some(_) => {}
    }
}
