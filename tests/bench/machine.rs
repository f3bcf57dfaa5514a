//! What the run ran on: processor, kernel, date, and how busy each core is while something is measured.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The machine and the moment, as the report names them.
pub(crate) struct Machine {
    /// As the kernel names it: `AMD EPYC`.
    pub(crate) processor: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// `Linux 6.18.44`, and the hypervisor's flag if there is one.
    pub(crate) kernel: String,
    /// In MiB.
    pub(crate) memory_mib: u64,
    /// The day in UTC: `2025-11-21`.
    pub(crate) date: String,
    /// What was built, as git describes it.
    pub(crate) commit: String,
}

impl Machine {
    /// Reads what the kernel says of this machine; what it does not say is `unknown`.
    pub(crate) fn observe() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let virtual_machine =
            cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
        Machine {
            processor: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: format!(
                "Linux {}{}",
                release.trim(),
                if virtual_machine { ", virtual machine" } else { "" }
            ),
            memory_mib: field(&meminfo, "MemTotal").and_then(first_number).unwrap_or(0) / 1024,
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: commit(),
        }
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn commit() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git")
        .current_dir(folder)
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .stderr(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".into(),
    }
}

/// Clock ticks a second in `/proc`: Linux shows 100 to user space on every architecture that anybody benchmarks.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// How many ticks a core has been busy for anybody since boot, time stolen by the hypervisor included.
pub(crate) fn busy_ticks(core: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()))?;
    // user nice system idle iowait irq softirq steal
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().take(8).sum::<u64>() - idle)
}

/// The first line that a program prints when asked for its version, wherever it prints it.
pub(crate) fn version_line(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
