//! Compression as the user wrote it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds;
use super::super::decode::Field;
use super::super::model::{Coding, CompressionLevel};
use super::super::scalar::{Size, Text};

/// Which responses are compressed, for clients that say in `accept-encoding` that they take it. A response is left as it
/// is that is compressed already, is a part of something (206), is of gRPC, or says `cache-control: no-transform`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compression {
    /// The codings: of those that a client likes best the first here. Default: `[zstd, br, gzip]`.
    #[serde(default)]
    #[schemars(extend("default" = ["zstd", "br", "gzip"]))]
    pub(crate) algorithms: Field<Vec<Field<Text<Coding>>>>,
    /// Responses that say that they are shorter are left as they are.
    #[serde(default)]
    #[schemars(transform = bounds::COMPRESSION_MIN_LENGTH.describe())]
    pub(crate) min_length: Field<Text<Size>>,
    /// The media types that are compressed, without parameters; `text/*` is all of a kind. Default: text, JavaScript, JSON,
    /// XML, SVG and WebAssembly.
    #[serde(default)]
    pub(crate) content_types: Field<Vec<Field<String>>>,
    /// How much time is spent on it: `fast`, `balanced` or `best`. Default: `balanced`.
    #[serde(default)]
    #[schemars(extend("default" = "balanced"))]
    pub(crate) level: Field<Text<CompressionLevel>>,
}
