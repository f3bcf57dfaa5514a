//! The shipped filters as Wasm modules. The proxy loads them as `builtin:NAME`; nothing here runs them.

/// A shipped filter.
struct Shipped {
    name: &'static str,
    module: &'static [u8],
    schema: &'static str,
}

/// All of them, written by the build script.
const SHIPPED: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The module of the shipped filter with this name.
pub fn module(name: &str) -> Option<&'static [u8]> {
    find(name).map(|filter| filter.module)
}

/// The JSON Schema of this shipped filter's configuration.
pub fn schema(name: &str) -> Option<&'static str> {
    find(name).map(|filter| filter.schema)
}

/// The names of the shipped filters, for messages.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|filter| filter.name)
}

fn find(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|filter| filter.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_filter_is_embedded_by_name() {
        for name in names() {
            let module = module(name).unwrap();
            assert!(module.starts_with(b"\0asm\x01\0\0\0"), "{name}");
            assert!(schema(name).unwrap().starts_with('{'), "{name}");
        }
        assert!(module("fault").is_some());
        assert_eq!(module("no such filter"), None);
    }
}
