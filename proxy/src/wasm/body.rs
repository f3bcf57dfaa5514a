//! A piece of a body: what a filter's body callback sees and may change.
//!
//! A chunk is kept as it came, without a copy, until a guest changes it; but a small one that comes behind others is
//! copied to the last of them: many of them would cost far more than they hold. It has no limit of its own: the
//! pipeline holds it to the listener's buffer limit after each callback, a hostcall to [`MAX_EDITED_LEN`] within one.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// How long an edit by a guest may make a buffer, in bytes. It bounds what one callback may take before the pipeline
/// looks at the listener's buffer limit.
pub const MAX_EDITED_LEN: usize = 64 << 20;

/// A piece that is smaller than this, in bytes, is copied to the end of the chunk before it, up to this together. It
/// keeps no other memory then: a piece as it came keeps all of what was read with it, which is 8 KiB or more.
const COALESCE_BELOW: usize = 4 << 10;

/// Chunks, in order: nearly always one.
type Chunks = SmallVec<[Bytes; 1]>;

/// A piece of a body, in order.
///
/// An exchange has several for each filter, nearly all of which stay empty, so an empty one is a null pointer.
#[derive(Debug, Default)]
pub struct BodyBuffer(Option<Box<Pieces>>);

#[derive(Debug, Default)]
struct Pieces {
    chunks: Chunks,
    len: usize,
    edited: bool,
}

impl BodyBuffer {
    /// An empty one.
    pub fn new() -> BodyBuffer {
        BodyBuffer::default()
    }

    /// Adds what arrived to the end. An empty chunk leaves no trace.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.pieces().push(chunk);
        }
    }

    /// Adds all of `other` to the end: as it is where nothing is before it.
    pub fn join(&mut self, other: BodyBuffer) {
        let Some(others) = other.0 else { return };
        match &mut self.0 {
            Some(pieces) => {
                pieces.edited |= others.edited;
                others.chunks.into_iter().for_each(|chunk| pieces.push(chunk));
            }
            None => self.0 = Some(others),
        }
    }

    /// Takes it apart.
    pub fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        self.0.map(|pieces| pieces.chunks).into_iter().flatten()
    }

    /// Drops what is in it. [`edited`](BodyBuffer::edited) stays as it is.
    pub fn clear(&mut self) {
        if let Some(pieces) = &mut self.0 {
            pieces.chunks.clear();
            pieces.len = 0;
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |pieces| pieces.len)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a guest ever changed it: then the message's length is no longer what its sender said.
    pub fn edited(&self) -> bool {
        self.0.as_ref().is_some_and(|pieces| pieces.edited)
    }

    /// What it holds, chunk by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter().flat_map(|pieces| &pieces.chunks)
    }

    /// Copies the bytes from `start` on into `out`, which it fills. Panics unless `start + out.len() <= len`.
    pub fn copy_range(&self, start: usize, out: &mut [u8]) {
        let (mut skip, mut out) = (start, out);
        for chunk in self.chunks() {
            if out.is_empty() {
                return;
            }
            let Some(piece) = chunk.get(skip..).filter(|piece| !piece.is_empty()) else {
                skip -= chunk.len();
                continue;
            };
            skip = 0;
            let count = piece.len().min(out.len());
            let (filled, rest) = out.split_at_mut(count);
            filled.copy_from_slice(&piece[..count]);
            out = rest;
        }
        assert!(out.is_empty(), "a range beyond the buffer's end");
    }

    /// Replaces `count` bytes from `start` on by `data` (`proxy_set_buffer_bytes`, ABI 0.2.1): `start` and `count` are
    /// clamped to what is there, so that `(0, 0)` prepends, `(0, everything)` replaces and `(end, _)` appends.
    pub fn splice(&mut self, start: usize, count: usize, data: &[u8]) {
        let pieces = self.pieces();
        pieces.edited = true;
        let start = start.min(pieces.len);
        let end = start.saturating_add(count).min(pieces.len);
        let tail = pieces.split_off(end);
        pieces.truncate(start);
        pieces.append(data);
        tail.into_iter().for_each(|chunk| pieces.push(chunk));
    }

    fn pieces(&mut self) -> &mut Pieces {
        self.0.get_or_insert_default()
    }
}

impl Pieces {
    /// Adds a chunk to the end: as it is if it is the first or large.
    fn push(&mut self, chunk: Bytes) {
        if !self.chunks.is_empty() && chunk.len() < COALESCE_BELOW {
            return self.append(&chunk);
        }
        self.len += chunk.len();
        self.chunks.push(chunk);
    }

    /// Adds a copy of `data` to the end, without a new chunk for every byte of those who write byte by byte.
    fn append(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.len += data.len();
        let has_room = self.chunks.last().is_some_and(|last| last.len() + data.len() <= COALESCE_BELOW);
        let before = if has_room { self.chunks.pop() } else { None };
        let chunk = match before {
            Some(last) => {
                let mut grown = last.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                grown.extend_from_slice(data);
                grown.freeze()
            }
            None => Bytes::copy_from_slice(data),
        };
        self.chunks.push(chunk);
    }

