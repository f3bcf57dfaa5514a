//! Where secrets are in a text: values whose names say so, also in a text that comes in pieces.
//!
//! A pattern finds where a value begins, and a few bytes of state where it ends: in this piece or in a later one, however
//! far that is. Nothing is parsed and nothing is refused; of what is not well-formed rather more is masked.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use regex::bytes::Regex;

use super::NAMES;

/// Where values of such names begin in JSON, also where that is a text within JSON, in forms and queries; the secret members
/// of a JWK (RFC 7517); passwords in URLs. The groups say which, in the order of [`Kind`].
static FIELDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = format!(r"[\w.-]*(?:{NAMES})[\w.-]*");
    let fields = [
        format!(r#""{name}"\s*:\s*(?:(")|([\[{{]))"#),
        r#""[\w.-]*keys"\s*:\s*([\[{])"#.to_owned(),
        format!(r#"\\"{name}\\"\s*:\s*(\\")"#),
        r#"\\?"[kd]\\?"\s*:\s*\\?"([\w-]{16,})"#.to_owned(),
        format!(r"(?:^|[?&;\s]){name}(=)"),
        r"://[^/\s:@]*:([^/\s@]+)@".to_owned(),
    ];
    Regex::new(&format!("(?i-u){}", fields.join("|"))).ok()
});

/// Members of a list or an object of secrets that are none: where a secret is looked for, what kind it is of, hashes of it.
/// With other words in their place a configuration would not be read.
const PLAIN: [&[u8]; 8] = [b"header", b"query", b"kty", b"alg", b"type", b"sha256", b"sha384", b"sha512"];

/// The longest that is kept of a member's name, in bytes: more than any of those has.
const NAME: usize = 16;

/// How much of a text's last piece is looked at again together with the next, in bytes: a name may be cut anywhere.
const TAIL: usize = 256;

/// How long a value in pieces may be that is known as a whole, in bytes.
const MOST_WHOLE: usize = 16 << 10;

/// A secret in a piece of a text.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is in this piece.
    pub(super) place: Range<usize>,
    /// Whether it began in an earlier piece, or may go on in a later one.
    pub(super) is_cut: bool,
    /// All of it, where its end is here and the rest was in earlier pieces.
    pub(super) whole: Option<Vec<u8>>,
}

/// The secrets in a text, in order.
pub(super) fn secrets_in(text: &[u8]) -> Vec<Found> {
    Tail::default().secrets_in(text)
}

/// How the pieces of a text ended that came so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Their last bytes, where nothing is open.
    text: Bytes,
    open: Option<Open>,
}

impl Tail {
    /// The secrets in the next piece, in order.
    pub(super) fn secrets_in(&mut self, piece: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let before = std::mem::take(&mut self.text);
        if let Some(mut open) = self.open.take() {
            match open.read(piece, 0, &mut found) {
                Some(end) => self.search(piece, end, &mut found),
                None => self.open = Some(open),
            }
        } else if before.is_empty() {
            self.search(piece, 0, &mut found);
        } else {
            self.search(&[&before[..], piece].concat(), 0, &mut found);
            for Found { place, is_cut, .. } in &mut found {
                *is_cut |= place.start < before.len();
                *place = place.start.saturating_sub(before.len())..place.end.saturating_sub(before.len());
            }
        }
        found
    }

    /// Looks for secrets from a place on, and remembers how the text ends.
    fn search(&mut self, text: &[u8], mut at: usize, found: &mut Vec<Found>) {
        while let Some((mut open, start)) = next(text, at) {
            match open.read(text, start, found) {
                Some(end) => at = end,
                None => {
                    self.open = Some(open);
                    return;
                }
            }
        }
        self.text = Bytes::copy_from_slice(&text[text.len().saturating_sub(TAIL).max(at)..]);
    }
}

/// The first secret value that begins behind this place, and where that is.
fn next(text: &[u8], from: usize) -> Option<(Open, usize)> {
    let captures = FIELDS.as_ref()?.captures_at(text, from)?;
    let (group, found) = (1..captures.len()).find_map(|group| Some((group, captures.get(group)?)))?;
    let list_or_object = |of_texts| Kind::Group(Group::new(found.as_bytes() == b"{", of_texts));
    let (kind, start) = match group {
        1 => (Kind::Text, found.end()),
        2 => (list_or_object(false), found.end()),
        3 => (list_or_object(true), found.end()),
        4 => (Kind::InnerText, found.end()),
        5 => (Kind::Jwk, found.start()),
        6 => (Kind::Form, found.end()),
        _ => (Kind::Password, found.start()),
    };
    Some((Open { kind, is_escaped: false, earlier: Some(Vec::new()) }, start))
}

/// A value that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    kind: Kind,
    /// The next byte follows a backslash.
    is_escaped: bool,
    /// What came of the text at hand in earlier pieces; none where that is too long.
    earlier: Option<Vec<u8>>,
}

/// What a value is, by which its end is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A text in JSON.
    Text,
    /// A list or an object in JSON.
    Group(Group),
    /// A text in JSON that is a text in JSON.
    InnerText,
    /// Base64 of a key.
    Jwk,
    /// A value in a form or a query.
    Form,
    /// A password in a URL.
    Password,
}

