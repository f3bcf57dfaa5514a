//! HTTP/2 frame by frame (RFC 9113, 4.1), for what no library would send. It reads no more of what it gets than a frame's
//! header, a few codes and a response's status.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::BOUND;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// What a client sends first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A response's status: the first field of its block, from the static table (RFC 7541, appendix A) or a literal.
    pub(crate) fn status(&self) -> u16 {
        match self.payload.first() {
            Some(&index @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
            Some(0x08 | 0x48) => huffman_or_plain(&self.payload[1..]),
            _ => 0,
        }
    }

    /// The number in the payload's last four bytes: an error code.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("a code has four bytes"))
    }
}

/// Three digits, as plain text or in HPACK's Huffman code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six.
fn huffman_or_plain(text: &[u8]) -> u16 {
    let length = usize::from(text[0] & 0x7f);
    if text[0] & 0x80 == 0 {
        return std::str::from_utf8(&text[1..=length]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    }
    let bits: String = text[1..=length].iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut status) = (&*bits, 0);
    for _ in 0..3 {
        let short = u16::from_str_radix(&rest[..5], 2).expect("they are bits");
        let (digit, taken) = match short {
            0..=2 => (short, 5),
            _ => (u16::from_str_radix(&rest[..6], 2).expect("they are bits") - 0b01_1001 + 3, 6),
        };
        (status, rest) = (status * 10 + digit, &rest[taken..]);
    }
    status
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field as HPACK writes what is in no table and is to be put in none (RFC 7541, 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(&mut bytes, text.len());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A length, in the seven bits and as many bytes more as it takes (RFC 7541, 5.1).
fn integer(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return bytes.push(u8::try_from(length).expect("it is small"));
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).expect("it is small"));
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("it is small"));
}

/// A header block of these fields.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A GET's, with these fields more.
pub(crate) fn get(more: &[(&str, &str)]) -> Vec<u8> {
    request("GET", more)
}

/// A request's header block.
pub(crate) fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "frames.test")];
    block(&[&pseudo[..], more].concat())
}

/// A connection on which anything can be sent.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects, and says nothing.
    pub(crate) fn dial(address: SocketAddr) -> Frames {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(BOUND)).expect("a time can be set");
        stream.set_write_timeout(Some(BOUND)).expect("a time can be set");
        stream.set_nodelay(true).expect("it can be set");
        Frames { stream }
    }

    /// Connects, and says what a client says first: preface, SETTINGS, and that it has seen the server's.
    pub(crate) fn open(address: SocketAddr) -> Frames {
        let mut frames = Frames::dial(address);
        frames.send(PREFACE).expect("it listens");
        frames.send(&frame(SETTINGS, 0, 0, &[])).expect("it listens");
        frames.wait_for(|it| it.kind == SETTINGS && it.flags & ACK == 0).expect("it speaks HTTP/2");
        frames.send(&frame(SETTINGS, ACK, 0, &[])).expect("it listens");
        frames
    }

    /// The head of an answer over HTTP/1.1, and no byte that is behind it.
    pub(crate) fn http1_head(&mut self) -> String {
        let (mut head, mut byte) = (String::new(), [0]);
        while !head.ends_with("\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("after {head:?}: {error}"));
            head.push(char::from(byte[0]));
        }
        head
    }

    /// Sends these bytes. An error: it has closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame; `None` when it has closed the connection. Fails the test if neither comes.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.read(&mut header)?;
        let [high, middle, low, kind, flags, a, b, c, d] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.read(&mut payload)?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no frame and no end within {BOUND:?}")
            }
            Err(_) => None,
        }
    }

    /// The next frame of which this is true; `None` when the connection is closed before.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// The code of the GOAWAY with which it closes the connection; `None` where it closes it without one.
    pub(crate) fn end(mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}
