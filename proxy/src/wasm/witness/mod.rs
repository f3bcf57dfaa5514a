//! Who watches an instance: a [`Witness`] is told of each call into it, with all that went in and came out.
//!
//! An instance that nobody watches pays one comparison for each call of either side. One that is watched is measured and
//! copied at every step; it never waits, and what is done with a step is the witness's own business.
//!
//! A witness may also answer for the world: what the guest asks of time, randomness and data that others share is then
//! taken from a tape, in so far as it is on it. That is how a recording is replayed.

mod blob;
mod facts;
mod recorder;
mod sight;
mod step;
mod tape;
mod weight;

pub use blob::{Blob, Fields, Value};
pub(crate) use facts::{Word, listed};
pub(crate) use recorder::{Recorder, Watching, watch};
pub(crate) use sight::{header_map, progress};
pub use step::{
    Beginning, Callout, Change, End, Facts, Grpc, GuestCall, Hostcall, Info, Level, Line, Op, Piece, Request,
    Response, Side, Step, StreamChange,
};
pub(crate) use tape::is_of_world;

/// Watches instances of one filter, on all workers.
pub trait Witness: Send + Sync {
    /// An instance begins. The number that it is called by from now on.
    fn begin(&self, beginning: Beginning) -> u64;

    /// A step of this instance has ended.
    fn see(&self, instance: u64, step: Step);

    /// An instance has gone: it has no more steps.
    fn end(&self, instance: u64) {
        let _ = instance;
    }

    /// A step of this instance holds more than is kept of one, for this reason. Nothing more is told of the instance, this
    /// step included, but that it ends.
    fn give_up(&self, instance: u64, reason: &'static str) {
        let _ = (instance, reason);
    }

    /// What the step that begins is to be answered with, in order, where what it asks depends on the world; none where
    /// the world answers.
    fn tape(&self, instance: u64) -> Option<Vec<Hostcall>> {
        let _ = instance;
        None
    }
}
