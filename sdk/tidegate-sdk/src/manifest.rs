//! What a filter says of itself in its module: its name, its version, and what it asks to be allowed.

/// Puts a manifest into the module, with the name and the version of the crate and with what the filter asks for: the
/// fields of its `capabilities` in tidegate's configuration, written as JSON without the outer braces. Use it once, at the
/// top of the filter's crate. `tidegate filter inspect` shows it, `tidegate check` compares it with what the filter is
/// granted, and `capabilities: manifest` grants just that. Other hosts do not know it.
///
/// ```
/// tidegate_sdk::manifest! {
///     "headers": {"read": ["x-user"], "write": ["x-tier"]},
///     "clusters": ["*"],
///     "metrics": ["tiers_*"],
///     "reply": true
/// }
/// ```
///
/// In a native build it makes nothing.
#[macro_export]
macro_rules! manifest {
    ($($capabilities:tt)*) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            const TEXT: &str = concat!(
                "{\"manifest\": 1, \"name\": \"",
                env!("CARGO_PKG_NAME"),
                "\", \"version\": \"",
                env!("CARGO_PKG_VERSION"),
                "\", \"capabilities\": {",
                stringify!($($capabilities)*),
                "}}"
            );
            #[used]
            #[unsafe(link_section = "tidegate.manifest")]
            static SECTION: [u8; TEXT.len()] = $crate::bytes_of(TEXT);
        };
    };
}

/// A text's bytes: a section is made of a value without pointers.
#[doc(hidden)]
pub const fn bytes_of<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}
