//! Rewrites JSON as it passes (RFC 8259): a piece goes in, and what it becomes comes out at once. What is kept from one piece
//! to the next is the depth, and of a member's name as much as may be one that a rule is for; values are never held.

use serde::Deserialize;

/// How deep arrays and objects may lie within one another.
const DEEPEST: usize = 128;
/// The longest name, as it is written, that a rule may be for, in bytes. A longer one is none of theirs but for `*`.
const LONGEST_NAME: usize = 1024;
/// How many blanks in front of a member are kept while it is not known whether the member is.
const MOST_BLANKS: usize = 64;
/// The most rules: each is a bit.
const MOST_RULES: usize = 64;

/// What is done to the value at a path: `{path: user.password, redact: "***"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleConfig {
    path: String,
    redact: Option<String>,
    rename: Option<String>,
    #[serde(default)]
    remove: bool,
}

/// The rules for one direction.
pub(crate) struct Rules(Vec<Rule>);

struct Rule {
    /// `*` is any name, and any element of an array.
    path: Vec<String>,
    action: Action,
}

enum Action {
    /// The value is this JSON instead.
    Redact(String),
    /// The name is this JSON text instead.
    Rename(String),
    Remove,
}

impl Rules {
    pub(crate) fn new(configs: Vec<RuleConfig>) -> Result<Rules, String> {
        if configs.len() > MOST_RULES {
            return Err(format!("there are {} rules; expected at most {MOST_RULES}", configs.len()));
        }
        let rules = configs.into_iter().enumerate().map(|(at, config)| {
            let path: Vec<String> = config.path.split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) || path.len() > DEEPEST {
                return Err(format!("[{at}].path: `{}` is not names with dots between them", config.path));
            }
            if path.iter().any(|name| name.len() > LONGEST_NAME / 6) {
                return Err(format!("[{at}].path: a name is longer than {} bytes", LONGEST_NAME / 6));
            }
            let text = |text| serde_json::Value::String(text).to_string();
            let action = match (config.redact, config.rename, config.remove) {
                (Some(by), None, false) => Action::Redact(text(by)),
                (None, Some(name), false) => Action::Rename(text(name)),
                (None, None, true) => Action::Remove,
                _ => return Err(format!("[{at}]: give one of `redact`, `rename` and `remove: true`")),
            };
            Ok(Rule { path, action })
        });
        rules.collect::<Result<_, _>>().map(Rules)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every rule, at the root of a document.
    fn all(&self) -> u64 {
        self.0.iter().enumerate().fold(0, |all, (index, _)| all | 1 << index)
    }

    /// What becomes of a member or an element, of a container in which these rules are under way.
    fn fate(&self, under_way: u64, depth: usize, name: Option<&str>) -> Fate<'_> {
        let mut fate = Fate { within: 0, action: None };
        for (index, rule) in self.0.iter().enumerate().filter(|(index, _)| under_way & 1 << index != 0) {
            let Some(wanted) = rule.path.get(depth) else { continue };
            if wanted != "*" && Some(wanted.as_str()) != name {
                continue;
            }
            match depth + 1 == rule.path.len() {
                true => fate.action = fate.action.or(Some((index, &rule.action))), // the first of several
                false => fate.within |= 1 << index,
            }
        }
        fate
    }
}

struct Fate<'r> {
    /// The rules that are for something in it.
    within: u64,
    /// The rule that is for it, and what it does.
    action: Option<(usize, &'r Action)>,
}

/// It is no JSON, from this byte of the piece on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) at: usize,
}

/// A document that is being rewritten.
#[derive(Default)]
pub(crate) struct Document {
    state: State,
    levels: Vec<Level>,
    /// How many containers are around the value that is left out, while one is.
    left_out: Option<usize>,
    /// The rules for what is in the value that comes next.
    within: u64,
    /// The rule by which the value that comes next is redacted.
    redacted_by: Option<usize>,
    /// How often a rule did something.
    changes: u32,
    /// What of a name has been held, with its first quote.
    name: Vec<u8>,
    /// A comma that waits for what follows it, and the blanks after it.
    comma: bool,
    blanks: Vec<u8>,
}

