//! Pieces of bodies.

use proxy_wasm::types::BufferType;

use crate::host::{self, report};

/// A piece of a body: what has just come, or all that is held when the filter paused on the pieces before. It is for the
/// callback that it was given to; of a change that the host refuses the log says so, and the piece stays as it was.
///
/// ```no_run
/// # use tidegate_sdk::{Body, Next};
/// fn whole(body: &Body) -> Next {
///     if !body.is_last() {
///         return Next::Pause; // the next piece shows this one as well
///     }
///     body.replace(format!("{} bytes\n", body.len()));
///     Next::Continue
/// }
/// ```
#[derive(Debug)]
pub struct Body {
    pub(crate) buffer: BufferType,
    pub(crate) len: usize,
    pub(crate) end_of_stream: bool,
}

impl Body {
    /// Bytes in this piece; the last may be empty.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are no bytes in this piece.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nothing follows, trailers neither.
    pub fn is_last(&self) -> bool {
        self.end_of_stream
    }

    /// A copy of the bytes: `len` of them, or none where the host does not show them.
    pub fn bytes(&self) -> Vec<u8> {
        host::buffer(self.buffer)
    }

    /// A copy of the bytes from a place on: what is new in a body that is held, where `start` is the
    /// [`len`](Body::len) of the piece before. None where there is nothing behind that place.
    ///
    /// ```no_run
    /// # use tidegate_sdk::{Body, Next};
    /// fn count_lines(body: &Body, read: &mut usize, lines: &mut usize) -> Next {
    ///     *lines += body.bytes_from(*read).iter().filter(|byte| **byte == b'\n').count();
    ///     *read = body.len();
    ///     if body.is_last() { Next::Continue } else { Next::Pause }
    /// }
    /// ```
    pub fn bytes_from(&self, start: usize) -> Vec<u8> {
        match self.len.checked_sub(start) {
            None | Some(0) => Vec::new(),
            Some(size) => host::buffer_part(self.buffer, start, size),
        }
    }

    /// Puts other bytes in their place: none take the piece away. Remove `content-length` in the headers callback when the length changes:
    /// not every host does it by itself.
    pub fn replace(&self, bytes: impl AsRef<[u8]>) {
        report("replace the body", host::set_buffer(self.buffer, 0, self.len, bytes.as_ref()));
    }

    /// Adds bytes in front of the piece; see [`replace`](Body::replace) about `content-length`.
    pub fn prepend(&self, bytes: impl AsRef<[u8]>) {
        report("prepend to the body", host::set_buffer(self.buffer, 0, 0, bytes.as_ref()));
    }

    /// Adds bytes at the end of the piece; see [`replace`](Body::replace) about `content-length`.
    pub fn append(&self, bytes: impl AsRef<[u8]>) {
        report("append to the body", host::set_buffer(self.buffer, self.len, 0, bytes.as_ref()));
    }
}
