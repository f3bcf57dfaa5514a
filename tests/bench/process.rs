//! A process pinned to a core: started, asked for its CPU time and memory, stopped.
//!
//! CPU time is the kernel's own account of every process and thread that the started one has become. The total is the
//! scheduler's, in nanoseconds (`/proc/PID/task/*/schedstat`). How it divides into user and system time is what the
//! clock tick saw (`/proc/PID/stat`, some hundred samples a second), so the parts are estimates and the total is not.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::machine::TICKS_PER_SECOND;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A process that runs on one core only, and ends with this value or with the benchmark, whichever is first.
pub(crate) struct Pinned {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

/// CPU time used since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    /// Nanoseconds, user and system together.
    pub(crate) total_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// Memory in KiB, of the process and its children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident; pages shared by two of the processes count twice.
    pub(crate) rss_kib: u64,
    /// Resident; a shared page counts once.
    pub(crate) pss_kib: u64,
}

impl Pinned {
    /// Starts `program` on `core`; what it prints goes to `log`.
    pub(crate) fn start(
        name: &'static str,
        core: usize,
        program: &Path,
        arguments: &[&str],
        log: PathBuf,
    ) -> anyhow::Result<Pinned> {
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = Command::new("setpriv")
            // Each of these becomes the next one in the same process.
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &core.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name} through setpriv and taskset (util-linux)"))?;
        Ok(Pinned { child, name, log })
    }

    /// Waits until something accepts connections at `address`.
    pub(crate) fn wait_for(&mut self, address: SocketAddr, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while std::net::TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it listened:\n{}", self.name, self.log_tail());
            }
            ensure!(Instant::now() < deadline, "{} does not listen:\n{}", self.name, self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// CPU time so far. An error when a process has ended, or when its threads have come and gone so much that the two
    /// accounts disagree.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        let mut time = CpuTime::default();
        for pid in family(self.child.id()) {
            let (user, system) =
                ticks(pid).with_context(|| format!("{} is gone: {}", self.name, self.log_tail()))?;
            time.user_ticks += user;
            time.system_ticks += system;
            time.total_ns += run_time_ns(pid).context("the kernel keeps no schedstat")?;
        }
        Ok(time)
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut memory = Memory::default();
        for pid in family(self.child.id()) {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
                .with_context(|| format!("cannot read the memory of {}", self.name))?;
            memory.rss_kib += kib(&rollup, "Rss:").context("smaps_rollup without Rss")?;
            memory.pss_kib += kib(&rollup, "Pss:").context("smaps_rollup without Pss")?;
        }
        Ok(memory)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // nginx's master must be asked, or its worker stays behind.
        let asked =
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + GRACE;
        while asked.is_ok() && Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        eprintln!("bench: {} does not end when asked to; killing it", self.name);
        for pid in family(self.child.id()) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

impl CpuTime {
    /// What was used since `earlier`, as total, user and system seconds.
    pub(crate) fn since(&self, earlier: &CpuTime) -> anyhow::Result<Used> {
        let total =
            self.total_ns.checked_sub(earlier.total_ns).context("a thread ended while it was measured")?;
        let user = self.user_ticks.saturating_sub(earlier.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(earlier.system_ticks) as f64;
        let (total, ticked) = (total as f64 / 1e9, (user + system) / TICKS_PER_SECOND);
        // Each of the four readings is rounded down to a tick, and a thread that ended would be missing in `total`.
        ensure!(
            (total - ticked).abs() <= 0.05 + 0.02 * total,
            "the scheduler says {total:.3} s of CPU time and the process's own account {ticked:.3} s"
        );
        let share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        Ok(Used { total, user: total * share, system: total * (1.0 - share) })
    }
}

/// CPU time in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) total: f64,
    pub(crate) user: f64,
    pub(crate) system: f64,
}

/// The process and all that it started.
fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    pids
}

fn tasks(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))
}

fn run_time_ns(pid: u32) -> Option<u64> {
    tasks(pid)
        .map(|task| fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// User and system time: the fields 14 and 15 of `/proc/PID/stat`, counted after the name, which may hold spaces.
fn ticks(pid: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kib(rollup: &str, name: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
