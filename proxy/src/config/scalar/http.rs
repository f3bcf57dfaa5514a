//! Parts of HTTP messages: names and values of header fields, methods, status codes, a host to send.

use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use schemars::{Schema, json_schema};

use super::super::model::{Escape, FieldValue, Template};
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

impl Parse for FieldValue {
    const EXPECTED: &'static str = "a header value";

    fn parse(text: &str) -> Result<FieldValue, Refusal> {
        let template = Template::parse(text).map_err(|error| {
            Refusal::new(error.to_string()).hint(
                "the operators are in the book, under \"Header fields\"; a percent sign that is meant is written `%%`",
            )
        })?;
        // With all that is made for an exchange left out it has to be a value, too.
        let plain = template.render(Escape::None, "", |_| None);
        if template.operators().next().is_some() {
            HeaderValue::parse(plain.trim())?;
            return Ok(FieldValue::Made(template));
        }
        HeaderValue::parse(&plain).map(FieldValue::Plain)
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

/// A protocol to change to, in lower case (RFC 9110, 7.8).
#[derive(Debug, Clone)]
pub(crate) struct UpgradeProtocol(pub(crate) String);

impl Parse for UpgradeProtocol {
    const EXPECTED: &'static str = "a protocol such as `websocket`";

    fn parse(text: &str) -> Result<UpgradeProtocol, Refusal> {
        let (name, version) =
            text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
        // Both are tokens, as names of header fields are.
        if [Some(name), version].into_iter().flatten().any(|part| part.parse::<HeaderName>().is_err()) {
            return Err(Self::refuse(&text).hint("it is written as `upgrade` has it"));
        }
        let protocol = text.to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "h2c" => Err(Refusal::new(
                "no connection is passed on that changes to HTTP/2: nobody would look at its requests",
            )
            .hint("`h2c_upgrade: true` has the listener itself change to it")),
            "h2" | "http" | "tls" => {
                Err(Self::refuse(&text).hint("a tunnel of it would pass by every route and filter"))
            }
            _ => Ok(UpgradeProtocol(protocol)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$", "examples": ["websocket"] })
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

/// The same, in which operators may stand for what is known of the exchange.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityText(pub(crate) FieldValue);

impl Parse for AuthorityText {
    const EXPECTED: &'static str = Authority::EXPECTED;

    fn parse(text: &str) -> Result<AuthorityText, Refusal> {
        match FieldValue::parse(text)? {
            FieldValue::Plain(_) => {
                Authority::parse(text).map(|Authority(host)| AuthorityText(FieldValue::Plain(host)))
            }
            made => Ok(AuthorityText(made)),
        }
    }

    fn schema() -> Schema {
        Authority::schema()
    }
}
