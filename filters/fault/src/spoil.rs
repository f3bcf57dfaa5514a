//! What is done to the bytes of a response: its end left out, bits of it changed. Knows no host.

use vocabulary::Percent;

use crate::config::Then;

/// The most bits that are changed in one piece: it must not cost a callback's budget.
const MOST_FLIPS: usize = 10_000;

/// Leaves out the end of one body.
#[derive(Debug)]
pub(crate) struct Truncation {
    /// How much more may pass.
    left: usize,
    then: Then,
    /// Something was left out.
    is_short: bool,
}

/// What becomes of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It passes.
    Whole,
    /// So many bytes of it pass.
    Beginning(usize),
    /// The connection is cut before it.
    Cut,
}

impl Truncation {
    pub(crate) fn new(after: usize, then: Then) -> Truncation {
        Truncation { left: after, then, is_short: false }
    }

    /// Whether the announced length will not be true, although the response ends in order.
    pub(crate) fn hides_length(&self) -> bool {
        self.then == Then::End
    }

    /// Whether something was left out, of a body that is to be cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_short && self.then == Then::Cut
    }

    /// Takes a piece of `len` bytes. The connection is cut where the next piece would be, so that what came before is on
    /// its way; in the last piece there and then.
    pub(crate) fn take(&mut self, len: usize, last: bool) -> Piece {
        if self.is_cut() {
            return Piece::Cut;
        }
        let beginning = len.min(self.left);
        self.left -= beginning;
        if beginning == len {
            return Piece::Whole;
        }
        self.is_short = true;
        if last && self.then == Then::Cut { Piece::Cut } else { Piece::Beginning(beginning) }
    }
}

/// Changes bits of one body.
#[derive(Debug)]
pub(crate) struct Corruption {
    share: Percent,
    /// Something was changed.
    is_corrupt: bool,
}

impl Corruption {
    pub(crate) fn new(share: Percent) -> Corruption {
        Corruption { share, is_corrupt: false }
    }

    /// Changes a piece. `throw` gives a number below its argument, evenly spread.
    pub(crate) fn spoil(&mut self, bytes: &mut [u8], mut throw: impl FnMut(u64) -> u64) {
        let (flips, rest) = self.share.share_of(bytes.len());
        let chance = rest > 0 && throw(Percent::PARTS.into()) < rest.into();
        let least = usize::from(!self.is_corrupt && !bytes.is_empty());
        for _ in 0..(flips + usize::from(chance)).clamp(least, MOST_FLIPS) {
            let at = throw(bytes.len() as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << throw(8);
                self.is_corrupt = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_ends_early_is_short_and_ends() {
        let mut truncation = Truncation::new(5, Then::End);
        let pieces =
            [(3, false), (4, false), (2, false), (0, true)].map(|(len, last)| truncation.take(len, last));
        assert_eq!(pieces, [Piece::Whole, Piece::Beginning(2), Piece::Beginning(0), Piece::Whole]);
    }

    #[test]
    fn a_body_is_cut_where_the_piece_after_its_beginning_would_be() {
        let mut truncation = Truncation::new(5, Then::Cut);
        let pieces = [(3, false), (4, false), (2, true)].map(|(len, last)| truncation.take(len, last));
        assert_eq!(pieces, [Piece::Whole, Piece::Beginning(2), Piece::Cut]);
        assert_eq!(Truncation::new(5, Then::Cut).take(6, true), Piece::Cut);
    }

    #[test]
    fn a_body_that_is_not_larger_stays_whole() {
        for then in [Then::End, Then::Cut] {
            let mut truncation = Truncation::new(5, then);
            let pieces = [(5, false), (0, true)].map(|(len, last)| truncation.take(len, last));
            assert_eq!(pieces, [Piece::Whole, Piece::Whole]);
            assert!(!truncation.is_cut());
        }
    }

    fn share(percent: f64) -> Percent {
        Percent::of(percent).unwrap()
    }

    /// How many bits differ after pieces of so many zeros, with dice that go round.
    fn flipped(percent: f64, pieces: &[usize]) -> u32 {
        let mut corruption = Corruption::new(share(percent));
        let mut dice = dice();
        pieces
            .iter()
            .map(|len| {
                let mut bytes = vec![0; *len];
                corruption.spoil(&mut bytes, &mut dice);
                bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()
            })
            .sum()
    }

    /// Numbers that are spread well enough for a test (a multiplicative generator).
    fn dice() -> impl FnMut(u64) -> u64 {
        let mut state = 1_u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn the_share_of_the_bytes_is_changed_whatever_the_pieces() {
        for pieces in [&[100_000][..], &[1000; 100], &[10; 10_000]] {
            let changed = flipped(1.0, pieces);
            assert!((900..=1100).contains(&changed), "{changed} of 1000 in {} pieces", pieces.len());
        }
    }

    #[test]
    fn at_least_one_byte_is_changed_and_not_too_many_at_once() {
        assert_eq!(flipped(0.0, &[5]), 1);
        assert_eq!(flipped(0.0, &[0, 5, 5]), 1);
        assert!(flipped(10.0, &[1_000_000]) <= MOST_FLIPS as u32);
    }
}
