//! Parts of HTTP messages: names and values of header fields, methods, status codes, a host to send.

use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use schemars::{Schema, json_schema};

use super::net::check_host;
use super::{Parse, Refusal};

impl Parse for HeaderName {
    const EXPECTED: &'static str = "a header name such as `x-user`";

    fn parse(text: &str) -> Result<HeaderName, Refusal> {
        let hint = match text {
            ":path" => "match it with `path`",
            ":method" => "match it with `method`",
            ":authority" => "the name in HTTP/1.1 is `host`",
            _ if text.starts_with(':') => "pseudo-headers are not header fields",
            _ => "a header name is made of letters, digits and `-`",
        };
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| Self::refuse(&text).hint(hint))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

impl Parse for HeaderValue {
    const EXPECTED: &'static str = "a header value";

    fn parse(text: &str) -> Result<HeaderValue, Refusal> {
        if text.trim_matches([' ', '\t']) != text {
            return Err(Self::refuse(&text).hint("a header value has no space around it"));
        }
        HeaderValue::from_str(text)
            .map_err(|_| Self::refuse(&text.escape_debug()).hint("it must be printable ASCII, on one line"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Parse for Method {
    const EXPECTED: &'static str = "a method such as `GET`";

    fn parse(text: &str) -> Result<Method, Refusal> {
        let upper = text.to_ascii_uppercase();
        // Methods are case-sensitive (RFC 9110 section 9.1): `get` would match nothing.
        if upper != text {
            return Err(Self::refuse(&text).hint(format!("methods are written in capitals: `{upper}`")));
        }
        if text == "CONNECT" {
            return Err(Refusal::new("`CONNECT` is never routed").hint("tidegate is not a forward proxy"));
        }
        Method::from_bytes(text.as_bytes()).map_err(|_| Self::refuse(&text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] })
    }
}

/// A final status: 200 to 599. An interim one would leave the client waiting.
impl Parse for StatusCode {
    const EXPECTED: &'static str = "a status from 200 to 599";

    fn parse(text: &str) -> Result<StatusCode, Refusal> {
        let number = text.parse().map_err(|_| Self::refuse(&text))?;
        Self::from_number(number)
    }

    fn from_number(number: u64) -> Result<StatusCode, Refusal> {
        let status = u16::try_from(number).ok().filter(|status| (200..600).contains(status));
        status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(|| Self::refuse(&number))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 200, "maximum": 599 })
    }
}

/// A `host` field to send: a host, perhaps with a port.
#[derive(Debug, Clone)]
pub(crate) struct Authority(pub(crate) HeaderValue);

impl Parse for Authority {
    const EXPECTED: &'static str = "a host such as `other.example.com` or `other.example.com:8080`";

    fn parse(text: &str) -> Result<Authority, Refusal> {
        let host = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => text,
        };
        check_host(host).map_err(|hint| Self::refuse(&text).hint(hint))?;
        HeaderValue::from_str(text).map(Authority).map_err(|_| Self::refuse(&text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}
