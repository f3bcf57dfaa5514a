//! A guest that does whatever it is told to its host, and a host that has to bear it.
//!
//! [`run`] takes any bytes for a [`Script`]: which hostcalls to make, in which callbacks, with which arguments, and what
//! the guest's allocator and its answers are like. The module is compiled once and carries the script out of its
//! configuration, so that a run costs no compiler. The fuzzer (`make fuzz`) and a property test call the same function.

mod module;
mod script;
mod surroundings;

pub use script::{Allocator, On, Script};
pub use surroundings::run;
