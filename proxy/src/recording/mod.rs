//! Recordings: what instances of a filter saw and answered, in a file, to be replayed against another build.
//!
//! - [`file`](self) is the form: JSON, a line each ([`Line`]): what the recording is, then instances and steps as they came.
//! - `mask` puts other words into the place of secrets, and `files` says who may read what is written.
//! - a [`Session`] picks exchanges of a running proxy; `writer` and its `scribe` make one while a proxy serves, `reader` reads one;
//!   [`Summary`] is what is said of one that was made.
//! - [`replay`] plays one against a build, and `compare` says where both differ.
//!
//! It must not know how a filter is called: that is `wasm::witness`, whose steps it keeps.

mod files;
mod mask;
mod reader;
mod scribe;
mod session;
mod summary;
mod visit;
mod writer;

pub mod compare;
pub mod replay;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use files::create;
pub use files::secrets_file;
pub use mask::{Mask, Secrets};
pub use reader::{ReadError, Reader};
pub use session::{Session, Taken};
pub use summary::Summary;
pub use visit::Visit;
pub use writer::{MAX_BYTES, Masking, Stopped, Writer};

use crate::wasm::witness::{Beginning, Step};

/// The form of recordings that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What the recording is: the first line.
    Recording(Head),
    /// An instance begins.
    Instance {
        /// What it is called by in this recording, from 1.
        instance: u64,
        /// What it is given.
        given: Box<Beginning>,
    },
    /// A step of an instance.
    Step {
        /// Whose.
        instance: u64,
        /// What happened.
        did: Box<Step>,
    },
    /// An instance has gone.
    Gone {
        /// Which.
        instance: u64,
    },
    /// The recording ends before its time: the last line, then.
    Cut {
        /// Why.
        reason: String,
    },
}

/// The JSON Schema of a recording's lines, of each by itself. `docs/tidegate-recording.schema.json` is this.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Line>().to_value()
}

/// What a recording is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// The form of the lines.
    pub format: u32,
    /// The version of tidegate that wrote it.
    pub tidegate: String,
    /// Whether secrets were masked; the file beside it has them, where there is one.
    pub masked: bool,
    /// Which recording it is: 32 hexadecimal digits, chosen at random. The file with its secrets says the same, so that
    /// no other's are put into it. Recordings of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The first line of a file of secrets. Those of the first versions have none.
#[derive(Debug, Serialize, Deserialize)]
struct SecretsHead {
    /// The `id` of the recording.
    secrets_of: String,
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    /// `UPDATE_EXPECT=1 cargo test -p tidegate --lib recording` writes it anew.
    #[test]
    fn the_checked_in_schema_is_the_generated_one() {
        let text = serde_json::to_string_pretty(&schema()).expect("it is JSON") + "\n";
        expect_file!["../../../docs/tidegate-recording.schema.json"].assert_eq(&text);
    }
}
