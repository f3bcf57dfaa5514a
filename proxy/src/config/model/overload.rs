//! What the proxy may use before it refuses work to keep going.

use std::time::Duration;

use super::Percent;

/// What the proxy may use, all listeners and workers together. Nothing that is `None` is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    /// Its memory.
    pub memory: Option<MemoryTerms>,
    /// HTTP requests under way; more are refused.
    pub requests: Option<usize>,
    /// Connections from clients; more are closed at once.
    pub connections: Option<usize>,
    /// A worker that gets round to what is due so much later, again and again, refuses requests.
    pub lag: Option<Duration>,
    /// When clients may come again: whole seconds.
    pub retry_after: Duration,
}

/// At which shares of the memory that there is something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryTerms {
    /// How much the process may have, in bytes; `None` is what its control groups, or the machine, let it have.
    pub limit: Option<u64>,
    /// From here on no connection is kept without use.
    pub relieve: Percent,
    /// From here on requests are refused. Not below `relieve`.
    pub shed: Percent,
    /// From here on connections are refused. Not below `shed`.
    pub refuse: Percent,
}
