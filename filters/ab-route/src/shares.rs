//! Who gets which variant: ranges of all users that are kept when weights move. Knows no host.
//!
//! Users are spread evenly over [`PARTS`] parts by a hash. No rule that looks at the present weights alone can move only
//! the difference whenever weights move among three variants or more (for two it can): what a variant loses depends on
//! the way by which it came to what it has. So the way is in the configuration: beginning with everything at the control,
//! each step of weights takes from those that lose and gives to those that gain, and nothing else moves.
//!
//! What a gainer takes first, and gives back last, begins at its home: 0 upwards for the first variant after the control,
//! 1 downwards for the second, ½ upwards and downwards for the next two, then the quarters, and so on. Between the control
//! and any variant that has room to grow at its home, a move of weights moves the same users with or without the way.

use std::cmp::Reverse;

/// How finely users are shared out.
pub(crate) const PARTS: u32 = 1_000_000;

/// One change of weights: a name, and its weight. Who is not named has 0, and is new when it is named later.
pub(crate) type Step<'a> = Vec<(&'a str, u32)>;

/// Which parts belong to which variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shares {
    /// In order, without gaps, from 0 to [`PARTS`].
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u32,
    end: u32,
    owner: Owner,
}

/// A variant by its place in the file, or nobody for now.
type Owner = Option<usize>;

/// Where a variant begins to take parts, and in which direction it goes on, around the end to the beginning.
#[derive(Debug, Clone, Copy)]
struct Home {
    at: u32,
    upwards: bool,
}

impl Shares {
    /// Takes all steps, the oldest first. Every name in them is one of `variants`, and the weights of a step have a sum
    /// that is not 0.
    pub(crate) fn new(variants: &[&str], control: usize, steps: &[Step<'_>]) -> Shares {
        let mut shares = Shares { ranges: vec![Range { start: 0, end: PARTS, owner: Some(control) }] };
        // In the order in which they came, those of one step by name: whatever their order in the file.
        let mut others: Vec<usize> = Vec::new();
        for step in steps {
            let mut targets = vec![0; variants.len()];
            for ((name, _), parts) in step.iter().zip(parts(step)) {
                if let Some(index) = variants.iter().position(|variant| variant == name) {
                    targets[index] = parts;
                }
            }
            let named = |index: &usize| step.iter().any(|(name, _)| *name == variants[*index]);
            let is_new = |index: &usize| *index != control && !others.contains(index) && named(index);
            let mut new: Vec<usize> = (0..variants.len()).filter(is_new).collect();
            new.sort_by_key(|index| variants[*index]);
            others.extend(new);
            shares.step(control, &others, &targets);
        }
        shares
    }

    /// The variant of a user with this hash.
    pub(crate) fn variant(&self, hash: u64) -> usize {
        let part = part(hash);
        let found = self.ranges.partition_point(|range| range.end <= part);
        self.ranges.get(found).and_then(|range| range.owner).unwrap_or_default()
    }

    /// Moves what each variant has to `targets`: only from those that lose, only to those that gain.
    fn step(&mut self, control: usize, others: &[usize], targets: &[u32]) {
        for (nth, &variant) in others.iter().enumerate() {
            let loss = self.size(Some(variant)).saturating_sub(targets[variant]);
            self.hand_over(Some(variant), None, loss, Home::of(nth).reversed());
        }
        for (nth, &variant) in others.iter().enumerate() {
            let gain = targets[variant].saturating_sub(self.size(Some(variant)));
            let given_up = gain.min(self.size(None));
            self.hand_over(None, Some(variant), given_up, Home::of(nth));
            self.hand_over(Some(control), Some(variant), gain - given_up, Home::of(nth));
        }
        self.hand_over(None, Some(control), PARTS, Home::of(0));
    }

    fn size(&self, owner: Owner) -> u32 {
        self.ranges.iter().filter(|range| range.owner == owner).map(|range| range.end - range.start).sum()
    }

    /// Gives up to `amount` of what `from` has to `to`, the nearest to a home first.
    fn hand_over(&mut self, from: Owner, to: Owner, mut amount: u32, home: Home) {
        self.split(home.at);
        let first = self.ranges.partition_point(|range| range.start < home.at);
        let count = self.ranges.len();
        for step in 0..count {
            let index = if home.upwards { first + step } else { first + count - 1 - step } % count;
            let Range { start, end, owner } = self.ranges[index];
            if owner != from || amount == 0 {
                continue;
            }
            if amount < end - start {
                let cut = if home.upwards { start + amount } else { end - amount };
                self.split(cut);
                self.ranges[if home.upwards { index } else { index + 1 }].owner = to;
                break;
            }
            self.ranges[index].owner = to;
            amount -= end - start;
        }
        self.ranges.dedup_by(|next, range| {
            let joins = next.owner == range.owner;
            if joins {
                range.end = next.end;
            }
            joins
        });
    }

    /// Has a range begin here.
    fn split(&mut self, at: u32) {
        let within = |range: &Range| range.start < at && at < range.end;
        if let Some(index) = self.ranges.iter().position(within) {
            let range = self.ranges[index];
            self.ranges[index].end = at;
            self.ranges.insert(index + 1, Range { start: at, ..range });
        }
    }
}

impl Home {
    /// Of the nth variant after the control. Two share a place, which they leave in opposite directions; the places are
    /// 0, ½, ¼, ¾, ⅛, ⅝ …: each halves the largest gap, however many there will be.
    fn of(nth: usize) -> Home {
        let place = (nth / 2) as u32;
        let at = (u64::from(place.reverse_bits()) * u64::from(PARTS)) >> 32;
        Home { at: at as u32, upwards: nth.is_multiple_of(2) }
    }

