//! Versions of TLS and names of protocols.

use schemars::{Schema, json_schema};

use super::{Parse, Refusal};
use crate::tls::Version;

impl Parse for Version {
    const EXPECTED: &'static str = "a version of TLS: `1.2` or `1.3`";

    fn parse(text: &str) -> Result<Version, Refusal> {
        match text {
            "1.2" => Ok(Version::V1_2),
            "1.3" => Ok(Version::V1_3),
            "1.0" | "1.1" => Err(Self::refuse(&text).hint("versions before 1.2 are not spoken (RFC 8996)")),
            _ => Err(Self::refuse(&text)),
        }
    }

    /// `1.2` without quotes is a number in YAML, and means the same.
    fn from_float(number: f64) -> Result<Version, Refusal> {
        Self::parse(&number.to_string())
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["1.2", "1.3", 1.2, 1.3] })
    }
}

/// What a protocol is called in a handshake (RFC 7301, 3.1).
#[derive(Debug, Clone)]
pub(crate) struct Alpn(pub(crate) Vec<u8>);

impl Parse for Alpn {
    const EXPECTED: &'static str = "the name of a protocol such as `h2` or `http/1.1`";

    fn parse(text: &str) -> Result<Alpn, Refusal> {
        match text.len() {
            1..=255 => Ok(Alpn(text.as_bytes().to_vec())),
            _ => Err(Self::refuse(&text).hint("it has 1 to 255 bytes")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 })
    }
}
