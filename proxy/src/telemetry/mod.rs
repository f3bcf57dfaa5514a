//! What an operator can see: metrics and the access log.
//!
//! A leaf: everybody feeds it and it calls nobody. Nothing here does I/O or waits on a worker's thread. Numbers are
//! kept in cells, one a worker and label set, written by that worker alone and summed when somebody asks
//! ([`metrics`]); lines go to a thread of their own ([`access_log`]); and an exchange is reported exactly once, by the
//! guard that it carries ([`report`]).

pub mod access_log;
pub mod metrics;
pub mod report;
mod tcp_report;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

pub use report::{ExchangeReport, Reporter};
pub use tcp_report::TcpReport;

/// A moment that is displayed as RFC 3339 has it, in UTC.
pub(crate) fn timestamp(time: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
