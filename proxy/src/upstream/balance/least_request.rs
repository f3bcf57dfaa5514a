//! Least request. Where all weights are the same, the less busy of some that are picked at random; where they differ,
//! turns by weight divided by requests in flight, as in Envoy.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::pair;

/// How one of some members is picked by how busy they are.
#[derive(Debug)]
pub(super) enum LeastRequest {
    /// Of so many at random.
    Even { members: Box<[u32]>, choices: usize },
    /// In turn.
    Weighted(BinaryHeap<Reverse<Turn>>),
}

/// When a member is due.
#[derive(Debug)]
pub(super) struct Turn {
    deadline: f64,
    weight: f64,
    member: u32,
}

impl LeastRequest {
    pub(super) fn new(members: &[u32], weights: &[f64], choices: usize) -> LeastRequest {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return LeastRequest::Even { members: members.into(), choices };
        }
        let turns = members.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let turn = |(&member, &weight): (&u32, &f64)| {
            Reverse(Turn { deadline: fastrand::f64() / weight, weight, member })
        };
        LeastRequest::Weighted(turns.map(turn).collect())
    }

    /// A member; `None` without any. `active` is how many requests one has in flight.
    pub(super) fn take(&mut self, active: impl Fn(u32) -> usize) -> Option<u32> {
        match self {
            LeastRequest::Even { members, choices } => match &**members {
                [] => None,
                [only] => Some(*only),
                members => Some(least(members, *choices, active)),
            },
            LeastRequest::Weighted(turns) => {
                let mut turn = turns.peek_mut()?;
                let Reverse(Turn { deadline, weight, member }) = &mut *turn;
                *deadline += (active(*member) + 1) as f64 / *weight;
                Some(*member)
            }
        }
    }
}

/// The least busy of `choices`, the first two of which are different ones; the first where several are as busy, which is
/// fair because any could have come first.
fn least(members: &[u32], choices: usize, active: impl Fn(u32) -> usize) -> u32 {
    let (first, second) = pair(members.len());
    let mut best = members[first];
    let mut least = active(best);
    let others = (2..choices).map(|_| fastrand::usize(..members.len()));
    for place in std::iter::once(second).chain(others) {
        let busy = active(members[place]);
        if busy < least {
            (best, least) = (members[place], busy);
        }
    }
    best
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        self.deadline.total_cmp(&other.deadline)
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Turn) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}
