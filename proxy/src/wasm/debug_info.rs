//! Debug information beside a module: what a stripped module is shipped without, and a fault's call stack wants.
//!
//! It is in a file of its own: a WebAssembly module with the same code and the sections that were taken out, DWARF and
//! names. The module says what it is called in its section `external_debug_info` (the tool conventions' name, written by
//! Emscripten's `-gseparate-dwarf` and by others), or it has the module's name and ends in `.debug.wasm`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use wasm_encoder::{CustomSection, Section as _};
use wasmparser::{BinaryReader, Parser, Payload};

/// The section that names the file.
const POINTER: &str = "external_debug_info";

/// Where the debug information of a module in this file may be, in the order in which one would look. A name that leads
/// out of the module's folder is none.
pub fn places(path: &Path, module: &[u8]) -> Vec<PathBuf> {
    let named = sections(module).and_then(|sections| {
        let section = sections.custom.into_iter().find(|section| section.name == POINTER)?;
        let name = Path::new(BinaryReader::new(&module[section.data], 0).read_string().ok()?);
        (name.file_name()? == name.as_os_str()).then(|| path.with_file_name(name))
    });
    let beside = path.with_extension("debug.wasm");
    named.into_iter().chain((beside != path).then_some(beside)).collect()
}

/// The module with the debug information of the other file; none if that has none, is no module, or has other code.
pub fn join(module: &[u8], side: &[u8]) -> Option<Vec<u8>> {
    let (ours, theirs) = (sections(module)?, sections(side)?);
    if module[ours.code?] != side[theirs.code?] {
        return None;
    }
    let is_there = |name: &str| ours.custom.iter().any(|section| section.name == name);
    let wanted = |section: &&Custom<'_>| {
        (section.name.starts_with(".debug_") || section.name == "name") && !is_there(section.name)
    };
    let mut joined = module.to_vec();
    let found: Vec<_> = theirs.custom.iter().filter(wanted).collect();
    for Custom { name, data } in &found {
        let section = CustomSection { name: (*name).into(), data: (&side[data.clone()]).into() };
        section.append_to(&mut joined);
    }
    (!found.is_empty()).then_some(joined)
}

/// What a module consists of, as far as it matters here.
struct Sections<'a> {
    code: Option<Range<usize>>,
    custom: Vec<Custom<'a>>,
}

struct Custom<'a> {
    name: &'a str,
    data: Range<usize>,
}

fn sections(module: &[u8]) -> Option<Sections<'_>> {
    let mut sections = Sections { code: None, custom: Vec::new() };
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::CodeSectionStart { range, .. } => sections.code = Some(range),
            Payload::CustomSection(section) => {
                let end = section.range().end;
                let data = end.checked_sub(section.data().len())?..end;
                sections.custom.push(Custom { name: section.name(), data });
            }
            _ => {}
        }
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with some code, and these custom sections.
    fn module(constant: i32, custom: &[(&str, &[u8])]) -> Vec<u8> {
        let mut module = wat::parse_str(format!("(module (func (result i32) (i32.const {constant})))"))
            .expect("it is a module");
        for (name, data) in custom {
            CustomSection { name: (*name).into(), data: (*data).into() }.append_to(&mut module);
        }
        module
    }

    #[test]
    fn debug_information_is_taken_from_a_file_with_the_same_code() {
        let long = vec![7; 300];
        let side = module(1, &[("name", b"n"), (".debug_line", &long), ("producers", b"p")]);
        assert_eq!(join(&module(1, &[]), &side), Some(module(1, &[("name", b"n"), (".debug_line", &long)])));
        let named = [("name", &b"own"[..])];
        let joined = module(1, &[("name", b"own"), (".debug_line", &long)]);
        assert_eq!(join(&module(1, &named), &side), Some(joined), "what is there stays");
        assert_eq!(join(&module(2, &[]), &side), None, "other code");
        assert_eq!(join(&module(1, &[]), &module(1, &[("producers", b"p")])), None, "nothing to take");
        assert_eq!(join(&module(1, &[]), b"no module"), None);
        assert_eq!(join(&module(1, &[]), &side[..side.len() - 1]), None, "cut off");
    }

    #[test]
    fn the_file_is_named_by_the_module_or_after_it() {
        let path = Path::new("/filters/guard.wasm");
        let beside = PathBuf::from("/filters/guard.debug.wasm");
        let only = std::slice::from_ref(&beside);
        assert_eq!(places(path, &module(1, &[])), only);
        let naming = |name: &str| module(1, &[(POINTER, &[&[name.len() as u8], name.as_bytes()].concat())]);
        assert_eq!(places(path, &naming("g.dwarf")), [PathBuf::from("/filters/g.dwarf"), beside.clone()]);
        for outside in ["../g.dwarf", "/etc/g.dwarf", "a/b", ""] {
            assert_eq!(places(path, &naming(outside)), only, "{outside}");
        }
        assert_eq!(
            places(Path::new("/filters/guard.debug.wasm"), b"no module"),
            [PathBuf::from("/filters/guard.debug.debug.wasm")]
        );
    }
}
