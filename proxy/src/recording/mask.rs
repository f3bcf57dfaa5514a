//! Other words in the place of secrets.
//!
//! A secret is found where it stands: in a header, a field of a body, a query or a configuration whose name says so.
//! From then on it is replaced wherever it appears, always by the same word of the same length (of 6 bytes at least), so
//! that a filter which compares or passes it on does what it did. The words and what they stand for go into a file of
//! their own, which stays where the recording was made.

mod fields;
mod replacer;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use regex::bytes::Regex;

use self::fields::{Found, Tail, secrets_in};
use self::replacer::Replacer;
use super::visit::Visit;
use crate::wasm::abi::BufferType;
use crate::wasm::witness::{Beginning, Blob, Fields, Hostcall, Piece, Side, Step, StreamChange, Value};

/// Part of every name of a header, a variable or a field that holds a secret.
const NAMES: &str = concat!(
    "token|secret|passw|passphrase|pwd|api[-_]?key|access[-_]?key|private[-_]?key|credential|",
    "signature|assertion"
);

/// Names of headers, variables and properties that hold secrets.
static HEADERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(?i-u){NAMES}|authorization|cookie|session|jwt")).ok());

/// What is shorter is replaced where it stands, and not elsewhere: it may be an ordinary word.
const SHORTEST_EVERYWHERE: usize = 8;

/// What is shorter is no secret.
const SHORTEST: usize = 4;

/// The shortest word that stands for a secret: `*0001*`.
const WORD: usize = 6;

/// How many secrets are told apart, and how many bytes they take in all. A recording with more of them ends.
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
    tails: HashMap<u64, HashMap<(u32, Side), Tails>>,
    is_full: bool,
}

/// How the last pieces of a body ended: as the filter found it, and as it leaves it.
#[derive(Debug, Default)]
struct Tails {
    found: Tail,
    left: Tail,
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
        let mut tails = self.tails.remove(&instance).unwrap_or_default();
        self.mask_written(&tails, step);
        for stream in &mut step.streams {
            for side in [Side::Request, Side::Response] {
                self.mask_body(&mut tails, stream, side);
            }
        }
        step.visit(&mut |blob| self.mask_fields_in(blob));
        step.visit(&mut |blob| self.mask_known(blob));
        if let Some(context) = step.ended() {
            tails.remove(&(context, Side::Request));
            tails.remove(&(context, Side::Response));
        }
        self.tails.insert(instance, tails);
    }

    /// Whether there were more secrets than can be told apart: the last ones were not masked wherever they are.
    pub fn is_full(&self) -> bool {
        self.is_full
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
            if says_secret(&path.0) {
                let path = path.0.clone();
                for value in values.iter_mut().chain(&mut call.answer) {
                    if let Value::Bytes(value) = value {
                        self.mask_header(&path, value);
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

    /// The parts of a header's or a property's value that are secret: what follows a scheme (RFC 9110, section 11.4), the
    /// values of cookies (RFC 6265), or all of it. The last part of a property's path is its name.
    fn mask_header(&mut self, path: &[u8], value: &mut Blob) {
        let name = path.rsplit(|byte| *byte == 0).next().unwrap_or_default();
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
        self.mask_places(blob, found);
    }

    /// The same for a piece of a body, whose fields may have begun in the one before.
    fn mask_piece(&mut self, tail: &mut Tail, piece: &mut Blob) {
        let found = tail.secrets_in(&piece.0);
        self.mask_places(piece, found);
    }

    /// What is new of a body, as the filter found it and as it left it: a field may have begun in what it was given, or in
    /// what it has put into the place of that.
    fn mask_body(&mut self, tails: &mut HashMap<(u32, Side), Tails>, stream: &mut StreamChange, side: Side) {
        let StreamChange { context, before, after } = stream;
        let (before, after) = match side {
            Side::Request => (&mut before.request_body, &mut after.request_body),
            Side::Response => (&mut before.response_body, &mut after.response_body),
        };
        if before.is_none() && after.is_none() {
            return;
        }
        let tails = tails.entry((*context, side)).or_default();
        let replaces = matches!(after, Some(Piece::Whole(_)));
        if let Some(Piece::Added(piece) | Piece::Whole(piece)) = before {
            let was_edited = tails.found != tails.left;
            self.mask_piece(&mut tails.found, piece);
            if !replaces && was_edited {
                self.mask_piece(&mut tails.left, piece);
            } else if !replaces {
                tails.left = tails.found.clone();
            }
        }
        if let Some(Piece::Added(piece) | Piece::Whole(piece)) = after {
            self.mask_piece(&mut tails.left, piece);
        }
    }

    /// What a filter writes into a body: it follows what was there of it, or what was written before it.
    fn mask_written(&mut self, tails: &HashMap<(u32, Side), Tails>, step: &mut Step) {
        let first = step.streams.first();
        let Some(context) = step.op.context().or(first.map(|stream| stream.context)) else { return };
        let before =
            step.streams.iter().find(|stream| stream.context == context).map(|stream| &stream.before);
        for side in [Side::Request, Side::Response] {
            let left = tails.get(&(context, side)).map(|tails| tails.left.clone()).unwrap_or_default();
            let found = before.and_then(|before| match side {
                Side::Request => before.request_body.as_ref(),
                Side::Response => before.response_body.as_ref(),
            });
            let (mut tail, mut is_first) = (left.clone(), true);
            for call in step.calls.iter_mut().flat_map(|call| &mut call.hostcalls) {
                let Some((start, bytes)) = written(call, side) else { continue };
                if start == 0 {
                    tail = left.clone();
                } else if let Some(Piece::Added(there) | Piece::Whole(there)) = found
                    && is_first
                {
                    tail.secrets_in(&there.0[..there.0.len().min(start)]);
                }
                is_first = false;
                self.mask_piece(&mut tail, bytes);
            }
        }
    }

    /// Masks these places of a text.
    fn mask_places(&mut self, blob: &mut Blob, places: Vec<Found>) {
        let mut masked: Option<Vec<u8>> = None;
        let mut copied = 0;
        for Found { place, is_cut, whole } in places {
            if let Some(whole) = whole {
                self.word(&whole);
            }
            if place.is_empty() || (place.len() < SHORTEST && !is_cut) {
                continue;
            }
            let word = self.word_of_any(&blob.0.slice(place.clone()));
            let out = masked.get_or_insert_with(Vec::new);
            out.extend_from_slice(&blob.0[copied..place.start]);
            out.extend_from_slice(&word);
            copied = place.end;
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
            self.is_full = true;
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

/// What a hostcall writes into a body of this side, and from which byte on.
fn written(call: &mut Hostcall, of: Side) -> Option<(usize, &mut Blob)> {
    match (&*call.call, &mut call.args[..]) {
        (
            "proxy_set_buffer_bytes",
            [Value::Number(buffer), Value::Number(start), Value::Number(_), Value::Bytes(bytes)],
        ) if side_of(*buffer) == Some(of) => Some((usize::try_from(*start).unwrap_or(usize::MAX), bytes)),
        _ => None,
    }
}

/// Which half of an exchange a buffer is of.
fn side_of(buffer: u64) -> Option<Side> {
    match BufferType::try_from(u32::try_from(buffer).ok()?).ok()? {
        BufferType::RequestBody | BufferType::DownstreamData => Some(Side::Request),
        BufferType::ResponseBody | BufferType::UpstreamData => Some(Side::Response),
        _ => None,
    }
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
mod tests;
