//! What a filter costs: counters of one filter on one worker, read by whoever exports them.
//!
//! One thread writes, so a plain load and store is enough: no locked instruction on the request path.

use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::Callback;
use super::fault::FaultKind;
use super::grants::Capability;
use super::tally::Tally;

/// The counters of one filter on one worker. Written by that worker only; read by any thread.
#[derive(Debug, Default)]
pub struct FilterUsage {
    callbacks: [CallbackCells; Callback::COUNT],
    /// Those of all callbacks.
    instructions: AtomicU64,
    faults: [AtomicU64; FaultKind::COUNT],
    withheld: [AtomicU64; Work::ALL.len()],
    denials: [AtomicU64; Capability::COUNT],
    log_lines_dropped: AtomicU64,
    rebuilds: AtomicU64,
    recycles: AtomicU64,
    policies: AtomicU64,
    breaker_trips: AtomicU64,
    breaker_open: AtomicU64,
    instances: AtomicU64,
    memory_bytes: AtomicU64,
}

/// One callback's counters, which a call writes all of: they are in one line of the cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CallbackCells {
    calls: AtomicU64,
    instructions: AtomicU64,
    nanoseconds: AtomicU64,
    hostcalls: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What a filter's calls of one kind have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallbackCost {
    /// How often the callback entered the guest. One that the guest does not export is not counted.
    pub calls: u64,
    /// Wasm instructions executed.
    pub instructions: u64,
    /// Wall-clock time in the guest and in its hostcalls, in nanoseconds. An instance that has made a few hundred calls
    /// for exchanges measures one in eight of those that follow and counts it eightfold.
    pub nanoseconds: u64,
    /// Calls of the guest into the host, those of its tool chain among them.
    pub hostcalls: u64,
    /// Bytes that the host put into the guest's memory: keys, values, bodies; not the pointers and lengths beside them.
    pub bytes_in: u64,
    /// Bytes that the host took out of it, in the same way.
    pub bytes_out: u64,
}

/// What a filter is called for that can be withheld from it: what has begun goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// An exchange, or a TCP connection, that begins.
    Exchange,
    /// A tick.
    Tick,
    /// An item of a shared queue, which waits there.
    QueueItem,
}

impl Work {
    /// Every kind, in the order of its discriminant.
    pub const ALL: [Work; 3] = [Work::Exchange, Work::Tick, Work::QueueItem];

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Work::Exchange => "exchange",
            Work::Tick => "tick",
            Work::QueueItem => "queue_item",
        }
    }
}

impl FilterUsage {
    /// All zero.
    pub fn new() -> FilterUsage {
        FilterUsage::default()
    }

    /// What calls of this kind have cost.
    pub fn cost(&self, callback: Callback) -> CallbackCost {
        let cells = &self.callbacks[callback as usize];
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        CallbackCost {
            calls: read(&cells.calls),
            instructions: read(&cells.instructions),
            nanoseconds: read(&cells.nanoseconds),
            hostcalls: read(&cells.hostcalls),
            bytes_in: read(&cells.bytes_in),
            bytes_out: read(&cells.bytes_out),
        }
    }

    /// How often a callback entered the guest.
    pub fn calls(&self, callback: Callback) -> u64 {
        self.cost(callback).calls
    }

    /// Wasm instructions executed, in all callbacks.
    pub fn instructions(&self) -> u64 {
        self.instructions.load(Ordering::Relaxed)
    }

    /// How often work was withheld from the filter because it was over its rate of instructions.
    pub fn withheld(&self, work: Work) -> u64 {
        self.withheld[work as usize].load(Ordering::Relaxed)
    }

    /// How often the filter failed in this way.
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize].load(Ordering::Relaxed)
    }

    /// How often the filter was denied something of this.
    pub fn denials(&self, capability: Capability) -> u64 {
        self.denials[capability as usize].load(Ordering::Relaxed)
    }

    /// Log lines beyond the filter's budget.
    pub fn log_lines_dropped(&self) -> u64 {
        self.log_lines_dropped.load(Ordering::Relaxed)
    }

    /// Instances made in place of failed ones.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Instances that the filter runs in: one, as many as exchanges have one of their own, none since a fault.
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
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

    /// Counts an instance that the filter begins to run in.
    pub(crate) fn record_instance(&self) {
        add(&self.instances, 1);
    }

    /// The same of one that has gone.
    pub(crate) fn record_instance_gone(&self) {
        add(&self.instances, 1_u64.wrapping_neg());
    }

    /// Notes that an instance has so much memory, in bytes, and how much it had before.
    pub(crate) fn record_memory(&self, before: usize, now: usize) {
        add(&self.memory_bytes, (now as u64).wrapping_sub(before as u64));
    }

    /// Counts work that was withheld from the filter because it was over its rate of instructions.
    pub fn record_withheld(&self, work: Work) {
        add(&self.withheld[work as usize], 1);
    }

    pub(crate) fn record_call(&self, callback: Callback, instructions: u64, nanoseconds: u64, passed: Tally) {
        let cells = &self.callbacks[callback as usize];
        add(&cells.calls, 1);
        add(&cells.instructions, instructions);
        add(&cells.nanoseconds, nanoseconds);
        add(&cells.hostcalls, passed.hostcalls);
        add(&cells.bytes_in, passed.bytes_in);
        add(&cells.bytes_out, passed.bytes_out);
        add(&self.instructions, instructions);
    }

    pub(crate) fn record_fault(&self, kind: FaultKind) {
        add(&self.faults[kind as usize], 1);
    }

    pub(crate) fn record_denial(&self, capability: Capability) {
        add(&self.denials[capability as usize], 1);
    }

    pub(crate) fn record_dropped_log_line(&self) {
        add(&self.log_lines_dropped, 1);
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
