//! Globs: names with gaps, as in `spiffe://prod/ns/*/sa/web`.

use schemars::JsonSchema;
use serde::Deserialize;

/// The longest glob, in bytes.
const LONGEST: usize = 4096;

/// A glob, which the whole of a text has to match: `*` is anything but a slash, `**` alone between slashes anything, `?`
/// one character (of ASCII), `[a-z]` one of these, `{a,b}` either.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from)]
pub struct Glob(String);

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Glob, String> {
        if text.len() > LONGEST {
            return Err(format!("a glob of {} bytes; expected at most {LONGEST}", text.len()));
        }
        // Two ways to say no in one rule are one too many, and this one is easily overlooked.
        if text.starts_with('!') {
            return Err(format!(
                "`{text}` is a glob that says what a text is not; expected what it is, or `\\!` for the character"
            ));
        }
        fast_glob::validate(&text).map_err(|error| format!("`{text}` is not a glob: {error}"))?;
        Ok(Glob(text))
    }
}

impl Glob {
    /// The text is as it has to be.
    pub fn matches(&self, text: &str) -> bool {
        fast_glob::glob_match(&self.0, text)
    }

    /// The same for texts that are folded so.
    pub(crate) fn fold(self, fold: fn(&str) -> String) -> Glob {
        // An escaped letter is itself when it is a capital one, but may be a control character when it is small.
        let mut plain = String::with_capacity(self.0.len());
        let mut rest = self.0.chars();
        while let Some(char) = rest.next() {
            match (char, rest.clone().next()) {
                ('\\', Some('A'..='Z')) => {}
                ('\\', Some(escaped)) => {
                    plain.extend(['\\', escaped]);
                    rest.next();
                }
                _ => plain.push(char),
            }
        }
        Glob(fold(&plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Result<Glob, String> {
        Glob::try_from(text.to_owned())
    }

    #[test]
    fn each_sign_stands_for_what_it_says() {
        for (text, yes, no) in [
            ("/users/*/public", "/users/ann/public", "/users/ann/b/public"),
            ("/files/**", "/files/a/b", "/file/a"),
            ("/files/**", "/files/", "/files"),
            ("/a/**/z", "/a/z", "/az"),
            ("/a/**/z", "/a/b/c/z", "/a/b/cz"),
            ("/files**", "/files.txt", "/files/a"),
            ("v?", "v1", "v12"),
            ("v[0-9]", "v1", "vx"),
            ("{ann,bob}", "bob", "ann,bob"),
            (r"\!a\*", "!a*", "!ab"),
            ("ann", "ann", "anna"),
        ] {
            assert!(glob(text).unwrap().matches(yes), "{text} {yes}");
            assert!(!glob(text).unwrap().matches(no), "{text} {no}");
        }
    }

    #[test]
    fn an_escaped_letter_is_that_letter_when_folded_too() {
        let folded = glob(r"\N[\R-\T]\*\\N").unwrap().fold(str::to_lowercase);
        assert!(folded.matches(r"ns*\n"));
        assert!(!folded.matches("\ns*\\n"));
    }

    #[test]
    fn what_is_no_glob_is_refused_with_what_was_expected() {
        for (text, message) in [
            ("[a", "`[a` is not a glob: "),
            ("!/a", "`!/a` is a glob that says what a text is not; expected what it is"),
            (&"a".repeat(LONGEST + 1), "a glob of 4097 bytes; expected at most 4096"),
        ] {
            let error = glob(text).unwrap_err();
            assert!(error.contains(message), "{text} gave: {error}");
        }
    }
}
