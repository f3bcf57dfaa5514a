//! What passes between a guest and the host during one call: how many hostcalls, how many bytes.
//!
//! A hostcall has the guest's memory and the host's state side by side and hands on the one without the other, so these
//! counts are the thread's: a guest runs on one thread from its call to its return, and no guest calls another. Each is
//! an add to a plain number in the thread's own memory.

use std::cell::Cell;

/// What passed during one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls of the guest into the host, those of its tool chain and of its allocator among them.
    pub(crate) hostcalls: u64,
    /// Bytes that the host took out of the guest's memory: keys, values, bodies, log lines; not the pointers and
    /// lengths that say where they are.
    pub(crate) bytes_out: u64,
    /// Bytes that the host put into it, in the same way.
    pub(crate) bytes_in: u64,
}

thread_local! {
    static HOSTCALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES_OUT: Cell<u64> = const { Cell::new(0) };
    static BYTES_IN: Cell<u64> = const { Cell::new(0) };
}

/// A hostcall begins.
#[inline]
pub(crate) fn hostcall() {
    HOSTCALLS.set(HOSTCALLS.get() + 1);
}

/// So many bytes came out of the guest's memory.
#[inline]
pub(crate) fn bytes_out(count: u32) {
    BYTES_OUT.set(BYTES_OUT.get() + u64::from(count));
}

/// So many bytes went into it.
#[inline]
pub(crate) fn bytes_in(count: u32) {
    BYTES_IN.set(BYTES_IN.get() + u64::from(count));
}

/// What has passed on this thread since this was last asked.
pub(crate) fn take() -> Tally {
    Tally { hostcalls: HOSTCALLS.take(), bytes_out: BYTES_OUT.take(), bytes_in: BYTES_IN.take() }
}
