//! The text of a configuration file, and places in it.
//!
//! It knows lines and columns; it knows nothing of YAML.

use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 16 << 20;

/// A stretch of the text, in bytes. A file has at most 16 MiB, so 32 bits do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

/// Where in the file a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The same in bytes.
    pub span: Span,
}

/// A file's text with its lines found.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// The byte at which each line begins.
    line_starts: Vec<u32>,
}

impl Source {
    /// Finds the lines of `text`, which is at most [`MAX_FILE_BYTES`] long (what is beyond has no place).
    pub(crate) fn new(path: &Path, text: &str) -> Source {
        let breaks = text.bytes().take(MAX_FILE_BYTES).enumerate();
        let after_breaks = breaks.filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at as u32 + 1);
        Source {
            path: path.to_owned(),
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            text: text.to_owned(),
        }
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that is in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line and column at which `span` begins. Counts the characters of the line before it.
    pub(crate) fn place(&self, span: Span) -> Place {
        let line = self.line_number(span);
        let before = self.text.get(self.line_start(line)..span.start as usize);
        Place { line, column: before.map_or(0, |text| text.chars().count()) + 1, span }
    }

    /// The line on which `span` begins, from 1.
    pub(crate) fn line_number(&self, span: Span) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start).max(1)
    }

    /// The line's text without its line break.
    pub(crate) fn line(&self, line: usize) -> &str {
        let end = self.line_starts.get(line).map_or(self.text.len(), |&next| next as usize);
        let text = self.text.get(self.line_start(line)..end).unwrap_or_default();
        text.trim_end_matches(['\n', '\r'])
    }

    /// The byte at which `line` begins.
    pub(crate) fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line.saturating_sub(1)).map_or(self.text.len(), |&start| start as usize)
    }
}

/// Turns the YAML parser's character positions into bytes.
pub(crate) struct CharOffsets<'a> {
    text: &'a str,
    /// The byte of every [`STRIDE`]th character; empty when the text is ASCII and the two are the same.
    marks: Vec<u32>,
}

const STRIDE: usize = 64;

impl<'a> CharOffsets<'a> {
    pub(crate) fn new(text: &'a str) -> CharOffsets<'a> {
        let marks = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(STRIDE).map(|(at, _)| at as u32).collect(),
        };
        CharOffsets { text, marks }
    }

    /// The byte at which the character of this index begins; the text's end if there is none.
    pub(crate) fn byte(&self, index: usize) -> u32 {
        let end = self.text.len();
        if self.marks.is_empty() {
            return index.min(end) as u32;
        }
        let Some(&mark) = self.marks.get(index / STRIDE) else { return end as u32 };
        let rest = &self.text[mark as usize..];
        let within = rest.char_indices().nth(index % STRIDE).map_or(rest.len(), |(at, _)| at);
        mark + within as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_lines_from_one() {
        let source = Source::new(Path::new("f.yaml"), "a: é\nü: b\n");
        let place = source.place(Span { start: 10, end: 11 });
        assert_eq!((place.line, place.column), (2, 4));
        assert_eq!(source.line(1), "a: é");
        assert_eq!(source.line(3), "");
        assert_eq!(source.line(9), "");
    }

    #[test]
    fn character_positions_become_byte_positions() {
        let text = "é".repeat(200);
        let offsets = CharOffsets::new(&text);
        assert_eq!(offsets.byte(0), 0);
        assert_eq!(offsets.byte(63), 126);
        assert_eq!(offsets.byte(130), 260);
        assert_eq!(offsets.byte(200), 400);
        assert_eq!(offsets.byte(9999), 400);
        assert_eq!(CharOffsets::new("abc").byte(7), 3);
    }
}
