//! The keys of limits.

use xxhash_rust::xxh3::xxh3_128;

/// Longer keys are counted under a hash: what clients send must not fill the room that all keys share.
const LONGEST: usize = 256;

/// What a rule's values are counted under. Who wants to share the key of another's long value has to know that value, so a
/// hash that is no secret does.
pub(crate) fn of(rule: &str, values: &[String]) -> Vec<u8> {
    let whole = join(rule, values);
    if whole.len() <= LONGEST {
        return whole;
    }
    // No value is as long as this says.
    const HASHED: [u8; 4] = u32::MAX.to_le_bytes();
    [&join(rule, &[])[..], &HASHED, &xxh3_128(&whole).to_le_bytes()].concat()
}

/// The values of a key as one. Each has its length before it, so that no two lists of values give the same.
pub(crate) fn join(rule: &str, values: &[String]) -> Vec<u8> {
    let parts = std::iter::once(rule).chain(values.iter().map(String::as_str));
    let mut key = Vec::with_capacity(parts.clone().map(|part| part.len() + 4).sum());
    for part in parts {
        key.extend_from_slice(&(part.len() as u32).to_le_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_limit_and_is_told_apart_to_its_last_byte() {
        let key = |last: char| of("r", &[String::from_iter(["x".repeat(60_000), last.into()])]);
        assert_eq!(key('a'), key('a'));
        assert_ne!(key('a'), key('b'));
        assert_ne!(key('a'), of("s", &["x".repeat(60_000) + "a"]));
        assert!(of(&"r".repeat(100), &["x".repeat(60_000)]).len() <= LONGEST);
        let short = ["x".to_owned()];
        assert_eq!(of("r", &short), join("r", &short));
    }

    #[test]
    fn different_values_never_give_the_same_key() {
        let key = |values: &[&str]| join("r", &values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        let lists: [&[&str]; 6] = [&["a", "b"], &["ab"], &["a\x001:b"], &["a", ""], &["", "a"], &[]];
        for (index, one) in lists.iter().enumerate() {
            for other in &lists[index + 1..] {
                assert_ne!(key(one), key(other), "{one:?} {other:?}");
            }
        }
    }
}
