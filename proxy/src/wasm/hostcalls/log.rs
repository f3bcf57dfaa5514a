//! Logs: a guest's lines go whole to the log that its instance was given; what is beyond the filter's budget is dropped
//! and counted.

use std::time::{Duration, Instant};

use super::{Call, Outcome};
use crate::config::model::LogFloor;
use crate::wasm::abi::{Callback, LogLevel};
use crate::wasm::host::Host;
use crate::wasm::memory::{check, slice, store_u32, view};

/// The most that is kept of a line that says why a configuration is refused, in bytes.
const MAX_COMPLAINT: usize = 4 << 10;

/// `proxy_log` (0.1.0): writes a line to the process's log, whole, with the filter's name. Levels are 0 trace, 1 debug,
/// 2 info, 3 warn, 4 error, 5 critical, which the log has as an error. A line below the log's level, or below the
/// filter's `capabilities.log`, is dropped, and so
/// is one beyond the filter's `limits.log_bytes` in this second, which is counted; bytes that are not UTF-8 become
/// U+FFFD.
///
/// - `BadArgument`: the level is none.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn log(call: &mut Call<'_>, level: u32, message: u32, message_len: u32) -> Outcome {
    let level = LogLevel::try_from(level)?;
    let (memory, host) = view(call)?;
    write_line(host, level, slice(memory, message, message_len)?);
    Ok(())
}

/// `proxy_get_log_level` (0.2.1): writes the lowest level at which a guest's line is kept to `level`, as a 32-bit
/// number.
///
/// - `InvalidMemoryAccess`: `level` is not of the guest's memory.
pub(crate) fn log_level(call: &mut Call<'_>, level: u32) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, level, 4)?;
    store_u32(memory, level, current_level(host) as u32)?;
    Ok(())
}

/// The lowest level at which a guest's line is written.
pub(crate) fn current_level(host: &Host) -> LogLevel {
    let taken = match host.log_floor() {
        LogFloor::Trace => LogLevel::Trace,
        LogFloor::Debug => LogLevel::Debug,
        LogFloor::Info => LogLevel::Info,
        LogFloor::Warn => LogLevel::Warn,
        LogFloor::Error => LogLevel::Error,
        LogFloor::Critical | LogFloor::None => LogLevel::Critical,
    };
    let kept = host.services.log.level();
    if taken as u32 > kept as u32 { taken } else { kept }
}

/// Writes a guest's line. Bytes that are not UTF-8 show as U+FFFD.
pub(crate) fn write_line(host: &mut Host, level: LogLevel, line: &[u8]) {
    if let Some(recorder) = &mut host.recorder {
        recorder.note_line(level, line);
    }
    let configures = matches!(host.current.callback, Callback::VmStart | Callback::Configure);
    if configures && level as u32 >= LogLevel::Error as u32 {
        let complaint = String::from_utf8_lossy(&line[..line.len().min(MAX_COMPLAINT)]).into_owned();
        host.root_mut().complaint = Some(complaint);
    }
    if is_kept(host, level) && admit(host, line.len()) {
        host.services.log.line(&host.root().filter.name, level, &String::from_utf8_lossy(line));
    }
}

/// Whether lines of a level are written. The log knows none beyond `error`.
fn is_kept(host: &Host, level: LogLevel) -> bool {
    let kept = if level == LogLevel::Critical { LogLevel::Error } else { level };
    kept as u32 >= host.services.log.level() as u32 && level as u32 >= host.log_floor() as u32
}

/// Whether the budget has room for a line of this length, in bytes.
fn admit(host: &mut Host, len: usize) -> bool {
    let now = host.services.clock.monotonic();
    let root = host.root_mut();
    let admission = root.allowance.log.borrow_mut().take(len, now);
    if !admission.admitted {
        root.usage.record_dropped_log_line();
    }
    if admission.dropped_before > 0 {
        host.services.log.dropped(&host.root().filter.name, admission.dropped_before);
    }
    admission.admitted
}

/// How much one instance may log in a second.
#[derive(Debug)]
pub(crate) struct LogBudget {
    bytes_per_second: usize,
    window: Option<Instant>,
    used: usize,
    dropped: u64,
}

/// What became of a line, and how many were dropped in the second before.
#[derive(Debug, PartialEq, Eq)]
struct Admission {
    admitted: bool,
    dropped_before: u64,
}

impl LogBudget {
    pub(crate) fn new(bytes_per_second: usize) -> LogBudget {
        LogBudget { bytes_per_second, window: None, used: 0, dropped: 0 }
    }

    fn take(&mut self, len: usize, now: Instant) -> Admission {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(1);
        let mut dropped_before = 0;
        if self.window.is_none_or(is_over) {
            self.window = Some(now);
            self.used = 0;
            dropped_before = std::mem::take(&mut self.dropped);
        }
        // An empty line costs something too.
        let used = self.used.saturating_add(len.max(1));
        let admitted = used <= self.bytes_per_second;
        if admitted {
            self.used = used;
        } else {
            self.dropped += 1;
        }
        Admission { admitted, dropped_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_log_as_many_bytes_a_second_as_its_budget_says() {
        let start = Instant::now();
        let mut budget = LogBudget::new(10);
        assert_eq!(budget.take(6, start), Admission { admitted: true, dropped_before: 0 });
        assert_eq!(budget.take(6, start), Admission { admitted: false, dropped_before: 0 });
        assert_eq!(budget.take(4, start), Admission { admitted: true, dropped_before: 0 });
        let later = start + Duration::from_secs(1);
        assert_eq!(budget.take(10, later), Admission { admitted: true, dropped_before: 1 });
    }
}
