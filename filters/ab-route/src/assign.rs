//! From a user to a number that is the same on every proxy, after every restart, in every version.
//!
//! XXH3 (64 bits) of the subject's bytes, with the XXH3 of the salt as its seed: users of different experiments are shared
//! out independently, and anyone can compute it elsewhere.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What makes one experiment's hashes different from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u64);

impl Salt {
    pub(crate) fn of(text: &str) -> Salt {
        Salt(xxh3_64(text.as_bytes()))
    }

    pub(crate) fn hash(self, subject: &str) -> u64 {
        xxh3_64_with_seed(subject.as_bytes(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{PARTS, Shares, part};

    /// Values of a release are those of every later one: users must not move because a proxy was upgraded.
    #[test]
    fn a_user_stays_where_it_is_in_every_version() {
        let golden =
            [("checkout", "ann"), ("checkout", "bob"), ("search", "ann"), ("", ""), ("checkout", "é")]
                .map(|(salt, subject)| part(Salt::of(salt).hash(subject)));
        expect_test::expect![[r#"
            [
                907143,
                487225,
                71065,
                254624,
                111576,
            ]
        "#]]
        .assert_debug_eq(&golden);
        let long = part(Salt::of("checkout").hash(&"x".repeat(1000)));
        expect_test::expect!["991508"].assert_eq(&long.to_string());
    }

    #[test]
    fn a_hundred_thousand_users_are_shared_out_as_the_weights_say() {
        let three = ["control", "blue", "green"];
        let before = vec![("control", 50), ("blue", 30), ("green", 20)];
        let after = vec![("control", 40), ("blue", 30), ("green", 30)];
        let aside = vec![("control", 50), ("blue", 20), ("green", 30)];
        let first = Shares::new(&three, 0, std::slice::from_ref(&before));
        for (then, from) in [(after, 0), (aside, 1)] {
            let second = Shares::new(&three, 0, &[before.clone(), then]);
            for users in ["user-", "", "550e8400-e29b-41d4-a716-"] {
                let (mut counts, mut moved) = ([0_u32; 3], 0);
                for user in 0..100_000 {
                    let hash = Salt::of("checkout").hash(&format!("{users}{user}"));
                    let (one, other) = (first.variant(hash), second.variant(hash));
                    counts[one] += 1;
                    if one != other {
                        moved += 1;
                        assert_eq!((one, other), (from, 2));
                    }
                }
                for (count, share) in counts.into_iter().zip([50_000, 30_000, 20_000_u32]) {
                    assert!(count.abs_diff(share) <= 500, "{counts:?} of {users}");
                }
                assert!(10_000_u32.abs_diff(moved) <= 500, "{moved} moved of {users}");
            }
        }
    }

    #[test]
    fn what_one_experiment_gives_a_user_says_nothing_about_another() {
        let half = |salt: &str, user: u32| Salt::of(salt).hash(&user.to_string()) >> 63;
        let mut table = [[0_u32; 2]; 2];
        for user in 0..100_000 {
            table[half("checkout", user) as usize][half("search", user) as usize] += 1;
        }
        for count in table.as_flattened() {
            assert!(count.abs_diff(25_000) <= 500, "{table:?}");
        }
    }

    #[test]
    fn every_part_is_within_all_of_them() {
        assert_eq!((part(0), part(u64::MAX)), (0, PARTS - 1));
    }
}
