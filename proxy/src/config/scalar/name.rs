//! Names in lists of what is granted.

use schemars::{Schema, json_schema};

use super::super::model::{MAX_NAME_LEN, check_name};
use super::{Parse, Refusal};

/// A name, in which `*` stands for any text.
#[derive(Debug, Clone)]
pub(crate) struct NamePattern(pub(crate) String);

impl Parse for NamePattern {
    const EXPECTED: &'static str = "a name such as `x-user` or `\"x-*\"`";

    fn parse(text: &str) -> Result<NamePattern, Refusal> {
        check_name(text).map_err(|error| Refusal::new(error.to_string()))?;
        Ok(NamePattern(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_LEN })
    }
}