    /// Keeps the first `len` bytes.
    fn truncate(&mut self, len: usize) {
        while self.len > len {
            let excess = self.len - len;
            let Some(last) = self.chunks.last_mut() else { return };
            if last.len() > excess {
                last.truncate(last.len() - excess);
                self.len = len;
            } else {
                self.len -= last.len();
                self.chunks.pop();
            }
        }
    }

    /// Takes what is behind the first `at` bytes.
    fn split_off(&mut self, at: usize) -> Chunks {
        let mut tail = Chunks::new();
        while self.len > at {
            let Some(mut last) = self.chunks.pop() else { break };
            let excess = (self.len - at).min(last.len());
            self.len -= excess;
            tail.insert(0, last.split_off(last.len() - excess));
            if !last.is_empty() {
                self.chunks.push(last);
            }
        }
        tail
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BodyBuffer, COALESCE_BELOW};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn buffer(chunks: &[&str]) -> BodyBuffer {
        let mut buffer = BodyBuffer::new();
        for chunk in chunks {
            buffer.push(Bytes::copy_from_slice(chunk.as_bytes()));
        }
        buffer
    }

    fn text(buffer: &BodyBuffer) -> String {
        let mut all = vec![0; buffer.len()];
        buffer.copy_range(0, &mut all);
        String::from_utf8(all).expect("tests use text")
    }

    #[test]
    fn a_splice_does_each_line_of_the_abis_table() {
        let table: [(usize, usize, &str); 8] = [
            (0, 0, "XYabcdef"),
            (0, 6, "XY"),
            (0, usize::MAX, "XY"),
            (0, 2, "XYcdef"),
            (6, 0, "abcdefXY"),
            (usize::MAX, usize::MAX, "abcdefXY"),
            (2, 0, "abXYcdef"),
            (2, 3, "abXYf"),
        ];
        for (start, count, expected) in table {
            let mut buffer = buffer(&["ab", "cde", "f"]);
            buffer.splice(start, count, b"XY");
            assert_eq!(text(&buffer), expected, "start {start}, count {count}");
            assert!(buffer.edited());
        }
    }

    #[test]
    fn what_arrives_is_not_an_edit() {
        let mut buffer = buffer(&["ab", "", "c"]);
        assert!(!buffer.edited());
        buffer.clear();
        assert!(buffer.is_empty());
        assert_eq!(buffer.into_chunks().count(), 0);
    }

    /// What was read from a connection at once, whose reader counts what of it is still kept.
    struct Read(Vec<u8>, #[expect(dead_code)] Arc<()>);

    impl AsRef<[u8]> for Read {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn small_pieces_keep_little_more_than_they_hold() {
        const SIZE: usize = 64 << 10;
        for len in [1, 7, 1000, COALESCE_BELOW - 1] {
            let reader = Arc::new(());
            let mut held = BodyBuffer::new();
            while held.len() < SIZE {
                let read = Bytes::from_owner(Read(vec![b'x'; 8 << 10], reader.clone()));
                let mut arrived = BodyBuffer::new();
                arrived.push(read.slice(..len));
                held.join(arrived);
            }
            let (chunks, kept) = (held.chunks().count(), Arc::strong_count(&reader) - 1);
            assert!(chunks <= 2 * SIZE / COALESCE_BELOW, "{chunks} chunks of pieces of {len} bytes");
            assert!(kept <= 1, "{kept} reads are kept by pieces of {len} bytes"); // the first
            let sizes: usize = held.chunks().map(Bytes::len).sum();
            assert_eq!(sizes, held.len());
        }
    }

    #[test]
    fn neither_the_first_piece_nor_a_large_one_is_copied() {
        let pieces = [1, COALESCE_BELOW, 3 * COALESCE_BELOW].map(|len| Bytes::from(vec![b'x'; len]));
        let mut held = BodyBuffer::new();
        for piece in &pieces {
            let mut arrived = BodyBuffer::new();
            arrived.push(piece.clone());
            held.join(arrived);
        }
        let places: Vec<_> = held.chunks().map(|chunk| chunk.as_ptr()).collect();
        assert_eq!(places, pieces.each_ref().map(|piece| piece.as_ptr()));
    }

    proptest! {
        #[test]
        fn it_splices_as_a_vector_does(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            edits in prop::collection::vec((0usize..40, 0usize..40, prop::collection::vec(any::<u8>(), 0..9)), 0..6),
        ) {
            let mut model: Vec<u8> = chunks.concat();
            let mut buffer = BodyBuffer::new();
            for chunk in chunks {
                buffer.push(chunk.into());
            }
            for (start, count, data) in edits {
                let start = start.min(model.len());
                let end = (start + count).min(model.len());
                model.splice(start..end, data.iter().copied());
                buffer.splice(start, count, &data);
                prop_assert_eq!(buffer.len(), model.len());
                let mut all = vec![0; buffer.len()];
                buffer.copy_range(0, &mut all);
                prop_assert_eq!(&all, &model);
            }
        }
    }
}
