//! Who may ask: a browser reaches this listener for whatever page it shows, which its author could not.
//!
//! Two ways lead here. A page may have the browser ask for it, and then the browser says so. Or the page's own name is
//! made to lead to this machine (DNS rebinding), so that to the browser both are one site; then the request is for that
//! name, and not for one of this machine.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    /// A browser asks for a web page.
    #[error("a web page cannot read or change anything here: the request has `Origin` or `Sec-Fetch-Site`")]
    Page,
    /// It is for a name that is not this machine's own.
    #[error(
        "the request is for another host: its `Host` has to be an IP address, localhost or end in .localhost"
    )]
    Name,
}

/// Whether a request comes from whom this listener is for.
///
/// # Errors
///
/// Why it does not.
pub(super) fn admit(head: &Parts) -> Result<(), Stranger> {
    // A browser names the page's origin with every POST (Fetch Standard, section 3.1), and what the page's site is to
    // this one with every request to a place such as this (Fetch Metadata, section 2.4): none where a person typed it.
    let site = head.headers.get("sec-fetch-site");
    if head.headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none") {
        return Err(Stranger::Page);
    }
    let named = head.headers.get_all(HOST).iter().map(|host| host.as_bytes());
    // A target in absolute form goes before the field (RFC 9112, section 3.2.2).
    let target = head.uri.authority().map(|target| target.as_str().as_bytes());
    if named.chain(target).all(is_of_this_machine) { Ok(()) } else { Err(Stranger::Name) }
}

/// Whether a host, with a port or without, is an address, or a name that no name server is asked for (RFC 6761, section
/// 6.3). An empty one is a client's that has none to name (RFC 9112, section 3.2).
fn is_of_this_machine(host: &[u8]) -> bool {
    if host.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    bare.parse::<IpAddr>().is_ok() || last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_localhost() {
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:9901",
            "[::1]:9901",
            "[::1]",
            "10.1.2.3:1",
            "localhost",
            "LocalHost:9901",
        ] {
            assert!(is_of_this_machine(host.as_bytes()), "{host}");
        }
        for host in ["a.localhost", "a.localhost:80", "localhost.", "localhost.:80"] {
            assert!(is_of_this_machine(host.as_bytes()), "{host}");
        }
        for host in [
            "evil.com",
            "evil.com:9901",
            "localhost.evil.com",
            "notlocalhost",
            "127.0.0.1.evil.com",
            "a b",
            "127.0.0.1@evil.com",
            "\u{e4}",
            "..",
        ] {
            assert!(!is_of_this_machine(host.as_bytes()), "{host}");
        }
    }
}
