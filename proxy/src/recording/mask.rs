//! Other words in the place of secrets.
//!
//! A secret is found where it stands: in a header, a field of a body, a query or a configuration whose name says so.
//! From then on it is replaced wherever it appears, always by the same word of the same length, so that a filter which
//! compares or passes it on does what it did. The words and what they stand for go into a file of their own, which
//! stays where the recording was made.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use regex::bytes::Regex;

use super::visit::Visit;
use crate::wasm::witness::{Beginning, Blob, Fields, Hostcall, Step, Value};

/// Names of headers, variables and fields that hold secrets.
static NAMES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i-u)authorization|cookie|token|secret|passw|api[-_]?key|private[-_]?key|credential|session|jwt",
    )
    .ok()
});

/// Values of such names in JSON, in forms and queries.
static FIELDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const NAME: &str = r"[\w-]*(?:token|secret|passw|api[-_]?key|private[-_]?key|credential)[\w-]*";
    let json = format!(r#""{NAME}"\s*:\s*"((?:[^"\\]|\\.)+)""#);
    let form = format!(r"(?:^|[?&;\s]){NAME}=([^&;\s]+)");
    Regex::new(&format!("(?i-u){json}|{form}")).ok()
});

/// What is shorter is replaced where it stands, and not elsewhere: it may be an ordinary word.
const SHORTEST_EVERYWHERE: usize = 8;

/// What is shorter is no secret.
const SHORTEST: usize = 4;

/// The shortest word that stands for a secret: `*0001*`.
const WORD: usize = 6;

/// How many secrets are told apart; further ones share a word, which stands for nothing.
const MOST: usize = 62 * 62 * 62 * 62 - 1;

/// Puts words into the place of secrets.
#[derive(Debug, Default)]
pub struct Mask {
    words: HashMap<Bytes, Bytes>,
    everywhere: Replacer<SHORTEST_EVERYWHERE>,
    /// Those that nobody was told of yet.
    new: Vec<(Bytes, Bytes)>,
}

impl Mask {
    /// Masks what an instance is given.
    pub fn mask_beginning(&mut self, beginning: &mut Beginning) {
        for (name, value) in &mut beginning.env {
            if says_secret(name.as_bytes()) {
                self.put(value);
            }
        }
        beginning.visit(&mut |blob| self.mask(blob));
    }

    /// Masks a step.
    pub fn mask_step(&mut self, step: &mut Step) {
        step.visit_fields(&mut |fields| self.mask_fields(fields));
        step.calls.iter_mut().flat_map(|call| &mut call.hostcalls).for_each(|call| self.mask_hostcall(call));
        step.visit(&mut |blob| self.mask(blob));
    }

    /// The words that were given since this was last asked, and what they stand for.
    pub fn new_words(&mut self) -> Vec<(Bytes, Bytes)> {
        std::mem::take(&mut self.new)
    }

    /// A header's value that a hostcall reads or writes by name.
    fn mask_hostcall(&mut self, call: &mut Hostcall) {
        let [Value::Number(_), Value::Bytes(name), values @ ..] = &mut call.args[..] else { return };
        if !call.call.contains("header_map_value") || !says_secret(&name.0) {
            return;
        }
        let name = name.0.clone();
        for value in values.iter_mut().chain(&mut call.answer) {
            if let Value::Bytes(value) = value {
                self.mask_header(&name, value);
            }
        }
    }

    fn mask_fields(&mut self, fields: &mut Fields) {
        for (name, value) in fields {
            if says_secret(&name.0) {
                let name = name.0.clone();
                self.mask_header(&name, value);
            }
        }
    }

    /// The parts of a header's value that are secret: what follows a scheme (RFC 9110, section 11.4), the values of
    /// cookies (RFC 6265), or all of it.
    fn mask_header(&mut self, name: &[u8], value: &mut Blob) {
        let text = value.0.clone();
        let mut masked = Vec::with_capacity(text.len());
        if name.eq_ignore_ascii_case(b"cookie") || name.eq_ignore_ascii_case(b"set-cookie") {
            let attributes_follow = name.eq_ignore_ascii_case(b"set-cookie");
            for (at, pair) in text.split_inclusive(|byte| *byte == b';').enumerate() {
                let end = pair.len() - usize::from(pair.ends_with(b";"));
                let start = pair.iter().position(|byte| *byte == b'=').map_or(end, |equals| equals + 1);
                if start >= end || (attributes_follow && at > 0) {
                    masked.extend_from_slice(pair);
                    continue;
                }
                masked.extend_from_slice(&pair[..start]);
                masked.extend_from_slice(&self.word(&pair[start..end]));
                masked.extend_from_slice(&pair[end..]);
            }
        } else {
            let start = text.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
            masked.extend_from_slice(&text[..start]);
            masked.extend_from_slice(&self.word(&text[start..]));
        }
        value.0 = masked.into();
    }

    /// A text in which there may be secrets.
    fn mask(&mut self, blob: &mut Blob) {
        let found: Vec<Bytes> = match &*FIELDS {
            Some(fields) if !blob.0.is_empty() => fields
                .captures_iter(&blob.0)
                .filter_map(|captures| captures.get(1).or(captures.get(2)))
                .map(|secret| blob.0.slice_ref(secret.as_bytes()))
                .collect(),
            _ => Vec::new(),
        };
        for secret in found {
            let word = self.word(&secret);
            if secret.len() < SHORTEST_EVERYWHERE && word != secret {
                blob.0 = replace_first(&blob.0, &secret, &word);
            }
        }
        if let Some(masked) = self.everywhere.replace(&blob.0) {
            blob.0 = masked;
        }
    }

