//! HTTP/1.1 messages exactly as they stand on the wire: names keep their case, fields their order, bodies their
//! chunks. Bytes that are no UTF-8 are kept as Latin-1 characters, so nothing is lost and everything prints.
//!
//! It is a second implementation on purpose: what the proxy's own library thinks of a message must not decide what
//! the tests see.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::wait::BOUND;

/// A request's or a response's first line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, without its end.
    pub(crate) line: String,
    /// The fields in order, as they were spelled.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// A request's method.
    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// A response's status; fails the test when the line has none.
    pub(crate) fn status(&self) -> u16 {
        let status = self.line.strip_prefix("HTTP/1.1 ").or_else(|| self.line.strip_prefix("HTTP/1.0 "));
        let digits = status.and_then(|rest| rest.get(..3)).unwrap_or_default();
        digits.parse().unwrap_or_else(|_| panic!("not a status line: {:?}", self.line))
    }

    /// Whether one of a list field's elements is this word.
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        let words = self.all(name).into_iter().flat_map(|value| value.split(','));
        words.map(str::trim).any(|element| element.eq_ignore_ascii_case(word))
    }

    fn parse(block: &[u8]) -> io::Result<Head> {
        let text = latin1(block);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for field in lines.take_while(|line| !line.is_empty()) {
            let (name, value) =
                field.split_once(':').ok_or_else(|| broken(format!("no colon in field {field:?}")))?;
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Head { line, fields })
    }
}

/// How a message says where its body ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It has none.
    Empty,
    /// `content-length`.
    Sized(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Where its framing says.
    Complete,
    /// The connection ended before that.
    Cut,
}

/// A body as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// How it was framed.
    pub(crate) framing: Framing,
    /// Its content, chunk framing removed.
    pub(crate) bytes: Vec<u8>,
    /// The sizes of its chunks.
    pub(crate) chunks: Vec<usize>,
    /// The trailers after it.
    pub(crate) trailers: Vec<(String, String)>,
    /// How it ended.
    pub(crate) end: End,
}

impl Body {
    /// No body at all.
    pub(crate) fn empty() -> Body {
        let framing = Framing::Empty;
        Body { framing, bytes: Vec::new(), chunks: Vec::new(), trailers: Vec::new(), end: End::Complete }
    }

    /// Its content as text.
    pub(crate) fn text(&self) -> String {
        latin1(&self.bytes)
    }
}

/// The framing of a request (RFC 9112 section 6.3).
pub(crate) fn request_framing(head: &Head) -> io::Result<Framing> {
    Ok(explicit_framing(head)?.unwrap_or(Framing::Empty))
}

/// The framing of a response to `method` (RFC 9112 section 6.3).
pub(crate) fn response_framing(head: &Head, method: &str) -> io::Result<Framing> {
    let status = head.status();
    let bodiless = method == "HEAD" || (100..200).contains(&status) || matches!(status, 204 | 304);
    if bodiless || (method == "CONNECT" && (200..300).contains(&status)) {
        return Ok(Framing::Empty);
    }
    Ok(explicit_framing(head)?.unwrap_or(Framing::UntilClose))
}

fn explicit_framing(head: &Head) -> io::Result<Option<Framing>> {
    if let Some(coding) = head.field("transfer-encoding") {
        return match coding.eq_ignore_ascii_case("chunked") {
            true => Ok(Some(Framing::Chunked)),
            false => Err(broken(format!("transfer-encoding: {coding}"))),
        };
    }
    match head.field("content-length") {
        Some(length) => match length.parse() {
            Ok(length) => Ok(Some(Framing::Sized(length))),
            Err(_) => Err(broken(format!("content-length: {length}"))),
        },
        None => Ok(None),
    }
}

/// One end of a connection: a socket and what was read from it and not used yet.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    keeps_bodies: bool,
}

impl Wire {
    /// Takes a connection over; reads and writes on it fail after [`BOUND`].
    pub(crate) fn new(stream: TcpStream) -> Wire {
        let set = stream.set_read_timeout(Some(BOUND)).and(stream.set_write_timeout(Some(BOUND)));
        set.and(stream.set_nodelay(true)).expect("a fresh socket takes its options");
        Wire { stream, unread: Vec::new(), keeps_bodies: true }
    }

    /// From now on, bodies are only shown as they come and not kept: for those that are larger than memory.
    pub(crate) fn forget_bodies(&mut self) {
        self.keeps_bodies = false;
    }

