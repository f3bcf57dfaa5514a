//! The ABI's serialisation of maps: a count, the lengths of each name and value, then each name and value with a NUL
//! behind it; numbers are 32 bits, little-endian (ABI 0.2.1, "Serialization").

use smallvec::SmallVec;

/// The most that is read from a guest, in bytes and in pairs (Envoy's bounds).
const MAX_BYTES: usize = 1 << 20;
const MAX_PAIRS: usize = 1024;

/// A name and a value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// What a guest sent is not a serialised map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// How many bytes a map takes.
pub(crate) fn serialised_len<'a>(pairs: impl Iterator<Item = Pair<'a>>) -> usize {
    4 + pairs.map(|(name, value)| 8 + name.len() + 1 + value.len() + 1).sum::<usize>()
}

/// Writes a map into `out`, which must be exactly as long as [`serialised_len`] says. `count` is how many pairs there
/// are. The lengths go to the front while names and values go behind them, so the map is walked once.
pub(crate) fn write<'a>(out: &mut [u8], count: usize, pairs: impl Iterator<Item = Pair<'a>>) {
    let (lengths, mut bytes) = out.split_at_mut(4 + count * 8);
    let (head, lengths) = lengths.split_at_mut(4);
    head.copy_from_slice(&(count as u32).to_le_bytes());
    for ((name, value), length) in pairs.zip(lengths.chunks_exact_mut(8)) {
        length[..4].copy_from_slice(&(name.len() as u32).to_le_bytes());
        length[4..].copy_from_slice(&(value.len() as u32).to_le_bytes());
        bytes = put(put(bytes, name), value);
    }
}

fn put<'b>(out: &'b mut [u8], bytes: &[u8]) -> &'b mut [u8] {
    let (text, rest) = out.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    let (nul, rest) = rest.split_at_mut(1);
    nul[0] = 0;
    rest
}

/// Reads a map. Nothing at all, or a single NUL, is an empty one: SDKs send these.
pub(crate) fn parse(bytes: &[u8]) -> Result<SmallVec<[Pair<'_>; 16]>, Malformed> {
    if matches!(bytes, [] | [0]) {
        return Ok(SmallVec::new());
    }
    if bytes.len() > MAX_BYTES {
        return Err(Malformed);
    }
    let (count, rest) = take_u32(bytes)?;
    if count > MAX_PAIRS {
        return Err(Malformed);
    }
    let (mut lengths, mut texts) = rest.split_at_checked(count * 8).ok_or(Malformed)?;
    let mut pairs = SmallVec::with_capacity(count);
    for _ in 0..count {
        let (name_len, value_len);
        (name_len, lengths) = take_u32(lengths)?;
        (value_len, lengths) = take_u32(lengths)?;
        let (name, value);
        (name, texts) = take_text(texts, name_len)?;
        (value, texts) = take_text(texts, value_len)?;
        pairs.push((name, value));
    }
    if texts.is_empty() { Ok(pairs) } else { Err(Malformed) }
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    Ok((u32::from_le_bytes(*number) as usize, rest))
}

fn take_text(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), Malformed> {
    let (text, rest) = bytes.split_at_checked(len).ok_or(Malformed)?;
    match rest {
        [0, rest @ ..] => Ok((text, rest)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn serialise(pairs: &[Pair<'_>]) -> Vec<u8> {
        let mut out = vec![0xff; serialised_len(pairs.iter().copied())];
        write(&mut out, pairs.len(), pairs.iter().copied());
        out
    }

    #[test]
    fn a_map_has_the_bytes_that_the_abi_says() {
        let expected = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0a\0bc\0xyz\0\0";
        assert_eq!(serialise(&[(b"a", b"bc"), (b"xyz", b"")]), expected);
    }

    #[test]
    fn each_form_of_an_empty_map_is_read() {
        for form in [&b""[..], b"\0", b"\0\0\0\0"] {
            assert_eq!(parse(form), Ok(SmallVec::new()));
        }
    }

    #[test]
    fn a_broken_map_is_refused() {
        let good = serialise(&[(b"a", b"b\0c")]);
        assert_eq!(parse(&good).as_deref(), Ok(&[(&b"a"[..], &b"b\0c"[..])][..]));
        for cut in 1..good.len() {
            assert_eq!(parse(&good[..cut]), Err(Malformed), "cut to {cut} bytes");
        }
        let mut no_nul = good.clone();
        *no_nul.last_mut().expect("it is not empty") = 1;
        assert_eq!(parse(&no_nul), Err(Malformed));
        assert_eq!(parse(&[&good[..], b"x"].concat()), Err(Malformed));
        assert_eq!(parse(&serialise(&vec![(&b"a"[..], &b"b"[..]); 1025])), Err(Malformed));
        assert_eq!(parse(&serialise(&[(b"a", &vec![0; 1 << 20])])), Err(Malformed));
        assert_eq!(parse(b"\xff\xff\xff\xff"), Err(Malformed));
        assert_eq!(parse(b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..20)), 0..20)
        ) {
            let pairs: Vec<Pair<'_>> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let bytes = serialise(&pairs);
            let read = parse(&bytes);
            prop_assert_eq!(read.as_deref(), Ok(&pairs[..]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
