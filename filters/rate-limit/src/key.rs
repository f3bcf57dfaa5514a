//! The keys of limits.

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