    /// Connects, from an address where one is named, and with small socket buffers if `window` says so: then little
    /// is in flight when a reader stops.
    pub(crate) fn connect(
        address: SocketAddr,
        source: Option<Ipv4Addr>,
        window: Option<usize>,
    ) -> io::Result<Wire> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        if let Some(window) = window {
            socket.set_recv_buffer_size(window)?;
            socket.set_send_buffer_size(window)?;
        }
        socket.connect_timeout(&address.into(), BOUND)?;
        Ok(Wire::new(socket.into()))
    }

    /// The same connection under a second name, to write on it while it is being read or to end it from elsewhere.
    pub(crate) fn twin(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }

    /// Writes all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes what the connection takes within `patience`, and says how many bytes that was.
    pub(crate) fn send_within(&mut self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(patience))?;
        let taken = match self.stream.write(bytes) {
            Err(error) if is_timeout(&error) => Ok(0),
            other => other,
        };
        self.stream.set_write_timeout(Some(BOUND))?;
        taken
    }

    /// Ends the sending direction.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection with a reset (RST) instead of an orderly end.
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads more; 0 is the peer's end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut block = [0; 64 * 1024];
        let count = self.stream.read(&mut block)?;
        self.unread.extend_from_slice(&block[..count]);
        Ok(count)
    }

    /// The next head, or `None` where the peer ended the connection before a first byte of one.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.unread[searched..], b"\r\n\r\n") {
                let block: Vec<u8> = self.unread.drain(..searched + at + 4).collect();
                return Head::parse(&block).map(Some);
            }
            searched = self.unread.len().saturating_sub(3);
            if self.fill()? == 0 {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => {
                        Err(broken(format!("the connection ended inside a head: {:?}", latin1(&self.unread))))
                    }
                };
            }
        }
    }

    /// The same for a server, which ends a connection on which nothing more comes.
    pub(crate) fn head_before_idle(&mut self) -> io::Result<Option<Head>> {
        match self.head() {
            Err(error) if is_timeout(&error) && self.unread.is_empty() => Ok(None),
            other => other,
        }
    }

    /// The body that a head announced. Every piece of content is shown to `progress` as it comes.
    pub(crate) fn body(&mut self, framing: Framing, progress: &mut dyn FnMut(&[u8])) -> io::Result<Body> {
        let mut body = Body { framing: framing.clone(), ..Body::empty() };
        let ended = match framing {
            Framing::Empty => Ok(true),
            Framing::Sized(length) => self.sized(length, &mut body, progress),
            Framing::Chunked => self.chunked(&mut body, progress),
            Framing::UntilClose => self.until_close(&mut body, progress),
        };
        match ended {
            Ok(true) => {}
            Ok(false) => body.end = End::Cut,
            Err(error) if is_reset(&error) => body.end = End::Cut,
            Err(error) => return Err(error),
        }
        Ok(body)
    }

    fn sized(&mut self, mut left: u64, body: &mut Body, progress: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        while left > 0 {
            if self.unread.is_empty() && self.fill()? == 0 {
                return Ok(false);
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
            let piece: Vec<u8> = self.unread.drain(..count).collect();
            progress(&piece);
            if self.keeps_bodies {
                body.bytes.extend_from_slice(&piece);
            }
            left -= piece.len() as u64;
        }
        Ok(true)
    }

    fn chunked(&mut self, body: &mut Body, progress: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        loop {
            let Some(line) = self.line()? else { return Ok(false) };
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(digits, 16).map_err(|_| broken(format!("a chunk of size {line:?}")))?;
            if size == 0 {
                break;
            }
            if !self.sized(size, body, progress)? {
                return Ok(false);
            }
            body.chunks.push(size as usize);
            match self.line()? {
                Some(end) if end.is_empty() => {}
                Some(junk) => return Err(broken(format!("{junk:?} after a chunk"))),
                None => return Ok(false),
            }
        }
        while let Some(line) = self.line()? {
            if line.is_empty() {
                return Ok(true);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| broken(format!("no colon in trailer {line:?}")))?;
            body.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(false)
    }

    fn until_close(&mut self, body: &mut Body, progress: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        loop {
            let piece = std::mem::take(&mut self.unread);
            progress(&piece);
            if self.keeps_bodies {
                body.bytes.extend_from_slice(&piece);
            }
            if self.fill()? == 0 {
                return Ok(true);
            }
        }
    }

    /// The next line, without its end; `None` where the connection ended first.
    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(Some(latin1(&line[..at])));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Some bytes as they come, at most `most`; none is the peer's end.
    pub(crate) fn some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.fill()?;
        }
        let count = most.min(self.unread.len());
        Ok(self.unread.drain(..count).collect())
    }

    /// Exactly this many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            if self.fill()? == 0 {
                return Err(broken(format!(
                    "the connection ended after {} of {count} bytes",
                    self.unread.len()
                )));
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Everything up to the peer's end (an orderly one or a reset).
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        match self.fill_to_end() {
            Err(error) if !is_reset(&error) => Err(error),
            _ => Ok(std::mem::take(&mut self.unread)),
        }
    }

    /// Everything up to the peer's orderly end; a reset is an error.
    pub(crate) fn orderly_rest(&mut self) -> io::Result<Vec<u8>> {
        self.fill_to_end()?;
        Ok(std::mem::take(&mut self.unread))
    }

    fn fill_to_end(&mut self) -> io::Result<()> {
        while self.fill()? > 0 {}
        Ok(())
    }

    /// Whether nothing is left unread and the peer has not ended the connection, as far as can be known now.
    pub(crate) fn is_open(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket takes its options");
        let mut byte = [0; 1];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("a socket takes its options");
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Bytes as Latin-1 text: one character each.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The way back from [`latin1`].
pub(crate) fn from_latin1(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or_else(|_| panic!("{c:?} is not in Latin-1"));
    text.chars().map(byte).collect()
}

/// Whether a connection was reset by its peer, or broke while writing.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn broken(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
