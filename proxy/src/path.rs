//! One form for every path, so that a rule about a path cannot be dodged by writing the path differently. Pure.
//!
//! What two servers could read differently is brought into the form that RFC 3986, 6.2.2 calls normal, as Envoy does,
//! before routes and filters look at it; what has no such form is refused. The upstream gets the same form, so that
//! what was decided about is what is asked for. The query is left alone.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;

/// What of a path is brought into one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathNormalization {
    /// Characters and dot segments are brought into one form (RFC 3986, 6.2.2), and `\` is taken for `/`.
    pub normalize_path: bool,
    /// Slashes in a row become one.
    pub merge_slashes: bool,
    /// What becomes of escaped slashes.
    pub escaped_slashes: EscapedSlashes,
}

/// What becomes of `%2F` and `%5C`, which some servers take for slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    Keep,
    /// The request is answered 400.
    Reject,
    /// They become slashes.
    Unescape,
    /// The client is sent to the path in which they are slashes.
    Redirect,
}

/// Why a path has no form that everybody reads alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unnormalizable {
    /// A `%` without two hexadecimal digits after it, which some servers take for itself and others for an error.
    #[error("invalid_escape")]
    InvalidEscape,
    /// `%00`, at which some servers end a path.
    #[error("encoded_nul")]
    EncodedNul,
    /// An escaped slash, and the listener wants none.
    #[error("escaped_slash")]
    EscapedSlash,
    /// `.` or `..` between escaped delimiters: a dot segment for servers that decode first, none for others.
    #[error("hidden_dot_segment")]
    HiddenDotSegment,
    /// In its normal form it is longer than the HTTP library takes.
    #[error("too_long")]
    TooLong,
}

/// A target whose path was not in its normal form.
#[derive(Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The target with its path normalised.
    pub uri: Uri,
    /// Whether escaped slashes became slashes, which a client may have meant otherwise.
    pub unescaped: bool,
}

/// `uri`, in origin form, with its path in normal form; `None` if it is already, which costs one look at each byte.
///
/// # Errors
///
/// If there is no form that everybody reads alike.
pub fn normalize(uri: &Uri, rules: &PathNormalization) -> Result<Option<Normalized>, Unnormalizable> {
    let Some((mut target, unescaped)) = normalize_path(uri.path(), rules)? else { return Ok(None) };
    if let Some(query) = uri.query() {
        target.reserve_exact(query.len() + 1);
        target.push('?');
        target.push_str(query);
    }
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
    let uri = target.map(Uri::from).map_err(|_| Unnormalizable::TooLong)?;
    Ok(Some(Normalized { uri, unescaped }))
}

/// The normal form of a path, and whether escaped slashes became slashes in it; `None` if the path is in it already.
///
/// # Errors
///
/// As [`normalize`], which see.
pub fn normalize_path(
    path: &str,
    rules: &PathNormalization,
) -> Result<Option<(String, bool)>, Unnormalizable> {
    if is_normal(path.as_bytes(), rules) {
        return Ok(None);
    }
    let (normal, unescaped) = rewrite(path, rules)?;
    Ok((normal != path).then(|| (normal.into_owned(), unescaped)))
}

/// What a byte means in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It stands for itself (RFC 3986, 3.3).
    Plain,
    Slash,
    Percent,
    Backslash,
    /// It is in no URI, and stands for its escape.
    Foreign,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Foreign; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Backslash,
            // `sub-delims`, `:` and `@`
            b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@' => Class::Plain,
            unreserved if is_unreserved(unreserved) => Class::Plain,
            _ => Class::Foreign,
        };
        byte += 1;
    }
    classes
};

/// Whether a byte means the same escaped and not (RFC 3986, 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a path is surely in normal form. A few strange paths that are get the long look as well.
fn is_normal(path: &[u8], rules: &PathNormalization) -> bool {
    if !rules.normalize_path {
        let merges = rules.merge_slashes && path.windows(2).any(|pair| pair == b"//");
        return !merges && (rules.escaped_slashes == EscapedSlashes::Keep || !path.contains(&b'%'));
    }
    if path == b"*" {
        return true; // the server as a whole (RFC 9112, 3.2.4)
    }
    path.iter().enumerate().all(|(at, &byte)| match CLASSES[usize::from(byte)] {
        Class::Plain => true,
        Class::Slash => match path.get(at + 1) {
            Some(b'/') => !rules.merge_slashes,
            Some(b'.') => !may_be_dots(&path[at + 1..]),
            _ => true,
        },
        Class::Percent => escape_is_normal(&path[at + 1..], rules),
        Class::Backslash | Class::Foreign => false,
    })
}

