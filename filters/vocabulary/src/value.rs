//! What a header, a path or any other text has to be. The same words as in the proxy's own routes.

use regex_lite::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// The longest regular expression, in bytes.
const LONGEST_REGEX: usize = 4096;

/// The largest compiled one, in bytes: together they have to fit into a filter's memory.
const LARGEST_REGEX: usize = 256 << 10;

/// How deep `not` may be nested, which has no use beyond one.
const DEEPEST: u32 = 8;

/// What a value has to be: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "Raw", rename_all = "snake_case")]
#[schemars(!try_from)]
pub enum Value {
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It has this in it.
    Contains(String),
    /// This regular expression matches all of it.
    Regex(Pattern),
    /// It is there (`true`) or it is not (`false`).
    Present(bool),
    /// It is not what this says; a missing one counts as not.
    Not(Box<Value>),
}

/// A regular expression that matches the whole of a text or not at all, in a time that is linear in its length.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from)]
pub struct Pattern(#[schemars(with = "String")] Regex);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
    regex: Option<Pattern>,
    present: Option<bool>,
    not: Option<Box<Value>>,
}

impl TryFrom<Raw> for Value {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Value, String> {
        let Raw { exact, prefix, suffix, contains, regex, present, not } = raw;
        let given = [
            exact.map(Value::Exact),
            prefix.map(Value::Prefix),
            suffix.map(Value::Suffix),
            contains.map(Value::Contains),
            regex.map(Value::Regex),
            present.map(Value::Present),
            not.map(Value::Not),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(value), None) if value.depth() <= DEEPEST => Ok(value),
            (Some(_), None) => Err(format!("`not` is nested; expected at most {DEEPEST}")),
            _ => Err(
                "expected exactly one of `exact`, `prefix`, `suffix`, `contains`, `regex`, `present`, `not`"
                    .to_owned(),
            ),
        }
    }
}

impl Value {
    /// Whether a value is as it has to be; `None` is one that is not there.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Value::Exact(wanted) => value == Some(wanted.as_str()),
            Value::Prefix(wanted) => value.is_some_and(|value| value.starts_with(wanted.as_str())),
            Value::Suffix(wanted) => value.is_some_and(|value| value.ends_with(wanted.as_str())),
            Value::Contains(wanted) => value.is_some_and(|value| value.contains(wanted.as_str())),
            Value::Regex(Pattern(regex)) => value.is_some_and(|value| regex.is_match(value)),
            Value::Present(wanted) => value.is_some() == *wanted,
            Value::Not(unwanted) => !unwanted.accepts(value),
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Value::Not(inner) => 1 + inner.depth(),
            _ => 0,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        if text.len() > LONGEST_REGEX {
            return Err(format!(
                "a regular expression of {} bytes; expected at most {LONGEST_REGEX}",
                text.len()
            ));
        }
        // Compiled alone too: unbalanced brackets could close the group that is around them. The line break ends a
        // comment, which in `(?x)` mode could swallow the closing bracket.
        let compile = |text: &str| RegexBuilder::new(text).size_limit(LARGEST_REGEX).build();
        let whole =
            || compile(&format!(r"\A(?:{text})\z")).or_else(|_| compile(&format!("\\A(?:{text}\n)\\z")));
        let regex = compile(&text).and_then(|_| whole());
        regex.map(Pattern).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    fn accepts(json: &str, value: Option<&str>) -> bool {
        read::<Value>(json).unwrap().accepts(value)
    }

    #[test]
    fn each_word_means_what_it_says() {
        let cases = [
            (r#"{"exact": "ann"}"#, "ann", "anna"),
            (r#"{"prefix": "an"}"#, "ann", "na"),
            (r#"{"suffix": ".de"}"#, "a.de", "a.dev"),
            (r#"{"contains": "ll"}"#, "hello", "helo"),
            (r#"{"regex": "a|b+"}"#, "bb", "ab"),
            (r#"{"not": {"exact": "ann"}}"#, "bob", "ann"),
        ];
        for (json, yes, no) in cases {
            assert!(accepts(json, Some(yes)), "{json} {yes}");
            assert!(!accepts(json, Some(no)), "{json} {no}");
        }
    }

    #[test]
    fn what_is_not_there_is_only_what_it_may_be() {
        assert!(accepts(r#"{"present": false}"#, None));
        assert!(!accepts(r#"{"present": true}"#, None));
        assert!(accepts(r#"{"present": true}"#, Some("")));
        assert!(accepts(r#"{"not": {"prefix": ""}}"#, None));
        assert!(!accepts(r#"{"regex": ".*"}"#, None));
    }

    #[test]
    fn a_regular_expression_is_held_to_the_whole_text_whatever_is_in_it() {
        assert!(!accepts(r#"{"regex": "(?m)a$"}"#, Some("a\nb")));
        assert!(accepts(r#"{"regex": "(?x)a # the letter"}"#, Some("a")));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_was_expected() {
        let wrong = [
            (r#"{"exact": "a", "prefix": "b"}"#, "expected exactly one of `exact`, `prefix`"),
            ("{}", "expected exactly one of"),
            (r#"{"regex": "("}"#, "regex: `(` is not a regular expression"),
            (r#"{"regex": "a)|(?:b"}"#, "is not a regular expression"),
            (r#"{"glob": "a"}"#, "unknown field `glob`, expected one of `exact`"),
            (r#"{"present": "yes"}"#, "present: invalid type: string \"yes\", expected a boolean"),
        ];
        for (json, message) in wrong {
            let error = read::<Value>(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
        let long = format!(r#"{{"regex": "{}"}}"#, "a".repeat(LONGEST_REGEX + 1));
        assert!(read::<Value>(&long).unwrap_err().contains("expected at most 4096"));
        assert!(read::<Value>(r#"{"regex": "(a{1000}){1000}"}"#).is_err(), "too large");
    }
}
