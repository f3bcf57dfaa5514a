//! What a filter's crate may be called.

use std::fmt;

/// Longest name, in bytes: lines of the template are then as rustfmt wants them, whatever the name.
const MAX: usize = 48;

/// Names that Rust or cargo keep for themselves, or that the crate's own dependencies have.
const TAKEN: [&str; 69] = [
    // Keywords, also those that are kept for later.
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    // Crates that every crate sees, and folders of cargo.
    "alloc",
    "core",
    "proc-macro",
    "std",
    "test",
    "build",
    "deps",
    "examples",
    "incremental",
    // What a filter is made of.
    "fastrand",
    "log",
    "proxy-wasm",
    "serde",
    "serde-json",
    "serde-path-to-error",
    "tidegate-sdk",
    "form-urlencoded",
];

/// The name of a filter's crate: ASCII letters in lower case, digits, `-` and `_`, a letter first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// A name that no crate can have; its `Display` says why, and which one could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName {
    why: String,
    /// A name that is near and allowed, if there is one.
    pub suggestion: Option<String>,
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// No crate can be called so.
    pub fn parse(name: &str) -> Result<Name, BadName> {
        match objection(name) {
            None => Ok(Name(name.to_owned())),
            Some(why) => Err(BadName { why, suggestion: suggestion(name) }),
        }
    }

    /// As cargo has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As Rust has it, and the module's file.
    pub fn ident(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; try `tidegate filter new {suggestion}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BadName {}

/// What speaks against a name.
fn objection(name: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if name.contains(['/', '\\']) {
        return Some("it is a path; --path FOLDER says where the crate is written".to_owned());
    }
    if let Some(other) = name.chars().find(|c| !is_allowed(*c)) {
        let other = other.escape_debug();
        return Some(format!("`{other}` cannot be in it: use letters from a to z, digits, `-` and `_`"));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("it has to begin with a letter".to_owned());
    }
    if name.len() > MAX {
        return Some(format!("it has {} letters, and {MAX} is the most", name.len()));
    }
    let is_taken = TAKEN.contains(&&*name.replace('_', "-"));
    is_taken.then(|| "Rust, cargo or what a filter is made of has this name already".to_owned())
}

/// The nearest name that is allowed.
fn suggestion(name: &str) -> Option<String> {
    let last = name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    let mut near = String::new();
    for c in last.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || c == '_' => near.push(c),
            _ if near.ends_with('-') => {}
            _ => near.push('-'),
        }
    }
    let near = near.trim_matches(['-', '_']);
    let near = if near.starts_with(|c: char| c.is_ascii_digit()) {
        format!("filter-{near}")
    } else {
        near.to_owned()
    };
    let near = near.get(..near.len().min(MAX))?.trim_end_matches(['-', '_']);
    [near.to_owned(), format!("{near}-filter")].into_iter().find(|name| objection(name).is_none())
}
