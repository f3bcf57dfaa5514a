//! Reads the few protobuf messages that guests built for Envoy send, field by field, where they lie.
//!
//! (Protocol Buffers' wire format: <https://protobuf.dev/programming-guides/encoding/>.) A message has no nesting here
//! that is not asked for, so a hostile one costs no more than its length.

/// A message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A field's value, as much as the wire says of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number, a boolean or the number of an enumeration's member.
    Number(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
    /// A number of a fixed width, which no message here has.
    Fixed,
}

/// Every field's number and value, in order. Where a field comes twice the last one counts.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Value<'_>), Malformed>> {
    let mut rest = Some(message).filter(|message| !message.is_empty());
    std::iter::from_fn(move || {
        let mut left = rest.take()?;
        let read = read_field(&mut left);
        rest = Some(left).filter(|left| read.is_ok() && !left.is_empty());
        Some(read)
    })
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), Malformed> {
    let key = varint(rest)?;
    let number = key >> 3;
    if number == 0 || number >= 1 << 29 {
        return Err(Malformed);
    }
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let len = varint(rest)?;
            Value::Bytes(take(rest, len)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        // Groups are of another age.
        _ => return Err(Malformed),
    };
    Ok((number, value))
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], Malformed> {
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    let (taken, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_field_is_read_as_its_wire_type_says() {
        let message = b"\x0a\x02ab\x10\xac\x02\x1d....\x21........\x0a\x00";
        let expected = [
            (1, Value::Bytes(b"ab")),
            (2, Value::Number(300)),
            (3, Value::Fixed),
            (4, Value::Fixed),
            (1, Value::Bytes(b"")),
        ];
        assert_eq!(fields(message).collect::<Result<Vec<_>, _>>(), Ok(expected.to_vec()));
        assert_eq!(fields(b"").count(), 0);
    }

    #[test]
    fn what_is_cut_off_or_of_no_type_is_malformed_and_ends_there() {
        let endless = [0xff; 11];
        for message in [&b"\x0a"[..], b"\x0a\x05ab", b"\x00\x00", b"\x0b\x0c", b"\x08\x80", &endless] {
            assert_eq!(fields(message).collect::<Vec<_>>(), [Err(Malformed)], "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(message in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(fields(&message).count() <= message.len());
        }
    }
}