    /// What is farthest from here first.
    fn reversed(self) -> Home {
        Home { upwards: !self.upwards, ..self }
    }
}

/// The part of all users that a hash is in.
pub(crate) fn part(hash: u64) -> u32 {
    scale(hash, PARTS)
}

/// A number below `parts`, by the upper half of a hash.
pub(crate) fn scale(hash: u64, parts: u32) -> u32 {
    (((hash >> 32) * u64::from(parts)) >> 32) as u32
}

/// The parts for each weight, which together are all: rounded down, and what is left over goes to those that lost most by
/// that (the method of largest remainders), in the order of their names where they lost the same.
fn parts(step: &Step<'_>) -> Vec<u32> {
    let total: u64 = step.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1);
    let exact: Vec<u64> = step.iter().map(|(_, weight)| u64::from(*weight) * u64::from(PARTS)).collect();
    let mut parts: Vec<u32> = exact.iter().map(|exact| (exact / total) as u32).collect();
    let mut order: Vec<usize> = (0..step.len()).filter(|index| step[*index].1 > 0).collect();
    order.sort_by_key(|index| (Reverse(exact[*index] % total), step[*index].0));
    let left = PARTS - parts.iter().sum::<u32>();
    order.into_iter().take(left as usize).for_each(|index| parts[index] += 1);
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn shares(variants: &[&str], steps: &[Step<'_>]) -> Shares {
        Shares::new(variants, 0, steps)
    }

    fn sizes<'a>(variants: &[&'a str], shares: &Shares) -> BTreeMap<&'a str, u32> {
        variants.iter().enumerate().map(|(index, name)| (*name, shares.size(Some(index)))).collect()
    }

    /// How much moved from whom to whom.
    fn moves<'a>(variants: &[&'a str], before: &Shares, after: &Shares) -> BTreeMap<(&'a str, &'a str), u32> {
        let mut cuts: Vec<u32> =
            before.ranges.iter().chain(&after.ranges).flat_map(|range| [range.start, range.end]).collect();
        cuts.sort_unstable();
        let mut moves = BTreeMap::new();
        for pair in cuts.windows(2) {
            let owner = |shares: &Shares| {
                let range = shares.ranges.iter().find(|range| pair[0] < range.end);
                variants[range.unwrap().owner.unwrap()]
            };
            if pair[0] < pair[1] && owner(before) != owner(after) {
                *moves.entry((owner(before), owner(after))).or_default() += pair[1] - pair[0];
            }
        }
        moves
    }

    fn is_whole(shares: &Shares) -> bool {
        let edges = shares.ranges.first().unwrap().start == 0 && shares.ranges.last().unwrap().end == PARTS;
        edges && shares.ranges.windows(2).all(|pair| pair[0].end == pair[1].start)
    }

    #[test]
    fn shares_are_the_weights_to_the_part() {
        let three = ["a", "b", "c"];
        let shares = shares(&three, &[vec![("a", 1), ("b", 1), ("c", 1)]]);
        assert_eq!(sizes(&three, &shares), BTreeMap::from([("a", 333_334), ("b", 333_333), ("c", 333_333)]));
    }

    #[test]
    fn a_canary_that_grows_and_shrinks_takes_and_gives_back_the_same_users_without_the_way() {
        let three = ["control", "blue", "green"];
        let at = |blue, green| {
            shares(&three, &[vec![("control", 100 - blue - green), ("blue", blue), ("green", green)]])
        };
        let moved = moves(&three, &at(10, 20), &at(35, 20));
        assert_eq!(moved, BTreeMap::from([(("control", "blue"), PARTS / 4)]));
        let moved = moves(&three, &at(10, 70), &at(10, 20));
        assert_eq!(moved, BTreeMap::from([(("green", "control"), PARTS / 2)]));
    }

    #[test]
    fn between_any_two_the_way_moves_only_the_difference() {
        let three = ["control", "blue", "green"];
        let before = vec![("control", 50), ("blue", 30), ("green", 20)];
        let after = vec![("control", 50), ("blue", 20), ("green", 30)];
        let (before, after) =
            (shares(&three, std::slice::from_ref(&before)), shares(&three, &[before.clone(), after]));
        let moved = moves(&three, &before, &after);
        assert_eq!(moved, BTreeMap::from([(("blue", "green"), PARTS / 10)]));
    }

    #[test]
    fn a_canary_that_goes_back_keeps_those_who_had_it_before() {
        let two = ["control", "blue"];
        let steps = [10, 30, 10].map(|blue| vec![("control", 100 - blue), ("blue", blue)]);
        assert_eq!(shares(&two, &steps), shares(&two, &steps[..1]));
        let three = ["control", "blue", "green"];
        let steps = [30, 10, 30].map(|blue| vec![("control", 50), ("blue", blue), ("green", 50 - blue)]);
        assert_eq!(shares(&three, &steps[..3]), shares(&three, &steps[..1]));
    }

    #[test]
    fn a_variant_that_is_new_moves_nobody_but_its_own_users() {
        let before = shares(&["control", "blue"], &[vec![("control", 60), ("blue", 40)]]);
        let three = ["control", "blue", "amber"];
        let steps = [vec![("control", 60), ("blue", 40)], vec![("control", 50), ("blue", 40), ("amber", 10)]];
        let moved = moves(&three, &before, &shares(&three, &steps));
        assert_eq!(moved, BTreeMap::from([(("control", "amber"), PARTS / 10)]));
    }

    const NAMES: [&str; 6] = ["control", "a", "b", "c", "d", "e"];

    fn weights() -> impl Strategy<Value = Step<'static>> {
        let one = prop_oneof![Just(0u32), 1..100u32, 1..=1_000_000u32];
        let all = proptest::collection::vec(one, 2..=NAMES.len());
        let all = all.prop_filter("a sum", |weights| weights.iter().any(|weight| *weight > 0));
        all.prop_map(|weights| NAMES.into_iter().zip(weights).collect())
    }

    proptest! {
        #[test]
        fn each_step_moves_exactly_the_difference(steps in proptest::collection::vec(weights(), 1..6)) {
            for last in 1..=steps.len() {
                let after = shares(&NAMES, &steps[..last]);
                prop_assert!(is_whole(&after));
                let wanted: BTreeMap<&str, u32> =
                    steps[last - 1].iter().map(|(name, _)| *name).zip(parts(&steps[last - 1])).collect();
                let found = sizes(&NAMES, &after);
                for name in NAMES {
                    prop_assert_eq!(found[name], wanted.get(name).copied().unwrap_or(0), "{}", name);
                }
                if last == 1 {
                    continue;
                }
                let before = shares(&NAMES, &steps[..last - 1]);
                let had = sizes(&NAMES, &before);
                let moved = moves(&NAMES, &before, &after);
                let gains = NAMES.iter().map(|name| found[name].saturating_sub(had[name])).sum::<u32>();
                prop_assert_eq!(moved.values().sum::<u32>(), gains, "no more than the difference");
                for (from, to) in moved.keys() {
                    prop_assert!(found[from] < had[from] && found[to] > had[to], "{} to {}", from, to);
                }
            }
        }

        #[test]
        fn without_the_way_up_to_four_quarters_leave_each_other_alone(
            others in proptest::collection::vec(0..=25_u32, 4),
            changing in 0..4_usize,
            to in 0..=25_u32,
        ) {
            let at = |others: &[u32]| {
                let control = 100 - others.iter().sum::<u32>();
                shares(&NAMES, &[NAMES.into_iter().zip([&[control], others].concat()).collect()])
            };
            let mut after = others.clone();
            after[changing] = to;
            let moved = moves(&NAMES, &at(&others), &at(&after));
            let difference = others[changing].abs_diff(to) * (PARTS / 100);
            prop_assert_eq!(moved.values().sum::<u32>(), difference);
        }

        #[test]
        fn the_order_in_the_file_does_not_matter(
            steps in proptest::collection::vec(weights(), 1..4),
            order in Just(NAMES.to_vec()).prop_shuffle(),
            hashes in proptest::collection::vec(any::<u64>(), 20),
        ) {
            let straight = shares(&NAMES, &steps);
            let mut reversed = steps.clone();
            reversed.iter_mut().for_each(|step| step.reverse());
            let control = order.iter().position(|name| *name == "control").unwrap();
            let shuffled = Shares::new(&order, control, &reversed);
            for hash in hashes {
                prop_assert_eq!(NAMES[straight.variant(hash)], order[shuffled.variant(hash)]);
            }
        }
    }
}
