//! Text with places for what is known of an exchange, in the words of Envoy's access log.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};

/// Text with operators such as `%RESPONSE_CODE%`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What is put there, and how much of it at most, in characters.
    Value(Operator, Option<usize>),
}

/// What is known of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// The status.
    ResponseCode,
    /// What led to it.
    ResponseCodeDetails,
    /// Envoy's flags for it.
    ResponseFlags,
    /// The failure's reason, or `ok`: what metrics and the access log call it.
    Outcome,
    /// The body that it would have had.
    LocalReplyBody,
    /// What a request says, or else something else that it says.
    Request(RequestField, Option<RequestField>),
    /// `HTTP/1.1`.
    Protocol,
    /// The client's address, with its port and without.
    ClientAddress {
        /// Whether with its port.
        port: bool,
    },
    /// The listener's side of the connection.
    LocalAddress,
    /// The endpoint.
    Upstream,
    /// The host that the client asked for in the handshake.
    ServerName,
    /// `TLSv1.3`.
    TlsVersion,
    /// The subject of the client's certificate.
    PeerSubject,
    /// The URI that the client's certificate is for.
    PeerUri,
    /// The route's name.
    RouteName,
    /// The cluster's name.
    Cluster,
    /// When the exchange began.
    StartTime,
}

/// A field of a request, by the names that HTTP/2 has for all of its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestField {
    /// `:method`
    Method,
    /// `:path`: path and query.
    Path,
    /// `:authority`
    Authority,
    /// `:scheme`
    Scheme,
    /// One of its header fields.
    Named(HeaderName),
}

/// What is done to a value so that nobody can write more into a text than a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Nothing.
    None,
    /// As HTML's text and attributes have it.
    Html,
    /// As JSON's texts have it.
    Json,
}

/// The operators without arguments.
const PLAIN: [(&str, Operator); 19] = [
    ("RESPONSE_CODE", Operator::ResponseCode),
    ("RESPONSE_CODE_DETAILS", Operator::ResponseCodeDetails),
    ("RESPONSE_FLAGS", Operator::ResponseFlags),
    ("OUTCOME", Operator::Outcome),
    ("LOCAL_REPLY_BODY", Operator::LocalReplyBody),
    ("PROTOCOL", Operator::Protocol),
    ("DOWNSTREAM_REMOTE_ADDRESS", Operator::ClientAddress { port: true }),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Operator::ClientAddress { port: false }),
    ("DOWNSTREAM_LOCAL_ADDRESS", Operator::LocalAddress),
    ("UPSTREAM_HOST", Operator::Upstream),
    ("REQUESTED_SERVER_NAME", Operator::ServerName),
    ("DOWNSTREAM_TLS_VERSION", Operator::TlsVersion),
    ("DOWNSTREAM_PEER_SUBJECT", Operator::PeerSubject),
    ("DOWNSTREAM_PEER_URI_SAN", Operator::PeerUri),
    ("METHOD", Operator::Request(RequestField::Method, None)),
    ("PATH", Operator::Request(RequestField::Path, None)),
    ("ROUTE_NAME", Operator::RouteName),
    ("UPSTREAM_CLUSTER", Operator::Cluster),
    ("START_TIME", Operator::StartTime),
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A `%` that nothing ends.
    #[error("a `%` begins an operator here, and no other ends it")]
    Unended,
    /// A name that is none.
    #[error("there is no operator `%{0}%`")]
    Unknown(String),
    /// A length that is none.
    #[error("`{0}` is not a length")]
    BadLength(String),
}

