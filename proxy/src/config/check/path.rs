//! Checks paths: what they are compared with, and what they are rewritten to.

use super::super::decode::{Field, Located};
use super::super::model::{PathMatch, PathRewrite, PathTemplate, RedirectPath};
use super::super::raw;
use super::super::source::Span;
use super::Checker;
use crate::path::{PathNormalization, normalize_path};

impl Checker<'_> {
    pub(super) fn path_match(&self, raw: Field<raw::Path>) -> PathMatch {
        let given = match raw.value() {
            None => None,
            Some(raw::Path::Prefix(text)) => self.matched_path(text).map(PathMatch::Prefix),
            Some(raw::Path::Segments(text)) => {
                self.matched_path(text).map(|path| match path.trim_end_matches('/') {
                    "" => PathMatch::Any,
                    path => PathMatch::Segments(path.to_owned()),
                })
            }
            Some(raw::Path::Exact(text)) => self.matched_path(text).map(PathMatch::Exact),
            Some(raw::Path::Regex(text)) => {
                text.given().and_then(|text| self.whole_pattern(&text)).map(PathMatch::Regex)
            }
            Some(raw::Path::Template(text)) => self.matched_template(text).map(PathMatch::Template),
        };
        given.unwrap_or(PathMatch::Any)
    }

    fn matched_path(&self, field: Field<String>) -> Option<String> {
        let path = field.given()?;
        if path.value.contains(['?', '#']) {
            let hint = "the path is compared without its query: match that with `query`";
            self.log.error_with_hint(path.span, "a path has no `?` or `#` in it", hint);
        }
        // `OPTIONS *` asks about the server as a whole (RFC 9110 section 9.3.7).
        if path.value != "*" {
            self.path(&path);
        }
        Some(path.value)
    }

    fn matched_template(&self, field: Field<String>) -> Option<PathTemplate> {
        let text = field.given()?;
        self.path(&text);
        self.path_template(&text)
    }

    /// A path that is not in the form that the listener brings them into is one that no request has.
    pub(super) fn warn_of_path_that_no_request_has(&self, route: &raw::Route, rules: &PathNormalization) {
        let Field::Given(Located { value: raw::Match { path: Field::Given(path), .. }, .. }) = &route.matches
        else {
            return;
        };
        // A prefix may end within an escape or in what are no dots in the end: it is looked at as it could go on.
        let (Field::Given(text), more) = (match &path.value {
            raw::Path::Exact(text) | raw::Path::Segments(text) => (text, ""),
            raw::Path::Prefix(text) => (text, "0"),
            raw::Path::Regex(_) | raw::Path::Template(_) => return,
        }) else {
            return;
        };
        let hint = match normalize_path(&format!("{}{more}", text.value), rules) {
            Ok(None) => return,
            Ok(Some((normal, _))) => {
                format!(
                    "paths are normalised first: write `{}`",
                    normal.strip_suffix(more).unwrap_or(&normal)
                )
            }
            Err(_) => "such a path is answered 400: see `path_normalization`".to_owned(),
        };
        self.log.warning(text.span, format!("no request has a path like `{}`", text.value), hint);
    }

    /// Refuses what can never be the path of a request (RFC 9112 section 3.2.1).
    fn path(&self, path: &Located<String>) {
        if !path.value.starts_with('/') {
            let message = format!("the path `{}` does not begin with `/`", path.value);
            self.log.error_with_hint(path.span, message, format!("write `/{}`", path.value));
        } else if let Some(c) = path.value.chars().find(|c| !c.is_ascii_graphic()) {
            let mut bytes = [0; 4];
            let encoded: String =
                c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
            let message = format!("`{}` cannot be in a path as it is", c.escape_debug());
            self.log.error_with_hint(path.span, message, format!("write it percent-encoded: `{encoded}`"));
        }
    }

    /// What a `rewrite` does to the path.
    pub(super) fn path_rewrite(
        &self,
        prefix: Field<String>,
        regex: Field<raw::RegexRewrite>,
        template: Field<String>,
        matched: &PathMatch,
    ) -> Option<PathRewrite> {
        let given = [("prefix", prefix.span()), ("regex", regex.span()), ("template", template.span())];
        let mut given = given.into_iter().filter_map(|(name, span)| Some((name, span?)));
        if let (Some((first, span)), Some((second, _))) = (given.next(), given.next()) {
            let message = format!("`{first}` and `{second}` cannot be given together");
            self.log.error_with_hint(span, message, "keep one of them");
            return None;
        }
        if let Some(prefix) = prefix.given() {
            self.needs_a_prefix(prefix.span, matched);
            self.path(&prefix);
            self.warn_of_double_slash(&prefix, matched);
            return Some(PathRewrite::Prefix(prefix.value));
        }
        if let Some(text) = template.given() {
            self.path(&text);
            return self.rewrite_by_template(&text, matched);
        }
        let regex = regex.given()?;
        let pattern = self.required(regex.value.pattern, "pattern", regex.span);
        let substitution = self.required(regex.value.substitution, "substitution", regex.span);
        let pattern = self.pattern(&pattern?)?;
        let substitution = self.substitution(&substitution?, &pattern);
        Some(PathRewrite::Regex { pattern, substitution })
    }

    pub(super) fn redirect_path(
        &self,
        field: Field<raw::RedirectPath>,
        matched: &PathMatch,
    ) -> Option<RedirectPath> {
        match field.value()? {
            raw::RedirectPath::Full(path) => {
                let path = path.given()?;
                self.path(&path);
                Some(RedirectPath::Full(path.value))
            }
            raw::RedirectPath::Prefix(prefix) => {
                let prefix = prefix.given()?;
                self.needs_a_prefix(prefix.span, matched);
                self.path(&prefix);
                Some(RedirectPath::Prefix(prefix.value))
            }
        }
    }

    fn needs_a_prefix(&self, span: Span, matched: &PathMatch) {
        if let PathMatch::Any | PathMatch::Regex(_) | PathMatch::Template(_) = matched {
            let hint = "match the path with `path: {prefix: …}` or `{exact: …}`";
            self.log.error_with_hint(
                span,
                "there is no prefix to replace: the route does not match one",
                hint,
            );
        }
    }

    fn warn_of_double_slash(&self, prefix: &Located<String>, matched: &PathMatch) {
        if let PathMatch::Prefix(matched) | PathMatch::Segments(matched) = matched
            && prefix.value.ends_with('/')
            && !matched.ends_with('/')
        {
            let message = format!("`{matched}/x` is rewritten to `{}/x`", prefix.value);
            self.log.warning(
                prefix.span,
                message,
                format!("match `{matched}/`, or leave out the last `/` here"),
            );
        }
    }
}
