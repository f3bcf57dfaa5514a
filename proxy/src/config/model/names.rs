//! Lists of names, in which `*` stands for any text.

use std::fmt;

/// Names longer than this, in bytes, are only in a list that has `*`: to compare a name takes time in which no
/// instruction of a guest's is counted.
const MAX_COMPARED: usize = 4 << 10;

/// The longest name or pattern that a list has, in bytes.
pub const MAX_NAME_LEN: usize = 256;

/// How many a list has, at most.
pub const MAX_NAMES: usize = 1024;

/// A list of names. In each, `*` stands for any text, also for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// As they were written, in their order.
    texts: Vec<String>,
    /// `*` is among them.
    all: bool,
    /// Those without `*`, by length and then by bytes: most of what is not among them differs in length.
    exact: Vec<Box<[u8]>>,
    /// Those with `*`.
    patterns: Vec<Box<[u8]>>,
}

/// Why something is not a name in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// There is nothing of it.
    #[error("a name cannot be empty")]
    Empty,
    /// It is longer than any.
    #[error("a name has at most {MAX_NAME_LEN} bytes")]
    TooLong,
    /// It cannot be shown.
    #[error("a name has no line breaks or other control characters in it")]
    Control,
    /// There are too many of them.
    #[error("there are at most {MAX_NAMES} names")]
    TooMany,
}

/// Whether a text can be a name in a list.
pub fn check_name(name: &str) -> Result<(), BadName> {
    match name {
        "" => Err(BadName::Empty),
        long if long.len() > MAX_NAME_LEN => Err(BadName::TooLong),
        text if text.chars().any(char::is_control) => Err(BadName::Control),
        _ => Ok(()),
    }
}

impl Names {
    /// A list of these.
    ///
    /// # Errors
    ///
    /// The first that is none, or that there are too many.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Result<Names, BadName> {
        let mut names = Names::default();
        for text in texts {
            check_name(&text)?;
            if names.texts.len() == MAX_NAMES {
                return Err(BadName::TooMany);
            }
            match text.as_bytes() {
                b"*" => names.all = true,
                pattern if pattern.contains(&b'*') => names.patterns.push(pattern.into()),
                exact => names.exact.push(exact.into()),
            }
            names.texts.push(text);
        }
        names.exact.sort_unstable_by(|one, other| by_length(one, other));
        Ok(names)
    }

    /// Every name there is.
    pub fn all() -> Names {
        Names { texts: vec!["*".to_owned()], all: true, ..Names::default() }
    }

    /// Whether a name is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.all
            || (name.len() <= MAX_COMPARED
                && (self.exact.binary_search_by(|known| by_length(known, name)).is_ok()
                    || self.patterns.iter().any(|pattern| fits(pattern, name))))
    }

    /// Whether every name is among them.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// As they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }

    /// Whether everything that a name or pattern of another list stands for is known to be among these.
    pub fn covers(&self, pattern: &str) -> bool {
        // A pattern is one of the texts that it stands for, and the only one with this `*` in its place; what takes in
        // its star takes in whatever stands there.
        self.contains(pattern.as_bytes())
    }
}

fn by_length(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Whether a name is one that a pattern stands for. Where it does not fit, the last `*` takes one byte more: no text
/// that an earlier one gave up can help a later one.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(expected), _) if *expected == name[from] => {
                at += 1;
                from += 1;
            }
            (_, Some((star_at, taken))) => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Names {
        Names::new(texts.iter().map(|text| (*text).to_owned())).expect("they are names")
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, inside, outside) in [
            ("x-*", &["x-", "x-a"][..], &["x", "ax-", "y-a"][..]),
            ("*-id", &["-id", "a-id", "-id-id"], &["id", "a-id-"]),
            (
                "proxy_*_property",
                &["proxy_get_property", "proxy__property"],
                &["proxy_property", "proxy_get_"],
            ),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["acb", "ab"]),
            ("*", &["", "a"], &[]),
        ] {
            let list = names(&[pattern]);
            inside.iter().for_each(|name| assert!(list.contains(name.as_bytes()), "{pattern} and {name}"));
            outside.iter().for_each(|name| assert!(!list.contains(name.as_bytes()), "{pattern} and {name}"));
        }
    }

    #[test]
    fn names_of_any_length_are_found_again() {
        let all = ["b", "a", "long-name", "x-user", "long-nama", ":path"];
        let list = names(&all);
        all.iter().for_each(|name| assert!(list.contains(name.as_bytes()), "{name}"));
        for other in ["", "c", "long-nam", "x-usex", "*"] {
            assert!(!list.contains(other.as_bytes()), "{other}");
        }
        assert!(!Names::default().contains(b""));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let one = |text: &str| Names::new([text.to_owned()]).map(drop);
        assert_eq!(one(""), Err(BadName::Empty));
        assert_eq!(one(&"a".repeat(MAX_NAME_LEN + 1)), Err(BadName::TooLong));
        assert_eq!(one("a\nb"), Err(BadName::Control));
        let many = (0..=MAX_NAMES).map(|number| number.to_string());
        assert_eq!(Names::new(many).map(drop), Err(BadName::TooMany));
    }

    #[test]
    fn a_name_too_long_to_compare_is_in_a_list_of_everything_alone() {
        let long = vec![b'x'; MAX_COMPARED + 1];
        assert!(names(&["a", "*"]).contains(&long));
        assert!(!names(&["x*"]).contains(&long));
    }

    #[test]
    fn a_list_covers_a_pattern_if_it_has_all_that_the_pattern_stands_for() {
        assert!(names(&["x-*"]).covers("x-user"));
        assert!(names(&["x-*"]).covers("x-user-*"));
        assert!(!names(&["x-user-*"]).covers("x-*"));
        assert!(!names(&["x-user"]).covers("x-*"));
        assert!(names(&["*"]).covers("*"));
    }
}
