//! A random member, by weight: Walker's table, in which one look decides between two members.

/// Members, each of which gets its weight's share of the picks.
#[derive(Debug)]
pub(super) struct Lots {
    lots: Box<[Lot]>,
}

/// As many as there are members, and all as likely.
#[derive(Debug, Clone, Copy)]
struct Lot {
    /// It is the first's below this, of 2^32, and the other's from there.
    limit: u64,
    member: u32,
    other: u32,
}

const WHOLE: u64 = 1 << 32;

impl Lots {
    /// Lots of `members` by their weights.
    pub(super) fn new(members: &[u32], weights: &[f64]) -> Lots {
        let total: f64 = weights.iter().sum();
        let is_even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        if is_even || total <= 0.0 {
            let even = |&member: &u32| Lot { limit: WHOLE, member, other: member };
            return Lots {
                lots: if total > 0.0 { members.iter().map(even).collect() } else { Box::default() },
            };
        }
        // In shares of an average lot. Those below one are filled up from those above.
        let mut shares: Vec<f64> =
            weights.iter().map(|weight| weight * members.len() as f64 / total).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..members.len()).partition(|&place| shares[place] < 1.0);
        let mut lots: Vec<Lot> =
            members.iter().map(|&member| Lot { limit: WHOLE, member, other: member }).collect();
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            lots[low].limit = (shares[low] * WHOLE as f64) as u64;
            lots[low].other = members[high];
            shares[high] -= 1.0 - shares[low];
            if shares[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Lots { lots: lots.into() }
    }

    /// A member; `None` without any.
    pub(super) fn draw(&self) -> Option<u32> {
        let lot = self.lots.get(fastrand::usize(..self.lots.len().max(1)))?;
        if lot.limit == WHOLE || fastrand::u64(..WHOLE) < lot.limit {
            return Some(lot.member);
        }
        Some(lot.other)
    }
}