    fn put(&mut self, value: &mut Blob) {
        value.0 = self.word(&value.0);
    }

    /// The word for a secret. A word stays what it is.
    fn word(&mut self, secret: &[u8]) -> Bytes {
        if secret.len() < SHORTEST || is_word(secret) {
            return Bytes::copy_from_slice(secret);
        }
        if let Some(word) = self.words.get(secret) {
            return word.clone();
        }
        let mut word = vec![b'*'; secret.len().max(WORD)];
        if self.words.len() >= MOST {
            return word.into();
        }
        write_number(&mut word[1..WORD - 1], self.words.len() + 1);
        let (secret, word) = (Bytes::copy_from_slice(secret), Bytes::from(word));
        self.everywhere.add(&secret, &word);
        self.words.insert(secret.clone(), word.clone());
        self.new.push((word.clone(), secret));
        word
    }
}

/// What the words of a masked recording stand for.
#[derive(Debug, Default)]
pub struct Secrets(Replacer<WORD>);

impl Secrets {
    /// Adds a word.
    pub fn add(&mut self, word: &Blob, secret: &Blob) {
        self.0.add(&word.0, &secret.0);
    }

    /// Puts the secrets back.
    pub fn reveal(&self, masked: &mut impl Visit) {
        masked.visit(&mut |blob| {
            if let Some(revealed) = self.0.replace(&blob.0) {
                blob.0 = revealed;
            }
        });
    }
}

fn says_secret(name: &[u8]) -> bool {
    NAMES.as_ref().is_some_and(|names| names.is_match(name))
}

fn is_word(text: &[u8]) -> bool {
    text.len() >= WORD && text[0] == b'*' && text[WORD - 1..].iter().all(|byte| *byte == b'*')
}

fn write_number(digits: &mut [u8], mut number: usize) {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[number % DIGITS.len()];
        number /= DIGITS.len();
    }
}

fn replace_first(text: &Bytes, from: &[u8], to: &[u8]) -> Bytes {
    match text.windows(from.len()).position(|window| window == from) {
        Some(at) => [&text[..at], to, &text[at + from.len()..]].concat().into(),
        None => text.clone(),
    }
}

/// Replaces many texts, each of which has at least `N` bytes and is known by its first `N`.
#[derive(Debug)]
struct Replacer<const N: usize> {
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
    fn add(&mut self, from: &Bytes, to: &Bytes) {
        let Some(beginning) = from.first_chunk::<N>() else { return };
        self.beginnings[two(beginning)] = true;
        let texts = self.texts.entry(*beginning).or_default();
        texts.push((from.clone(), to.clone()));
        texts.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    }

    /// The text with all of them replaced; none where it has none.
    fn replace(&self, text: &[u8]) -> Option<Bytes> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &mut Mask, name: &str, value: &str) -> String {
        let mut blob = Blob::from(value);
        mask.mask_header(name.as_bytes(), &mut blob);
        blob.text().into_owned()
    }

    #[test]
    fn the_secret_part_of_a_header_has_a_word_of_its_length() {
        let mut mask = Mask::default();
        assert_eq!(masked(&mut mask, "authorization", "Bearer abcdefghij"), "Bearer *0001*****");
        assert_eq!(masked(&mut mask, "cookie", "id=abcdefghij; b=1234567"), "id=*0001*****; b=*0002**");
        assert_eq!(
            masked(&mut mask, "set-cookie", "id=klmnopqrs; Path=/long/one"),
            "id=*0003****; Path=/long/one"
        );
        assert_eq!(masked(&mut mask, "x-api-key", "abc"), "abc", "it is too short to be one");
    }

    #[test]
    fn a_secret_is_masked_wherever_it_appears_from_then_on() {
        let mut mask = Mask::default();
        masked(&mut mask, "authorization", "Bearer abcdefghij");
        let mut log = Blob::from("user abcdefghij, key abcdefghijk");
        mask.mask(&mut log);
        assert_eq!(log.text(), "user *0001*****, key *0001*****k");
    }

    #[test]
    fn fields_of_bodies_and_queries_are_secrets_by_their_names() {
        let mut mask = Mask::default();
        let cases = [
            (r#"{"user":"ann","password":"open sesame"}"#, r#"{"user":"ann","password":"*0001******"}"#),
            ("/a?user=ann&access_token=abcdefgh", "/a?user=ann&access_token=*0002***"),
            ("api_key=abcd&x=abcd", "api_key=*0003*&x=abcd"),
        ];
        for (text, expected) in cases {
            let mut blob = Blob::from(text);
            mask.mask(&mut blob);
            assert_eq!(blob.text(), expected);
        }
    }

    #[test]
    fn words_are_put_back() {
        let mut mask = Mask::default();
        masked(&mut mask, "cookie", "id=abcdefghij; b=12345");
        let mut secrets = Secrets::default();
        for (word, secret) in mask.new_words() {
            secrets.add(&Blob(word), &Blob(secret));
        }
        let replaced = secrets.0.replace(b"a *0001***** b *0002* c *0003*").expect("it has words");
        assert_eq!(&replaced[..], b"a abcdefghij b 12345 c *0003*");
    }
}
