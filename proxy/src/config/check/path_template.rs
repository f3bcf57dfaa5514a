//! Checks path templates, and makes regular expressions of them: `/users/{id}/files/{rest=**}`.

use super::super::decode::Located;
use super::super::model::{PathMatch, PathRewrite, PathTemplate, TemplateSegment};
use super::Checker;

/// What a part between slashes stands for.
enum Part<'a> {
    Text(&'a str),
    /// One segment, or all that is left, under a name or without one.
    Variable {
        name: Option<&'a str>,
        takes_rest: bool,
    },
}

impl Checker<'_> {
    /// A template that paths are compared with. `*` is one segment and `**` the rest, `{name}` a segment with a name, and
    /// `{name=**}` the rest with one.
    pub(super) fn path_template(&self, text: &Located<String>) -> Option<PathTemplate> {
        let (mut names, mut parts) = (Vec::new(), Vec::new());
        let mut pattern = String::new();
        let segments: Vec<&str> = text.value.strip_prefix('/')?.split('/').collect();
        for (at, segment) in segments.iter().enumerate() {
            pattern.push('/');
            match part(segment) {
                Ok(Part::Text(text)) => {
                    pattern.push_str(&regex::escape(text));
                    parts.push(TemplateSegment::Text(text.to_owned()));
                }
                Ok(Part::Variable { takes_rest: true, .. }) if at + 1 < segments.len() => {
                    let hint = "`**` is all that is left of a path: it comes last";
                    self.log.error_with_hint(text.span, "nothing can come behind `**`", hint);
                    return None;
                }
                Ok(Part::Variable { name, takes_rest }) => {
                    let content = if takes_rest { ".*" } else { "[^/]+" };
                    parts.push(if takes_rest { TemplateSegment::Rest } else { TemplateSegment::Any });
                    let Some(name) = name else {
                        pattern.push_str(content);
                        continue;
                    };
                    if names.contains(&name) {
                        self.log.error(text.span, format!("`{name}` is in this template twice"));
                        return None;
                    }
                    names.push(name);
                    pattern.push_str(&format!("(?P<{name}>{content})"));
                }
                Err(hint) => {
                    let message = format!("`{segment}` is no part of a path template");
                    self.log.error_with_hint(text.span, message, hint);
                    return None;
                }
            }
        }
        let regex = self.whole_pattern(&Located { value: pattern, span: text.span })?;
        Some(PathTemplate { source: text.value.clone(), segments: parts, regex })
    }

    /// What a path becomes that a template has matched: its variables may be in it.
    pub(super) fn rewrite_by_template(
        &self,
        text: &Located<String>,
        matched: &PathMatch,
    ) -> Option<PathRewrite> {
        let PathMatch::Template(PathTemplate { regex, .. }) = matched else {
            let hint = "match the path with `path: {template: …}`";
            self.log.error_with_hint(
                text.span,
                "there are no variables: the route matches no template",
                hint,
            );
            return None;
        };
        let mut substitution = String::new();
        let mut rest = text.value.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            substitution.push_str(&before.replace('$', "$$"));
            let name = behind.split_once('}').map(|(name, behind)| {
                rest = behind;
                name
            });
            let known = |name: &&str| regex.capture_names().flatten().any(|known| known == *name);
            let Some(name) = name.filter(known) else {
                let names: Vec<_> =
                    regex.capture_names().flatten().map(|name| format!("`{{{name}}}`")).collect();
                let hint = match names.is_empty() {
                    true => "the route's template has none".to_owned(),
                    false => format!("the route's template has {}", names.join(", ")),
                };
                self.log.error_with_hint(text.span, "there is no such variable", hint);
                return None;
            };
            substitution.push_str(&format!("${{{name}}}"));
        }
        substitution.push_str(&rest.replace('$', "$$"));
        Some(PathRewrite::Template { source: text.value.clone(), pattern: regex.clone(), substitution })
    }
}

/// What a segment is, or what to do instead.
fn part(segment: &str) -> Result<Part<'_>, &'static str> {
    const HINT: &str =
        "write `{name}` for one segment, `{name=**}` for the rest, or `*` and `**` where no name is needed";
    match segment {
        "*" => return Ok(Part::Variable { name: None, takes_rest: false }),
        "**" => return Ok(Part::Variable { name: None, takes_rest: true }),
        _ => {}
    }
    let Some(variable) = segment.strip_prefix('{') else {
        return if segment.contains(['{', '}', '*']) { Err(HINT) } else { Ok(Part::Text(segment)) };
    };
    let variable = variable.strip_suffix('}').ok_or(HINT)?;
    let (name, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (is_name, pattern) {
        (true, "*") => Ok(Part::Variable { name: Some(name), takes_rest: false }),
        (true, "**") => Ok(Part::Variable { name: Some(name), takes_rest: true }),
        _ => Err(HINT),
    }
}
