//! Expressions in CEL, the Common Expression Language, that decide for a rule.
//!
//! Compiled and tried when the configuration is read: what names something unknown, or is not a yes or no, is refused
//! there. At a request only the variables that an expression uses are made.

use std::borrow::Cow;
use std::collections::HashMap;

use expression::{Compiled, Value, map};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::Identity;
use crate::request::{Facts, Needs};

/// What an expression may speak of.
const VARIABLES: &[&str] = &["request", "source", "jwt", "identity"];

/// A compiled expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct Expression(Compiled);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(source: String) -> Result<Expression, String> {
        let (facts, identity) = (Facts::default(), Identity::default());
        Compiled::new(&source, VARIABLES, |name| variable(name, &facts, "/", &identity)).map(Expression)
    }
}

impl Expression {
    /// What it says of a request whose path reads so; `None` when it fails, for instance on a header that is not there.
    pub(crate) fn evaluate(&self, facts: &Facts, path: &str, identity: &Identity) -> Option<bool> {
        self.0.evaluate(|name| variable(name, facts, path, identity))
    }

    /// What has to be asked of the host for it.
    pub(crate) fn needs(&self) -> Needs {
        let source = self.0.uses("source");
        Needs { source, principal: source, authenticated: false }
    }
}

fn variable(name: &str, facts: &Facts, path: &str, identity: &Identity) -> Value {
    match name {
        "request" => {
            let headers = facts.headers().map(|(name, value)| (name, Cow::Borrowed(value)));
            let host = facts.header(":authority").unwrap_or_default();
            let query = facts.path.query().unwrap_or_default();
            expression::request(facts.method(), path, query, host, headers)
        }
        "source" => {
            expression::source(facts.source.map(|address| address.to_string()), identity.principal.clone())
        }
        "jwt" => jwt(identity),
        _ => who(identity),
    }
}

fn jwt(identity: &Identity) -> Value {
    let claims = identity.token.as_ref().map(|token| object(token.claims.all()));
    map([("claims", claims.unwrap_or_else(|| map([])))])
}

fn who(identity: &Identity) -> Value {
    let subject = identity.token.as_ref().and_then(|token| token.claims.subject());
    map([
        ("subject", subject.unwrap_or_default().into()),
        ("api_key", identity.api_key.as_deref().unwrap_or_default().into()),
        ("user", identity.user.as_deref().unwrap_or_default().into()),
    ])
}

fn object(members: &serde_json::Map<String, serde_json::Value>) -> Value {
    members.iter().map(|(name, value)| (name.clone(), from_json(value))).collect::<HashMap<_, _>>().into()
}

/// Whole numbers become CEL's `int`, so that they compare with what is written in an expression.
fn from_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => (*truth).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(several) => several.iter().map(from_json).collect::<Vec<Value>>().into(),
        Json::Object(members) => object(members),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::jwt::{Claims, Verified};

    fn compile(source: &str) -> Result<Expression, String> {
        Expression::try_from(source.to_owned())
    }

    fn facts() -> Facts {
        let headers =
            [(":method", "GET"), (":path", "/a?b=c"), (":authority", "h"), ("x-a", "1"), ("x-a", "2")];
        let mut facts = Facts::of(&headers);
        facts.source = Some("10.0.0.1".parse().unwrap());
        facts
    }

    fn identity() -> Identity {
        let claims = serde_json::from_str(r#"{"sub": "ann", "level": 3, "groups": ["a", "b"]}"#).unwrap();
        let token = Verified {
            claims: Rc::new(Claims::new(claims, Vec::new())),
            issuer: 0,
            generation: 0,
            until: std::time::Duration::MAX,
        };
        let principal = Some("spiffe://prod/web".to_owned());
        Identity { token: Some(token), api_key: Some("ci".into()), user: None, principal }
    }

    fn evaluate(source: &str) -> Option<bool> {
        compile(source).unwrap().evaluate(&facts(), "/a", &identity())
    }

    #[test]
    fn an_expression_sees_the_request_its_source_and_who_it_is_from() {
        for source in [
            r#"request.method == "GET" && request.path.startsWith("/a") && request.query == "b=c""#,
            r#"request.headers["x-a"] == "1, 2" && request.host == "h""#,
            r#"source.address == "10.0.0.1" && source.principal.endsWith("/web")"#,
            r#"jwt.claims.sub == "ann" && jwt.claims.level > 2 && "b" in jwt.claims.groups"#,
            r#"identity.subject == "ann" && identity.api_key == "ci" && identity.user == """#,
            r#"jwt.claims.groups.exists(group, group == "a")"#,
            r#"request.path.matches("^/[a-z]$") && !("x-b" in request.headers)"#,
            r#"has(jwt.claims.sub) && !has(jwt.claims.email)"#,
        ] {
            assert_eq!(evaluate(source), Some(true), "{source}");
        }
    }

    #[test]
    fn an_expression_that_fails_says_neither_yes_nor_no() {
        for source in [r#"request.headers["x-b"] == "1""#, "jwt.claims.email == \"a\"", "jwt.claims.sub"] {
            assert_eq!(evaluate(source), None, "{source}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_when_the_configuration_is_read() {
        for (source, message) in [
            ("request.path ==", "is not CEL"),
            ("requst.path == \"/\"", "speaks of `requst`; expected `request`, `source`, `jwt`, `identity`"),
            ("nosuch(request.path)", "speaks of `nosuch`"),
            ("request.path", "is a string; expected a yes or no"),
            ("request.path > 3", "no matching overload"),
        ] {
            let error = compile(source).unwrap_err();
            assert!(error.contains(message), "{source} gave: {error}");
        }
        assert!(compile(&format!("{}true", " ".repeat(4096))).unwrap_err().contains("at most 4096"));
    }

    #[test]
    fn only_what_an_expression_uses_is_asked_of_the_host() {
        assert_eq!(compile(r#"request.path == "/""#).unwrap().needs(), Needs::default());
        assert!(compile(r#"source.address == "::1""#).unwrap().needs().source);
    }
}
