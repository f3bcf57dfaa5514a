//! Scripts as they are read. The language is described in `probe.rs`.

use super::callbacks::Callback;
use super::hostcalls::{self, Hostcall};
use super::values;

/// Lines, in order.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) lines: Vec<Line>,
}

/// What is done in one callback.
pub(crate) struct Line {
    pub(crate) callback: Callback,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
    /// The action as it was written.
    pub(crate) text: String,
}

pub(crate) enum Condition {
    Call(u32),
    Asked(String),
    Root,
    Stream,
    End,
    More,
}

pub(crate) enum Action {
    Call(&'static Hostcall, Vec<Argument>),
    Return(u32),
    Say(Vec<u8>),
    Trap,
}

/// Names and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// One or two of a hostcall's parameters.
pub(crate) enum Argument {
    Number(u64),
    Variable(String),
    Bytes(Vec<u8>),
    Vector(Vec<u8>),
    Buffer(usize),
    U32(Option<String>),
    U64(Option<String>),
    Any(Option<String>),
    Value(Shown),
}

/// How a value that the host allocated is shown.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    Bytes,
    Pairs,
    Size,
}

impl Argument {
    /// How many parameters it stands for.
    fn parameters(&self) -> usize {
        match self {
            Argument::Bytes(_) | Argument::Value(_) => 2,
            _ => 1,
        }
    }
}

impl Script {
    /// Reads a script, or says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Script, String> {
        let text = std::str::from_utf8(text).map_err(|_| "the script is no text".to_owned())?;
        let lines = split_lines(text)
            .into_iter()
            .map(|line| Line::parse(line).map_err(|problem| format!("{problem}, in the line {line:?}")));
        Ok(Script { lines: lines.collect::<Result<Vec<Line>, String>>()? })
    }
}

/// Lines end in a newline or a `;` outside quotes; comments and empty ones are left out.
fn split_lines(text: &str) -> Vec<&str> {
    let written = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    written.flat_map(split_line).map(str::trim).filter(|line| !line.is_empty()).collect()
}

fn split_line(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c: char| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        c == ';' && !quoted
    })
}

impl Line {
    fn parse(line: &str) -> Result<Line, String> {
        let rest = line.strip_prefix("on ").ok_or("a line begins with \"on\"")?;
        let (when, text) = rest.split_once(": ").ok_or("there is no \": \" before an action")?;
        let (name, conditions) = when.split_once(" if ").unwrap_or((when, ""));
        let callback = Callback::find(name.trim()).ok_or_else(|| format!("there is no callback {name:?}"))?;
        let conditions = conditions.split_whitespace().map(Condition::parse).collect::<Result<_, _>>()?;
        let text = text.trim();
        Ok(Line { callback, conditions, action: Action::parse(text)?, text: text.to_owned() })
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Condition, String> {
        let unknown = || format!("there is no condition {text:?}");
        if let Some(value) = text.strip_prefix("x-probe=") {
            return Ok(Condition::Asked(value.to_owned()));
        }
        if let Some(number) = text.strip_prefix('#') {
            return number.parse().map(Condition::Call).map_err(|_| unknown());
        }
        match text {
            "root" => Ok(Condition::Root),
            "stream" => Ok(Condition::Stream),
            "end" => Ok(Condition::End),
            "more" => Ok(Condition::More),
            _ => Err(unknown()),
        }
    }
}

impl Action {
    fn parse(text: &str) -> Result<Action, String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        match name {
            "trap" => return Ok(Action::Trap),
            "say" => return Ok(Action::Say(rest.as_bytes().to_vec())),
            "return" => return Ok(Action::Return(number(rest.trim())? as u32)),
            _ => {}
        }
        let hostcall = hostcalls::find(name).ok_or_else(|| format!("there is no hostcall {name:?}"))?;
        let arguments = Words { rest }.collect::<Result<Vec<Argument>, String>>()?;
        let given: usize = arguments.iter().map(Argument::parameters).sum();
        if given != hostcall.parameters {
            return Err(format!("{name} has {} parameters, not {given}", hostcall.parameters));
        }
        Ok(Action::Call(hostcall, arguments))
    }
}

fn number(text: &str) -> Result<u64, String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let parsed = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let parsed = parsed.map_err(|_| format!("{text:?} is no number"))?;
    Ok(if negative { parsed.wrapping_neg() } else { parsed })
}

/// A hostcall's arguments, one after the other.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = Result<Argument, String>;

    fn next(&mut self) -> Option<Result<Argument, String>> {
        self.rest = self.rest.trim_start();
        (!self.rest.is_empty()).then(|| self.argument())
    }
}

impl Words<'_> {
    fn argument(&mut self) -> Result<Argument, String> {
        match self.rest.as_bytes()[0] {
            b'"' => self.text().map(Argument::Bytes),
            b'{' => self.pairs().map(|pairs| Argument::Bytes(values::serialise(&pairs))),
            b'*' => {
                self.rest = &self.rest[1..];
                self.text().map(Argument::Vector)
            }
            _ => {
                let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                plain(word)
            }
        }
    }

    fn pairs(&mut self) -> Result<Pairs, String> {
        let mut pairs = Vec::new();
        self.skip("{")?;
        while !self.rest.starts_with('}') {
            let name = self.text()?;
            self.skip(":")?;
            pairs.push((name, self.text()?));
            if !self.rest.trim_start().starts_with('}') {
                self.skip(",")?;
            }
            self.rest = self.rest.trim_start();
        }
        self.skip("}")?;
        Ok(pairs)
    }

    fn skip(&mut self, mark: &str) -> Result<(), String> {
        let rest = self.rest.trim_start().strip_prefix(mark).ok_or_else(|| format!("{mark:?} is missing"))?;
        self.rest = rest.trim_start();
        Ok(())
    }

    /// A text in quotes.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        let mut rest = self.rest.strip_prefix('"').ok_or("a text in quotes is missing")?.bytes().enumerate();
        let mut text = Vec::new();
        let wrong = || "a text has no end, or an escape that is none".to_owned();
        loop {
            match rest.next().ok_or_else(wrong)? {
                (at, b'"') => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(text);
                }
                (_, b'\\') => text.push(match rest.next().ok_or_else(wrong)?.1 {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let mut digit = || rest.next().and_then(|(_, digit)| char::from(digit).to_digit(16));
                        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                        (high * 16 + low) as u8
                    }
                    escaped @ (b'"' | b'\\') => escaped,
                    _ => return Err(wrong()),
                }),
                (_, byte) => text.push(byte),
            }
        }
    }
}

/// An argument without quotes or braces.
fn plain(word: &str) -> Result<Argument, String> {
    if let Some(name) = word.strip_prefix('$') {
        return Ok(Argument::Variable(name.to_owned()));
    }
    let Some(out) = word.strip_prefix('&') else { return number(word).map(Argument::Number) };
    let (kind, name) = out.split_once(':').map_or((out, None), |(kind, name)| (kind, Some(name.to_owned())));
    match kind {
        "u32" => Ok(Argument::U32(name)),
        "u64" => Ok(Argument::U64(name)),
        "any" => Ok(Argument::Any(name)),
        "bytes" => Ok(Argument::Value(Shown::Bytes)),
        "pairs" => Ok(Argument::Value(Shown::Pairs)),
        "size" => Ok(Argument::Value(Shown::Size)),
        size => number(size).map(|size| Argument::Buffer(size as usize)),
    }
}
