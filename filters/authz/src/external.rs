//! External authorization over HTTP: what another service is asked about a request, and what its answer means.
//!
//! As in Envoy's filter of this kind, the service gets the request's method and path and chosen headers; 200 lets the
//! request through, anything else is what the client gets.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::request::Facts;
use crate::values::{NewHeader, Span};
use vocabulary::HeaderName;

/// The most of a body that a service can be sent, in bytes.
const LARGEST_BODY: usize = 1 << 20;
/// What no hop forwards (RFC 9110, section 7.6.1), and what frames the answer anew.
const NOT_FORWARDED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "date",
];

/// External authorization as configured.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalConfig {
    /// The cluster that is asked.
    pub(crate) cluster: String,
    /// What is put before the request's path.
    #[serde(default)]
    path_prefix: PathPrefix,
    /// The host that is asked for; the request's own without it.
    #[serde(default)]
    authority: Option<String>,
    /// For the whole answer.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Span,
    /// Headers of the request that the service gets.
    #[serde(default = "default_headers")]
    headers: Vec<HeaderName>,
    /// The request's body too.
    #[serde(default)]
    pub(crate) body: Option<BodyConfig>,
    /// Headers of an answer of 200 that the upstream gets. What a client sends under these names is removed.
    #[serde(default)]
    pub(crate) upstream_headers: Vec<NewHeader>,
    /// Headers of another answer that the client gets; all without this.
    #[serde(default)]
    client_headers: Option<Vec<HeaderName>>,
    /// Whether requests pass when the service does not answer, or with a status of 500 or more.
    #[serde(default)]
    pub(crate) on_error: OnError,
    /// What the client gets then, unless requests pass.
    #[serde(default = "default_status")]
    pub(crate) status_on_error: ErrorStatus,
}

/// The request's body for the service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyConfig {
    /// How much of it.
    pub(crate) max_bytes: BodySize,
    /// Whether what is more is cut; else such a request is answered 413.
    #[serde(default)]
    pub(crate) allow_partial: bool,
}

/// When nothing sensible came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// The request is denied.
    #[default]
    Deny,
    /// The request passes.
    Allow,
}

fn default_timeout() -> Span {
    Span::new(std::time::Duration::from_millis(200))
}

fn default_headers() -> Vec<HeaderName> {
    vec![HeaderName::from_known("authorization")]
}

