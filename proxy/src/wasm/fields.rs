//! Header names and values out of a guest's bytes, made cheaply: a guest uses a handful of names over and over, and the
//! values that it writes are short, and often the same.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::abi::Status;

/// How many names are remembered, and how many values; a power of two.
const REMEMBERED: usize = 32;

/// Names and values longer than these, in bytes, are not remembered.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 32;

/// Values no longer than a quarter of this share blocks of this many bytes, unless they are remembered. A block lives as
/// long as one of its values.
const BLOCK: usize = 2 << 10;

/// What one guest's header names and values are made with.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    names: Memory<HeaderName>,
    values: Memory<HeaderValue>,
    /// What is left of the present block.
    block: BytesMut,
}

/// What was made of bytes before.
#[derive(Debug)]
struct Memory<T> {
    /// Each at a place that its bytes decide; empty before the first.
    places: Box<[Option<T>]>,
}

impl<T> Default for Memory<T> {
    fn default() -> Memory<T> {
        Memory { places: Box::default() }
    }
}

impl<T: AsRef<[u8]> + Clone> Memory<T> {
    /// What these bytes are, which is made if it is not the last that had their place.
    fn recall<E>(&mut self, bytes: &[u8], make: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<T, E> {
        if self.places.is_empty() {
            self.places = vec![None; REMEMBERED].into_boxed_slice();
        }
        let place = &mut self.places[place(bytes)];
        match place {
            Some(there) if there.as_ref() == bytes => Ok(there.clone()),
            _ => Ok(place.insert(make(bytes)?).clone()),
        }
    }
}

impl Fields {
    /// A header's name (RFC 9110, section 5.1), in any case.
    pub(crate) fn name(&mut self, name: &[u8]) -> Result<HeaderName, Status> {
        let made = if name.len() <= LONGEST_NAME {
            self.names.recall(name, HeaderName::from_bytes)
        } else {
            HeaderName::from_bytes(name)
        };
        made.map_err(|_| Status::BadArgument)
    }

    /// A header's value (RFC 9110, section 5.5).
    pub(crate) fn value(&mut self, value: &[u8]) -> Result<HeaderValue, Status> {
        let made = if value.len() <= LONGEST_VALUE {
            self.values.recall(value, HeaderValue::from_bytes)
        } else {
            HeaderValue::from_maybe_shared(self.copy(value))
        };
        made.map_err(|_| Status::BadArgument)
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > BLOCK / 4 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(BLOCK);
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }
}

/// The place of bytes: names that a guest uses side by side mostly differ in length or at an end, and so do values.
fn place(bytes: &[u8]) -> usize {
    let at = |index: usize| bytes.get(index).copied().map_or(0, usize::from);
    let len = bytes.len();
    (len ^ at(0) ^ at(len / 2) << 1 ^ at(len.wrapping_sub(1)) << 2) % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_a_place_are_not_mixed_up() {
        let mut fields = Fields::default();
        let names: Vec<String> = (0..200).map(|number| format!("x-name-{number}")).collect();
        for name in names.iter().chain(names.iter().rev()) {
            assert_eq!(fields.name(name.as_bytes()).unwrap(), name.as_str());
        }
        assert_eq!(fields.name(b"X-Name-7").unwrap(), "x-name-7");
        assert_eq!(fields.name(b"no name"), Err(Status::BadArgument));
    }

    #[test]
    fn values_of_one_block_are_apart() {
        let mut fields = Fields::default();
        let texts: Vec<String> = (0..2000).map(|number| "v".repeat(number)).collect();
        let values: Vec<HeaderValue> =
            texts.iter().map(|text| fields.value(text.as_bytes()).unwrap()).collect();
        assert_eq!(values, texts);
        assert_eq!(fields.value(b"a\nb"), Err(Status::BadArgument));
    }

    #[test]
    fn values_that_share_a_place_are_not_mixed_up() {
        let mut fields = Fields::default();
        let texts: Vec<String> = (0..200).map(|number| format!("value {number}")).collect();
        for text in texts.iter().chain(texts.iter().rev()) {
            assert_eq!(fields.value(text.as_bytes()).unwrap(), text.as_str());
        }
        assert_eq!(fields.value(b"").unwrap(), "");
    }
}
