//! The shipped filters as Wasm modules. The proxy loads them as `builtin:NAME`; nothing here runs them.

/// Name and module of each, written by the build script.
const MODULES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The module of the shipped filter with this name.
pub fn module(name: &str) -> Option<&'static [u8]> {
    MODULES.iter().find(|(found, _)| *found == name).map(|(_, module)| *module)
}

/// The names of the shipped filters, for messages.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_filter_is_embedded_by_name() {
        for name in names() {
            let module = module(name).unwrap();
            assert!(module.starts_with(b"\0asm\x01\0\0\0"), "{name}");
        }
        assert!(module("fault").is_some());
        assert_eq!(module("no such filter"), None);
    }
}
