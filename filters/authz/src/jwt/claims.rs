//! What a verified token says, and whether that holds here and now (RFC 7519, section 4.1).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use vocabulary::{Pattern, Words, words};

/// The claims of one token.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Claims {
    all: Map<String, Value>,
    json: Vec<u8>,
}

/// What the claims have to say beside the issuer, which is how the issuer's configuration was found.
#[derive(Debug, Clone)]
pub(crate) struct Demands {
    /// One of these has to be among the token's; `None` for any.
    pub(crate) audiences: Option<Vec<String>>,
    pub(crate) require_expiry: bool,
    pub(crate) leeway: Duration,
    pub(crate) claims: Vec<(ClaimName, ClaimRule)>,
}

/// Why claims do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet {
    Expired,
    NoExpiry,
    NotYetValid,
    Audience,
    /// A claim that is required is missing or says something else.
    Required,
    /// A registered claim has a value of the wrong type.
    Type,
}

impl Claims {
    /// Of a JSON text that was read.
    pub(crate) fn new(all: Map<String, Value>, json: Vec<u8>) -> Claims {
        Claims { all, json }
    }

    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// As they were sent.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    /// `iss`.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.all.get("iss")?.as_str()
    }

    /// `sub`.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.all.get("sub")?.as_str()
    }

    /// A claim by its own name or, where there is none of that name, by a path of names with points between them.
    pub(crate) fn get(&self, name: &ClaimName) -> Option<&Value> {
        if let Some(value) = self.all.get(&name.0) {
            return Some(value);
        }
        let mut names = name.0.split('.');
        let first = self.all.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }

    /// When the token stops being good, leeway not counted; `None` where it does not say.
    pub(crate) fn expiry(&self) -> Option<Duration> {
        numeric_date(self.all.get("exp")?)
    }

    /// Whether all demands are met at this time since 1970.
    pub(crate) fn check(&self, demands: &Demands, now: Duration) -> Result<(), Unmet> {
        self.check_time(demands, now)?;
        if let Some(audiences) = &demands.audiences {
            let accepted =
                |audience: &Value| audience.as_str().is_some_and(|aud| audiences.iter().any(|a| a == aud));
            let holds = match self.all.get("aud") {
                Some(Value::Array(several)) => several.iter().any(accepted),
                Some(one) => accepted(one),
                None => false,
            };
            if !holds {
                return Err(Unmet::Audience);
            }
        }
        let met = demands.claims.iter().all(|(name, rule)| rule.accepts(self.get(name)));
        if met { Ok(()) } else { Err(Unmet::Required) }
    }

    fn check_time(&self, demands: &Demands, now: Duration) -> Result<(), Unmet> {
        let date = |name: &str| match self.all.get(name) {
            None => Ok(None),
            Some(value) => numeric_date(value).map(Some).ok_or(Unmet::Type),
        };
        match date("exp")? {
            Some(expiry) if now >= expiry.saturating_add(demands.leeway) => return Err(Unmet::Expired),
            None if demands.require_expiry => return Err(Unmet::NoExpiry),
            _ => {}
        }
        match date("nbf")? {
            Some(start) if now.saturating_add(demands.leeway) < start => Err(Unmet::NotYetValid),
            _ => Ok(()),
        }
    }
}

/// Seconds since 1970, perhaps with a fraction.
fn numeric_date(value: &Value) -> Option<Duration> {
    match value.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok(),
    }
}

/// `sub`, `https://example.com/team`, `realm_access.roles`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct ClaimName(String);

impl TryFrom<String> for ClaimName {
    type Error = String;

    fn try_from(name: String) -> Result<ClaimName, String> {
        if name.is_empty() || name.len() > 256 {
            return Err(format!("`{name}` is not the name of a claim; expected 1 to 256 bytes"));
        }
        Ok(ClaimName(name))
    }
}

/// What a claim has to be. A list is met by any of its elements; numbers and truth values by their text.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum ClaimRule {
    /// It is there (`true`) or it is not (`false`).
    Present(bool),
    /// An element of a list, or a word of a text whose words are separated by spaces, as in `scope`.
    Includes(String),
    /// It is this truth value.
    #[schemars(untagged)]
    Bool(bool),
    /// It is this number.
    #[schemars(untagged)]
    Number(f64),
    /// It is as this says of a text.
    #[schemars(untagged)]
    Text(Pattern),
}

