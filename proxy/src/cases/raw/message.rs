//! Requests, answers and their bodies, as the user wrote them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::Matcher;
use crate::config::decode::{Field, Map, OneOrMany, TEXT_OR_MAPPING};
use crate::config::scalar::{Count, Parse, Refusal, Scheme, Size, Text};

/// A request's path and query.
#[derive(Debug, Clone)]
pub(in crate::cases) struct Target(pub(crate) Uri);

impl Parse for Target {
    const EXPECTED: &'static str = "a path that begins with `/`";

    fn parse(text: &str) -> Result<Target, Refusal> {
        let uri: Option<Uri> = text.parse().ok().filter(|_| text.starts_with('/') || text == "*");
        uri.map(Target).ok_or_else(|| Self::refuse(&text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/.*|\\*)$" })
    }
}

/// Bytes in base64.
#[derive(Debug, Clone)]
pub(in crate::cases) struct Base64(pub(crate) Vec<u8>);

impl Parse for Base64 {
    const EXPECTED: &'static str = "base64 as in RFC 4648, with its padding";

    fn parse(text: &str) -> Result<Base64, Refusal> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map(Base64).map_err(|error| Self::refuse(&text).hint(error.to_string()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

/// A request of a client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct Request {
    /// Its method. Default: `GET`.
    #[serde(default)]
    #[schemars(extend("default" = "GET"))]
    pub(crate) method: Field<Text<Method>>,
    /// Its path, with the query. Default: `/`.
    #[serde(default)]
    #[schemars(extend("default" = "/"))]
    pub(crate) path: Field<Text<Target>>,
    /// Its header fields; one that comes several times has a list. `host` is `service.test` unless it is given, and
    /// `content-length` is that of a `body`. What the proxy adds before its chain is not added.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, OneOrMany<Text<HeaderValue>>>>,
    /// Its body.
    #[serde(default)]
    pub(crate) body: Field<Body>,
    /// Its body in pieces, in the place of `body`, which come one after the other without `content-length`. An empty one at the end has
    /// the end come apart.
    #[serde(default)]
    pub(crate) chunks: Field<Vec<Field<Body>>>,
    /// Into pieces of which size `body` is divided. Default: it comes in one.
    #[serde(default)]
    pub(crate) chunk_size: Field<Text<Size>>,
    /// Its trailers.
    #[serde(default)]
    pub(crate) trailers: Field<Map<Text<HeaderName>, OneOrMany<Text<HeaderValue>>>>,
    /// Whether it came encrypted (`https`) or not. Default: `http`.
    #[serde(default)]
    #[schemars(extend("default" = "http"))]
    pub(crate) scheme: Field<Text<Scheme>>,
    /// Who sent it: IP and port. Default: `192.0.2.1:40000`.
    #[serde(default)]
    #[schemars(extend("default" = "192.0.2.1:40000"))]
    pub(crate) client: Field<Text<SocketAddr>>,
    /// What the client proved by mutual TLS that it is: a URI, as a SPIFFE id is one.
    #[serde(default)]
    pub(crate) identity: Field<String>,
    /// What filters before this one stored on the exchange: property paths, their parts with dots between them, and values.
    #[serde(default)]
    pub(crate) properties: Field<Map<String, String>>,
    /// The name of the route that it takes.
    #[serde(default)]
    pub(crate) route: Field<String>,
    /// The name of the cluster that it goes to.
    #[serde(default)]
    pub(crate) cluster: Field<String>,
    /// The worker that takes it, from 0. Default: 0.
    #[serde(default)]
    #[schemars(extend("default" = 0))]
    pub(crate) worker: Field<Text<Count>>,
}

/// What a service answers, and to what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct Answer {
    /// The requests that this answers. Default: every one.
    #[serde(default)]
    pub(crate) r#match: Field<AnswerMatch>,
    /// Its status. Default: 200.
    #[serde(default)]
    #[schemars(extend("default" = 200))]
    pub(crate) status: Field<Text<StatusCode>>,
    /// Its header fields; one that comes several times has a list. `content-length` is that of a `body`.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, OneOrMany<Text<HeaderValue>>>>,
    /// Its body.
    #[serde(default)]
    pub(crate) body: Field<Body>,
    /// Its body in pieces, in the place of `body`, without `content-length`.
    #[serde(default)]
    pub(crate) chunks: Field<Vec<Field<Body>>>,
    /// Into pieces of which size `body` is divided. Default: it comes in one.
    #[serde(default)]
    pub(crate) chunk_size: Field<Text<Size>>,
    /// Its trailers.
    #[serde(default)]
    pub(crate) trailers: Field<Map<Text<HeaderName>, OneOrMany<Text<HeaderValue>>>>,
    /// Whether its body is the request's. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) echo: Field<bool>,
    /// How long it takes, on the filter's clock. Default: `0s`.
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub(crate) after: Field<Text<Duration>>,
    /// Whether the service breaks off after what is there of the body. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) cut: Field<bool>,
    /// Whether no answer ever comes, so that a filter sees a 504 when its time limit is over. For `clusters` only. Default:
    /// `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) never: Field<bool>,
    /// No endpoint takes the request, and why: a filter sees a 503. For `clusters` only.
    #[serde(default)]
    pub(crate) unavailable: Field<String>,
}

/// Which requests an answer is for: all of what is given has to match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct AnswerMatch {
    /// The method.
    #[serde(default)]
    pub(crate) method: Field<Text<Method>>,
    /// The path, with the query.
    #[serde(default)]
    pub(crate) path: Field<Matcher>,
    /// Each of these header fields.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, OneOrMany<Matcher>>>,
}

/// A body, or a piece of one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::cases) enum Body {
    /// This text.
    Text(Field<String>),
    /// This value as JSON, without spaces, its keys in the order of this file.
    Json(Field<serde_json::Value>),
    /// These bytes, in base64.
    Base64(Field<Text<Base64>>),
    /// What is in a file, relative to the folder of this one; 16 MiB at most.
    File(Field<String>),
    /// A text, again and again.
    Repeat(Field<Repeat>),
    /// This text.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Plain(Field<String>),
}

