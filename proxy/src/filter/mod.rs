//! The chain of filters: what happens to an exchange between its route and its upstream.
//!
//! ```text
//!   request   head ─ body ─ trailers ──▶ filter 0 ─▶ filter 1 ─▶ … ─▶ upstream
//!   client  ◀── filter 0 ◀─ filter 1 ◀─ … ◀────────── head ─ body ─ trailers   response
//! ```
//!
//! [`Chain`] is a listener's filters on one worker, [`Instance`] one of them; a `Slot` is the
//! guest that it runs in, alone or with others.
//! [`Run`] is one exchange's way through a chain, and a `Flow` one direction of it: a state machine
//! that is pushed events and never waits. Waiting is done by [`FlowBody`], which a task polls. A TCP connection takes
//! the same way with what it has: [`Opening`], and a [`DataFlow`] for each direction.
//! A filter may have a second version beside it, a [`Split`]: each exchange has one of the two, or the second is shown a
//! copy of it as a `Shadow`, in a run of its own. On a route a filter may be left out, or another instance with the route's
//! configuration: a [`Way`].
//!
//! This module knows no sockets: what a guest asks for that takes time leaves through [`Performer`].

mod body;
mod breaker;
mod data;
mod flow;
mod holding;
mod instance;
mod interrupt;
mod meter;
mod rate;
mod run;
mod shadow;
mod singles;
mod slot;
mod trial;
mod ways;

pub use body::{FlowBody, FlowError, HeadError};
pub use data::{DataFlow, Opening};
pub use instance::{Chain, Instance, Performer};
pub use interrupt::Interrupt;
pub use meter::Meter;
pub use run::Run;
pub use shadow::Mute;
pub use trial::Split;
pub use ways::{Change, Guide, Way};
