//! Many texts, each replaced by another wherever it is.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;

/// Replaces many texts, each of which has at least `N` bytes and is known by its first `N`.
#[derive(Debug)]
pub(super) struct Replacer<const N: usize> {
    /// Which two bytes a text may begin with: nearly all that is looked at ends here.
    beginnings: Vec<bool>,
    /// What begins alike is in order: all tokens of one issuer may.
    texts: HashMap<[u8; N], BTreeMap<Bytes, Bytes>>,
}

impl<const N: usize> Default for Replacer<N> {
    fn default() -> Self {
        Replacer { beginnings: vec![false; 1 << 16], texts: HashMap::new() }
    }
}

impl<const N: usize> Replacer<N> {
    /// Replaces one more. A shorter one than `N` bytes is left alone.
    pub(super) fn add(&mut self, from: &Bytes, to: &Bytes) {
        let Some(beginning) = from.first_chunk::<N>() else { return };
        self.beginnings[two(beginning)] = true;
        self.texts.entry(*beginning).or_default().entry(from.clone()).or_insert_with(|| to.clone());
    }

    /// The text with all of them replaced; none where it has none.
    pub(super) fn replace(&self, text: &[u8]) -> Option<Bytes> {
        let mut replaced: Option<Vec<u8>> = None;
        let (mut at, mut copied) = (0, 0);
        while let Some(beginning) = text.get(at..).and_then(<[u8]>::first_chunk::<N>) {
            match self.find(beginning, &text[at..]) {
                Some((from, to)) => {
                    let out = replaced.get_or_insert_with(|| Vec::with_capacity(text.len()));
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(to);
                    at += from.len();
                    copied = at;
                }
                None => at += 1,
            }
        }
        let mut out = replaced?;
        out.extend_from_slice(&text[copied..]);
        Some(out.into())
    }

    /// The longest that the text begins with.
    fn find(&self, beginning: &[u8; N], text: &[u8]) -> Option<(&Bytes, &Bytes)> {
        if !self.beginnings[two(beginning)] {
            return None;
        }
        let texts = self.texts.get(beginning)?;
        let mut shared = text;
        loop {
            // What the text begins with comes at it or before it, and nothing that is between begins otherwise: the last
            // one is it, or has as much of the text in common as any can have.
            let last = texts.range::<[u8], _>((Bound::Unbounded, Bound::Included(shared))).next_back()?;
            if begins_with(shared, last.0) {
                return Some(last);
            }
            let common = last.0.iter().zip(shared).take_while(|(one, other)| one == other).count();
            shared = &shared[..common];
        }
    }
}

fn begins_with(text: &[u8], beginning: &[u8]) -> bool {
    #[cfg(test)]
    tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
    text.starts_with(beginning)
}

fn two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How many texts were compared with what they may be at the beginning of.
        pub(super) static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
    }

    fn replacer(texts: impl IntoIterator<Item = String>) -> Replacer<4> {
        let mut replacer = Replacer::default();
        for text in texts {
            let word = format!("<{}>", &text[4..]);
            replacer.add(&text.into(), &word.into());
        }
        replacer
    }

    fn replaced(replacer: &Replacer<4>, text: &str) -> String {
        let replaced = replacer.replace(text.as_bytes()).unwrap_or_else(|| text.to_owned().into());
        String::from_utf8_lossy(&replaced).into_owned()
    }

    #[test]
    fn of_those_that_a_text_begins_with_the_longest_is_replaced() {
        let texts = ["textab", "text", "textabcd", "textabce", "texta!", "textb"];
        let replacer = replacer(texts.map(str::to_owned));
        for (text, expected) in [
            ("textabc", "<ab>c"),
            ("textabcd", "<abcd>"),
            ("textabcda", "<abcd>a"),
            ("texta", "<>a"),
            ("textaz", "<>az"),
            ("textbtextab", "<b><ab>"),
            ("tex", "tex"),
            ("a textabcf", "a <ab>cf"),
        ] {
            assert_eq!(replaced(&replacer, text), expected, "{text}");
        }
    }

    /// All tokens of one issuer begin alike, and each would be compared with all.
    #[test]
    fn of_texts_that_begin_alike_few_are_looked_at_however_many_there_are() {
        let looked_at = |count: u64| {
            let text = |number| format!("eyJhbGciOiJSUzI1NiJ9.{number:0>60}");
            let replacer = replacer((0..count).map(text));
            LOOKED_AT.set(0);
            for number in 0..count {
                assert!(replaced(&replacer, &text(number)).starts_with('<'));
                replaced(&replacer, &text(count + number)); // it is none of them
            }
            LOOKED_AT.get()
        };
        let (few, many) = (looked_at(1_000), looked_at(10_000));
        assert!(few >= 2_000 && many < few * 20, "{few}, {many}");
    }
}
