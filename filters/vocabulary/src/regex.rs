//! Regular expressions that match the whole of a text or not at all, in a time that is linear in its length.

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;

/// The longest regular expression, in bytes.
const LONGEST: usize = 4096;

/// The largest compiled one, in bytes: together they have to fit into a filter's memory.
const LARGEST: usize = 256 << 10;

/// A regular expression that matches the whole of a text or not at all.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct WholeRegex(Regex);

impl TryFrom<String> for WholeRegex {
    type Error = String;

    fn try_from(text: String) -> Result<WholeRegex, String> {
        if text.len() > LONGEST {
            return Err(format!("a regular expression of {} bytes; expected at most {LONGEST}", text.len()));
        }
        // Compiled alone too: unbalanced brackets could close the group that is around them. The line break ends a
        // comment, which in `(?x)` mode could swallow the closing bracket.
        let whole = || {
            compile(&format!(r"\A(?:{text})\z"), false)
                .or_else(|_| compile(&format!("\\A(?:{text}\n)\\z"), false))
        };
        let regex = compile(&text, false).and_then(|_| whole());
        regex.map(WholeRegex).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
    }
}

impl WholeRegex {
    /// The text is as it has to be.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The same for capital and small letters, of ASCII only.
    pub(crate) fn ignoring_case(&self) -> Result<WholeRegex, String> {
        let text = self.0.as_str();
        compile(text, true).map(WholeRegex).map_err(|error| format!("`{text}` cannot ignore case: {error}"))
    }
}

fn compile(text: &str, ignore_case: bool) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(text).case_insensitive(ignore_case).size_limit(LARGEST).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Result<WholeRegex, String> {
        WholeRegex::try_from(text.to_owned())
    }

    #[test]
    fn the_whole_text_has_to_match_whatever_is_in_the_expression() {
        for (text, yes, no) in [
            ("/v[0-9]+/.*", "/v12/x", "/w/v1/x"),
            ("a|b", "b", "bc"),
            ("(?m)/public$", "/public", "/public\n/admin"),
            ("(?x)a # the letter", "a", "ab"),
        ] {
            assert!(regex(text).unwrap().matches(yes), "{text} {yes}");
            assert!(!regex(text).unwrap().matches(no), "{text} {no}");
        }
    }

    #[test]
    fn case_is_ignored_in_a_commented_expression_too() {
        let ignoring = regex("(?x)/adm.* # whoever").unwrap().ignoring_case().unwrap();
        assert!(ignoring.matches("/ADMIN"));
        assert!(!ignoring.matches("/x/ADMIN"));
    }

    #[test]
    fn what_is_no_regular_expression_is_refused_with_what_was_expected() {
        for (text, message) in [
            ("(", "`(` is not a regular expression: "),
            ("a)|(?:b", "`a)|(?:b` is not a regular expression: "),
            ("(a{200}){100}", "is not a regular expression: "),
            (&"a".repeat(LONGEST + 1), "a regular expression of 4097 bytes; expected at most 4096"),
        ] {
            let error = regex(text).unwrap_err();
            assert!(error.contains(message), "{text} gave: {error}");
        }
    }
}
