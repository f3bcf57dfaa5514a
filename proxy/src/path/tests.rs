//! What must hold for every path, and what is known to have been used against other proxies.

use percent::decode;
use proptest::prelude::*;

use super::Unnormalizable::{EncodedNul, EscapedSlash, HiddenDotSegment, InvalidEscape};
use super::*;

const DEFAULT: PathNormalization =
    PathNormalization { normalize_path: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Keep };

fn with(escaped_slashes: EscapedSlashes) -> PathNormalization {
    PathNormalization { escaped_slashes, ..DEFAULT }
}

/// The form that a path ends up in.
fn form(path: &str, rules: &PathNormalization) -> Result<String, Unnormalizable> {
    Ok(normalize_path(path, rules)?.map_or_else(|| path.to_owned(), |(normal, _)| normal))
}

#[test]
fn published_ways_around_a_rule_for_a_path_end_at_the_path() {
    for (path, normal) in [
        // CVE-2019-9901 (Envoy): dot segments.
        ("/info/../private", "/private"),
        ("/./admin", "/admin"),
        ("/admin/.", "/admin/"),
        ("/info/..", "/"),
        ("/..", "/"),
        ("/../../admin", "/admin"),
        ("/a/b/../../admin/x/..", "/admin/"),
        ("/a//../admin", "/a/admin"),
        // The same, with escaped dots.
        ("/%2e%2e/admin", "/admin"),
        ("/info/%2E./private", "/private"),
        ("/info/.%2e/private", "/private"),
        ("/info/%2e/private", "/info/private"),
        // CVE-2026-73551 (Envoy), and ways to Tomcat's manager: dot segments with parameters.
        ("/user/..;foo=bar/admin", "/admin"),
        ("/admin/..;/", "/"),
        ("/x/%2e%2e;/admin", "/admin"),
        ("/x/.;a=b/admin", "/x/admin"),
        // Slashes in a row.
        ("//admin", "/admin"),
        ("///admin//secret/", "/admin/secret/"),
        // Escapes of characters that need none.
        ("/%61dmin", "/admin"),
        ("/%61%64%6D%69%6E", "/admin"),
        ("/a%2Db%5Fc%7E", "/a-b_c~"),
        // Backslashes, which browsers and Windows take for slashes.
        ("/info\\..\\private", "/private"),
        ("/\\admin", "/admin"),
        // The case of an escape's digits.
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%C3%a9", "/caf%C3%A9"),
        ("/a%2fb", "/a%2Fb"),
        ("/admin%5c", "/admin%5C"),
        // What is in no URI, and its escape.
        ("/a{b}|\"^[c]", "/a%7Bb%7D%7C%22%5E%5Bc%5D"),
        ("/café", "/caf%C3%A9"),
    ] {
        assert_eq!(form(path, &DEFAULT), Ok(normal.to_owned()), "{path}");
    }
}

#[test]
fn what_servers_read_differently_is_refused() {
    for (path, why) in [
        ("/%zz", InvalidEscape),
        ("/%2", InvalidEscape),
        ("/100%", InvalidEscape),
        ("/%%32e", InvalidEscape),
        ("/%u002e", InvalidEscape),
        ("/admin%00", EncodedNul),
        ("/admin%00.png", EncodedNul),
        // CVE-2021-29492 (Envoy): dot segments between escaped slashes.
        ("/something%2F..%2Fadmin", HiddenDotSegment),
        ("/admin%2f..", HiddenDotSegment),
        ("/..%2fadmin", HiddenDotSegment),
        ("/x%5c..%5cadmin", HiddenDotSegment),
        ("/x%5C%2e%2e%2fadmin", HiddenDotSegment),
        ("/x%2F..;a%2Fadmin", HiddenDotSegment),
        ("/x/..%3b/admin", HiddenDotSegment),
    ] {
        assert_eq!(form(path, &DEFAULT), Err(why), "{path}");
    }
}

#[test]
fn what_means_itself_stays_as_it_is() {
    for path in [
        "/",
        "*",
        "/admin",
        "/ADMIN", // paths know case (RFC 3986, 6.2.2.1)
        "/a%20b",
        "/caf%C3%A9",
        "/.well-known/x",
        "/..a/...",
        "/a/b;version=1/c",
        "/;/..a;",
        "/a.%2Fb",
        "/group%2Fproject",
        "/a%2F%5Cb",
        "/%3B",
        "/a:b@c!$&'()*+,=",
        "/%252e%252e/admin", // decoded once, as everybody does, it is a name
        "/%C0%AE%C0%AE/x",   // not UTF-8, and not dots
    ] {
        assert_eq!(normalize_path(path, &DEFAULT), Ok(None), "{path}");
    }
}

