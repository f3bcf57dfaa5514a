//! Tells an upstream between whom a connection is (the PROXY protocol, versions 1 and 2).

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::v2;

use crate::config::model::ProxyProtocol;

/// What is said as the first thing on a connection, before TLS. Both addresses are written in the family of the first: an
/// IPv4 one as the IPv6 address that stands for it, where the other is one.
///
/// # Errors
///
/// It cannot be put into a header.
pub(super) fn header(version: ProxyProtocol, from: SocketAddr, at: SocketAddr) -> io::Result<Vec<u8>> {
    let (from, at) = match (from.ip(), at.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (from, at),
        _ => (as_v6(from), as_v6(at)),
    };
    // Between two processes of one machine there are no addresses.
    let is_within = from.ip().is_unspecified();
    match version {
        ProxyProtocol::V1 if is_within => Ok(b"PROXY UNKNOWN\r\n".to_vec()),
        ProxyProtocol::V2 if is_within => {
            let command = v2::Version::Two | v2::Command::Local;
            v2::Builder::new(command, v2::AddressFamily::Unspecified | v2::Protocol::Unspecified).build()
        }
        ProxyProtocol::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), at.ip(), from.port(), at.port());
            Ok(line.into_bytes())
        }
        ProxyProtocol::V2 => {
            let command = v2::Version::Two | v2::Command::Proxy;
            v2::Builder::with_addresses(command, v2::Protocol::Stream, (from, at)).build()
        }
    }
}

fn as_v6(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_a_line_and_has_one_family() {
        let line = |from: &str, at: &str| {
            let header = header(ProxyProtocol::V1, from.parse().unwrap(), at.parse().unwrap());
            String::from_utf8(header.unwrap()).unwrap()
        };
        assert_eq!(
            line("192.0.2.1:4000", "198.51.100.7:443"),
            "PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n"
        );
        assert_eq!(line("[2001:db8::1]:1", "[2001:db8::2]:2"), "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
        assert_eq!(line("192.0.2.1:1", "[2001:db8::2]:2"), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    }
}
