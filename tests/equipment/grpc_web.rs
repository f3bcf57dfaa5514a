//! gRPC-Web as a page's client speaks it: messages as bodies, and bodies as messages.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What a response's body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WebBody {
    pub(crate) messages: Vec<String>,
    /// In order; empty where there was no frame of them.
    pub(crate) trailers: Vec<(String, String)>,
}

/// A message as a frame.
pub(crate) fn framed(message: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("it is small");
    [&[0][..], &length.to_be_bytes(), message.as_bytes()].concat()
}

/// The same as text.
pub(crate) fn framed_text(message: &str) -> Vec<u8> {
    BASE64_STANDARD.encode(framed(message)).into_bytes()
}

/// Reads a body. Fails the test where it is not one, or has anything behind its trailers.
pub(crate) fn read(body: &[u8]) -> WebBody {
    let (mut read, mut rest) = (WebBody::default(), body);
    while !rest.is_empty() {
        assert!(read.trailers.is_empty(), "there is something behind the trailers: {rest:?}");
        let length = rest.get(1..5).and_then(|it| Some(u32::from_be_bytes(it.try_into().ok()?) as usize));
        let payload = length.and_then(|length| rest.get(5..5 + length));
        let payload = payload.unwrap_or_else(|| panic!("this is no whole frame: {rest:?}"));
        let text = String::from_utf8_lossy(payload).into_owned();
        match rest[0] {
            0 => read.messages.push(text),
            0x80 => {
                let line = |line: &str| {
                    let (name, value) =
                        line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no field"));
                    (name.to_owned(), value.trim().to_owned())
                };
                read.trailers = text.split_terminator("\r\n").map(line).collect();
            }
            flags => panic!("what is a frame with the flags {flags:#x}? {rest:?}"),
        }
        rest = &rest[5 + payload.len()..];
    }
    read
}

/// Reads one that is text: pieces of base64, each with a padding of its own.
pub(crate) fn read_text(body: &[u8]) -> WebBody {
    let mut bytes = Vec::new();
    for piece in body.chunks(4) {
        let decoded = BASE64_STANDARD.decode(piece);
        bytes.extend(decoded.unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(body))));
    }
    read(&bytes)
}
