//! What a guest, or what became of it, means for the flow of an exchange.

use std::sync::Arc;

use crate::wasm::FaultKind;
use crate::wasm::stream::{Direction, LocalReply, StreamAction};

/// What ends an exchange's ordinary way, before it is answered from upstream or while it is.
#[derive(Debug)]
pub enum Interrupt {
    /// A guest answers by itself.
    Reply {
        /// The filter's name.
        filter: Arc<str>,
        /// Its answer.
        reply: Box<LocalReply>,
    },
    /// A guest closed the stream.
    Close {
        /// The filter's name.
        filter: Arc<str>,
    },
    /// A filter failed and its policy is to close.
    Fault {
        /// The filter's name.
        filter: Arc<str>,
        /// How it failed.
        kind: FaultKind,
    },
    /// The exchange began while a filter was over its rate, and the policy for that is to close.
    OverRate {
        /// The filter's name.
        filter: Arc<str>,
    },
    /// A filter held more of this direction's body than it may.
    BodyTooLarge(Direction),
}

/// What a guest wants of a direction while it takes part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To go on where it paused.
    Resume,
    /// To put bytes into it.
    Inject,
}

impl Wish {
    pub(super) fn of(action: &StreamAction, direction: Direction) -> Option<Wish> {
        match action {
            StreamAction::Resume(resumed) if *resumed == direction => Some(Wish::Resume),
            StreamAction::Inject if direction == Direction::Response => Some(Wish::Inject),
            _ => None,
        }
    }
}
