//! Names of cookies.

use schemars::{Schema, json_schema};

use super::{Parse, Refusal};

/// A cookie's name: a token (RFC 6265, section 4.1.1; RFC 9110, section 5.6.2).
#[derive(Debug, Clone)]
pub(crate) struct CookieName(pub(crate) String);

impl Parse for CookieName {
    const EXPECTED: &'static str = "a cookie's name such as `session`";

    fn parse(text: &str) -> Result<CookieName, Refusal> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
            true => Err(Self::refuse(&text).hint("it is made of letters, digits and `-._~`, 128 at most")),
            false => Ok(CookieName(text.to_owned())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}
