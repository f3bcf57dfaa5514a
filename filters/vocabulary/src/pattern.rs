//! What a text has to be: exactly this, or beginning, ending, globbed or matched so. Checked and compiled when the
//! configuration is read, so that nothing is left to fail at a request. How it is written is in `words`.

use serde::de::{Deserialize, Deserializer};

use crate::glob::Glob;
use crate::regex::WholeRegex;
use crate::words::{Words, words};

/// What a text has to be.
#[derive(Debug, Clone)]
pub struct Pattern {
    form: Form,
    /// A text is folded before it is looked at, as the form was. A regular expression ignores case by itself.
    is_folded: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Form {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Glob(Glob),
    Regex(WholeRegex),
}

impl Pattern {
    /// This text and no other.
    pub fn exact(text: impl Into<String>) -> Pattern {
        Pattern { form: Form::Exact(text.into()), is_folded: false }
    }

    pub(crate) fn new(form: Form, ignore_case: bool) -> Result<Pattern, String> {
        if !ignore_case {
            return Ok(Pattern { form, is_folded: false });
        }
        let form = match form {
            Form::Exact(text) => Form::Exact(fold(&text)),
            Form::Prefix(text) => Form::Prefix(fold(&text)),
            Form::Suffix(text) => Form::Suffix(fold(&text)),
            Form::Contains(text) => Form::Contains(fold(&text)),
            Form::Glob(glob) => Form::Glob(glob.fold(fold)),
            Form::Regex(regex) => {
                return Ok(Pattern { form: Form::Regex(regex.ignoring_case()?), is_folded: false });
            }
        };
        Ok(Pattern { form, is_folded: true })
    }

    /// The text is as it has to be.
    pub fn matches(&self, text: &str) -> bool {
        if self.is_folded { self.form.matches(&fold(text)) } else { self.form.matches(text) }
    }
}

impl Form {
    fn matches(&self, text: &str) -> bool {
        match self {
            Form::Exact(wanted) => text == wanted,
            Form::Prefix(wanted) => text.starts_with(wanted.as_str()),
            Form::Suffix(wanted) => text.ends_with(wanted.as_str()),
            Form::Contains(wanted) => text.contains(wanted.as_str()),
            Form::Glob(glob) => glob.matches(text),
            Form::Regex(regex) => regex.matches(text),
        }
    }
}

/// In small letters, each whatever its neighbours are: else a part of a text folded alone would not be found in the
/// folded text. The Greek sigma is the only letter with two small forms, one of them for the end of a word.
fn fold(text: &str) -> String {
    let small = text.to_lowercase();
    if small.is_ascii() { small } else { small.replace('ς', "σ") }
}

/// Nothing more can be said of a text.
impl Words for Pattern {}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        words(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::read;

    use super::*;

    fn pattern(json: &str) -> Pattern {
        read(json).unwrap()
    }

    #[test]
    fn a_text_alone_is_met_exactly() {
        assert!(pattern(r#""/a""#).matches("/a"));
        assert!(!pattern(r#""/a""#).matches("/a/"));
        assert!(!pattern(r#""/a""#).matches("/A"));
    }

    #[test]
    fn each_form_matches_what_it_says() {
        let cases = [
            (r#"{"exact": "/a"}"#, "/a", "/a/"),
            (r#"{"prefix": "/api"}"#, "/api/x", "/ap"),
            (r#"{"suffix": ".js"}"#, "/a.js", "/a.jsp"),
            (r#"{"contains": "/v2/"}"#, "/a/v2/b", "/a/v2"),
            (r#"{"glob": "/users/*/public"}"#, "/users/ann/public", "/users/ann/b/public"),
            (r#"{"regex": "a|b"}"#, "b", "bc"),
        ];
        for (json, yes, no) in cases {
            assert!(pattern(json).matches(yes), "{json} {yes}");
            assert!(!pattern(json).matches(no), "{json} {no}");
        }
    }

    #[test]
    fn case_is_ignored_only_where_that_is_said() {
        for json in [
            r#"{"exact": "/Admin"}"#,
            r#"{"prefix": "/Adm"}"#,
            r#"{"suffix": "Min"}"#,
            r#"{"contains": "/Adm"}"#,
            r#"{"glob": "/[A-C]dm*"}"#,
            r#"{"regex": "/Adm.*"}"#,
        ] {
            for json in [json.to_owned(), json.replace('}', r#", "ignore_case": false}"#)] {
                assert!(!pattern(&json).matches("/aDMIN"), "{json}");
            }
            let ignoring = json.replace('}', r#", "ignore_case": true}"#);
            assert!(pattern(&ignoring).matches("/aDMIN"), "{ignoring}");
            assert!(!pattern(&ignoring).matches("/user"), "{ignoring}");
        }
    }

    #[test]
    fn a_letter_is_folded_alike_wherever_it_is_in_a_word() {
        for word in ["ΟΔΟΣ", "οδος", "οδοσ"] {
            for (form, text) in
                [("exact", "ΟΔΟΣ"), ("prefix", "ΟΔΟΣΑ"), ("contains", "Α ΟΔΟΣΑ"), ("glob", "οδος")]
            {
                let json = format!(r#"{{"{form}": "{word}", "ignore_case": true}}"#);
                assert!(pattern(&json).matches(text), "{json} {text}");
            }
        }
    }
}
