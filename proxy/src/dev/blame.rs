//! Where in the author's own sources a filter failed: the frames of a fault's call stack that are of the crate, and the
//! line of the first.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use serde::Serialize;
use wasmparser::{Parser, Payload};

/// How far around an instruction a line is looked for, in bytes of code: what a compiler adds of its own has none.
const NEARBY: u64 = 64;

/// How many frames are shown.
const MOST: usize = 4;

/// A frame of the author's own code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Frame {
    /// The function.
    pub(super) function: String,
    /// The file, from the crate's folder.
    pub(super) file: String,
    /// The line, from 1, where it is known.
    pub(super) line: Option<u32>,
    /// What is there.
    pub(super) source: Option<String>,
}

/// A crate whose filter runs, and its module.
#[derive(Debug, Clone)]
pub(super) struct Blame {
    folder: PathBuf,
    module: PathBuf,
}

impl Blame {
    pub(super) fn new(folder: &Path, module: &Path) -> Blame {
        Blame { folder: folder.to_owned(), module: module.to_owned() }
    }

    /// The frames of a fault's message that are of the crate, innermost first.
    pub(super) fn frames(&self, message: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        let (mut offset, mut function) = (None, "");
        for line in message.lines().map(str::trim) {
            match line.strip_prefix("at ") {
                Some(place) => {
                    frames
                        .extend(self.own(place).map(|(file, line)| self.frame(function, file, line, offset)));
                    if frames.len() == MOST {
                        break;
                    }
                }
                None => {
                    let (head, name) = line.split_once("- ").unwrap_or((line, ""));
                    function = name;
                    let hex = head.split_once("0x").map(|(_, hex)| hex.trim());
                    // A frame without an address was inlined into the one that has it.
                    offset = hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).or(offset);
                }
            }
        }
        frames
    }

    /// The file, from the crate's folder, and the line, of a place that is in it and not in what it was given.
    fn own<'p>(&self, place: &'p str) -> Option<(&'p str, Option<u32>)> {
        let mut parts = place.splitn(3, ':');
        let file = parts.next()?;
        let line = parts.next().and_then(|line| line.parse().ok());
        let inside = match Path::new(file).strip_prefix(&self.folder) {
            Ok(inside) => inside.to_str()?,
            Err(_) if file.starts_with('/') => return None,
            Err(_) => file,
        };
        let is_given = ["vendor/", "target/"].iter().any(|folder| inside.starts_with(folder));
        (!is_given).then_some((inside, line))
    }

    fn frame(&self, function: &str, file: &str, line: Option<u32>, offset: Option<u64>) -> Frame {
        let line = line.or_else(|| self.line_nearby(file, offset?));
        let text = line.and_then(|_| fs::read_to_string(self.folder.join(file)).ok());
        let source = text.as_deref().zip(line).and_then(|(text, line)| text.lines().nth(line as usize - 1));
        Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
            source: source.map(|line| line.trim_end().to_owned()),
        }
    }

    /// The line of the instructions around one that has none.
    fn line_nearby(&self, file: &str, offset: u64) -> Option<u32> {
        let beside = self.module.with_extension("debug.wasm");
        let bytes = fs::read(&beside).or_else(|_| fs::read(&self.module)).ok()?;
        let (code, dwarf) = debug_information(&bytes)?;
        let context = Context::from_dwarf(dwarf).ok()?;
        let at = offset.checked_sub(code)?;
        let found = context.find_location_range(at.saturating_sub(NEARBY), at + NEARBY).ok()?;
        let lines = found.filter_map(|(start, len, location)| {
            let is_of_it = location.file.is_some_and(|found| found.ends_with(file));
            let line = location.line.filter(|line| *line > 0 && is_of_it)?;
            let away = if at < start { start - at } else { at.saturating_sub(start + len) };
            Some((away, line))
        });
        lines.min().map(|(_, line)| line)
    }
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Where a module's code begins, and its debug information.
fn debug_information(module: &[u8]) -> Option<(u64, Dwarf<Bytes<'_>>)> {
    let (mut code, mut sections) = (None, Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::CodeSectionStart { range, .. } => code = Some(range.start as u64),
            Payload::CustomSection(section) => sections.push((Cow::Borrowed(section.name()), section.data())),
            _ => {}
        }
    }
    let find =
        |name: &str| sections.iter().find(|(found, _)| found == name).map_or(&[][..], |(_, data)| data);
    let load = |id: addr2line::gimli::SectionId| {
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(find(id.name()), LittleEndian))
    };
    Some((code?, Dwarf::load(load).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "wasm trap: wasm `unreachable` instruction executed
    0:  0x304a9 - std[a5]::abort
                    at /rustc/5980/library/std/src/sys.rs:20:5
                - core[c5]::panicking::panic_fmt
                    at /rustc/5980/library/core/src/panicking.rs:80:14
    9:   0x6e6b - index<u8>
                    at /rustc/5980/library/core/src/slice/index.rs:272:10
                - price
                    at /code/shop-core/src/lib.rs:7:9
                - on_request_headers
                    at /code/shop/src/lib.rs:2:71
   10:   0x506e - show<shop::Guard>
                    at /code/shop/vendor/tidegate-sdk/src/dispatch.rs:218:20
   11:   0x4f4a - begin
                    at /code/shop/src/rules.rs";

    #[test]
    fn frames_of_the_crate_are_told_from_others() {
        let blame = Blame::new(Path::new("/code/shop"), Path::new("/code/shop/shop.wasm"));
        let frames = blame.frames(MESSAGE);
        let shown: Vec<_> = frames.iter().map(|it| (&*it.function, &*it.file, it.line)).collect();
        assert_eq!(
            shown,
            [("on_request_headers", "src/lib.rs", Some(2)), ("begin", "src/rules.rs", None)],
            "neither the library's nor the SDK's, nor those of a crate whose name begins alike"
        );
    }
}
