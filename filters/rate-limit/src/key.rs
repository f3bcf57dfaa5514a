//! The keys of limits.

use std::fmt::Write as _;

/// The values of a key as one text. Each has its length before it, so that no two lists of values give the same.
pub(crate) fn join(rule: &str, values: &[String]) -> String {
    let mut key =
        String::with_capacity(rule.len() + values.iter().map(|value| value.len() + 6).sum::<usize>());
    key.push_str(rule);
    for value in values {
        // Writing to a string does not fail.
        let _ = write!(key, "\0{}:{value}", value.len());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_values_never_give_the_same_key() {
        let key = |values: &[&str]| join("r", &values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        let lists: [&[&str]; 6] = [&["a", "b"], &["ab"], &["a\01:b"], &["a", ""], &["", "a"], &[]];
        for (index, one) in lists.iter().enumerate() {
            for other in &lists[index + 1..] {
                assert_ne!(key(one), key(other), "{one:?} {other:?}");
            }
        }
    }
}
