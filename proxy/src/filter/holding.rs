//! What a guest wishes of a direction, and what is held for it.

use super::interrupt::Wish;
use super::run::Run;
use crate::wasm::stream::{BodyBuffer, Direction, Injection, StreamAction};

impl Run {
    /// The first wish of any guest, and whose it is.
    pub(super) fn take_wish(&self, direction: Direction) -> Option<(usize, Wish)> {
        let mut stream = self.stream().borrow_mut();
        let (stage, action) =
            stream.take_action(|_, action: &StreamAction| Wish::of(action, direction).is_some())?;
        Some((stage, Wish::of(&action, direction)?))
    }

    /// The first wish of one guest.
    pub(super) fn take_wish_of(&self, stage: usize, direction: Direction) -> Option<Wish> {
        let mut stream = self.stream().borrow_mut();
        let wanted = |by, action: &StreamAction| by == stage && Wish::of(action, direction).is_some();
        let (_, action) = stream.take_action(wanted)?;
        Wish::of(&action, direction)
    }

    /// A resume from before this callback was for something that had gone on already.
    pub(super) fn forget_resume_of(&self, stage: usize, direction: Direction) {
        let is_resume =
            |by, action: &StreamAction| by == stage && Wish::of(action, direction) == Some(Wish::Resume);
        while self.stream().borrow_mut().take_action(is_resume).is_some() {}
    }

    pub(super) fn take_injection(&self, stage: usize) -> Injection {
        std::mem::take(&mut self.stream().borrow_mut().stages[stage].injection)
    }

    /// Shows a piece of a body, or of a connection's data, behind what is held.
    pub(super) fn show_body(&self, stage: usize, direction: Direction, data: BodyBuffer) {
        self.body_mut(stage, direction, |body| body.join(data));
    }

    pub(super) fn take_body(&self, stage: usize, direction: Direction) -> BodyBuffer {
        self.body_mut(stage, direction, std::mem::take)
    }

    pub(super) fn body_len(&self, stage: usize, direction: Direction) -> usize {
        self.body_mut(stage, direction, |body| body.len())
    }

    fn body_mut<R>(&self, stage: usize, direction: Direction, work: impl FnOnce(&mut BodyBuffer) -> R) -> R {
        work(self.stream().borrow_mut().stages[stage].body_mut(direction))
    }

    pub(super) fn has_trailers(&self, direction: Direction) -> bool {
        self.stream().borrow().trailers(direction).is_some()
    }
}
