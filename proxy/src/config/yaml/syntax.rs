//! Syntax errors of YAML in words that say what to do.

use super::super::collector::Collector;
use super::super::source::{Source, Span};

/// Records the parser's complaint, with a remedy for the usual mistakes.
pub(super) fn report(log: &Collector<'_>, source: &Source, span: Span, info: &str) {
    let message = format!("this is not valid YAML: {info}");
    match remedy(source, span, info) {
        Some(hint) => log.error_with_hint(span, message, hint),
        None => log.error(span, message),
    }
}

fn remedy(source: &Source, span: Span, info: &str) -> Option<&'static str> {
    let line = source.line(source.line_number(span));
    let indent = &line[..line.len() - line.trim_start().len()];
    if info.contains("tab") || indent.contains('\t') {
        return Some("indent with spaces: YAML does not allow tabs");
    }
    if line.contains("[:") {
        return Some("an IPv6 address needs quotes, as in \"[::1]:8080\"");
    }
    if info.contains("anchor") {
        return Some("a text that begins with `*` or `&` needs quotes, as in \"*.example.com\"");
    }
    if info.contains("mapping values are not allowed") || info.contains("':'") {
        return Some(
            "a text that has `: ` in it needs quotes; otherwise look at the indentation and for brackets left open",
        );
    }
    if info.contains("end of stream") || info.contains("unexpected eof") {
        return Some("a quote or bracket is opened but never closed");
    }
    if info.contains("unexpected character") || info.contains("cannot start any token") {
        return Some("a text that begins with this character needs quotes");
    }
    if info.contains("expected ',' or")
        || info.contains("did not find expected")
        || info.contains("simple key expect")
    {
        return Some(
            "look at the indentation, and for a missing `:`, comma, bracket or quote just before this",
        );
    }
    None
}