/// A list or an object, in which the texts are secret that are no names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// Whether only texts directly in it are: `keys` may be secrets, or objects that are told by what is in them.
    of_texts: bool,
    depth: u32,
    /// Which of those that are open are objects, the innermost in the lowest bit. Those beyond 64 count as lists.
    objects: u64,
    /// The text that comes is a name.
    expects_name: bool,
    /// The text at hand, if one is.
    text: Option<Member>,
    /// The name of the member that comes or is there, if it has one.
    name: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    Secret,
    Plain,
}

impl Open {
    /// Reads on from this place: what of the text is secret, and where the value ends; none where it goes on in the next
    /// piece.
    fn read(&mut self, text: &[u8], from: usize, found: &mut Vec<Found>) -> Option<usize> {
        let mut start = from;
        for (at, byte) in text.iter().copied().enumerate().skip(from) {
            if std::mem::take(&mut self.is_escaped) {
                continue;
            }
            let step = match &mut self.kind {
                Kind::Text if byte == b'\\' => Step::Escape,
                Kind::Group(group) => group.read(byte),
                kind => {
                    if kind.ends_at(byte) {
                        Step::End
                    } else {
                        Step::On
                    }
                }
            };
            match step {
                Step::On => {}
                Step::Escape => self.is_escaped = true,
                Step::BeginText => start = at + 1,
                Step::EndText => self.note(&text[start..at], start, true, found),
                Step::End => {
                    self.note(&text[start..at], start, true, found);
                    return Some(at);
                }
                Step::EndGroup(behind) => return Some(at + behind),
            }
        }
        let is_in_secret = match &self.kind {
            Kind::Group(group) => group.text == Some(Member::Secret),
            _ => true,
        };
        if is_in_secret {
            self.note(&text[start..], start, false, found);
        }
        None
    }

    /// A part of a secret, or all of it.
    fn note(&mut self, part: &[u8], start: usize, is_end: bool, found: &mut Vec<Found>) {
        let is_first = self.earlier.as_ref().is_some_and(Vec::is_empty);
        let mut whole = self.earlier.take().filter(|earlier| earlier.len() + part.len() <= MOST_WHOLE);
        whole.iter_mut().for_each(|whole| whole.extend_from_slice(part));
        let place = start..start + part.len();
        if is_end {
            self.earlier = Some(Vec::new());
            found.push(Found { place, is_cut: !is_first, whole: whole.filter(|_| !is_first) });
        } else {
            self.earlier = whole;
            found.push(Found { place, is_cut: true, whole: None });
        }
    }
}

/// What a byte is to the value that it is in.
enum Step {
    /// One more.
    On,
    /// The next one is no end.
    Escape,
    /// A secret text begins behind it.
    BeginText,
    /// A secret text of several ends at it.
    EndText,
    /// The value ends at it.
    End,
    /// A list or an object ends so many bytes from it.
    EndGroup(usize),
}

impl Kind {
    fn ends_at(&self, byte: u8) -> bool {
        match self {
            Kind::Text | Kind::Group(_) => byte == b'"',
            Kind::InnerText => matches!(byte, b'"' | b'\\'),
            Kind::Jwk => !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')),
            Kind::Form => matches!(byte, b'&' | b';') || byte.is_ascii_whitespace(),
            Kind::Password => byte == b'@',
        }
    }
}

impl Group {
    fn new(is_object: bool, of_texts: bool) -> Group {
        let mut group =
            Group { of_texts, depth: 0, objects: 0, expects_name: false, text: None, name: Vec::new() };
        group.enter(is_object);
        group
    }

    fn enter(&mut self, is_object: bool) {
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(is_object);
        self.expects_name = is_object;
        self.name.clear();
    }

    fn read(&mut self, byte: u8) -> Step {
        match (self.text, byte) {
            (Some(_), b'\\') => Step::Escape,
            (Some(member), b'"') => {
                self.text = None;
                if member == Member::Secret { Step::EndText } else { Step::On }
            }
            (Some(Member::Name), _) if self.name.len() < NAME => {
                self.name.push(byte);
                Step::On
            }
            (Some(_), _) => Step::On,
            (None, b'"') => self.begin_text(),
            (None, b'{' | b'[') if self.of_texts => Step::EndGroup(0),
            (None, b'{' | b'[') => {
                self.enter(byte == b'{');
                Step::On
            }
            (None, b'}' | b']') => {
                self.depth -= 1;
                self.objects >>= 1;
                self.name.clear();
                if self.depth == 0 { Step::EndGroup(1) } else { Step::On }
            }
            (None, b',') => {
                self.expects_name = self.objects & 1 == 1;
                self.name.clear();
                Step::On
            }
            (None, b':') => {
                self.expects_name = false;
                Step::On
            }
            (None, _) => Step::On,
        }
    }

    fn begin_text(&mut self) -> Step {
        let is_plain = || PLAIN.iter().any(|plain| self.name.eq_ignore_ascii_case(plain));
        let member = match self.expects_name {
            true => Member::Name,
            false if is_plain() => Member::Plain,
            false => Member::Secret,
        };
        self.text = Some(member);
        match member {
            Member::Name => self.name.clear(),
            Member::Secret => return Step::BeginText,
            Member::Plain => {}
        }
        Step::On
    }
}
