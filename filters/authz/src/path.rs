//! The path as rules see it: without its query, and with a second reading where the service behind may understand it
//! differently than this filter does.
//!
//! The proxy has cleaned the path before a filter sees it. What it has to leave, because to some services it means
//! something else than the cleaned form, is read both ways here: `/a%2Fb` is one segment to one service and two to
//! another. A rule that denies applies if either reading is meant by it, one that allows only if both are.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// How often a path may be encoded over: what is more than that stays as it is.
const DECODINGS: usize = 4;

/// What would begin ASCII in two bytes: an overlong form, which UTF-8 forbids (RFC 3629, section 3).
const OVERLONG_0: u8 = 0xc0;
const OVERLONG_1: u8 = 0xc1;

/// A request's path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// With the query.
    target: String,
    /// Where the path ends in it.
    end: usize,
    /// As a lenient service reads it, where that is something else.
    decoded: Option<String>,
}

impl Path {
    /// Of `:path`: a path and perhaps a query.
    pub(crate) fn new(target: &str) -> Path {
        let target = target.split('#').next().unwrap_or_default();
        let end = target.find('?').unwrap_or(target.len());
        let path = &target[..end];
        let decoded = is_doubtful(path).then(|| decode(path)).filter(|decoded| decoded != path);
        Path { target: target.to_owned(), end, decoded }
    }

    /// Every way in which it may be understood, as it is first.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.target[..self.end]).chain(self.decoded.as_deref())
    }

    /// What follows the question mark.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.get(self.end + 1..)
    }
}

/// A service may read more into it than what it says. Nearly all paths are plain, and one look at each byte tells.
fn is_doubtful(path: &str) -> bool {
    let bytes = path.as_bytes();
    (0..bytes.len()).any(|at| match bytes[at] {
        b';' | b'\\' => true,
        b'/' => bytes.get(at + 1) == Some(&b'/') || is_dots(&bytes[at + 1..]),
        b'%' => is_doubtful_escape(&path[at + 1..]),
        _ => false,
    })
}

/// A segment of one or two dots is next.
fn is_dots(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// Escapes that a service may undo where this filter's host did not: of what needs no escape, of separators, of
/// controls, and of the percent sign of another escape.
fn is_doubtful_escape(after_percent: &str) -> bool {
    let Some(byte) = after_percent.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
        return false;
    };
    match byte {
        b'/' | b'\\' | b';' | b'?' | b'#' | b'.' | b'-' | b'_' | b'~' => true,
        // The percent sign of another escape: what follows shows only once this one is undone.
        b'%' => after_percent.get(2..4).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())),
        // How no text in UTF-8 goes on, and how old decoders read ASCII nevertheless.
        OVERLONG_0 | OVERLONG_1 => true,
        byte => byte.is_ascii_alphanumeric() || byte.is_ascii_control(),
    }
}

/// As the most lenient service would read it: every escape undone, backslashes as slashes, parameters (`;…`) cut, dot
/// segments and empty segments resolved.
fn decode(path: &str) -> String {
    let mut text = Cow::Borrowed(path);
    for _ in 0..DECODINGS {
        if !text.contains('%') {
            break;
        }
        text = Cow::Owned(as_text(percent_decode_str(&text).collect()));
    }
    // A service that undoes escapes early takes what follows for a query or a fragment.
    let path = text.split(['?', '#', '\0']).next().unwrap_or_default().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let ends_in_folder = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    let slash = if ends_in_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

/// Text of bytes, where ASCII may be written in two.
fn as_text(bytes: Vec<u8>) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let [first, after @ ..] = rest {
        match (*first, after) {
            (OVERLONG_0 | OVERLONG_1, [tail @ 0x80..=0xbf, after @ ..]) => {
                plain.push((*first & 1) << 6 | (tail & 0x3f));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(target: &str) -> Vec<String> {
        Path::new(target).readings().map(str::to_owned).collect()
    }

    #[test]
    fn the_query_and_the_fragment_are_not_the_path() {
        assert_eq!(readings("/a?/admin"), ["/a"]);
        assert_eq!(readings("/a#/admin"), ["/a"]);
        assert_eq!(Path::new("/a?b=/c?d").query(), Some("b=/c?d"));
    }

    #[test]
    fn a_path_that_everyone_understands_alike_has_one_reading() {
        for path in ["/", "/a/b.c", "/a%20b", "/gr%C3%BC%C3%9Fe", "/100%25", "/a/...", "*", "", "/%zz", "/a%"]
        {
            assert_eq!(readings(path), [path]);
        }
    }

    /// From published bypasses: Tomcat's parameters, Spring's and IIS's slashes, double decoding, NUL bytes.
    #[test]
    fn what_a_lenient_service_would_read_is_a_second_reading() {
        let cases = [
            ("/public%2Fadmin", "/public/admin"),
            ("/public%5cadmin", "/public/admin"),
            ("/public\\admin", "/public/admin"),
            ("/public/..%2Fadmin", "/admin"),
            ("/public/..%252fadmin", "/admin"),
            ("/public/%252e%252e/admin", "/admin"),
            ("/public/..;/admin", "/admin"),
            ("/public/..;a=b/admin", "/admin"),
            ("/public/%2e%2e%3b/admin", "/admin"),
            ("/admin;jsessionid=1", "/admin"),
            ("/;/admin", "/admin"),
            ("/admin%3bx", "/admin"),
            ("//admin", "/admin"),
            ("/./admin", "/admin"),
            ("/a/../admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/admin%00.js", "/admin"),
            ("/admin%3f.js", "/admin"),
            ("/admin%23.js", "/admin"),
            ("/admin%252fusers", "/admin/users"),
            ("/public/..%c0%afadmin", "/admin"),
            ("/%c0%ae%c0%ae/%c1%a1dmin", "/admin"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
        ];
        for (path, decoded) in cases {
            assert_eq!(readings(path), [path, decoded]);
        }
    }
}
