//! What a text has to be: exactly this, or beginning, ending, globbed or matched so. Checked and compiled when the
//! configuration is read, so that nothing is left to fail at a request.

use std::borrow::Cow;
use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// The longest pattern, in bytes.
pub(crate) const LONGEST_PATTERN: usize = 4096;

/// What a text has to be.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
#[schemars(with = "Written")]
pub(crate) struct Pattern {
    form: Form,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum Form {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Glob(String),
    Regex(Regex),
}

/// A text that has to be met exactly, or a mapping with one of the forms.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Pattern")]
pub(crate) enum Written {
    Exact(String),
    Form(Box<WrittenForm>),
}

/// One of these.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PatternForm")]
pub(crate) struct WrittenForm {
    /// The text itself.
    exact: Option<String>,
    /// What it begins with, by characters.
    prefix: Option<String>,
    /// What it ends with.
    suffix: Option<String>,
    /// What is somewhere in it.
    contains: Option<String>,
    /// `*` is anything but a slash, `**` anything, `?` one character, `[a-z]` one of these, `{a,b}` either.
    glob: Option<String>,
    /// A regular expression that has to match the whole text.
    regex: Option<String>,
    /// Of headers and claims: whether there is one.
    present: Option<bool>,
    /// Of claims: an element of a list, or a word of a text whose words are separated by spaces, as in `scope`.
    includes: Option<String>,
    /// Capital and small letters are the same.
    #[serde(default)]
    ignore_case: bool,
}

/// What was written, checked.
pub(crate) enum Condition {
    Text(Pattern),
    Present(bool),
    Includes(String),
}

/// By hand, so that an error is the one of the field that is wrong and not of everything that it could have been.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a mapping with one of `exact`, `prefix`, `suffix`, `contains`, `glob`, `regex`")
            }

            fn visit_str<E>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Exact(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                WrittenForm::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(Written::Form)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Written {
    /// What it means, where a text, a header or a claim is asked about.
    pub(crate) fn check(self) -> Result<Condition, String> {
        let form = match self {
            Written::Exact(text) => {
                return Ok(Condition::Text(Pattern { form: Form::Exact(text), ignore_case: false }));
            }
            Written::Form(form) => *form,
        };
        match (form.present, form.includes.clone()) {
            (None, None) => form.check().map(Condition::Text),
            (Some(present), None) if form.is_empty() => Ok(Condition::Present(present)),
            (None, Some(includes)) if form.is_empty() => Ok(Condition::Includes(includes)),
            _ => Err(ONE_OF.to_owned()),
        }
    }
}

const ONE_OF: &str = "expected exactly one of `exact`, `prefix`, `suffix`, `contains`, `glob`, `regex`";

impl WrittenForm {
    fn is_empty(&self) -> bool {
        [&self.exact, &self.prefix, &self.suffix, &self.contains, &self.glob, &self.regex]
            .iter()
            .all(|form| form.is_none())
            && !self.ignore_case
    }

    fn check(self) -> Result<Pattern, String> {
        let ignore_case = self.ignore_case;
        let fold = |text: String| if ignore_case { text.to_lowercase() } else { text };
        let form = match (self.exact, self.prefix, self.suffix, self.contains, self.glob, self.regex) {
            (Some(text), None, None, None, None, None) => Form::Exact(fold(text)),
            (None, Some(text), None, None, None, None) => Form::Prefix(fold(text)),
            (None, None, Some(text), None, None, None) => Form::Suffix(fold(text)),
            (None, None, None, Some(text), None, None) => Form::Contains(fold(text)),
            (None, None, None, None, Some(text), None) => Form::Glob(checked_glob(fold(text))?),
            (None, None, None, None, None, Some(text)) => Form::Regex(whole_regex(&text, ignore_case)?),
            _ => return Err(ONE_OF.to_owned()),
        };
        Ok(Pattern { form, ignore_case })
    }
}

impl TryFrom<Written> for Pattern {
    type Error = String;

    fn try_from(written: Written) -> Result<Pattern, String> {
        match written.check()? {
            Condition::Text(pattern) => Ok(pattern),
            Condition::Present(_) | Condition::Includes(_) => Err(ONE_OF.to_owned()),
        }
    }
}

impl Pattern {
    /// The text is as it has to be.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let folded = match self.ignore_case {
            true => Cow::Owned(text.to_lowercase()),
            false => Cow::Borrowed(text),
        };
        match &self.form {
            Form::Exact(wanted) => folded == wanted.as_str(),
            Form::Prefix(wanted) => folded.starts_with(wanted.as_str()),
            Form::Suffix(wanted) => folded.ends_with(wanted.as_str()),
            Form::Contains(wanted) => folded.contains(wanted.as_str()),
            Form::Glob(glob) => fast_glob::glob_match(glob, folded.as_ref()),
            Form::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A glob alone, for what is nearly always a name or a few: `spiffe://prod/ns/*/sa/web`, `ci`, `*`.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct Glob(String);

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Glob, String> {
        checked_glob(text).map(Glob)
    }
}

impl Glob {
    /// The text is as it has to be.
    pub(crate) fn matches(&self, text: &str) -> bool {
        fast_glob::glob_match(&self.0, text)
    }
}

fn checked_glob(text: String) -> Result<String, String> {
    bounded(&text)?;
    if text.starts_with('!') {
        return Err(format!("`{text}`: a glob that says what it is not; write `except` for that"));
    }
    fast_glob::validate(&text).map_err(|error| format!("`{text}` is not a glob: {error}"))?;
    Ok(text)
}

/// A regular expression that matches the whole of a text or not at all. Its time is linear in the text's length.
pub(crate) fn whole_regex(text: &str, ignore_case: bool) -> Result<Regex, String> {
    bounded(text)?;
    // The ends of the text, whatever flags are set inside.
    let whole = RegexBuilder::new(&format!("\\A(?:{text})\\z")).case_insensitive(ignore_case).build();
    // Compiled alone too: unbalanced parentheses could close the group that is around them.
    let alone = RegexBuilder::new(text).build();
    match (whole, alone) {
        (Ok(regex), Ok(_)) => Ok(regex),
        (_, Err(error)) | (Err(error), _) => Err(format!("`{text}` is not a regular expression: {error}")),
    }
}

fn bounded(text: &str) -> Result<(), String> {
    if text.len() > LONGEST_PATTERN {
        return Err(format!("a pattern of {} bytes; expected at most {LONGEST_PATTERN}", text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(json: &str) -> Pattern {
        serde_json::from_str(json).unwrap()
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
            (r#"{"prefix": "/api"}"#, "/api/x", "/ap"),
            (r#"{"suffix": ".js"}"#, "/a.js", "/a.jsp"),
            (r#"{"contains": "/v2/"}"#, "/a/v2/b", "/a/v2"),
            (r#"{"glob": "/users/*/public"}"#, "/users/ann/public", "/users/ann/b/public"),
            (r#"{"glob": "/files/**"}"#, "/files/a/b", "/file/a"),
            (r#"{"regex": "/v[0-9]+/.*"}"#, "/v12/x", "/w/v1/x"),
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
            r#"{"prefix": "/Admin"}"#,
            r#"{"glob": "/Adm*"}"#,
            r#"{"regex": "/Adm.*"}"#,
        ] {
            assert!(!pattern(json).matches("/aDMIN"), "{json}");
            let ignoring = json.replace('}', r#", "ignore_case": true}"#);
            assert!(pattern(&ignoring).matches("/aDMIN"), "{ignoring}");
        }
    }

    #[test]
    fn a_regex_is_held_to_the_whole_text_whatever_its_flags() {
        let regex = pattern(r#"{"regex": "(?m)/public$"}"#);
        assert!(regex.matches("/public"));
        assert!(!regex.matches("/public\n/admin"));
        assert!(serde_json::from_str::<Pattern>(r#"{"regex": "a)|(?:b"}"#).is_err());
    }

    #[test]
    fn what_is_not_a_pattern_is_refused_with_what_was_expected() {
        let wrong = [
            (r#"{"exact": "a", "prefix": "b"}"#, "exactly one of `exact`"),
            ("{}", "exactly one of `exact`"),
            (r#"{"glob": "[a"}"#, "`[a` is not a glob"),
            (r#"{"glob": "!/a"}"#, "write `except` for that"),
            (r#"{"regex": "("}"#, "`(` is not a regular expression"),
            (r#"{"present": true}"#, "exactly one of `exact`"),
            (r#"{"globb": "a"}"#, "unknown field `globb`"),
            ("7", "a text, or a mapping with one of"),
        ];
        for (json, message) in wrong {
            let error = serde_json::from_str::<Pattern>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
