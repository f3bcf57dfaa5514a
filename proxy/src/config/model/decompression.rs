//! Which bodies are decompressed.

use super::Times;

/// Which bodies are decompressed before filters see them, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decompression {
    /// Those of requests.
    pub requests: bool,
    /// Those of responses.
    pub responses: bool,
    /// How many times as much may come out as goes in.
    pub max_ratio: Times,
    /// How much may come out of one body, in bytes.
    pub max_bytes: u64,
}
