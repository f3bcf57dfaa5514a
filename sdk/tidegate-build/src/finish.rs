//! What is done to a module after it is linked: callbacks that the SDK exports under `tidegate:NAME` take the place
//! of the export `NAME`.
//!
//! The proxy-wasm crate exports every callback of the ABI itself and cannot be told otherwise, so this is how the SDK
//! answers a callback with a code that the crate does not know. A module without such exports stays as it is.
//!
//! And debug information is taken out, for a file of its own.

/// Exports with this in front of their name take the place of those without it.
const PREFIX: &[u8] = b"tidegate:";

/// Wasm binary format, section 5.5.3: custom sections.
const CUSTOM_SECTION: u8 = 0;

/// Section 5.5.10: the export section.
const EXPORT_SECTION: u8 = 7;

/// The module with its exports in place; `None` when there is nothing to do or it is not a well-formed module.
pub(crate) fn finish(module: &[u8]) -> Option<Vec<u8>> {
    // Magic and version.
    let mut finished = module.get(..8)?.to_vec();
    let mut rest = Reader(module.get(8..)?);
    let mut changed = false;
    while let Some(id) = rest.byte() {
        let len = rest.number()?;
        let content = rest.take(len)?;
        let replaced = (id == EXPORT_SECTION).then(|| replace_exports(content)).flatten();
        changed |= replaced.is_some();
        let content = replaced.as_deref().unwrap_or(content);
        finished.push(id);
        push_number(&mut finished, content.len());
        finished.extend(content);
    }
    changed.then_some(finished)
}

/// The module without its debug information; `None` when it has none or is not a well-formed module.
pub(crate) fn without_debug_info(module: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Reader(module.get(8..)?);
    let mut stripped = module.get(..8)?.to_vec();
    while !rest.0.is_empty() {
        let section = rest.0;
        let id = rest.byte()?;
        let len = rest.number()?;
        let content = rest.take(len)?;
        if id != CUSTOM_SECTION || !is_debug_info(content)? {
            stripped.extend(&section[..section.len() - rest.0.len()]);
        }
    }
    (stripped.len() < module.len()).then_some(stripped)
}

/// Whether a custom section is DWARF, which is told by its name.
fn is_debug_info(content: &[u8]) -> Option<bool> {
    let mut rest = Reader(content);
    let len = rest.number()?;
    Some(rest.take(len)?.starts_with(b".debug_"))
}

/// The export section's content anew; `None` when no export takes another's place.
fn replace_exports(section: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Reader(section);
    let mut exports = Vec::new();
    for _ in 0..rest.number()? {
        let len = rest.number()?;
        let name = rest.take(len)?;
        let before = rest.0;
        rest.byte()?;
        rest.number()?;
        exports.push((name, &before[..before.len() - rest.0.len()]));
    }
    let replacing: Vec<&[u8]> = exports.iter().filter_map(|(name, _)| name.strip_prefix(PREFIX)).collect();
    if replacing.is_empty() {
        return None;
    }
    exports.retain(|(name, _)| !replacing.contains(name));
    let mut section = Vec::new();
    push_number(&mut section, exports.len());
    for (name, item) in exports {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        push_number(&mut section, name.len());
        section.extend(name);
        section.extend(item);
    }
    Some(section)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned LEB128 of up to 32 bits.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with one empty function and these exports of it (the index is not checked here).
    fn module(exports: &[(&str, usize)]) -> Vec<u8> {
        let mut section = Vec::new();
        push_number(&mut section, exports.len());
        for (name, index) in exports {
            push_number(&mut section, name.len());
            section.extend(name.as_bytes());
            section.push(0);
            push_number(&mut section, *index);
        }
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.push(EXPORT_SECTION);
        push_number(&mut module, section.len());
        module.extend(section);
        module.extend([0, 2, 1, b'x']); // a custom section
        module
    }

    #[test]
    fn an_export_takes_the_place_of_the_one_it_names() {
        let linked =
            module(&[("memory", 0), ("proxy_on_request_body", 1), ("tidegate:proxy_on_request_body", 300)]);
        let expected = module(&[("memory", 0), ("proxy_on_request_body", 300)]);
        assert_eq!(finish(&linked), Some(expected));
    }

    #[test]
    fn a_module_without_such_exports_stays_as_it_is() {
        assert_eq!(finish(&module(&[("proxy_on_request_body", 1)])), None);
    }

    #[test]
    fn debug_information_is_taken_out_and_nothing_else() {
        let plain = module(&[("memory", 0)]);
        assert_eq!(without_debug_info(&plain), None);
        let debug = [&[0, 12, 10][..], b".debug_abc", &[7]].concat();
        let (head, rest) = plain.split_at(8);
        let whole = [head, &debug, rest, &debug].concat();
        assert_eq!(without_debug_info(&whole), Some(plain));
        for end in [whole.len() - 1, 9, 3] {
            assert_eq!(without_debug_info(&whole[..end]), None, "at {end}");
        }
    }

    #[test]
    fn what_is_no_module_is_left_alone() {
        let linked = module(&[("tidegate:a", 1)]);
        for end in 0..linked.len() - 4 {
            assert_eq!(finish(&linked[..end]), None, "at {end}");
        }
    }
}
