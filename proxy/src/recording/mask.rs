//! Other words in the place of secrets.
//!
//! A secret is found where it stands: in a header, a field of a body, a query or a configuration whose name says so.
//! From then on it is replaced wherever it appears, always by the same word of the same length, so that a filter which
//! compares or passes it on does what it did. The words and what they stand for go into a file of their own, which
//! stays where the recording was made.

mod replacer;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use regex::bytes::Regex;

use self::replacer::Replacer;
use super::visit::Visit;
use crate::wasm::witness::{Beginning, Blob, Change, Fields, Hostcall, Piece, Side, Step, Value};

/// Part of every name of a header, a variable or a field that holds a secret.
const NAMES: &str = concat!(
    "token|secret|passw|passphrase|pwd|api[-_]?key|access[-_]?key|private[-_]?key|credential|",
    "signature|assertion"
);

/// Names of headers, variables and properties that hold secrets.
static HEADERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(?i-u){NAMES}|authorization|cookie|session|jwt")).ok());

/// Values of such names in JSON, also where that is a text within JSON, in forms and queries; the secret members of a JWK
/// (RFC 7517); passwords in URLs. A value may end where the text does.
static FIELDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = format!(r"[\w.-]*(?:{NAMES})[\w.-]*");
    let fields = [
        format!(r#""{name}"\s*:\s*"((?:[^"\\]|\\.)+)"#),
        format!(r#""{name}"\s*:\s*\[([^\[\]]+)"#),
        format!(r#"\\"{name}\\"\s*:\s*\\"([^"\\]+)"#),
        r#"\\?"[kd]\\?"\s*:\s*\\?"([\w-]{16,})"#.to_owned(),
        format!(r"(?:^|[?&;\s]){name}=([^&;\s]+)"),
        r"://[^/\s:@]*:([^/\s@]+)@".to_owned(),
    ];
    Regex::new(&format!("(?i-u){}", fields.join("|"))).ok()
});

/// Which of these is a list of texts.
const LIST: usize = 2;

/// The texts of a JSON list.
static TEXTS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"(?-u)"((?:[^"\\]|\\.)+)"?"#).ok());

/// How much of a body's last piece is looked at again together with the next: a name and a value may be cut anywhere.
const TAIL: usize = 256;

/// How long a value may be whose pieces are masked.
const MOST_TAIL: usize = 16 << 10;

/// What is shorter is replaced where it stands, and not elsewhere: it may be an ordinary word.
const SHORTEST_EVERYWHERE: usize = 8;

/// What is shorter is no secret.
const SHORTEST: usize = 4;

/// The shortest word that stands for a secret: `*0001*`.
const WORD: usize = 6;

/// How many secrets are told apart, and how many bytes they have in all; further ones have words that stand for nothing.
const MOST: usize = 62 * 62 * 62 * 62 - 1;
const MOST_BYTES: usize = 64 << 20;

/// What a secret takes beside its bytes, about.
const EACH: usize = 256;

/// Puts words into the place of secrets.
#[derive(Debug, Default)]
pub struct Mask {
    words: HashMap<Bytes, Bytes>,
    /// How many bytes they take.
    bytes: usize,
    everywhere: Replacer<SHORTEST_EVERYWHERE>,
    /// Those that nobody was told of yet.
    new: Vec<(Bytes, Bytes)>,
    /// How the last pieces of bodies ended, by instance and by context and direction.
    tails: HashMap<u64, HashMap<(u32, Side), Bytes>>,
}

impl Mask {
    /// Masks what an instance is given.
    pub fn mask_beginning(&mut self, beginning: &mut Beginning) {
        for (name, value) in &mut beginning.env {
            if says_secret(name.as_bytes()) {
                value.0 = self.word(&value.0);
            }
        }
        beginning.visit(&mut |blob| self.mask_fields_in(blob));
        beginning.visit(&mut |blob| self.mask_known(blob));
    }

    /// Masks a step of an instance: first what is found to be secret, then wherever else that is.
    pub fn mask_step(&mut self, instance: u64, step: &mut Step) {
        step.visit_fields(&mut |fields| self.mask_fields(fields));
        step.calls.iter_mut().flat_map(|call| &mut call.hostcalls).for_each(|call| self.mask_hostcall(call));
        for stream in &mut step.streams {
            let Change { request_body, response_body, .. } = &mut stream.before;
            for (body, side) in [(request_body, Side::Request), (response_body, Side::Response)] {
                if let Some(Piece::Added(piece) | Piece::Whole(piece)) = body {
                    self.mask_piece(instance, (stream.context, side), piece);
                }
            }
        }
        step.visit(&mut |blob| self.mask_fields_in(blob));
        step.visit(&mut |blob| self.mask_known(blob));
        if let (Some(context), Some(tails)) = (step.ended(), self.tails.get_mut(&instance)) {
            tails.remove(&(context, Side::Request));
            tails.remove(&(context, Side::Response));
        }
    }

    /// An instance has gone.
    pub fn forget(&mut self, instance: u64) {
        self.tails.remove(&instance);
    }

    /// The words that were given since this was last asked, and what they stand for.
    pub fn new_words(&mut self) -> Vec<(Bytes, Bytes)> {
        std::mem::take(&mut self.new)
    }

    /// A header's or a property's value that a hostcall reads or writes by name.
    fn mask_hostcall(&mut self, call: &mut Hostcall) {
        if let ("proxy_get_property" | "proxy_set_property", [Value::Bytes(path), values @ ..]) =
            (&*call.call, &mut call.args[..])
        {
            let name = path.0.clone();
            let name = name.rsplit(|byte| *byte == 0).next().unwrap_or_default();
            if says_secret(name) {
                for value in values.iter_mut().chain(&mut call.answer) {
                    if let Value::Bytes(value) = value {
                        self.mask_header(name, value);
                    }
                }
            }
            return;
        }
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
            let has_scheme = name.to_ascii_lowercase().ends_with(b"authorization");
            let space = text.iter().position(|byte| *byte == b' ').filter(|_| has_scheme);
            let start = space.map_or(0, |space| space + 1);
            self.learn_parts(&text[..start], &text[start..]);
            masked.extend_from_slice(&text[..start]);
            masked.extend_from_slice(&self.word(&text[start..]));
        }
        value.0 = masked.into();
    }

    /// What a filter takes a credential apart into is as secret: the user's password (RFC 7617), the parts of a token
    /// (RFC 7515).
    fn learn_parts(&mut self, scheme: &[u8], credential: &[u8]) {
        if scheme.trim_ascii_end().eq_ignore_ascii_case(b"basic") {
            if let Ok(decoded) = STANDARD.decode(credential) {
                self.word(&decoded);
                let colon = decoded.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
                self.word(&decoded[colon..]);
            }
            return;
        }
        let dots: Vec<usize> =
            credential.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at).collect();
        if let [first, second] = dots[..] {
            for part in [
                &credential[..second],
                &credential[..first],
                &credential[first + 1..second],
                &credential[second + 1..],
            ] {
                self.word(part);
            }
        }
    }

    /// Fields of a text whose names say that they are secret.
    fn mask_fields_in(&mut self, blob: &mut Blob) {
        let found = secrets_in(&blob.0);
        self.mask_places(blob, 0, &found);
    }

    /// The same for a piece of a body, whose fields may have begun in the one before.
    fn mask_piece(&mut self, instance: u64, whose: (u32, Side), piece: &mut Blob) {
        let tails = self.tails.entry(instance).or_default();
        let tail = tails.remove(&whose).unwrap_or_default();
        let text = if tail.is_empty() { piece.0.clone() } else { [&tail[..], &piece.0].concat().into() };
        let found = secrets_in(&text);
        // What is still open is looked at again from its name on.
        let open =
            found.last().filter(|place| place.end == text.len()).map_or(text.len(), |place| place.start);
        let kept = open.saturating_sub(TAIL).max(text.len().saturating_sub(MOST_TAIL));
        tails.insert(whose, Bytes::copy_from_slice(&text[kept..]));
        self.mask_places(piece, tail.len(), &found);
    }

    /// Masks these places of a text that has so many bytes more before it.
    fn mask_places(&mut self, blob: &mut Blob, before: usize, places: &[Range<usize>]) {
        let mut masked: Option<Vec<u8>> = None;
        let mut copied = 0;
        for place in places.iter().filter(|place| place.end > before) {
            let (start, end) = (place.start.saturating_sub(before), place.end - before);
            let is_cut = place.start < before || end == blob.0.len();
            let secret = blob.0.slice(start..end);
            if start < copied || (secret.len() < SHORTEST && !is_cut) {
                continue;
            }
            let word = self.word_of_any(&secret);
            let out = masked.get_or_insert_with(Vec::new);
            out.extend_from_slice(&blob.0[copied..start]);
            out.extend_from_slice(&word);
            copied = end;
        }
        if let Some(mut out) = masked {
            out.extend_from_slice(&blob.0[copied..]);
            blob.0 = out.into();
        }
    }

    /// What is known to be secret.
    fn mask_known(&mut self, blob: &mut Blob) {
        if let Some(masked) = self.everywhere.replace(&blob.0) {
            blob.0 = masked;
        }
    }

    /// The word for a secret. A word stays what it is, and so does what is too short for a secret.
    fn word(&mut self, secret: &[u8]) -> Bytes {
        match secret.len() < SHORTEST {
            true => Bytes::copy_from_slice(secret),
            false => self.word_of_any(secret),
        }
    }

    /// The same, however short it is.
    fn word_of_any(&mut self, secret: &[u8]) -> Bytes {
        if is_word(secret) {
            return Bytes::copy_from_slice(secret);
        }
        if let Some(word) = self.words.get(secret) {
            return word.clone();
        }
        let mut word = vec![b'*'; secret.len().max(WORD)];
        if self.words.len() >= MOST || self.bytes >= MOST_BYTES {
            return word.into();
        }
        self.bytes += EACH + 2 * secret.len();
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

/// Where secrets are in a text, in order.
fn secrets_in(text: &[u8]) -> Vec<Range<usize>> {
    let (Some(fields), Some(texts)) = (&*FIELDS, &*TEXTS) else { return Vec::new() };
    let mut places = Vec::new();
    for captures in fields.captures_iter(text) {
        let found = (1..captures.len()).find_map(|group| Some((group, captures.get(group)?.range())));
        match found {
            Some((LIST, list)) => {
                let within = texts.captures_iter(&text[list.clone()]).filter_map(|text| text.get(1));
                places.extend(within.map(|text| list.start + text.start()..list.start + text.end()));
            }
            Some((_, place)) => places.push(place),
            None => {}
        }
    }
    places
}

fn says_secret(name: &[u8]) -> bool {
    HEADERS.as_ref().is_some_and(|names| names.is_match(name))
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
        assert_eq!(masked(&mut mask, "x-api-key", "open sesame"), "*0004******");
        assert_eq!(masked(&mut mask, "x-api-key", "abc"), "abc", "it is too short to be one");
    }

    #[test]
    fn a_secret_is_masked_wherever_it_appears_from_then_on() {
        let mut mask = Mask::default();
        masked(&mut mask, "authorization", "Bearer abcdefghij");
        let mut log = Blob::from("user abcdefghij, key abcdefghijk");
        mask.mask_known(&mut log);
        assert_eq!(log.text(), "user *0001*****, key *0001*****k");
    }

    #[test]
    fn fields_of_bodies_and_queries_are_secrets_by_their_names() {
        let mut mask = Mask::default();
        let cases = [
            (r#"{"user":"ann","password":"open sesame"}"#, r#"{"user":"ann","password":"*0001******"}"#),
            ("/a?user=ann&access_token=abcdefgh", "/a?user=ann&access_token=*0002***"),
            ("api_key=abcd&x=abcd", "api_key=*0003*&x=abcd"),
            (
                r#"{"api_keys": ["abcdefghi", "jklm"], "x": ["jklm"]}"#,
                r#"{"api_keys": ["*0004****", "*0005*"], "x": ["jklm"]}"#,
            ),
            (
                r#"{"jwks":"{\"kty\":\"oct\",\"k\":\"AAAABBBBCCCCDDDD\"}"}"#,
                r#"{"jwks":"{\"kty\":\"oct\",\"k\":\"*0006***********\"}"}"#,
            ),
            (r#"{"inner":"{\"secret\":\"abcdef\"}"}"#, r#"{"inner":"{\"secret\":\"*0007*\"}"}"#),
            ("postgres://ann:hunter2hunter2@db/x", "postgres://ann:*0008*********@db/x"),
            ("/f?X-Amz-Signature=0123456789ab&e=1", "/f?X-Amz-Signature=*0009*******&e=1"),
            (r#"{"tokens": 100, "limit": "100/s"}"#, r#"{"tokens": 100, "limit": "100/s"}"#),
        ];
        for (text, expected) in cases {
            let mut blob = Blob::from(text);
            mask.mask_fields_in(&mut blob);
            mask.mask_known(&mut blob);
            assert_eq!(blob.text(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_filter_takes_a_credential_apart_into_is_masked() {
        let mut mask = Mask::default();
        masked(&mut mask, "authorization", "Basic YW5uOm9wZW4gc2VzYW1l"); // ann:open sesame
        masked(&mut mask, "authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl");
        for text in [
            "said ann:open sesame",
            "said open sesame",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ",
            "c2lnbmF0dXJl",
        ] {
            let mut blob = Blob::from(text);
            mask.mask_known(&mut blob);
            assert!(blob.text().contains('*') && blob.text().len() == text.len(), "{}", blob.text());
            assert!(!blob.text().contains("sesame") && !blob.text().contains("eyJ"), "{}", blob.text());
        }
    }

    #[test]
    fn a_secret_that_is_cut_into_pieces_is_masked_in_each() {
        let body = r#"{"user":"ann","password":"open sesame open","note":"nothing of this"}"#;
        for first in 1..body.len() {
            for second in [first + 1, first + 3, first + 9].into_iter().filter(|second| *second < body.len())
            {
                let mut mask = Mask::default();
                let mut whole = String::new();
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                for piece in pieces {
                    let mut blob = Blob::from(piece);
                    mask.mask_piece(1, (2, Side::Request), &mut blob);
                    whole.push_str(&blob.text());
                }
                let (before, rest) = whole.split_once(r#""password":""#).expect("the name is there");
                let (secret, after) = rest.split_once('"').expect("the end is there");
                assert_eq!(before, r#"{"user":"ann","#, "{pieces:?}");
                assert_eq!(after, r#","note":"nothing of this"}"#, "{pieces:?}");
                assert!(!secret.contains(|c: char| c.is_ascii_lowercase()), "{pieces:?}: {secret}");
            }
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
