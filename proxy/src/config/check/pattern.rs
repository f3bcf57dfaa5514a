//! Checks regular expressions and what replaces their matches.

use regex::{Regex, RegexBuilder};

use super::super::bounds::MAX_REGEX_BYTES;
use super::super::decode::Located;
use super::Checker;

impl Checker<'_> {
    /// Compiles a pattern that must match all of a text.
    pub(crate) fn whole_pattern(&self, pattern: &Located<String>) -> Option<Regex> {
        // By itself first: `a)|(b` is valid only with the group around it.
        self.pattern(pattern)?;
        let text = &pattern.value;
        // In `(?x)` mode a comment can swallow the closing bracket: a line break, which means nothing there, ends it.
        let anchored = compile(&format!("^(?:{text})$")).or_else(|_| compile(&format!("^(?:{text}\n)$")));
        self.compiled(anchored, pattern)
    }

    /// Compiles a pattern that may match anywhere.
    pub(super) fn pattern(&self, pattern: &Located<String>) -> Option<Regex> {
        self.compiled(compile(&pattern.value), pattern)
    }

    fn compiled(&self, result: Result<Regex, regex::Error>, pattern: &Located<String>) -> Option<Regex> {
        let error = match result {
            Ok(regex) => return Some(regex),
            Err(error) => error,
        };
        if let regex::Error::CompiledTooBig(_) = error {
            let hint = "make it shorter, or lower its repetition counts";
            self.log.error_with_hint(
                pattern.span,
                "this regular expression is too large once compiled",
                hint,
            );
            return None;
        }
        // The error draws the pattern with a caret under it; our own excerpt shows that already.
        let text = error.to_string();
        let reason = text.rsplit("error: ").next().unwrap_or(&text).trim();
        self.log.error(pattern.span, format!("this is not a regular expression: {reason}"));
        None
    }

    /// A substitution in the form of the `regex` crate. `\1` is its `${1}`; groups that the pattern has not are refused,
    /// since they would silently be replaced by nothing.
    pub(super) fn substitution(&self, text: &Located<String>, pattern: &Regex) -> String {
        let substitution = from_backslashes(&text.value);
        for group in groups(&substitution) {
            let exists = match group.parse::<usize>() {
                Ok(number) => number < pattern.captures_len(),
                Err(_) => pattern.capture_names().flatten().any(|name| name == group),
            };
            if !exists {
                let hint = "`\\1` or `${1}` is the first group, `${name}` a named one, `$$` a dollar sign";
                self.log.error_with_hint(text.span, format!("the pattern has no group `{group}`"), hint);
            }
        }
        substitution
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build()
}

/// What [`Checker::whole_pattern`] was given, from what it gave.
pub(crate) fn without_anchors(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

/// `\1` as `${1}`, and `\\` as a backslash.
fn from_backslashes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('\\', Some(&digit @ '0'..='9')) => {
                result.push_str(&format!("${{{digit}}}"));
                characters.next();
            }
            ('\\', Some('\\')) => {
                result.push('\\');
                characters.next();
            }
            _ => result.push(c),
        }
    }
    result
}

/// The groups that a substitution names, by the rules of the `regex` crate: `$name` is as long as it can be.
fn groups(substitution: &str) -> Vec<&str> {
    let mut groups = Vec::new();
    let mut rest = substitution;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((group, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            groups.push(group);
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            groups.extend((end > 0).then_some(&rest[..end]));
            rest = &rest[end..];
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_name_their_groups() {
        assert_eq!(groups("/$1/${two}/$$3/$four_x-$"), ["1", "two", "four_x"]);
        assert_eq!(from_backslashes(r"/\1x\\2"), r"/${1}x\2");
    }
}
