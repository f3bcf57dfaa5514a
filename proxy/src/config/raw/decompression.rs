//! Decompression as the user wrote it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::Times;
use super::super::scalar::{Size, Text};

/// Which bodies are decompressed before filters see them: those whose `content-encoding` is `gzip`, `br`, `zstd` or `deflate`
/// and nothing else. That of a response is left as it is that is a part of something (206) or says `cache-control:
/// no-transform`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decompression {
    /// Those of requests. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) requests: Field<bool>,
    /// Those of responses. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) responses: Field<bool>,
    /// How many times as much may come out as goes in, where it is more than 256 KiB; what would be more is refused.
    #[serde(default)]
    #[schemars(transform = bounds::DECOMPRESSION_RATIO.describe())]
    pub(crate) max_ratio: Field<Text<Times>>,
    /// How much may come out of one body; what would be more is refused.
    #[serde(default)]
    #[schemars(transform = bounds::DECOMPRESSION_BYTES.describe())]
    pub(crate) max_bytes: Field<Text<Size>>,
}
