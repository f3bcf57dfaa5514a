//! What a request is told apart by: a header, the client's address, and the like.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Unexpected, Visitor};
use serde::{Deserialize, de};
use tidegate_sdk::Request;

use crate::name::is_token;

const EXPECTED: &str = "`header:NAME`, `cookie:NAME`, `query:NAME`, `jwt:CLAIM`, `property:PATH`, `client_address`, \
                        `identity`, `route`, `host`, `method` or `path`";

/// The first bits of an IPv6 address, which one client has for itself (RFC 6177): it can change the others at will.
const CLIENT_BITS: u32 = 64;

/// Something that a request shows about who or what it is from: a part of a key, whom a user is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The first value of a header.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// The first value of a parameter of the query, decoded.
    Query(String),
    /// A claim of a token that a filter before this one verified.
    Jwt(String),
    /// Any property of the host's, its path split at dots.
    Property(Vec<String>),
    /// Of an IPv6 address its network.
    ClientAddress,
    /// Who the client is by its certificate.
    Identity,
    /// The name of its route.
    Route,
    /// The host that it asks for, in lower case and without its port, as routes compare it.
    Host,
    /// The method.
    Method,
    /// Without the query.
    Path,
}

impl Part {
    fn parse(text: &str) -> Option<Part> {
        let Some((kind, name)) = text.split_once(':') else {
            return Some(match text {
                "client_address" => Part::ClientAddress,
                "identity" => Part::Identity,
                "route" => Part::Route,
                "host" => Part::Host,
                "method" => Part::Method,
                "path" => Part::Path,
                _ => return None,
            });
        };
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        Some(match kind {
            "header" if is_token(name.strip_prefix(':').unwrap_or(name)) => {
                Part::Header(name.to_ascii_lowercase())
            }
            "cookie" if is_token(name) => Part::Cookie(name.to_owned()),
            "query" => Part::Query(name.to_owned()),
            "jwt" => Part::Jwt(name.to_owned()),
            "property" => Part::Property(name.split('.').map(str::to_owned).collect()),
            _ => return None,
        })
    }

    /// Its value, if the request has one.
    pub fn value(&self, request: &Request<'_>) -> Option<String> {
        match self {
            Part::Header(name) => request.header(name),
            Part::Cookie(name) => request.cookie(name),
            Part::Query(name) => request.query(name),
            Part::Jwt(claim) => claim_text(request.verified_claims()?.get(claim)?),
            Part::Property(path) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                request.text_property(&path).filter(|text| !text.is_empty())
            }
            Part::ClientAddress => request.source_address().map(|address| client(address.ip()).to_string()),
            Part::Identity => request.peer_identity(),
            Part::Route => request.route_name(),
            Part::Host => Some(host(request.authority())),
            Part::Method => Some(request.method()),
            Part::Path => {
                let mut path = request.path();
                path.truncate(path.find(['?', '#']).unwrap_or(path.len()));
                Some(path)
            }
        }
    }
}

/// A claim that is text, or a number or a truth as JSON writes it; others are none.
fn claim_text(claim: &serde_json::Value) -> Option<String> {
    match claim {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(claim.to_string()),
        _ => None,
    }
}

/// The host of an authority: a client may write it and its port as it likes.
fn host(mut authority: String) -> String {
    let end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.rfind(':').unwrap_or(authority.len()),
    };
    authority.truncate(end);
    authority.make_ascii_lowercase();
    authority
}

/// What one client cannot change of its address.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - CLIENT_BITS);
            IpAddr::V6((address.to_bits() & mask).into())
        }
        address => address,
    }
}

/// As it is written.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header(name) => write!(f, "header:{name}"),
            Part::Cookie(name) => write!(f, "cookie:{name}"),
            Part::Query(name) => write!(f, "query:{name}"),
            Part::Jwt(claim) => write!(f, "jwt:{claim}"),
            Part::Property(path) => write!(f, "property:{}", path.join(".")),
            Part::ClientAddress => f.write_str("client_address"),
            Part::Identity => f.write_str("identity"),
            Part::Route => f.write_str("route"),
            Part::Host => f.write_str("host"),
            Part::Method => f.write_str("method"),
            Part::Path => f.write_str("path"),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part, E> {
                Part::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Part {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": format!("One of {EXPECTED}."),
            "pattern": "^((header|cookie|query|jwt|property):.+|client_address|identity|route|host|method|path)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_by_their_names() {
        assert_eq!(Part::parse("header:X-User"), Some(Part::Header("x-user".to_owned())));
        assert_eq!(Part::parse("client_address"), Some(Part::ClientAddress));
        let path = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(Part::parse("property:a.b"), Some(Part::Property(path)));
        for text in ["header:x-user", "jwt:sub", "property:a.b", "client_address", "route", "path"] {
            assert_eq!(Part::parse(text).map(|part| part.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Part::parse("header::path"), Some(Part::Header(":path".to_owned())));
        let unnamed = ["header:x user", "header:::path", "header:x-user;", "cookie:a=b", "cookie:\u{e4}"];
        for text in unnamed.into_iter().chain(["", "header", "header:", "user:x", "client_address:24"]) {
            assert_eq!(Part::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let client = |text: &str| client(text.parse().unwrap()).to_string();
        assert_eq!(client("10.1.2.3"), "10.1.2.3");
        assert_eq!(client("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(client("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_host_is_without_port_and_case() {
        for (authority, expected) in [
            ("A.Test", "a.test"),
            ("a:80", "a"),
            ("[::A]:80", "[::a]"),
            ("[::a]", "[::a]"),
            ("", ""),
            ("[", "["),
        ] {
            assert_eq!(host(authority.to_owned()), expected);
        }
    }

    #[test]
    fn a_claim_that_is_a_scalar_is_a_key() {
        let claims = serde_json::json!({"sub": "ann", "n": 7, "admin": true, "groups": ["a"]});
        let text = |name: &str| claim_text(&claims[name]);
        assert_eq!(text("sub").as_deref(), Some("ann"));
        assert_eq!((text("n").as_deref(), text("admin").as_deref()), (Some("7"), Some("true")));
        assert_eq!(text("groups"), None);
    }
}
