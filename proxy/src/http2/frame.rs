//! The headers of frames, found in what comes in pieces.

/// Bytes before a frame's content (RFC 9113, 4.1).
pub(crate) const BYTES: usize = 9;

/// Types and flags of frames (RFC 9113, 6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;

/// What comes before a frame's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Of its content, in bytes.
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// 0 is the connection. The reserved bit is in it as it came.
    pub(crate) stream: u32,
}

/// A header as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    bytes: [u8; BYTES],
    known: usize,
}

impl Partial {
    /// What has come of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.known]
    }

    /// Takes what is missing of it, as far as it is there, off the beginning of `bytes`.
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) {
        let (taken, rest) = bytes.split_at((BYTES - self.known).min(bytes.len()));
        self.bytes[self.known..self.known + taken.len()].copy_from_slice(taken);
        self.known += taken.len();
        *bytes = rest;
    }

    /// What it says, once it is whole.
    pub(crate) fn whole(&self) -> Option<FrameHeader> {
        let [high, middle, low, kind, flags, stream @ ..] = self.bytes;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let stream = u32::from_be_bytes(stream);
        (self.known == BYTES).then_some(FrameHeader { length, kind, flags, stream })
    }
}