fn default_status() -> ErrorStatus {
    ErrorStatus(503)
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "u16")]
pub(crate) struct ErrorStatus(#[schemars(range(min = 400, max = 599))] pub(crate) u16);

impl TryFrom<u16> for ErrorStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<ErrorStatus, String> {
        let is_error = (400..600).contains(&status);
        if is_error {
            Ok(ErrorStatus(status))
        } else {
            Err(format!("{status}; expected a status from 400 to 599"))
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "usize")]
pub(crate) struct BodySize(#[schemars(range(min = 1, max = 1_048_576))] pub(crate) usize);

impl TryFrom<usize> for BodySize {
    type Error = String;

    fn try_from(bytes: usize) -> Result<BodySize, String> {
        let fits = (1..=LARGEST_BODY).contains(&bytes);
        if fits { Ok(BodySize(bytes)) } else { Err(format!("{bytes} bytes; expected 1 to {LARGEST_BODY}")) }
    }
}

/// A text that may stand before a path.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct PathPrefix(String);

impl TryFrom<String> for PathPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<PathPrefix, String> {
        let is_path = |b: u8| b.is_ascii_graphic() && !b"?#".contains(&b);
        if !text.is_empty() && (!text.starts_with('/') || !text.bytes().all(is_path)) {
            return Err(format!(
                "`{}` is not the beginning of a path; expected such as `/check`",
                text.escape_debug()
            ));
        }
        Ok(PathPrefix(text.trim_end_matches('/').to_owned()))
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What the service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// What its answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The request passes, with these headers.
    Allowed(Vec<(String, Vec<u8>)>),
    /// The client gets this.
    Denied { status: u16, headers: Vec<(String, String)> },
    /// It is no answer to the question.
    Failed,
}

impl ExternalConfig {
    /// What is asked about a request.
    pub(crate) fn question(&self, facts: &Facts) -> Question {
        let chosen = |name: &str| self.headers.iter().any(|header| header.as_str() == name);
        let own = facts.header(":authority").unwrap_or_default();
        Question {
            method: facts.method().to_owned(),
            path: format!("{}{}", self.path_prefix.0, facts.header(":path").unwrap_or("/")),
            authority: self.authority.clone().unwrap_or_else(|| own.to_owned()),
            headers: facts.headers().filter(|(name, _)| chosen(name)).map(owned).collect(),
        }
    }

    /// What an answer with this status and these headers means.
    pub(crate) fn read(&self, status: u16, headers: &[(String, Vec<u8>)]) -> Meaning {
        match status {
            200 => {
                let chosen = |name: &str| self.upstream_headers.iter().any(|header| header.as_str() == name);
                Meaning::Allowed(headers.iter().filter(|(name, _)| chosen(name)).cloned().collect())
            }
            201..500 => {
                let text = |(name, value): &(String, Vec<u8>)| {
                    Some((name.clone(), String::from_utf8(value.clone()).ok()?))
                };
                let passes = headers.iter().filter(|(name, _)| self.is_for_client(name));
                Meaning::Denied { status, headers: passes.filter_map(text).collect() }
            }
            _ => Meaning::Failed,
        }
    }

    fn is_for_client(&self, name: &str) -> bool {
        let named = self.client_headers.as_ref();
        !name.starts_with(':')
            && !NOT_FORWARDED.contains(&name)
            && named.is_none_or(|named| named.iter().any(|header| header.as_str() == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> ExternalConfig {
        serde_json::from_str(json).unwrap()
    }

    fn facts() -> Facts {
        let headers = [
            (":method", "PUT"),
            (":path", "/a?b"),
            (":authority", "api.test"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
        ];
        Facts::of(&headers)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_service_gets_method_path_host_and_the_chosen_headers() {
        let question = config(r#"{"cluster": "auth"}"#).question(&facts());
        assert_eq!((question.method.as_str(), question.path.as_str()), ("PUT", "/a?b"));
        assert_eq!(question.authority, "api.test");
        assert_eq!(question.headers, [pair("authorization", "Bearer x")]);
        let chosen = config(
            r#"{"cluster": "auth", "path_prefix": "/check/", "authority": "auth.test", "headers": ["cookie"]}"#,
        );
        let question = chosen.question(&facts());
        assert_eq!((question.path.as_str(), question.authority.as_str()), ("/check/a?b", "auth.test"));
        assert_eq!(question.headers, [pair("cookie", "a=b"), pair("cookie", "c=d")]);
    }

    #[test]
    fn only_200_lets_a_request_through() {
        let config = config(r#"{"cluster": "auth", "upstream_headers": ["x-user"]}"#);
        let headers = [(":status", "200"), ("x-user", "ann"), ("x-other", "1"), ("content-length", "2")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(
            config.read(200, &headers),
            Meaning::Allowed(vec![("x-user".to_owned(), b"ann".to_vec())])
        );
        for status in [201, 204, 302, 401, 403, 429] {
            let told = vec![pair("x-user", "ann"), pair("x-other", "1")];
            assert_eq!(config.read(status, &headers), Meaning::Denied { status, headers: told });
        }
        for status in [0, 100, 500, 503, 504, 599] {
            assert_eq!(config.read(status, &headers), Meaning::Failed, "{status}");
        }
    }

    #[test]
    fn the_client_gets_the_headers_that_are_named() {
        let config = config(r#"{"cluster": "auth", "client_headers": ["www-authenticate"]}"#);
        let headers =
            [("www-authenticate".to_owned(), b"Basic".to_vec()), ("server".to_owned(), b"x".to_vec())];
        let told = vec![pair("www-authenticate", "Basic")];
        assert_eq!(config.read(401, &headers), Meaning::Denied { status: 401, headers: told });
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (json, message) in [
            (r#"{"cluster": "a", "path_prefix": "check"}"#, "`check` is not the beginning of a path"),
            (r#"{"cluster": "a", "path_prefix": "/a?b"}"#, "`/a?b` is not the beginning of a path"),
            (r#"{"cluster": "a", "status_on_error": 200}"#, "200; expected a status from 400 to 599"),
            (r#"{"cluster": "a", "body": {"max_bytes": 0}}"#, "0 bytes; expected 1 to 1048576"),
            (r#"{"cluster": "a", "upstream_headers": ["host"]}"#, "`host` is not a filter's to set"),
        ] {
            let error = serde_json::from_str::<ExternalConfig>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
