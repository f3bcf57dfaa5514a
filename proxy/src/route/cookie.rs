//! The cookies of a request, as they were sent ([RFC 6265 section 5.4]).
//!
//! [RFC 6265 section 5.4]: https://www.rfc-editor.org/rfc/rfc6265#section-5.4

use http::HeaderMap;
use http::header::COOKIE;

/// The value of the first cookie of that name, without the quotes that may be around it.
pub fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; bb=2;c=\"x y\";a=3; d".parse().unwrap());
        headers.append(COOKIE, "e=; b=4=5".parse().unwrap());
        for (name, expected) in [
            ("a", Some("1")),
            ("b", Some("4=5")),
            ("bb", Some("2")),
            ("c", Some("x y")),
            ("e", Some("")),
            ("d", None),
            ("A", None),
        ] {
            assert_eq!(first(&headers, name), expected.map(str::as_bytes), "{name}");
        }
    }
}