/// An array or an object that is open.
struct Level {
    is_object: bool,
    under_way: u64,
    /// Something of it has gone on.
    has_content: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Value,
    /// A value, or the end of an array that is empty.
    FirstElement,
    /// A name, or the end of an object that is empty.
    FirstName,
    Name,
    Colon,
    /// A comma, or the end of a container.
    AfterValue,
    Text(Text),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// Blanks.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Text {
    kind: Kind,
    escape: Escape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    Name,
    /// A name that a rule may be for: it is held.
    HeldName,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many digits are to come.
    Digits(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Document {
    /// Takes a piece, and adds to `out` what goes on of it. Where it is no JSON, all before that place has been taken.
    pub(crate) fn push(&mut self, rules: &Rules, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        if self.levels.is_empty() && self.state == State::Value {
            self.within = rules.all();
        }
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if matches!(self.state, State::Text(Text { kind: Kind::Value, escape: Escape::None })) {
                // Most of a document is inside of texts: that goes on as it is.
                let plain = piece[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '));
                let plain = plain.unwrap_or(piece.len() - at);
                self.emit_all(&piece[at..at + plain], out);
                at += plain;
                if plain > 0 {
                    continue;
                }
            }
            at += usize::from(self.step(rules, byte, out).ok_or(Invalid { at })?);
        }
        Ok(())
    }

    /// The document has ended. Whether it is whole; nothing at all is.
    pub(crate) fn is_whole(&self) -> bool {
        match self.state {
            State::End => true,
            State::Value => self.levels.is_empty(),
            State::Number(number) => self.levels.is_empty() && number.may_end(),
            _ => false,
        }
    }

    /// Gives up what is held, for a document that is to go on as it is. Not possible in the midst of a value that is left out.
    pub(crate) fn give_up(&mut self, out: &mut Vec<u8>) -> bool {
        if self.left_out.is_none() && self.redacted_by.is_none() {
            self.keep(out);
            out.append(&mut self.name);
            return true;
        }
        false
    }

    /// Whether what has come has not all gone on as it was.
    pub(crate) fn holds(&self) -> bool {
        self.comma || !self.name.is_empty() || self.left_out.is_some() || self.redacted_by.is_some()
    }

    /// How often a rule has done something so far.
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes a byte. Whether it was taken, or is to be looked at again; nothing where it has no place here.
    fn step(&mut self, rules: &Rules, byte: u8, out: &mut Vec<u8>) -> Option<bool> {
        match self.state {
            State::Text(text) => self.in_text(rules, text, byte, out)?,
            State::Number(number) => match number.then(byte) {
                Some(number) => {
                    self.state = State::Number(number);
                    self.emit(byte, out);
                }
                None => {
                    number.may_end().then(|| self.end_value())?;
                    return Some(false);
                }
            },
            State::Word(rest) => {
                let (_, rest) = rest.split_first().filter(|(first, _)| **first == byte)?;
                self.state = State::Word(rest);
                self.emit(byte, out);
                if rest.is_empty() {
                    self.end_value();
                }
            }
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => match self.comma {
                true if self.blanks.len() < MOST_BLANKS => self.blanks.push(byte),
                true => {}
                false => self.emit(byte, out),
            },
            State::FirstElement | State::FirstName | State::AfterValue if matches!(byte, b']' | b'}') => {
                let level = self.levels.pop()?;
                (level.is_object == (byte == b'}')).then_some(())?;
                self.emit(byte, out);
                self.end_value();
            }
            State::Value | State::FirstElement => self.begin_value(rules, byte, out)?,
            State::FirstName | State::Name => {
                (byte == b'"').then_some(())?;
                self.begin_name(out);
            }
            State::Colon => {
                (byte == b':').then_some(())?;
                self.state = State::Value;
                self.emit(byte, out);
            }
            State::AfterValue => {
                (byte == b',').then_some(())?;
                let level = self.levels.last()?;
                self.state = if level.is_object { State::Name } else { State::Value };
                // Whether it goes on depends on what follows it.
                if level.under_way != 0 { self.comma = true } else { self.emit(byte, out) }
            }
            State::End => return None,
        }
        Some(true)
    }

    fn begin_value(&mut self, rules: &Rules, byte: u8, out: &mut Vec<u8>) -> Option<()> {
        if let Some(level) = self.levels.last().filter(|level| !level.is_object && level.under_way != 0) {
            let fate = rules.fate(level.under_way, self.levels.len() - 1, None);
            self.meet(&fate, b"", out);
        }
        let within = std::mem::take(&mut self.within);
        if let Some(rule) = self.redacted_by.take() {
            if let Some(Rule { action: Action::Redact(by), .. }) = rules.0.get(rule) {
                out.extend_from_slice(by.as_bytes());
            }
            self.left_out = Some(self.levels.len());
        }
        let mut open = |is_object| {
            self.levels.push(Level { is_object, under_way: within, has_content: false });
            if is_object { State::FirstName } else { State::FirstElement }
        };
        self.state = match byte {
            b'{' => open(true),
            b'[' => open(false),
            b'"' => State::Text(Text { kind: Kind::Value, escape: Escape::None }),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            byte => State::Number(Number::begin(byte)?),
        };
        (self.levels.len() <= DEEPEST).then(|| self.emit(byte, out))
    }

    fn end_value(&mut self) {
        if self.left_out == Some(self.levels.len()) {
            self.left_out = None;
        }
        self.state = if self.levels.is_empty() { State::End } else { State::AfterValue };
    }

    fn begin_name(&mut self, out: &mut Vec<u8>) {
        let kind = if self.levels.last().is_some_and(|level| level.under_way != 0) {
            self.name.push(b'"');
            Kind::HeldName
        } else {
            self.emit(b'"', out);
            Kind::Name
        };
        self.state = State::Text(Text { kind, escape: Escape::None });
    }

    fn in_text(&mut self, rules: &Rules, text: Text, byte: u8, out: &mut Vec<u8>) -> Option<()> {
        let escape = match (text.escape, byte) {
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::None, 0..b' ') => return None,
            (Escape::Begun, b'u') => Escape::Digits(4),
            (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::None,
            (Escape::Begun, _) => return None,
            (Escape::Digits(left), _) if byte.is_ascii_hexdigit() => match left {
                1 => Escape::None,
                left => Escape::Digits(left - 1),
            },
            (Escape::Digits(_), _) => return None,
            (Escape::None, _) => Escape::None,
        };
        let ends = byte == b'"' && text.escape == Escape::None;
        self.state = State::Text(Text { escape, ..text });
        match text.kind {
            Kind::Value | Kind::Name => self.emit(byte, out),
            Kind::HeldName => self.name.push(byte),
        }
        match text.kind {
            Kind::Value if ends => self.end_value(),
            Kind::Name if ends => self.state = State::Colon,
            Kind::HeldName if ends => {
                // Names are compared as they are meant, not as they are written.
                let name = serde_json::from_slice::<String>(&self.name).ok()?;
                self.name_is_known(rules, Some(&name), out);
                self.state = State::Colon;
            }
            Kind::HeldName if self.name.len() > LONGEST_NAME => {
                self.name_is_known(rules, None, out);
                self.state = State::Text(Text { kind: Kind::Name, escape });
            }
            _ => {}
        }
        Some(())
    }

    /// The name of a member is known, or that it is longer than any that a rule names.
    fn name_is_known(&mut self, rules: &Rules, name: Option<&str>, out: &mut Vec<u8>) {
        let Some(level) = self.levels.last() else { return };
        let fate = rules.fate(level.under_way, self.levels.len() - 1, name);
        let held = std::mem::take(&mut self.name);
        match fate.action {
            // Of a long name a part is yet to come.
            Some((_, Action::Rename(to))) if name.is_some() => self.meet(&fate, to.as_bytes(), out),
            _ => self.meet(&fate, &held, out),
        }
    }

    /// A member, or an element, which has no name, meets its fate.
    fn meet(&mut self, fate: &Fate<'_>, name: &[u8], out: &mut Vec<u8>) {
        self.changes += u32::from(fate.action.is_some());
        match fate.action {
            Some((_, Action::Remove)) => {
                self.left_out = Some(self.levels.len());
                self.comma = false;
                self.blanks.clear();
                return;
            }
            Some((rule, Action::Redact(_))) => self.redacted_by = Some(rule),
            Some((_, Action::Rename(_))) | None => self.within = fate.within,
        }
        self.keep(out);
        out.extend_from_slice(name);
    }

    /// What follows goes on, and with it what stood before it.
    fn keep(&mut self, out: &mut Vec<u8>) {
        if let Some(level) = self.levels.last_mut() {
            if std::mem::take(&mut self.comma) && level.has_content {
                out.push(b',');
            }
            level.has_content = true;
        }
        out.append(&mut self.blanks);
    }

    fn emit(&self, byte: u8, out: &mut Vec<u8>) {
        if self.left_out.is_none() {
            out.push(byte);
        }
    }

    fn emit_all(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.left_out.is_none() {
            out.extend_from_slice(bytes);
        }
    }
}

impl Number {
    fn begin(byte: u8) -> Option<Number> {
        match byte {
            b'-' => Some(Number::Minus),
            b'0' => Some(Number::Zero),
            b'1'..=b'9' => Some(Number::Integer),
            _ => None,
        }
    }

    /// The number with one more sign; nothing where that is none of it.
    fn then(self, byte: u8) -> Option<Number> {
        use Number::{Exponent, Fraction, Integer, Minus, Point, Power, Sign, Zero};
        Some(match (self, byte) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Integer, b'0'..=b'9') => Integer,
            (Zero | Integer, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Integer | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => Sign,
            (Exponent | Sign | Power, b'0'..=b'9') => Power,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Number::Zero | Number::Integer | Number::Fraction | Number::Power)
    }
}

#[cfg(test)]
mod tests;
