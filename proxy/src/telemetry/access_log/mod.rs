//! The access log: one line of JSON for each exchange, for listeners that ask for it.
//!
//! An [`Entry`] gathers the facts while the exchange goes on, by cheap clones of what the request holds anyway; when
//! the exchange ends it becomes a line in the worker's [`Lane`]; a thread of its own writes the lanes out. A worker
//! never waits for whoever reads the log: what does not fit into its lane is dropped and counted.

mod entry;
mod writer;

pub use entry::{Ending, Entry};
pub use writer::{AccessLog, Lane};