#[test]
fn escaped_slashes_are_what_the_listener_says() {
    use EscapedSlashes::{Keep, Redirect, Reject, Unescape};
    for slashes in [Unescape, Redirect] {
        for (path, normal) in [
            ("/a%2fb", "/a/b"),
            ("/a%5Cb", "/a/b"),
            ("/something%2F..%2Fadmin", "/admin"),
            ("/%2f%2Fevil.test", "/evil.test"),
            ("/%2F", "/"),
        ] {
            let expected = Ok(Some((normal.to_owned(), true)));
            assert_eq!(normalize_path(path, &with(slashes)), expected, "{path}");
        }
        assert_eq!(normalize_path("/a/%61", &with(slashes)), Ok(Some(("/a/a".to_owned(), false))));
        assert_eq!(form("/a%252Fb", &with(slashes)), Ok("/a%252Fb".to_owned()));
    }
    for path in ["/a%2fb", "/a%5Cb", "/%2F"] {
        assert_eq!(form(path, &with(Reject)), Err(EscapedSlash), "{path}");
    }
    assert_eq!(form("/a%20b", &with(Reject)), Ok("/a%20b".to_owned()));
    let off = PathNormalization { normalize_path: false, merge_slashes: false, escaped_slashes: Keep };
    for path in ["/%zz", "//a/../b%2f%00", "/\\"] {
        assert_eq!(normalize_path(path, &off), Ok(None), "{path}");
    }
    let unescaping = PathNormalization { escaped_slashes: Unescape, ..off };
    assert_eq!(form("/a%2F..%5c%zz%", &unescaping), Ok("/a/..\\%zz%".to_owned()));
    assert_eq!(
        form("/a%2F/b", &PathNormalization { merge_slashes: true, ..unescaping }),
        Ok("/a/b".to_owned())
    );
    assert_eq!(
        form("//a%2F", &PathNormalization { merge_slashes: false, ..DEFAULT }),
        Ok("//a%2F".to_owned())
    );
}

#[test]
fn the_query_is_left_alone() {
    let uri: Uri = "/a/../b?x=/../%zz//%2f".parse().unwrap();
    let normalized = normalize(&uri, &DEFAULT).unwrap().unwrap();
    assert_eq!(normalized.uri, "/b?x=/../%zz//%2f");
    let uri: Uri = "/b?x=/../%zz".parse().unwrap();
    assert_eq!(normalize(&uri, &DEFAULT), Ok(None));
}

#[test]
fn a_path_that_grows_beyond_what_the_library_takes_is_refused() {
    let uri: Uri = format!("/{}", "\"".repeat(60_000)).parse().unwrap();
    assert_eq!(normalize(&uri, &DEFAULT), Err(Unnormalizable::TooLong));
}

/// Paths made of what matters, and of anything.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2E", "%2F", "%2f", "%5C", "%5c", "\\", ";", "%3B", "%3b", "%", "%25",
        "%00", "2", "e", "f", "a", "%61", "%7e", "%20", "{", "é", "~", "B", "*",
    ]);
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => "[!-~]{0,20}"].prop_map(|rest| format!("/{rest}"))
}

fn rules() -> impl Strategy<Value = PathNormalization> {
    use EscapedSlashes::{Keep, Redirect, Reject, Unescape};
    let slashes = prop::sample::select(vec![Keep, Reject, Unescape, Redirect]);
    (any::<bool>(), any::<bool>(), slashes).prop_map(|(normalize_path, merge_slashes, escaped_slashes)| {
        PathNormalization { normalize_path, merge_slashes, escaped_slashes }
    })
}

/// A path as a server reads it that decodes each segment once, and then resolves and merges.
fn read(path: &str) -> Vec<Vec<u8>> {
    let mut read: Vec<Vec<u8>> = Vec::new();
    for segment in path.replace('\\', "/").split('/').skip(1) {
        let name = decode(segment.split(';').next().unwrap_or_default());
        match name.as_slice() {
            b"." => {}
            b".." => {
                read.pop();
            }
            _ => read.push(decode(segment)),
        }
    }
    read.retain(|segment| !segment.is_empty());
    read
}

/// Percent-decoding as the URL standard has it.
mod percent {
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let mut rest = text.as_bytes();
        let mut decoded = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let escaped =
                digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
            decoded.push(escaped.unwrap_or(byte));
            rest = if escaped.is_some() { &after[2..] } else { after };
        }
        decoded
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_normal_form_is_its_own_normal_form(path in paths(), rules in rules()) {
        if let Ok(normal) = form(&path, &rules) {
            prop_assert_eq!(normalize_path(&normal, &rules), Ok(None), "of {}", path);
        }
    }

    #[test]
    fn what_is_found_normal_at_a_glance_is_so_at_a_long_look(path in paths(), rules in rules()) {
        if is_normal(path.as_bytes(), &rules) {
            let (normal, unescaped) = rewrite(&path, &rules).expect("it is normal");
            prop_assert_eq!((normal.as_ref(), unescaped), (path.as_str(), false));
        }
    }

    #[test]
    fn a_normal_form_begins_with_a_slash_and_only_escapes_make_it_longer(path in paths(), rules in rules()) {
        if let Ok(normal) = form(&path, &rules) {
            let escapes = path.bytes().filter(|byte| CLASSES[usize::from(*byte)] == Class::Foreign).count();
            prop_assert!(normal.starts_with('/') && normal.len() <= path.len() + 2 * escapes, "{} of {}", normal, path);
        }
    }

    #[test]
    fn no_server_finds_a_dot_segment_in_a_normal_form(path in paths(), rules in rules()) {
        let rules = PathNormalization { normalize_path: true, ..rules };
        if let Ok(normal) = form(&path, &rules) {
            // One that decodes slashes first, and one that drops parameters once it has decoded them.
            let decoded = String::from_utf8_lossy(&decode(&normal)).replace('\\', "/");
            for segment in decoded.split('/') {
                let name = segment.split(';').next().unwrap_or_default();
                prop_assert!(!matches!(name, "." | ".."), "{} of {}", normal, path);
            }
        }
    }

    #[test]
    fn a_server_reads_a_normal_form_as_it_would_have_read_the_path(path in paths()) {
        if let Ok(normal) = form(&path, &DEFAULT) {
            prop_assert_eq!(read(&normal), read(&path), "{} of {}", normal, path);
        }
    }
}
