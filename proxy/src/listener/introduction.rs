//! The PROXY protocol, versions 1 and 2 (`proxy-protocol.txt` of HAProxy, 2020): a connection that begins by saying between
//! whom it is, because whoever passes it on would hide that.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{PartialResult as _, v1, v2};

use crate::transport::Socket;

/// A client's address and this side's.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// The most that is read of an introduction, in bytes: addresses, and what version 2 may say beside them.
const LONGEST: usize = 4096;

/// The longest of version 1, in bytes, with its line's end.
const LONGEST_V1: usize = 107;

const BEGINNING_V1: &[u8] = b"PROXY ";
const BEGINNING_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why nobody is introduced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unintroduced {
    /// The connection failed, or ended, before its introduction did.
    #[error("the connection ended within its introduction")]
    Cut(#[from] io::Error),
    /// It begins with something else, or with an introduction that is not valid.
    #[error("the connection does not begin with a valid header of the PROXY protocol")]
    Malformed,
    /// The introduction is longer than anybody's.
    #[error("the header of the PROXY protocol is longer than {LONGEST} bytes")]
    TooLong,
}

/// Reads who is introduced, and nothing of what follows. Where it says no more than that it comes from the one who
/// introduces, the addresses are the connection's own.
///
/// # Errors
///
/// There is no valid introduction.
pub(crate) async fn receive(stream: &mut Socket, own: Ends) -> Result<Ends, Unintroduced> {
    let mut header = Vec::new();
    let mut chunk = [0; 536]; // what comes in one piece, by the protocol
    loop {
        let seen = stream.peek(&mut chunk).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let known = header.len();
        header.extend_from_slice(&chunk[..seen]);
        let introduced = parse(&header, own)?;
        // What is not the whole of it is all of it.
        let taken = introduced.map_or(seen, |(_, length)| length - known);
        tokio::io::AsyncReadExt::read_exact(stream, &mut chunk[..taken]).await?;
        if let Some((ends, _)) = introduced {
            return Ok(ends);
        }
        if header.len() > LONGEST {
            return Err(Unintroduced::TooLong);
        }
    }
}

/// Who is introduced, and by how many bytes; `None` as long as the introduction has not ended.
fn parse(header: &[u8], own: Ends) -> Result<Option<(Ends, usize)>, Unintroduced> {
    if begins(header, BEGINNING_V1) {
        parse_v1(header, own)
    } else if begins(header, BEGINNING_V2) {
        parse_v2(header, own)
    } else {
        Err(Unintroduced::Malformed)
    }
}

/// Whether both begin alike, as far as the shorter one goes.
fn begins(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.iter().zip(beginning).all(|(one, other)| one == other)
}

fn parse_v1(header: &[u8], own: Ends) -> Result<Option<(Ends, usize)>, Unintroduced> {
    let Some(end) = header.iter().take(LONGEST_V1).position(|byte| *byte == b'\n') else {
        return if header.len() < LONGEST_V1 { Ok(None) } else { Err(Unintroduced::Malformed) };
    };
    let line = &header[..=end];
    let parsed = v1::Header::try_from(line).map_err(|_| Unintroduced::Malformed)?;
    let ends = match parsed.addresses {
        v1::Addresses::Unknown => own,
        v1::Addresses::Tcp4(it) => {
            ends(it.source_address, it.source_port, it.destination_address, it.destination_port)
        }
        v1::Addresses::Tcp6(it) => {
            ends(it.source_address, it.source_port, it.destination_address, it.destination_port)
        }
    };
    Ok(Some((ends, line.len())))
}

fn parse_v2(header: &[u8], own: Ends) -> Result<Option<(Ends, usize)>, Unintroduced> {
    let parsed = v2::Header::try_from(header);
    if parsed.is_incomplete() {
        return Ok(None);
    }
    let parsed = parsed.map_err(|_| Unintroduced::Malformed)?;
    let ends = match (parsed.command, parsed.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(it)) => {
            ends(it.source_address, it.source_port, it.destination_address, it.destination_port)
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(it)) => {
            ends(it.source_address, it.source_port, it.destination_address, it.destination_port)
        }
        // A check of health, or a way that has no such addresses.
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => own,
    };
    Ok(Some((ends, parsed.len())))
}

fn ends(from: impl Into<IpAddr>, from_port: u16, to: impl Into<IpAddr>, to_port: u16) -> Ends {
    (SocketAddr::new(from.into(), from_port), SocketAddr::new(to.into(), to_port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> Ends {
        ([10, 0, 0, 1], 1).into_ends(([10, 0, 0, 2], 2))
    }

    trait IntoEnds {
        fn into_ends(self, other: ([u8; 4], u16)) -> Ends;
    }

    impl IntoEnds for ([u8; 4], u16) {
        fn into_ends(self, other: ([u8; 4], u16)) -> Ends {
            (self.into(), other.into())
        }
    }

    #[test]
    fn nobody_is_introduced_before_the_last_byte_and_what_follows_is_left() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n";
        let binary = [
            BEGINNING_V2,
            &[0x21, 0x11, 0, 15],
            &[192, 0, 2, 1, 198, 51, 100, 7, 0x0f, 0xa0, 1, 0xbb],
            &[4, 0, 0],
        ]
        .concat();
        for header in [&line[..], &binary] {
            for cut in 0..header.len() {
                assert!(matches!(parse(&header[..cut], own()), Ok(None)), "{cut} of {header:?}");
            }
            let (introduced, length) = parse(&[header, b"GET /"].concat(), own()).unwrap().unwrap();
            assert_eq!(introduced, ([192, 0, 2, 1], 4000).into_ends(([198, 51, 100, 7], 443)));
            assert_eq!(length, header.len());
        }
    }

    #[test]
    fn who_introduces_itself_or_nobody_has_the_connections_addresses() {
        let local = [BEGINNING_V2, &[0x20, 0, 0, 0]].concat();
        let unix = [BEGINNING_V2, &[0x21, 0x31, 0, 216], &[b'x'; 216]].concat();
        for header in [&b"PROXY UNKNOWN\r\n"[..], &local, &unix] {
            assert_eq!(parse(header, own()).unwrap(), Some((own(), header.len())), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_introduction_is_told_at_once() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 100]].concat();
        let version = [BEGINNING_V2, &[0x31, 0x11, 0, 12]].concat();
        for bytes in
            [&b"G"[..], b"PROXZ", b"PROXY TCP4 1.2.3.4 nonsense 1 2\r\n", b"\r\n\r\nx", &long, &version]
        {
            assert!(matches!(parse(bytes, own()), Err(Unintroduced::Malformed)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(v2 in any::<bool>(), rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let header = [if v2 { BEGINNING_V2 } else { BEGINNING_V1 }, &rest].concat();
            if let Ok(Some((_, length))) = parse(&header, own()) {
                prop_assert!(length <= header.len());
            }
        }
    }
}
