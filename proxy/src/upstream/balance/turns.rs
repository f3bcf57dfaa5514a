//! Weighted round robin: whoever is due next, as Envoy's scheduler by earliest deadline does it.
//!
//! Members of one weight take turns among themselves and have one deadline together, so that a pick costs what the
//! number of different weights makes it cost: next to nothing where there is one.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Members, each of which gets its weight's share of the turns, as evenly spread as can be.
#[derive(Debug)]
pub(super) struct Turns {
    classes: BinaryHeap<Reverse<Class>>,
}

/// Members of one weight.
#[derive(Debug)]
struct Class {
    /// When one of them is due, in a time that ends with no turn.
    deadline: f64,
    /// From one's turn to the next one's.
    step: f64,
    members: Box<[u32]>,
    next: usize,
}

impl Turns {
    /// Turns of `members` by their weights. Whose turn is first is left to chance: if every worker began with the same
    /// one, it would get the bulk of the requests where each worker sees few.
    pub(super) fn new(members: &[u32], weights: &[f64]) -> Turns {
        let mut sorted: Vec<_> = weights.iter().copied().zip(members.iter().copied()).collect();
        sorted.retain(|(weight, _)| *weight > 0.0);
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let classes = sorted.chunk_by(|a, b| a.0 == b.0).map(|class| {
            let step = 1.0 / (class[0].0 * class.len() as f64);
            Reverse(Class {
                deadline: step * fastrand::f64(),
                step,
                members: class.iter().map(|&(_, member)| member).collect(),
                next: fastrand::usize(..class.len()),
            })
        });
        Turns { classes: classes.collect() }
    }

    /// Whose turn it is; `None` without members.
    pub(super) fn take(&mut self) -> Option<u32> {
        let mut class = self.classes.peek_mut()?;
        let Reverse(Class { deadline, step, members, next }) = &mut *class;
        let member = members[*next];
        *next += 1;
        if *next == members.len() {
            *next = 0;
        }
        *deadline += *step;
        Some(member)
    }
}

impl Ord for Class {
    fn cmp(&self, other: &Class) -> Ordering {
        self.deadline.total_cmp(&other.deadline)
    }
}

impl PartialOrd for Class {
    fn partial_cmp(&self, other: &Class) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Class {
    fn eq(&self, other: &Class) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Class {}
