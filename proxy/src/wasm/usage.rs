//! What a filter costs: counters of one filter on one worker, read by whoever exports them.
//!
//! One thread writes, so a plain load and store is enough: no locked instruction on the request path.

use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::Callback;
use super::fault::FaultKind;

/// The counters of one filter on one worker. Written by that worker only; read by any thread.
#[derive(Debug, Default)]
pub struct FilterUsage {
    calls: [AtomicU64; Callback::COUNT],
    faults: [AtomicU64; FaultKind::COUNT],
    instructions: [AtomicU64; Callback::COUNT],
    nanoseconds: AtomicU64,
    log_lines_dropped: AtomicU64,
    rebuilds: AtomicU64,
    recycles: AtomicU64,
    policies: AtomicU64,
    breaker_trips: AtomicU64,
    breaker_open: AtomicU64,
    memory_bytes: AtomicU64,
}

impl FilterUsage {
    /// All zero.
    pub fn new() -> FilterUsage {
        FilterUsage::default()
    }

    /// How often a callback entered the guest. A callback that the guest does not export is not counted.
    pub fn calls(&self, callback: Callback) -> u64 {
        self.calls[callback as usize].load(Ordering::Relaxed)
    }

    /// How often the filter failed in this way.
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize].load(Ordering::Relaxed)
    }

    /// Wasm instructions executed.
    pub fn instructions(&self) -> u64 {
        self.instructions.iter().map(|cell| cell.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Wasm instructions executed in a callback.
    pub fn instructions_in(&self, callback: Callback) -> u64 {
        self.instructions[callback as usize].load(Ordering::Relaxed)
    }

    /// Wall-clock time in the guest and in its hostcalls, in nanoseconds. An instance that has made a few hundred calls
    /// for exchanges measures one in eight of those that follow and counts it eightfold.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }

    /// Log lines beyond the filter's budget.
    pub fn log_lines_dropped(&self) -> u64 {
        self.log_lines_dropped.load(Ordering::Relaxed)
    }

    /// Instances made in place of failed ones.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Linear memory of the instances alive, in bytes; 0 while there is none.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Instances made in place of ones that had served long enough.
    pub fn recycles(&self) -> u64 {
        self.recycles.load(Ordering::Relaxed)
    }

    /// Exchanges on which the filter failed or could not be called, so that its `on_fault` said what became of them.
    pub fn policies(&self) -> u64 {
        self.policies.load(Ordering::Relaxed)
    }

    /// How often the filter began to be left alone, because it did nothing but fail.
    pub fn breaker_trips(&self) -> u64 {
        self.breaker_trips.load(Ordering::Relaxed)
    }

    /// Whether it is left alone now.
    pub fn is_breaker_open(&self) -> bool {
        self.breaker_open.load(Ordering::Relaxed) != 0
    }

    /// Counts an instance that was made in place of one that had served long enough.
    pub fn record_recycle(&self) {
        add(&self.recycles, 1);
    }

    /// Counts an exchange that `on_fault` was applied to.
    pub fn record_policy(&self) {
        add(&self.policies, 1);
    }

    /// Notes whether the filter is left alone.
    pub fn record_breaker(&self, is_open: bool) {
        if is_open != self.is_breaker_open() {
            self.breaker_open.store(u64::from(is_open), Ordering::Relaxed);
            add(&self.breaker_trips, u64::from(is_open));
        }
    }

    /// Counts an instance that was made in place of a failed one.
    pub fn record_rebuild(&self) {
        add(&self.rebuilds, 1);
    }

    /// Notes that an instance has so much memory, in bytes, and how much it had before.
    pub(crate) fn record_memory(&self, before: usize, now: usize) {
        add(&self.memory_bytes, (now as u64).wrapping_sub(before as u64));
    }

    pub(crate) fn record_call(&self, callback: Callback, instructions: u64, nanoseconds: u64) {
        add(&self.calls[callback as usize], 1);
        add(&self.instructions[callback as usize], instructions);
        add(&self.nanoseconds, nanoseconds);
    }

    pub(crate) fn record_fault(&self, kind: FaultKind) {
        add(&self.faults[kind as usize], 1);
    }

    pub(crate) fn record_dropped_log_line(&self) {
        add(&self.log_lines_dropped, 1);
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
