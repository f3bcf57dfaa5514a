//! How far it has come with the memory, and when that changes.

use crate::config::model::{MemoryTerms, Percent};

/// A stage ends when so much less is in use than where it began: one that ended at the same point would come and go.
const MARGIN: Percent = Percent(500);

/// How far it has come. Each does what those before it do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// There is enough.
    #[default]
    Normal,
    /// Connections end as soon as they are not in use.
    Relieving,
    /// Requests are refused.
    Shedding,
    /// Connections are refused.
    Refusing,
}

impl Stage {
    pub(crate) const ALL: [Stage; 4] = [Stage::Normal, Stage::Relieving, Stage::Shedding, Stage::Refusing];

    pub(super) fn of_number(number: u8) -> Stage {
        Stage::ALL.get(usize::from(number)).copied().unwrap_or(Stage::Refusing)
    }

    /// Its word in metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Stage::Normal => "normal",
            Stage::Relieving => "relieving",
            Stage::Shedding => "shedding",
            Stage::Refusing => "refusing",
        }
    }

    /// The stage after this one, now that so much is in use.
    pub(crate) fn next(self, used: Percent, terms: &MemoryTerms) -> Stage {
        let begins = |stage: Stage| match stage {
            Stage::Normal => 0,
            Stage::Relieving => terms.relieve.0,
            Stage::Shedding => terms.shed.0,
            Stage::Refusing => terms.refuse.0,
        };
        let reached = |stage: &Stage| used.0 >= begins(*stage);
        let stays = |stage: &Stage| *stage <= self && used.0 + MARGIN.0 >= begins(*stage);
        let stages = Stage::ALL.into_iter().rev();
        stages.into_iter().find(|stage| reached(stage) || stays(stage)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Stage::*;
    use super::*;

    #[test]
    fn shed_stages_begin_at_their_share_and_end_below_it() {
        let terms = MemoryTerms {
            limit: None,
            relieve: Percent(8_000),
            shed: Percent(9_000),
            refuse: Percent(9_500),
        };
        let steps = [
            (79, Normal),
            (80, Relieving),
            (76, Relieving),
            (75, Relieving),
            (74, Normal),
            (90, Shedding),
            (86, Shedding),
            (84, Relieving),
            (89, Relieving),
            (96, Refusing),
            (91, Refusing),
            (89, Shedding),
            (100, Refusing),
            (10, Normal),
            (300, Refusing),
        ];
        let mut stage = Normal;
        for (used, expected) in steps {
            stage = stage.next(Percent(used * 100), &terms);
            assert_eq!(stage, expected, "at {used} %");
        }
    }
}