impl From<Pattern> for ClaimRule {
    fn from(pattern: Pattern) -> ClaimRule {
        ClaimRule::Text(pattern)
    }
}

impl Words for ClaimRule {
    const MORE: &'static [&'static str] = &["present", "includes"];

    fn read<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<ClaimRule, A::Error> {
        match word {
            "present" => map.next_value().map(ClaimRule::Present),
            _ => map.next_value().map(ClaimRule::Includes),
        }
    }
}

impl<'de> Deserialize<'de> for ClaimRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClaimRule, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = ClaimRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, a truth value, or a mapping such as `{includes: …}`")
            }

            fn visit_bool<E>(self, truth: bool) -> Result<ClaimRule, E> {
                Ok(ClaimRule::Bool(truth))
            }

            fn visit_u64<E>(self, number: u64) -> Result<ClaimRule, E> {
                Ok(ClaimRule::Number(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<ClaimRule, E> {
                Ok(ClaimRule::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<ClaimRule, E> {
                Ok(ClaimRule::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<ClaimRule, E> {
                Ok(Pattern::exact(text).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClaimRule, A::Error> {
                words(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl ClaimRule {
    /// The claim is as it has to be; `null` is as good as absent.
    pub(crate) fn accepts(&self, claim: Option<&Value>) -> bool {
        let claim = claim.filter(|claim| !claim.is_null());
        match (self, claim) {
            (ClaimRule::Present(wanted), claim) => claim.is_some() == *wanted,
            (_, None) => false,
            (ClaimRule::Includes(includes), Some(Value::String(words))) => {
                words.split(' ').any(|word| word == includes)
            }
            (rule, Some(Value::Array(several))) => several.iter().any(|one| rule.accepts_one(one)),
            (rule, Some(one)) => rule.accepts_one(one),
        }
    }

    fn accepts_one(&self, value: &Value) -> bool {
        match self {
            ClaimRule::Present(wanted) => *wanted,
            ClaimRule::Includes(includes) => value.as_str() == Some(includes),
            ClaimRule::Bool(wanted) => value.as_bool() == Some(*wanted),
            ClaimRule::Number(wanted) => value.as_f64() == Some(*wanted),
            ClaimRule::Text(pattern) => scalar_text(value).is_some_and(|text| pattern.matches(&text)),
        }
    }
}

/// A text, number or truth value as text.
fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        _ => None,
    }
}

/// A claim as the value of a header: a scalar as its text, a list of them with commas between. `None` for what would
/// not say the same there: an object, control characters, a comma within an element.
pub(crate) fn header_value(claim: &Value) -> Option<String> {
    let plain = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
    match claim {
        Value::Array(several) => {
            let texts: Option<Vec<_>> = several.iter().map(scalar_text).collect();
            let texts = texts?;
            texts.iter().all(|text| plain(text) && !text.contains(',')).then(|| texts.join(","))
        }
        one => scalar_text(one).filter(|text| plain(text)).map(Cow::into_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn claims(json: &str) -> Claims {
        Claims::new(serde_json::from_str(json).unwrap(), Vec::new())
    }

    fn demands() -> Demands {
        Demands { audiences: None, require_expiry: true, leeway: Duration::from_secs(60), claims: Vec::new() }
    }

    fn check(json: &str) -> Result<(), Unmet> {
        claims(json).check(&demands(), NOW)
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_the_leeway_is_over() {
        assert_eq!(check(r#"{"exp": 1000001}"#), Ok(()));
        assert_eq!(check(r#"{"exp": 999941}"#), Ok(()));
        assert_eq!(check(r#"{"exp": 999940}"#), Err(Unmet::Expired));
        assert_eq!(check(r#"{"exp": 999940.5}"#), Ok(()));
    }

    #[test]
    fn a_token_that_does_not_expire_is_refused_unless_that_is_allowed() {
        assert_eq!(check("{}"), Err(Unmet::NoExpiry));
        assert_eq!(claims("{}").check(&Demands { require_expiry: false, ..demands() }, NOW), Ok(()));
    }

    #[test]
    fn a_date_that_is_none_is_refused_not_passed_over() {
        for date in ["\"2000000\"", "null", "-1", "[]", "1e400"] {
            let json = format!(r#"{{"exp": {date}}}"#);
            let Ok(map) = serde_json::from_str(&json) else { continue };
            let lenient = Demands { require_expiry: false, ..demands() };
            assert_eq!(Claims::new(map, Vec::new()).check(&lenient, NOW), Err(Unmet::Type), "{date}");
        }
        assert_eq!(check(r#"{"exp": 2000000, "nbf": "soon"}"#), Err(Unmet::Type));
    }

    #[test]
    fn a_token_is_not_good_before_its_time() {
        assert_eq!(check(r#"{"exp": 2000000, "nbf": 1000060}"#), Ok(()));
        assert_eq!(check(r#"{"exp": 2000000, "nbf": 1000061}"#), Err(Unmet::NotYetValid));
    }

    #[test]
    fn one_of_the_audiences_has_to_be_ours() {
        let demands = Demands { audiences: Some(vec!["api".to_owned()]), require_expiry: false, ..demands() };
        let check = |json| claims(json).check(&demands, NOW);
        assert_eq!(check(r#"{"aud": "api"}"#), Ok(()));
        assert_eq!(check(r#"{"aud": ["web", "api"]}"#), Ok(()));
        for wrong in
            ["{}", r#"{"aud": "web"}"#, r#"{"aud": []}"#, r#"{"aud": "api "}"#, r#"{"aud": {"api": 1}}"#]
        {
            assert_eq!(check(wrong), Err(Unmet::Audience), "{wrong}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_whole_name_before_its_path() {
        let claims = claims(r#"{"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}"#);
        let get = |name: &str| claims.get(&ClaimName(name.to_owned())).cloned();
        assert_eq!(get("a.b"), Some(1.into()));
        assert_eq!(get("a.c.d"), Some(3.into()));
        assert_eq!(get("a.c.x"), None);
        assert_eq!(get("a.b.c"), None);
    }

    #[test]
    fn rules_read_texts_words_lists_numbers_and_truth_values() {
        let accepts = |rule: &str, claim: &str| {
            let rule: ClaimRule = serde_json::from_str(rule).unwrap();
            rule.accepts(Some(&serde_json::from_str(claim).unwrap()))
        };
        for (rule, yes, no) in [
            (r#""ann""#, r#""ann""#, r#""anna""#),
            (r#""ann""#, r#"["bob", "ann"]"#, r#"["bob"]"#),
            (r#"{"prefix": "an"}"#, r#""ann""#, r#""bob""#),
            (r#"{"includes": "read"}"#, r#""write read""#, r#""write:read reader""#),
            (r#"{"includes": "read"}"#, r#"["write", "read"]"#, r#"["write read"]"#),
            ("true", "true", r#""true""#),
            ("7", "7.0", r#""7""#),
            (r#"{"present": true}"#, "[]", "null"),
            (r#"{"present": false}"#, "null", "0"),
        ] {
            assert!(accepts(rule, yes), "{rule} accepts {yes}");
            assert!(!accepts(rule, no), "{rule} does not accept {no}");
        }
        let error = serde_json::from_str::<ClaimRule>(r#"{"includs": "x"}"#).unwrap_err().to_string();
        assert!(error.contains("expected one of `exact`") && error.contains("`includes`"), "{error}");
    }

    #[test]
    fn a_claim_that_would_not_say_the_same_as_a_header_is_not_sent() {
        let value = |json: &str| header_value(&serde_json::from_str(json).unwrap());
        assert_eq!(value(r#""ann""#).as_deref(), Some("ann"));
        assert_eq!(value(r#"["a", 1, true]"#).as_deref(), Some("a,1,true"));
        for wrong in [r#""a\r\nx-admin: 1""#, r#"["a,admin"]"#, r#"["a\u0000"]"#, "{}", "[[]]", "null"] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }
}
