//! What a value has to be that may be missing: a header, a cookie, a parameter of the query.

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error, MapAccess};

use crate::pattern::Pattern;
use crate::words::{Words, words};

/// How deep `not` may be nested, which has no use beyond one.
const DEEPEST: u32 = 8;

/// What a value has to be.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Value {
    /// It is there (`true`) or it is not (`false`).
    Present(bool),
    /// It is not what this says; a missing one counts as not.
    Not(Box<Value>),
    /// It is there, and as this says of a text.
    #[schemars(untagged)]
    Text(Pattern),
}

impl From<Pattern> for Value {
    fn from(pattern: Pattern) -> Value {
        Value::Text(pattern)
    }
}

impl Words for Value {
    const MORE: &'static [&'static str] = &["present", "not"];

    fn read<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<Value, A::Error> {
        if word == "present" {
            return map.next_value().map(Value::Present);
        }
        let value = Value::Not(map.next_value()?);
        if value.depth() > DEEPEST {
            return Err(A::Error::custom(format_args!("`not` is nested; expected at most {DEEPEST}")));
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        words(deserializer)
    }
}

impl Value {
    /// Whether a value is as it has to be; `None` is one that is not there.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Value::Text(pattern) => value.is_some_and(|value| pattern.matches(value)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    fn accepts(json: &str, value: Option<&str>) -> bool {
        read::<Value>(json).unwrap().accepts(value)
    }

    #[test]
    fn a_value_is_what_its_text_has_to_be_or_not() {
        let cases = [
            (r#""ann""#, "ann", "anna"),
            (r#"{"glob": "an*"}"#, "ann", "a"),
            (r#"{"prefix": "an", "ignore_case": true}"#, "ANN", "NA"),
            (r#"{"not": "ann"}"#, "bob", "ann"),
            (r#"{"not": {"exact": "ann", "ignore_case": true}}"#, "bob", "Ann"),
            (r#"{"not": {"not": {"suffix": "n"}}}"#, "ann", "bob"),
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
    fn what_is_no_rule_is_refused_with_what_was_expected() {
        let wrong = [
            (r#"{"exact": "a", "present": true}"#, "`regex`, `present`, `not`"),
            (r#"{"includes": "a"}"#, "includes: unknown field `includes`, expected one of `exact`"),
            (r#"{"present": "yes"}"#, "present: invalid type: string \"yes\", expected a boolean"),
            (r#"{"present": true, "ignore_case": true}"#, "`ignore_case` is for texts; expected beside it"),
            (r#"{"not": {"regex": "("}}"#, "not.regex: `(` is not a regular expression"),
            ("null", "expected a text, or a mapping with one of `exact`"),
        ];
        for (json, message) in wrong {
            let error = read::<Value>(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
        let nested = |depth| format!("{}\"a\"{}", r#"{"not": "#.repeat(depth), "}".repeat(depth));
        assert!(read::<Value>(&nested(8)).is_ok());
        assert!(read::<Value>(&nested(9)).unwrap_err().contains("`not` is nested; expected at most 8"));
    }
}
