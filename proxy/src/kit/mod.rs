//! The test kit: a built filter in the pipeline that the proxy serves with, in a world that the test controls.
//!
//! `tidegate-test` shows this to the authors of filters, and its documentation says what is real here and what is not;
//! [`cases`](crate::cases) runs cases from files on it.
//!
//! In the order in which one would read it: [`Module`] is the code, [`Setup`] its configuration and surroundings, [`Kit`]
//! the filter on its workers, [`Exchange`] one exchange under way (`drive` takes it through the chain, `feed` is a body
//! that the test gives piece by piece), [`Seen`] what became of it. `cluster` has the services that a filter calls,
//! `world` clock, randomness and log, `panics` what to do when a test's own closure panics, `chunking` one exchange in every
//! division of its bodies.
//!
//! It must know no sockets and no real time, and nothing that the proxy serves with may know it.

mod chunking;
mod cluster;
mod drive;
mod exchange;
mod feed;
mod message;
mod metrics;
mod module;
mod panics;
mod running;
mod seen;
mod setup;
mod usage;
mod world;

pub use cluster::{Answer, Call};
pub use exchange::Exchange;
pub use message::{Request, Response};
pub use metrics::Histogram;
pub use module::Module;
pub use running::Kit;
pub use seen::{Forwarded, Outcome, Received, Seen};
pub use setup::{Refused, Setup};
pub use world::LogLine;

pub(crate) use running::Stuck;
pub(crate) use usage::Usage;

pub use crate::config::model::FilterLimits;
pub use crate::error::Failure;
pub use crate::wasm::stream::{Certificate, Tls};
pub use crate::wasm::{Callback, Fault, FaultKind, LogLevel};