/// A text, again and again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct Repeat {
    /// The text.
    pub(crate) text: Field<String>,
    /// How often; 64 MiB at most come of it.
    pub(crate) times: Field<Text<Count>>,
}

/// Something that can be said in one text where nothing else is to be said.
pub(in crate::cases) trait FromText: Sized {
    /// What the text is: `text such as …`.
    const EXPECTED: &'static str;

    /// What it means.
    fn from_text(text: &str) -> Option<Self>;
}

/// A text, or a mapping that says more.
#[derive(Debug)]
pub(in crate::cases) struct Short<T>(pub(crate) T);

impl<'de, T: FromText + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAPPING, ShortVisitor(PhantomData)).map(Short)
    }
}

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: FromText + Deserialize<'de>> Visitor<'de> for ShortVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or a mapping", T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text)
            .ok_or_else(|| E::custom(format!("expected {} or a mapping, found `{text}`", T::EXPECTED)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }
}

impl<T: JsonSchema> JsonSchema for Short<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text_or_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, long] })
    }
}

impl FromText for Request {
    const EXPECTED: &'static str = "a method and a path such as `GET /items`";

    fn from_text(text: &str) -> Option<Request> {
        let (method, path) = text.split_once(' ')?;
        let method = <Method as Parse>::parse(method).ok()?;
        let path = Target::parse(path).ok()?;
        Some(Request { method: given(Text(method)), path: given(Text(path)), ..Request::default() })
    }
}

/// A field whose own place is not known: that of what it is in is.
pub(super) fn given<T>(value: T) -> Field<T> {
    Field::Given(crate::config::decode::Located { value, span: Default::default() })
}
