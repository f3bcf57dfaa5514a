//! How modules compare bytes. Most of what a filter does is to look for a name among others, and the `memcmp` that Rust
//! has for WebAssembly takes one byte at a time, at 30 instructions of the host's processor each.
#![cfg_attr(all(target_arch = "wasm32", target_os = "unknown"), allow(unsafe_code))]

use std::cmp::Ordering;

/// The order of two texts of the same length, eight bytes at a time. It must not compare slices: that is what it does.
#[cfg_attr(
    not(any(test, all(target_arch = "wasm32", target_os = "unknown"))),
    expect(dead_code, reason = "only modules have a use for it")
)]
#[inline]
fn order(a: &[u8], b: &[u8]) -> Ordering {
    // What is left over is in the last so many bytes, of which some may be compared once more.
    if let (Some(last), Some(other_last)) = (a.last_chunk(), b.last_chunk()) {
        let (words, other_words) = (a.as_chunks().0, b.as_chunks().0);
        for (word, other) in words.iter().zip(other_words).chain([(last, other_last)]) {
            if u64::from_ne_bytes(*word) != u64::from_ne_bytes(*other) {
                return u64::from_be_bytes(*word).cmp(&u64::from_be_bytes(*other));
            }
        }
        return Ordering::Equal;
    }
    if let (Some(number), Some(other)) = (number(a), number(b)) {
        return number.cmp(&other);
    }
    for (byte, other) in a.iter().zip(b) {
        if byte != other {
            return byte.cmp(other);
        }
    }
    Ordering::Equal
}

/// Four to seven bytes as a number of the same order; `None` for fewer.
#[inline]
fn number(text: &[u8]) -> Option<u64> {
    let [first, last] = [text.first_chunk()?, text.last_chunk()?].map(|half| u32::from_be_bytes(*half));
    Some(u64::from(first) << 32 | u64::from(last))
}

/// C's, in the place of the one that every Rust module would have. (For WASI there is a C library with one.)
///
/// # Safety
///
/// Both point to `len` bytes that can be read.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's.
    let (a, b) = unsafe { (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts(b, len)) };
    order(a, b) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_first_bytes_that_differ() {
        let mut random = fastrand::Rng::with_seed(7);
        for len in 0..40 {
            let text: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            assert_eq!(order(&text, &text), Ordering::Equal);
            for _ in 0..200 {
                let mut other = text.clone();
                for _ in 0..random.usize(0..3) {
                    random.choice(&mut other).into_iter().for_each(|byte| *byte = random.u8(..));
                }
                assert_eq!(order(&text, &other), text.cmp(&other), "{text:?} {other:?}");
            }
        }
    }
}
