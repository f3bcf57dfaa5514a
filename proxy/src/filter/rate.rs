//! How much a filter may run in all: instructions in a second, of one filter on one worker.
//!
//! A bucket that holds a second's worth and fills at the rate. What the filter's calls took is taken out when somebody
//! asks whether there is anything left, so that a call itself costs nothing more; a call may take out more than there
//! is, which is paid back before the next. Nothing is cut off in the middle: who asks is what is about to begin.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a filter must be within its rate before it counts as that: near the edge every other exchange is over it,
/// and the log is to speak of this once.
const CALM: Duration = Duration::from_secs(5);

const BILLION: i128 = 1_000_000_000;

/// What one filter may run on one worker. Counted in billionths of an instruction, so that each nanosecond's worth is
/// exact.
#[derive(Debug)]
pub(super) struct Rate {
    /// Instructions in a second, and the most that is saved.
    per_second: u64,
    /// What is left at `filled`; below zero it is owed.
    left: Cell<i128>,
    filled: Cell<Instant>,
    /// How many instructions, counted from the filter's beginning, have been taken out.
    taken: Cell<u64>,
    spell: Cell<Option<Spell>>,
}

/// A time in which a filter is over its rate again and again.
#[derive(Debug, Clone, Copy)]
struct Spell {
    /// When it last was.
    last: Instant,
    /// How often something was withheld.
    withheld: u64,
}

/// Whether a filter may be given more work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Within,
    /// It may, and a spell is over in which so much was withheld.
    WithinAgain(u64),
    /// It may not.
    Over,
    /// It may not, and a spell begins.
    OverNow,
}

impl Rate {
    /// A full bucket. `used`: the instructions of the filter's start, which have a budget of their own.
    pub(super) fn new(per_second: u64, used: u64, now: Instant) -> Rate {
        Rate {
            per_second,
            left: Cell::new(BILLION * i128::from(per_second)),
            filled: Cell::new(now),
            taken: Cell::new(used),
            spell: Cell::new(None),
        }
    }

    /// Whether there is anything left at this moment, when the filter has run `used` instructions in all.
    pub(super) fn judge(&self, used: u64, now: Instant) -> Verdict {
        self.settle(used, now);
        let spell = self.spell.get();
        if self.left.get() >= BILLION {
            let over = spell.filter(|spell| now.saturating_duration_since(spell.last) >= CALM);
            let Some(over) = over else { return Verdict::Within };
            self.spell.set(None);
            return Verdict::WithinAgain(over.withheld);
        }
        let withheld = spell.map_or(0, |spell| spell.withheld) + 1;
        self.spell.set(Some(Spell { last: now, withheld }));
        if spell.is_some() { Verdict::Over } else { Verdict::OverNow }
    }

    /// How long it takes from when this was last judged until there is something left: a millisecond at least.
    pub(super) fn delay(&self) -> Duration {
        let nanoseconds = (BILLION - self.left.get()).max(0) / i128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)) + Duration::from_millis(1)
    }

    fn settle(&self, used: u64, now: Instant) {
        let spent = used.wrapping_sub(self.taken.replace(used));
        let time = now.saturating_duration_since(self.filled.replace(now));
        let filled = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        let rate = i128::from(self.per_second);
        let left =
            (self.left.get() - BILLION * i128::from(spent)).saturating_add(filled.saturating_mul(rate));
        self.left.set(left.min(BILLION * rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_is_saved_and_no_more() {
        let now = Instant::now();
        let rate = Rate::new(1000, 50, now);
        let later = now + 3_600_000 * MS;
        assert_eq!(rate.judge(50, later), Verdict::Within);
        assert_eq!(rate.judge(50 + 999, later), Verdict::Within);
        assert_eq!(rate.judge(50 + 1000, later), Verdict::OverNow);
        assert_eq!(rate.judge(50 + 1000, later + MS), Verdict::Within);
    }

    #[test]
    fn what_a_call_took_too_much_is_paid_back() {
        let now = Instant::now();
        let rate = Rate::new(1000, 0, now);
        assert_eq!(rate.judge(5000, now), Verdict::OverNow);
        assert_eq!(rate.delay(), 4002 * MS);
        assert_eq!(rate.judge(5000, now + 4000 * MS), Verdict::Over);
        assert_eq!(rate.judge(5000, now + 4001 * MS), Verdict::Within);
    }

    #[test]
    fn a_spell_begins_once_and_ends_when_it_has_been_calm() {
        let now = Instant::now();
        let rate = Rate::new(1000, 0, now);
        assert_eq!(rate.judge(1000, now), Verdict::OverNow);
        assert_eq!(rate.judge(1000, now), Verdict::Over);
        assert_eq!(rate.judge(1000, now + MS), Verdict::Within);
        assert_eq!(rate.judge(1001, now + MS), Verdict::Over, "the spell goes on");
        assert_eq!(rate.judge(1001, now + 5000 * MS), Verdict::Within);
        assert_eq!(rate.judge(1001, now + 5001 * MS), Verdict::WithinAgain(3));
        assert_eq!(rate.judge(9999, now + 5001 * MS), Verdict::OverNow, "another one");
    }
}
