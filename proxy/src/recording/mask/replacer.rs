//! Many texts, each replaced by another wherever it is.

use std::collections::HashMap;

use bytes::Bytes;

/// Replaces many texts, each of which has at least `N` bytes and is known by its first `N`.
#[derive(Debug)]
pub(super) struct Replacer<const N: usize> {
    /// Which two bytes a text may begin with: nearly all that is looked at ends here.
    beginnings: Vec<bool>,
    texts: HashMap<[u8; N], Vec<(Bytes, Bytes)>>,
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
        let texts = self.texts.entry(*beginning).or_default();
        texts.push((from.clone(), to.clone()));
        texts.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
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

    fn find(&self, beginning: &[u8; N], text: &[u8]) -> Option<&(Bytes, Bytes)> {
        if !self.beginnings[two(beginning)] {
            return None;
        }
        self.texts.get(beginning)?.iter().find(|(from, _)| text.starts_with(from))
    }
}

fn two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
