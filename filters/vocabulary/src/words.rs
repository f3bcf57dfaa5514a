//! The words in which it is written what a text has to be, which are the same wherever one is asked about; and those that
//! a place has beside them, such as `present` where a value may be missing.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::pattern::{Form, Pattern};

/// Each form of a text, and what it says.
const FORMS: [(&str, &str); 6] = [
    ("exact", "The text itself."),
    ("prefix", "What it begins with, by characters."),
    ("suffix", "What it ends with."),
    ("contains", "What is somewhere in it."),
    (
        "glob",
        "`*` is anything but a slash, `**` alone between slashes anything, `?` one character (of ASCII), `[a-z]` one of these, `{a,b}` either.",
    ),
    ("regex", "A regular expression that has to match the whole text."),
];

/// What may be said beside a form.
const IGNORE_CASE: (&str, &str) =
    ("ignore_case", "Capital and small letters are the same; of a regular expression only those of ASCII.");

/// What can be said in a place where a text is asked about: what that has to be, and perhaps more.
pub trait Words: From<Pattern> {
    /// What can be said instead of a form of the text.
    const MORE: &'static [&'static str] = &[];

    /// Reads what follows one of these, which is the map's next value.
    ///
    /// # Errors
    ///
    /// It is not what that word takes.
    fn read<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<Self, A::Error> {
        let _ = map;
        Err(A::Error::unknown_field(word, Self::MORE))
    }
}

/// Reads a text alone, which has to be met exactly, or a mapping with one of the words.
///
/// # Errors
///
/// It is neither, or says nothing, too much, or what has no meaning in this place.
pub fn words<'de, T: Words, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextOrMapping(PhantomData))
}

struct TextOrMapping<T>(PhantomData<T>);

impl<'de, T: Words> Visitor<'de> for TextOrMapping<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, or a mapping with one of {}", one_of(T::MORE))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(Pattern::exact(text).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut said = None;
        let mut ignore_case = false;
        while let Some(word) = map.next_key_seed(Word { more: T::MORE })? {
            if word == IGNORE_CASE.0 {
                ignore_case = map.next_value()?;
                continue;
            }
            let saying = match read_form(word, &mut map)? {
                Some(form) => Said::Form(form),
                None => Said::More(T::read(word, &mut map)?),
            };
            if said.replace(saying).is_some() {
                return Err(A::Error::custom(format_args!("expected exactly one of {}", one_of(T::MORE))));
            }
        }
        match said {
            Some(Said::Form(form)) => Pattern::new(form, ignore_case).map(T::from).map_err(A::Error::custom),
            Some(Said::More(_)) if ignore_case => Err(A::Error::custom(format_args!(
                "`{}` is for texts; expected beside it one of {}",
                IGNORE_CASE.0,
                one_of(&[])
            ))),
            Some(Said::More(more)) => Ok(more),
            None => Err(A::Error::custom(format_args!("expected exactly one of {}", one_of(T::MORE)))),
        }
    }
}

/// One of the words, with what followed it.
enum Said<T> {
    Form(Form),
    More(T),
}

/// Reads what follows a word, where that is a form's.
fn read_form<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<Option<Form>, A::Error> {
    Ok(Some(match word {
        "exact" => Form::Exact(map.next_value()?),
        "prefix" => Form::Prefix(map.next_value()?),
        "suffix" => Form::Suffix(map.next_value()?),
        "contains" => Form::Contains(map.next_value()?),
        "glob" => Form::Glob(map.next_value()?),
        "regex" => Form::Regex(map.next_value()?),
        _ => return Ok(None),
    }))
}

/// Reads a word of those that a place has.
struct Word {
    more: &'static [&'static str],
}

impl Word {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        forms().chain(self.more.iter().copied()).chain([IGNORE_CASE.0])
    }
}

impl<'de> DeserializeSeed<'de> for Word {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Word {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", list(self.all()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<&'static str, E> {
        self.all().find(|word| *word == text).ok_or_else(|| {
            E::custom(format_args!("unknown field `{text}`, expected one of {}", list(self.all())))
        })
    }
}

fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.into_iter().map(|(word, _)| word)
}

/// The words of which there has to be one.
fn one_of(more: &'static [&'static str]) -> String {
    list(forms().chain(more.iter().copied()))
}

fn list(words: impl Iterator<Item = &'static str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let property = |(word, description): (&str, &str), kind: &str| {
            (word.to_owned(), serde_json::json!({"description": description, "type": kind}))
        };
        let properties = FORMS.map(|form| property(form, "string"));
        let properties: serde_json::Map<_, _> =
            properties.into_iter().chain([property(IGNORE_CASE, "boolean")]).collect();
        json_schema!({
            "description": "What a text has to be: this and nothing else, or one of the forms.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": properties,
                    "oneOf": FORMS.map(|(word, _)| serde_json::json!({"required": [word]})),
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn what_says_nothing_or_too_much_is_refused_with_what_was_expected() {
        let wrong = [
            (r#"{"exact": "a", "prefix": "b"}"#, "expected exactly one of `exact`, `prefix`"),
            ("{}", "expected exactly one of `exact`, `prefix`"),
            (r#"{"ignore_case": true}"#, "expected exactly one of `exact`, `prefix`"),
            (r#"{"glob": "[a"}"#, "glob: `[a` is not a glob"),
            (r#"{"regex": "("}"#, "regex: `(` is not a regular expression"),
            (r#"{"prefix": 1}"#, "prefix: invalid type: integer `1`, expected a string"),
            (r#"{"exact": "a", "ignore_case": "yes"}"#, "ignore_case: invalid type: string \"yes\""),
            (r#"{"globb": "a"}"#, "globb: unknown field `globb`, expected one of `exact`"),
            (r#"{"present": true}"#, "`glob`, `regex`, `ignore_case`"),
            ("7", "invalid type: integer `7`, expected a text, or a mapping with one of `exact`"),
        ];
        for (json, message) in wrong {
            let error = read::<Pattern>(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
