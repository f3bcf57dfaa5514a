//! The manifest that a module may carry: what it is called, and what it asks to be allowed.
//!
//! It is a custom section named [`SECTION`] with JSON text in it:
//!
//! ```json
//! {"manifest": 1, "name": "auth", "version": "1.2.0", "capabilities": {"headers": {"read": ["x-user"]}}}
//! ```
//!
//! `capabilities` has the fields of a filter's `capabilities` in the configuration. A manifest asks and grants nothing:
//! that is the configuration's to say.

use serde::Deserialize;
use serde_json::Value;

use crate::config::model::{BadList, Capabilities, CapabilitiesForm};

/// The section's name.
pub const SECTION: &str = "tidegate.manifest";

/// The longest section that is read, in bytes.
pub const MAX_LEN: usize = 64 << 10;

/// The version of the form that this host reads.
const VERSION: u64 = 1;

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What its author calls it.
    pub name: String,
    /// Its version, in its author's own way.
    pub version: String,
    /// What it asks for.
    pub capabilities: Capabilities,
}

/// Why a manifest cannot be read. A module with such a one still loads: a filter needs none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than any.
    #[error("the manifest is longer than {} KiB", MAX_LEN >> 10)]
    TooLong,
    /// There is more than one section, or more than one text in it, as when two crates of one module have each one.
    #[error("the module has more than one manifest; the crate of the filter alone should have one")]
    Several,
    /// It is of a form that came later.
    #[error("the manifest is of version {0}, and this tidegate reads version {VERSION}")]
    Version(u64),
    /// It is not JSON, or not of this form.
    #[error("the manifest cannot be read: {0}")]
    Malformed(String),
    /// A list in it has something that is no name.
    #[error("the manifest's {0}")]
    Name(#[from] BadList),
}

/// The section's text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[expect(dead_code, reason = "looked at before the rest")]
    manifest: u64,
    name: String,
    version: String,
    #[serde(default)]
    capabilities: CapabilitiesForm,
}

impl Manifest {
    /// Reads the section's content.
    ///
    /// # Errors
    ///
    /// It is not of the form that this host reads, or something in it is not valid.
    pub fn parse(section: &[u8]) -> Result<Manifest, ManifestError> {
        if section.len() > MAX_LEN {
            return Err(ManifestError::TooLong);
        }
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        // What a linker makes of two sections of one name is one with both texts in it.
        let mut texts = serde_json::Deserializer::from_slice(section).into_iter::<Value>();
        let text = texts.next().unwrap_or(Ok(Value::Null)).map_err(malformed)?;
        if texts.next().is_some_and(|another| another.is_ok()) {
            return Err(ManifestError::Several);
        }
        match text.get("manifest").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(ManifestError::Version(other)),
            None => return Err(ManifestError::Malformed("it has no number `manifest`".to_owned())),
        }
        let text: Text = serde_json::from_value(text).map_err(malformed)?;
        Ok(Manifest { name: text.name, version: text.version, capabilities: text.capabilities.check()? })
    }
}
