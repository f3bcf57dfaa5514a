//! What a connection is, by what its client says first: TLS, HTTP or something else.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::connection::PREFACE;
use crate::tls::{Hello, Reading};
use crate::transport::Transport;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 4 << 10;

/// The longest name of a method of HTTP, in bytes; longer ones are something else.
const LONGEST_METHOD: usize = 32;

/// What a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// TLS, and the host that is asked for, if one is.
    Tls(Option<String>),
    /// HTTP, of either version.
    Http,
    /// Something else, or nothing that could be told.
    Other,
}

/// Finds out what a connection is, by what is read of it, which goes into `seen`. Of a client that says nothing, or not
/// enough, it finds out nothing: the caller sees to the time. `most` is how much of a request's first line is read, in bytes.
///
/// # Errors
///
/// The connection failed, or ended with nothing said.
pub(super) async fn look(mut transport: &Transport, seen: &mut BytesMut, most: usize) -> io::Result<Sight> {
    let mut looked = Looked::default();
    loop {
        if let Some(sight) = judge(seen, most, &mut looked) {
            return Ok(sight);
        }
        seen.reserve(READ_BYTES);
        let is_first = seen.is_empty();
        match (transport.read_buf(seen).await?, is_first) {
            (0, true) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (0, false) => return Ok(Sight::Other), // its side is ended, and what it said goes on
            _ => {}
        }
    }
}

/// What was read comes first again.
pub(super) fn put_back(transport: Transport, seen: BytesMut) -> Transport {
    if seen.is_empty() { transport } else { transport.behind(Bytes::from(seen)) }
}

/// How far first bytes were looked at, of which there may be many: they are not looked at again for each that comes.
#[derive(Debug, Default)]
struct Looked {
    hello: Reading,
    request: usize,
}

/// What these first bytes are, if that can be told, and they were `looked` at so far before.
fn judge(seen: &[u8], most: usize, looked: &mut Looked) -> Option<Sight> {
    if seen.is_empty() {
        return None;
    }
    match looked.hello.look(seen) {
        Hello::Tls(name) => return Some(Sight::Tls(name)),
        Hello::Incomplete => return None,
        Hello::Other => {}
    }
    let common = seen.len().min(PREFACE.len());
    if seen[..common] == PREFACE[..common] {
        return (common == PREFACE.len()).then_some(Sight::Http);
    }
    let is_request = is_request(seen, most, &mut looked.request)?;
    Some(if is_request { Sight::Http } else { Sight::Other })
}

/// Whether this begins as a request of HTTP/1 does (RFC 9112, 3): a method, a target and the version.
fn is_request(seen: &[u8], most: usize, looked_at: &mut usize) -> Option<bool> {
    let method = seen.iter().position(|byte| !is_tchar(*byte));
    let Some(method) = method else { return (seen.len() > LONGEST_METHOD).then_some(false) };
    if method == 0 || method > LONGEST_METHOD || seen[method] != b' ' {
        return Some(false);
    }
    let target = method + 1;
    let from = target.max(*looked_at);
    let end = seen[from..].iter().position(|byte| !byte.is_ascii_graphic() && byte.is_ascii());
    *looked_at = end.map_or(seen.len(), |end| from + end);
    if end.is_none() {
        // A line that long is for HTTP to refuse.
        return (seen.len() >= most).then_some(true);
    }
    if *looked_at == target || seen[*looked_at] != b' ' {
        return Some(false);
    }
    let (version, known) = (&seen[*looked_at + 1..], b"HTTP/1.");
    let common = version.len().min(known.len());
    if version[..common] != known[..common] {
        return Some(false);
    }
    (common == known.len()).then_some(true)
}

/// A character of a token (RFC 9110, 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8 << 10;

    #[test]
    fn a_request_is_known_by_its_version_and_no_sooner() {
        for request in ["GET / HTTP/1.", "POST /a/b?c=d HTTP/1.", "OPTIONS * HTTP/1.", "G http://h/ HTTP/1."]
        {
            let bytes = request.as_bytes();
            let looked = &mut Looked::default();
            for cut in 1..bytes.len() {
                assert_eq!(judge(&bytes[..cut], MOST, &mut Looked::default()), None, "{:?}", &request[..cut]);
                assert_eq!(judge(&bytes[..cut], MOST, looked), None, "{:?}", &request[..cut]);
            }
            assert_eq!(judge(bytes, MOST, &mut Looked::default()), Some(Sight::Http), "{request}");
            assert_eq!(judge(bytes, MOST, looked), Some(Sight::Http), "{request}");
        }
        assert_eq!(judge(PREFACE, MOST, &mut Looked::default()), Some(Sight::Http));
        assert_eq!(judge(&PREFACE[..23], MOST, &mut Looked::default()), None);
    }

    #[test]
    fn other_protocols_are_no_requests() {
        let others: [&[u8]; 9] = [
            b"EHLO mail.example.com\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"GET /\r\n",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/2.0",
            b" GET / HTTP/1.1",
            b"PRI * HTTP/2.0\r\n\r\nXX",
        ];
        for bytes in others {
            let looked = &mut Looked::default();
            let piecemeal = (1..=bytes.len()).find_map(|cut| judge(&bytes[..cut], MOST, looked));
            let at_once = judge(bytes, MOST, &mut Looked::default());
            assert_eq!(
                [at_once, piecemeal],
                [(); 2].map(|()| Some(Sight::Other)),
                "{}",
                bytes.escape_ascii()
            );
        }
        assert_eq!(
            judge(&[b'a'; 40], MOST, &mut Looked::default()),
            Some(Sight::Other),
            "no method is so long"
        );
    }

    #[test]
    fn a_target_that_is_too_long_is_for_http_to_refuse() {
        let long = [&b"GET /"[..], &[b'a'; MOST]].concat();
        assert_eq!(judge(&long, MOST, &mut Looked::default()), Some(Sight::Http));
        assert_eq!(judge(&long[..MOST - 1], MOST, &mut Looked::default()), None);
    }
}
