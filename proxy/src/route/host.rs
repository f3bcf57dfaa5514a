//! The host that a request is for.

use http::HeaderMap;
use http::header::HOST;

use super::trie::Text;

/// The host that the request names, without its port; empty where it names none. An IPv6 address keeps its brackets
/// ([RFC 3986 section 3.2.2]).
///
/// [RFC 3986 section 3.2.2]: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2
pub(super) fn of(headers: &HeaderMap) -> &[u8] {
    headers.get(HOST).map_or(&[], |host| split_port(host.as_bytes()).0)
}

/// A host in lower case.
pub(super) struct Lower<'a>(pub(super) &'a [u8]);

impl Text for Lower<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn byte(&self, at: usize) -> u8 {
        self.0[at].to_ascii_lowercase()
    }

    fn has(&self, label: &[u8], at: usize) -> bool {
        self.0[at..].get(..label.len()).is_some_and(|part| part.eq_ignore_ascii_case(label))
    }
}

/// A host in lower case, backwards.
pub(super) struct LowerBackwards<'a>(pub(super) &'a [u8]);

impl Text for LowerBackwards<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn byte(&self, at: usize) -> u8 {
        self.0[self.0.len() - 1 - at].to_ascii_lowercase()
    }

    fn has(&self, label: &[u8], at: usize) -> bool {
        label.len() <= self.0.len() - at
            && label.iter().enumerate().all(|(i, &byte)| self.byte(at + i) == byte)
    }
}

/// A host and its port, which begins with its colon and is empty where there is none.
pub(super) fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let end = match authority.first() {
        Some(b'[') => authority.iter().position(|&byte| byte == b']').map_or(authority.len(), |at| at + 1),
        _ => authority.iter().rposition(|&byte| byte == b':').unwrap_or(authority.len()),
    };
    authority.split_at(end)
}

/// An authority whose host has `suffix` behind it, before its port.
pub fn with_suffix(authority: &[u8], suffix: &[u8]) -> Vec<u8> {
    let (host, port) = split_port(authority);
    [host, suffix, port].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_split_from_its_port() {
        for (authority, host, port) in [
            ("example.com", "example.com", ""),
            ("example.com:8080", "example.com", ":8080"),
            ("10.0.0.1:80", "10.0.0.1", ":80"),
            ("[::1]", "[::1]", ""),
            ("[::1]:443", "[::1]", ":443"),
            ("[::1", "[::1", ""),
            (":80", "", ":80"),
            ("", "", ""),
        ] {
            assert_eq!(split_port(authority.as_bytes()), (host.as_bytes(), port.as_bytes()), "{authority}");
        }
    }
}