impl Template {
    /// Reads it. `%%` is a percent sign.
    ///
    /// # Errors
    ///
    /// An operator that there is not.
    pub fn parse(source: &str) -> Result<Template, BadTemplate> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some((before, behind)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(behind) = behind.strip_prefix('%') {
                text.push('%');
                rest = behind;
                continue;
            }
            let (operator, behind) = behind.split_once('%').ok_or(BadTemplate::Unended)?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part(operator)?);
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template { source: source.to_owned(), parts })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The operators in it.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(operator, _) => Some(operator),
        })
    }

    /// The text with the values that `value` gives; what it does not know is `missing`.
    pub fn render<'a>(
        &self,
        escape: Escape,
        missing: &str,
        value: impl Fn(&Operator) -> Option<Cow<'a, [u8]>>,
    ) -> String {
        let mut text = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(operator, most) => match value(operator) {
                    None => text.push_str(missing),
                    Some(value) => {
                        String::from_utf8_lossy(&value)
                            .chars()
                            .take(most.unwrap_or(usize::MAX))
                            .for_each(|c| escape.push(c, &mut text));
                    }
                },
            }
        }
        text
    }
}

/// A header field's value, in which operators may stand for what is known of the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// Always the same.
    Plain(HeaderValue),
    /// Made for each exchange. What is not known is nothing, and where that leaves nothing there is no field.
    Made(Template),
}

impl FieldValue {
    /// The value in an exchange of which `known` says what there is to say.
    pub fn of(&self, known: &Known<'_>) -> Option<HeaderValue> {
        match self {
            FieldValue::Plain(value) => Some(value.clone()),
            FieldValue::Made(template) => {
                let mut made = Vec::new();
                for part in &template.parts {
                    match part {
                        Part::Text(text) => made.extend_from_slice(text.as_bytes()),
                        Part::Value(operator, most) => {
                            let value = known(operator).unwrap_or_default();
                            made.extend_from_slice(&value[..value.len().min(most.unwrap_or(usize::MAX))]);
                        }
                    }
                }
                // A path may hold what a field may not.
                HeaderValue::from_bytes(made.trim_ascii()).ok().filter(|value| !value.is_empty())
            }
        }
    }
}

/// What is known of an exchange, operator by operator.
pub type Known<'a> = dyn Fn(&Operator) -> Option<Cow<'static, [u8]>> + 'a;

/// An operator without its percent signs: `REQ(X-A?:PATH):10`.
fn part(text: &str) -> Result<Part, BadTemplate> {
    let unknown = || BadTemplate::Unknown(text.to_owned());
    // Names in brackets may have colons.
    let end = match text.find('(') {
        Some(_) => text.find(')').ok_or_else(unknown)? + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, behind) = text.split_at(end);
    let most = match behind.strip_prefix(':') {
        Some(length) => Some(length.parse().map_err(|_| BadTemplate::BadLength(length.to_owned()))?),
        None if behind.is_empty() => None,
        None => return Err(unknown()),
    };
    if let Some((_, operator)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return Ok(Part::Value(operator.clone(), most));
    }
    let fields = name.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(unknown)?;
    let (field, other) = match fields.split_once('?') {
        Some((field, other)) => (field, Some(other)),
        None => (fields, None),
    };
    let field_of = |name| RequestField::named(name).ok_or_else(unknown);
    Ok(Part::Value(Operator::Request(field_of(field)?, other.map(field_of).transpose()?), most))
}

impl RequestField {
    fn named(name: &str) -> Option<RequestField> {
        if !name.starts_with(':') {
            return name.parse().ok().map(RequestField::Named);
        }
        let known = [
            (":method", RequestField::Method),
            (":path", RequestField::Path),
            (":authority", RequestField::Authority),
            (":scheme", RequestField::Scheme),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, field)| field)
    }
}

impl Escape {
    /// What a body of this type takes.
    pub fn of(content_type: &str) -> Escape {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "text/html" || kind.ends_with("xml") {
            Escape::Html
        } else if kind.ends_with("json") {
            Escape::Json
        } else {
            Escape::None
        }
    }

