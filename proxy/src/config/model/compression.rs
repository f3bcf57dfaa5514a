//! Which responses are compressed, and how.

/// Which responses are compressed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The codings, the best first. Never empty.
    pub algorithms: Vec<Coding>,
    /// Responses that say that they are shorter are left as they are, in bytes.
    pub min_length: u64,
    /// The media types, in lower case and without parameters; one that ends in `/*` is all of a kind.
    pub content_types: Vec<String>,
    /// How much time is spent on it.
    pub level: CompressionLevel,
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

/// How much time compression takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionLevel {
    /// As little as possible.
    Fast,
    /// As much as pays.
    Balanced,
    /// As much as there is.
    Best,
}

/// The media types that are compressed where the file says nothing.
pub(crate) const USUAL_TYPES: [&str; 11] = [
    "text/*",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "application/rss+xml",
    "image/svg+xml",
];
