//! The cookie by which clients without a subject are known again.

use schemars::JsonSchema;
use serde::Deserialize;
use vocabulary::{Span, Token};

/// Ten years, in seconds: browsers keep none longer.
const LONGEST_AGE: u64 = 3650 * 86_400;

/// A cookie with a random number, set for clients that have none. One serves all experiments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "CookieFile")]
#[schemars(with = "CookieFile")]
pub(crate) struct Cookie {
    pub(crate) name: Token,
    /// What follows `name=value`.
    attributes: String,
}

/// A cookie with a random number, set for clients that have none. One serves all experiments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CookieFile {
    /// Its name.
    #[serde(default = "name")]
    name: Token,
    /// How long the client keeps it; until it is closed without this.
    max_age: Option<Span<LONGEST_AGE>>,
    /// The paths that it is sent for. `/` without this.
    #[serde(default = "path")]
    path: String,
    /// The hosts that it is sent to; the one that set it without this.
    domain: Option<String>,
    /// Over TLS only. `true` without this.
    #[serde(default = "yes")]
    secure: bool,
    /// Out of scripts' reach. `true` without this.
    #[serde(default = "yes")]
    http_only: bool,
    /// Whether it goes along with requests that other sites cause.
    #[serde(default)]
    same_site: SameSite,
}

/// Whether it goes along with requests that other sites cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SameSite {
    Strict,
    #[default]
    Lax,
    None,
}

fn name() -> Token {
    Token::from_known("ab")
}

fn path() -> String {
    "/".to_owned()
}

fn yes() -> bool {
    true
}

impl TryFrom<CookieFile> for Cookie {
    type Error = String;

    fn try_from(file: CookieFile) -> Result<Cookie, String> {
        let mut attributes = format!("; Path={}", plain("path", &file.path)?);
        if !file.path.starts_with('/') {
            return Err(format!("path: `{}`; expected one that begins with `/`", file.path));
        }
        if let Some(domain) = &file.domain {
            attributes.push_str(&format!("; Domain={}", plain("domain", domain)?));
        }
        if let Some(max_age) = file.max_age {
            attributes.push_str(&format!("; Max-Age={}", max_age.duration().as_secs()));
        }
        if file.secure {
            attributes.push_str("; Secure");
        }
        if file.http_only {
            attributes.push_str("; HttpOnly");
        }
        attributes.push_str(match file.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None if !file.secure => {
                return Err("same_site: `none` needs `secure: true`: browsers refuse it otherwise".to_owned());
            }
            SameSite::None => "; SameSite=None",
        });
        Ok(Cookie { name: file.name, attributes })
    }
}

impl Cookie {
    /// The value of `set-cookie`.
    pub(crate) fn set(&self, value: &str) -> String {
        let Cookie { name, attributes } = self;
        format!("{name}={value}{attributes}")
    }
}

/// What may stand in an attribute (RFC 6265, section 4.1.1).
fn plain<'a>(field: &str, text: &'a str) -> Result<&'a str, String> {
    let is_plain = |b: u8| (0x20..0x7f).contains(&b) && b != b';';
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err(format!("{field}: {text:?}; expected printable ASCII without `;`"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(json: &str) -> Result<String, String> {
        let cookie: Result<Cookie, _> = serde_json::from_str(json);
        cookie.map(|cookie| cookie.set("7f")).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_safe_unless_it_is_told_otherwise() {
        assert_eq!(cookie("{}").unwrap(), "ab=7f; Path=/; Secure; HttpOnly; SameSite=Lax");
        let all = r#"{"name": "id", "max_age": "30d", "path": "/shop", "domain": "shop.test", "secure": false,
            "http_only": false, "same_site": "strict"}"#;
        let said = "id=7f; Path=/shop; Domain=shop.test; Max-Age=2592000; SameSite=Strict";
        assert_eq!(cookie(all).unwrap(), said);
    }

    #[test]
    fn what_browsers_would_refuse_is_refused_here() {
        let wrong = [
            (r#"{"same_site": "none", "secure": false}"#, "same_site: `none` needs `secure: true`"),
            (r#"{"path": "shop"}"#, "path: `shop`; expected one that begins with `/`"),
            (r#"{"path": "/a; Domain=evil.test"}"#, "expected printable ASCII without `;`"),
            (r#"{"name": "a b"}"#, "expected a name of letters, digits"),
            (r#"{"max_age": "20 years"}"#, "expected a duration up to 3650 days"),
        ];
        for (json, message) in wrong {
            let error = cookie(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
