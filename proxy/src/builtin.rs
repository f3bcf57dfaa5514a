//! The shipped filters, by name. A build without the feature `builtin` ships none.

/// The module of the shipped filter with this name.
pub(crate) fn module(name: &str) -> Option<&'static [u8]> {
    shipped::module(name)
}

/// The names of the shipped filters.
pub(crate) fn names() -> Vec<&'static str> {
    shipped::names()
}

/// The JSON Schema of a shipped filter's configuration, as text.
pub(crate) fn schema(name: &str) -> Option<&'static str> {
    shipped::schema(name)
}

/// How many instructions a callback of a shipped filter may run, where that has to be more than what a filter usually
/// needs.
pub(crate) fn instructions(name: &str) -> Option<u64> {
    match name {
        // A signature by ECDSA on P-384 takes 93 million.
        "authz" => Some(200_000_000),
        // An expression is parsed when the filter is configured.
        _ => None,
    }
}

#[cfg(feature = "builtin")]
mod shipped {
    pub(super) use tidegate_filter_bundle::{module, schema};

    pub(super) fn names() -> Vec<&'static str> {
        tidegate_filter_bundle::names().collect()
    }
}

#[cfg(not(feature = "builtin"))]
mod shipped {
    pub(super) fn module(_: &str) -> Option<&'static [u8]> {
        None
    }

    pub(super) fn schema(_: &str) -> Option<&'static str> {
        None
    }

    pub(super) fn names() -> Vec<&'static str> {
        Vec::new()
    }
}
