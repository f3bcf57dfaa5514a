//! Header names and values out of a guest's bytes, made cheaply: a guest uses a handful of names over and over, and the
//! values that it writes are short.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::abi::Status;

/// How many names are remembered; a power of two.
const NAMES: usize = 32;

/// Names longer than this, in bytes, are not remembered.
const LONGEST_NAME: usize = 64;

/// Values no longer than a quarter of this share blocks of this many bytes. A block lives as long as one of its values.
const BLOCK: usize = 2 << 10;

/// What one guest's header names and values are made with.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// Each at a place that its bytes decide; empty before the first name.
    names: Box<[Option<HeaderName>]>,
    /// What is left of the present block.
    block: BytesMut,
}

impl Fields {
    /// A header's name (RFC 9110, section 5.1), in any case.
    pub(crate) fn name(&mut self, name: &[u8]) -> Result<HeaderName, Status> {
        if self.names.is_empty() {
            self.names = vec![None; NAMES].into_boxed_slice();
        }
        let place = &mut self.names[place(name)];
        match place {
            Some(there) if there.as_str().as_bytes() == name => Ok(there.clone()),
            _ => {
                let parsed = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
                if name.len() <= LONGEST_NAME {
                    *place = Some(parsed.clone());
                }
                Ok(parsed)
            }
        }
    }

    /// A header's value (RFC 9110, section 5.5).
    pub(crate) fn value(&mut self, value: &[u8]) -> Result<HeaderValue, Status> {
        HeaderValue::from_maybe_shared(self.copy(value)).map_err(|_| Status::BadArgument)
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

/// The place of a name: names that a guest uses side by side mostly differ in length or at an end.
fn place(name: &[u8]) -> usize {
    let at = |index: usize| name.get(index).copied().map_or(0, usize::from);
    let len = name.len();
    (len ^ at(0) ^ at(len / 2) << 1 ^ at(len.wrapping_sub(1)) << 2) % NAMES
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
}
