//! The process as the kernel sees it, under the names that every Prometheus client uses.
//!
//! Read from `/proc/self` at each scrape; what the system does not offer is left out.

use std::fmt;
use std::fs;

use super::page::Page;

/// Ticks in a second of the times in `/proc/PID/stat`: `USER_HZ`, which Linux fixes at 100 towards user space on
/// every architecture that this builds for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn write(page: &mut Page<'_>) -> fmt::Result {
    let stat = Stat::read();
    if let Some(seconds) = stat.as_ref().and_then(Stat::cpu_seconds) {
        page.counter("process_cpu_seconds_total", "User and system CPU time.")?.sample(&[], seconds)?;
    }
    if let Some(seconds) = stat.as_ref().and_then(Stat::start_seconds) {
        page.gauge("process_start_time_seconds", "When the process began, since the Unix epoch.")?
            .sample(&[], seconds)?;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let levels = [
        ("process_resident_memory_bytes", "Resident memory.", kibibytes(&status, "VmRSS:")),
        ("process_virtual_memory_bytes", "Virtual memory.", kibibytes(&status, "VmSize:")),
        ("process_threads", "Threads.", field(&status, "Threads:")),
        ("process_open_fds", "Open file descriptors.", open_files()),
        ("process_max_fds", "Limit of open file descriptors.", max_files()),
    ];
    for (name, help, level) in levels {
        if let Some(level) = level {
            page.gauge(name, help)?.sample(&[], level)?;
        }
    }
    Ok(())
}

/// `/proc/self/stat` from its third field on: the second is a name in parentheses that may contain anything.
struct Stat(String);

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let after_name = text.rfind(')')? + 1;
        Some(Stat(text[after_name..].to_owned()))
    }

    /// A field in seconds, by its number in proc(5).
    fn seconds(&self, number: usize) -> Option<f64> {
        let ticks: f64 = self.0.split_ascii_whitespace().nth(number - 3)?.parse().ok()?;
        Some(ticks / TICKS_PER_SECOND)
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some(self.seconds(14)? + self.seconds(15)?)
    }

    fn start_seconds(&self) -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = field(&system, "btime ")?;
        Some(boot as f64 + self.seconds(22)?)
    }
}

/// The first number after `key` at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    field(status, key).map(|kib| kib * 1024)
}

/// One less than there are entries: reading the folder opens it.
fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    Some((entries as u64).saturating_sub(1))
}

/// The soft limit; `unlimited` is left out.
fn max_files() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}