/// Whether a segment, which begins with a dot, may be a dot segment or hide one.
fn may_be_dots(segment: &[u8]) -> bool {
    let after = segment.strip_prefix(b"..").unwrap_or(&segment[1..]);
    !after.first().is_some_and(|&byte| byte != b';' && CLASSES[usize::from(byte)] == Class::Plain)
}

/// Whether an escape whose digits begin `rest` is to stay as it is.
fn escape_is_normal(rest: &[u8], rules: &PathNormalization) -> bool {
    let Some(byte) = unescape(rest) else { return false };
    let upper = !rest[..2].iter().any(u8::is_ascii_lowercase);
    let slash = matches!(byte, b'/' | b'\\');
    let kept = !slash || (rules.escaped_slashes == EscapedSlashes::Keep && rest.get(2) != Some(&b'.'));
    upper && kept && byte != 0 && !is_unreserved(byte)
}

/// The byte that two hexadecimal digits at the beginning of `digits` are.
fn unescape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// The long way to the normal form, in Envoy's order.
fn rewrite<'a>(path: &'a str, rules: &PathNormalization) -> Result<(Cow<'a, str>, bool), Unnormalizable> {
    let mut path = Cow::Borrowed(path);
    let mut unescaped = false;
    if rules.escaped_slashes != EscapedSlashes::Keep
        && let Some(plain) = unescape_slashes(&path)
    {
        if rules.escaped_slashes == EscapedSlashes::Reject {
            return Err(Unnormalizable::EscapedSlash);
        }
        (path, unescaped) = (plain.into(), true);
    }
    if rules.normalize_path && path != "*" {
        path = remove_dot_segments(&settle_characters(&path)?)?.into();
    }
    if rules.merge_slashes && path.contains("//") {
        let mut before = '\0';
        path.to_mut().retain(|this| {
            let doubled = this == '/' && before == '/';
            before = this;
            !doubled
        });
    }
    Ok((path, unescaped))
}

/// `path` with escaped slashes and backslashes in their plain form; `None` if there are none.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut plain = String::with_capacity(path.len());
    plain.push_str(pieces.next()?);
    let mut found = false;
    for piece in pieces {
        let slash = match unescape(piece.as_bytes()) {
            Some(b'/') => '/',
            Some(b'\\') => '\\',
            _ => {
                plain.push('%');
                plain.push_str(piece);
                continue;
            }
        };
        found = true;
        plain.push(slash);
        plain.push_str(&piece[2..]);
    }
    found.then_some(plain)
}

/// `path` with each character in the one form that it has: unreserved ones as they are, what is in no URI escaped, the
/// digits of escapes in upper case (RFC 3986, 6.2.2.1 and 6.2.2.2), and `/` for `\`, as browsers and many servers have
/// it.
fn settle_characters(path: &str) -> Result<String, Unnormalizable> {
    let bytes = path.as_bytes();
    let mut settled = String::with_capacity(path.len());
    let escape = |settled: &mut String, byte: u8| {
        let _ = write!(settled, "%{byte:02X}");
    };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match CLASSES[usize::from(byte)] {
            Class::Plain => settled.push(char::from(byte)),
            Class::Slash | Class::Backslash => settled.push('/'),
            Class::Foreign => escape(&mut settled, byte),
            Class::Percent => {
                match unescape(&bytes[at..]).ok_or(Unnormalizable::InvalidEscape)? {
                    0 => return Err(Unnormalizable::EncodedNul),
                    byte if is_unreserved(byte) => settled.push(char::from(byte)),
                    byte => escape(&mut settled, byte),
                }
                at += 2;
            }
        }
    }
    Ok(settled)
}

/// A path without its dot segments (RFC 3986, 5.2.4): what leads above the root leads to it.
fn remove_dot_segments(path: &str) -> Result<String, Unnormalizable> {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let dots = without_parameters(segment, &[";"]);
        if dots == ".." {
            normal.truncate(normal.rfind('/').unwrap_or(0));
        } else if dots != "." {
            if hides_dots(segment) {
                return Err(Unnormalizable::HiddenDotSegment);
            }
            normal.push('/');
            normal.push_str(segment);
            continue;
        }
        if segments.peek().is_none() {
            normal.push('/');
        }
    }
    Ok(normal)
}

/// A segment up to what some servers take for its parameters, and drop before they look for dots.
fn without_parameters<'a>(segment: &'a str, delimiters: &[&str]) -> &'a str {
    delimiters.iter().fold(segment, |name, delimiter| name.split(delimiter).next().unwrap_or(name))
}

/// Whether a settled segment has a dot segment in it for servers that unescape delimiters before they look for dots.
fn hides_dots(segment: &str) -> bool {
    segment.contains('%')
        && segment
            .split("%2F")
            .flat_map(|part| part.split("%5C"))
            .any(|part| matches!(without_parameters(part, &[";", "%3B"]), "." | ".."))
}

#[cfg(test)]
mod tests;