    fn push(self, c: char, text: &mut String) {
        match (self, c) {
            (Escape::Html, '<') => text.push_str("&lt;"),
            (Escape::Html, '>') => text.push_str("&gt;"),
            (Escape::Html, '&') => text.push_str("&amp;"),
            (Escape::Html, '"') => text.push_str("&quot;"),
            (Escape::Html, '\'') => text.push_str("&#39;"),
            (Escape::Json, '"' | '\\') => text.extend(['\\', c]),
            (Escape::Json, c) if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            (_, c) => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, escape: Escape) -> String {
        let value = |operator: &Operator| match operator {
            Operator::ResponseCode => Some(b"503".into()),
            Operator::Request(RequestField::Named(name), other) => match (name.as_str(), other) {
                ("x-evil", _) => Some(b"<b>\"&\\\n".into()),
                ("x-none", Some(RequestField::Named(other))) => Some(other.to_string().into_bytes().into()),
                _ => None,
            },
            _ => None,
        };
        Template::parse(source).unwrap().render(escape, "-", value)
    }

    #[test]
    fn a_page_has_what_is_known_and_a_dash_for_what_is_not() {
        assert_eq!(render("100%% %RESPONSE_CODE%: %ROUTE_NAME%", Escape::None), "100% 503: -");
        assert_eq!(render("%REQ(X-None?x-other):3%%RESPONSE_CODE:1%", Escape::None), "x-o5");
        assert_eq!(render("%REQ(:PATH)%%REQ(:METHOD):4%", Escape::None), "--");
        assert_eq!(render("", Escape::None), "");
    }

    #[test]
    fn a_page_says_no_more_than_a_value_whatever_a_client_sends() {
        assert_eq!(render("%REQ(x-evil)%", Escape::Html), "&lt;b&gt;&quot;&amp;\\\n");
        assert_eq!(render("%REQ(x-evil)%", Escape::Json), "<b>\\\"&\\\\\\u000a");
        let kinds = ["text/html; charset=utf-8", "application/problem+json", "text/plain", "image/svg+xml"];
        assert_eq!(kinds.map(Escape::of), [Escape::Html, Escape::Json, Escape::None, Escape::Html]);
    }

    #[test]
    fn a_page_names_fields_of_a_request_as_envoy_does() {
        use RequestField::{Authority, Method, Named, Path, Scheme};
        let named = |name: &'static str| Named(HeaderName::from_static(name));
        let forms = [
            ("%REQ(X-A)%", named("x-a"), None, None),
            ("%REQ(X-A?x-b):10%", named("x-a"), Some(named("x-b")), Some(10)),
            ("%REQ(:METHOD)%", Method, None, None),
            ("%REQ(:scheme):2%", Scheme, None, Some(2)),
            ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", named("x-envoy-original-path"), Some(Path), None),
            ("%REQ(X-A?:AUTHORITY):3%", named("x-a"), Some(Authority), Some(3)),
            ("%REQ(:path?x-a)%", Path, Some(named("x-a")), None),
            ("%REQ(:authority?:PATH)%", Authority, Some(Path), None),
            ("%PATH:4%", Path, None, Some(4)),
        ];
        for (source, field, other, most) in forms {
            let parsed = Template::parse(source).unwrap();
            assert_eq!(parsed.parts, [Part::Value(Operator::Request(field, other), most)], "{source}");
        }
    }

    #[test]
    fn a_page_with_an_operator_that_there_is_not_is_refused() {
        for none in [
            "REQ(:path?:x)",
            "REQ(A?B?C)",
            "REQ(A?:B:C)",
            "REQ()",
            "REQ(A?)",
            "REQ(:path",
            "REQ(A)5",
            "RESP(:status)",
        ] {
            let refused = Template::parse(&format!("%{none}%"));
            assert_eq!(refused, Err(BadTemplate::Unknown(none.to_owned())));
        }
        assert_eq!(Template::parse("%REQ(:path):x%"), Err(BadTemplate::BadLength("x".into())));
        assert_eq!(Template::parse("50% of"), Err(BadTemplate::Unended));
        assert_eq!(Template::parse("%NOPE%"), Err(BadTemplate::Unknown("NOPE".into())));
        assert_eq!(Template::parse("%REQ(a b)%"), Err(BadTemplate::Unknown("REQ(a b)".into())));
        assert_eq!(Template::parse("%PATH:x%"), Err(BadTemplate::BadLength("x".into())));
    }
}
