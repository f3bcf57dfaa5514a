//! A client for the demonstration: one GET on a connection of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For each step: connecting, writing, waiting for bytes.
const LIMIT: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The first value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and reads the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not what HTTP says"))
}

/// An answer that is whole: its body says where it ends.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = lines.map(field).collect::<Option<_>>()?;
    let mut answer = Answer { status, headers, body: String::new() };
    answer.body = match answer.header("content-length") {
        Some(length) => (length.parse() == Ok(body.len())).then(|| body.to_owned())?,
        None => unchunk(body)?,
    };
    Some(answer)
}

/// A body in chunks (RFC 9112, 7.1), without extensions and trailers.
fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let (chunk, after) = after.split_at_checked(usize::from_str_radix(size, 16).ok()?)?;
        rest = after.strip_prefix("\r\n")?;
        if chunk.is_empty() {
            return rest.is_empty().then_some(body);
        }
        body.push_str(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_headers_and_its_body() {
        let answer =
            parse(b"HTTP/1.1 403 Forbidden\r\nX-Guard: seen\r\ncontent-length: 3\r\n\r\nno\n").unwrap();
        assert_eq!((answer.status, answer.header("x-guard"), &*answer.body), (403, Some("seen"), "no\n"));
    }

    #[test]
    fn a_body_in_chunks_is_put_together() {
        let answer = parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\nb\r\n, two more\n\r\n0\r\n\r\n");
        assert_eq!(answer.unwrap().body, "one, two more\n");
    }

    #[test]
    fn an_answer_that_was_cut_is_none() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nno"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n"), None);
    }
}
