//! Finds patterns in texts that come in pieces. What is kept from one piece to the next is the state of the automaton and
//! of two decoders, a few bytes, however long the patterns are: so it makes no difference where a text is cut.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

use crate::rules::Rule;

/// The patterns of all rules, as a table of transitions.
pub(crate) struct Patterns {
    automaton: DFA,
    start: StateID,
    /// Which rule a pattern belongs to.
    rule_of: Vec<u8>,
}

/// Where a text is.
#[derive(Default)]
pub(crate) struct Scan {
    /// Nothing yet: it begins.
    state: Option<StateID>,
    outer: Decoder,
    inner: Decoder,
    /// The last that was seen was a blank.
    in_blank: bool,
}

impl Patterns {
    pub(crate) fn new(rules: &[Rule]) -> Result<Patterns, String> {
        let mut rule_of = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            rule_of.extend(rule.patterns.iter().map(|_| index as u8));
        }
        let patterns = rules.iter().flat_map(|rule| &rule.patterns);
        let mut builder = DFA::builder();
        let automaton =
            builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored).build(patterns);
        let automaton = automaton.map_err(|error| format!("rules: {error}"))?;
        let start = automaton.start_state(Anchored::No).map_err(|error| format!("rules: {error}"))?;
        Ok(Patterns { automaton, start, rule_of })
    }

    /// The rules that have a pattern in a text, a bit each.
    pub(crate) fn find(&self, text: &[u8]) -> u64 {
        self.go_on(&mut Scan::default(), text)
    }

    /// The same for the next piece of a text.
    pub(crate) fn go_on(&self, scan: &mut Scan, piece: &[u8]) -> u64 {
        let mut place = Place { state: scan.state.unwrap_or(self.start), in_blank: scan.in_blank, found: 0 };
        let mut rest = piece;
        loop {
            // Most of a text is no escape: that goes straight on.
            let plain = match scan.outer.is_idle() && scan.inner.is_idle() {
                true => rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len()),
                false => 0,
            };
            let (plain, others) = rest.split_at(plain);
            place = plain.iter().fold(place, |place, byte| self.step(place, *byte));
            let Some((&byte, others)) = others.split_first() else { break };
            scan.outer.push(byte, |byte| scan.inner.push(byte, |byte| place = self.step(place, byte)));
            rest = others;
        }
        (scan.state, scan.in_blank) = (Some(place.state), place.in_blank);
        place.found
    }

    #[inline(always)]
    fn step(&self, mut place: Place, byte: u8) -> Place {
        let byte = FOLDED[usize::from(byte)];
        let is_blank = byte == b' ';
        if is_blank && place.in_blank {
            return place;
        }
        place.in_blank = is_blank;
        place.state = self.automaton.next_state(Anchored::No, place.state, byte);
        if self.automaton.is_special(place.state) {
            place.found |= self.matching(place.state);
        }
        place
    }

    #[cold]
    fn matching(&self, state: StateID) -> u64 {
        let matches = if self.automaton.is_match(state) { self.automaton.match_len(state) } else { 0 };
        let rules =
            (0..matches).map(|index| self.rule_of[self.automaton.match_pattern(state, index).as_usize()]);
        rules.fold(0, |found, rule| found | 1 << rule)
    }
}

/// A place in a text, and what was found up to there.
#[derive(Clone, Copy)]
struct Place {
    state: StateID,
    in_blank: bool,
    found: u64,
}

/// Each byte as patterns have it: small letters, and one kind of blank, which `+` is in a form too.
const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        folded[byte] = match byte as u8 {
            0..=b' ' | b'+' => b' ',
            byte => byte.to_ascii_lowercase(),
        };
        byte += 1;
    }
    folded
};

/// Undoes percent-encoding. What is no escape stays as it is; the rest of one that a text ends in is not looked at: it is too
/// short for a pattern.
#[derive(Default, Clone, Copy)]
enum Decoder {
    #[default]
    Idle,
    /// After `%`.
    Percent,
    /// After `%` and this digit.
    Digit(u8),
}

impl Decoder {
    fn is_idle(self) -> bool {
        matches!(self, Decoder::Idle)
    }

    fn push(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        let before = std::mem::take(self);
        match (before, hex(byte)) {
            (Decoder::Percent, Some(_)) => *self = Decoder::Digit(byte),
            (Decoder::Digit(first), Some(low)) => out(hex(first).unwrap_or(0) << 4 | low),
            (before, _) => {
                match before {
                    Decoder::Idle => {}
                    Decoder::Percent => out(b'%'),
                    Decoder::Digit(first) => [b'%', first].into_iter().for_each(&mut out),
                }
                if byte == b'%' { *self = Decoder::Percent } else { out(byte) }
            }
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
