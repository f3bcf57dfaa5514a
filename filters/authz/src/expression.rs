//! Expressions in CEL, the Common Expression Language, that decide for a rule.
//!
//! Compiled and tried when the configuration is read: what names something unknown, or is not a yes or no, is refused
//! there. At a request only the variables that an expression uses are made.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Program, Value};
use regex_lite::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::Identity;
use crate::request::{Facts, Needs};

/// The longest expression, in bytes.
const LONGEST: usize = 4096;
/// What an expression may speak of.
const VARIABLES: [&str; 4] = ["request", "source", "jwt", "identity"];

/// A compiled expression.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct Expression {
    program: Arc<Program>,
    /// The variables that it uses, of [`VARIABLES`].
    uses: [bool; VARIABLES.len()],
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}

thread_local! {
    /// The functions, with `matches` on a regular-expression engine that is small and linear in time.
    static ENVIRONMENT: Arc<Env> = Arc::new(environment());
}

fn environment() -> Env {
    let mut env = Env::stdlib();
    // Neither is in the standard library as it is built here, so both names are free.
    let member =
        env.add_member_overload("matches", "matches_string", STRING_TYPE, vec![STRING_TYPE], matches);
    let global = env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches);
    debug_assert!(member.is_ok() && global.is_ok());
    env
}

/// `text.matches(regex)`: somewhere in the text, as CEL has it.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |at: usize| args.get(at).and_then(|value| value.downcast_ref::<CelString<'_>>());
    let (Some(text), Some(pattern)) = (text(0), text(1)) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let regex =
        Regex::new(pattern.inner()).map_err(|error| ExecutionError::function_error("matches", error))?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(source: String) -> Result<Expression, String> {
        if source.len() > LONGEST {
            return Err(format!("an expression of {} bytes; expected at most {LONGEST}", source.len()));
        }
        let program = Program::compile(&source).map_err(|error| format!("`{source}` is not CEL: {error}"))?;
        let references = program.references();
        let uses = VARIABLES.map(|name| references.has_variable(name));
        drop(references);
        let expression = Expression { program: Arc::new(program), uses };
        expression.try_out(&source)?;
        Ok(expression)
    }
}

impl Expression {
    /// What it says of a request whose path reads so; `None` when it fails, for instance on a header that is not there.
    pub(crate) fn evaluate(&self, facts: &Facts, path: &str, identity: &Identity) -> Option<bool> {
        match self.run(facts, path, identity) {
            Ok(Value::Bool(truth)) => Some(truth),
            _ => None,
        }
    }

    /// What has to be asked of the host for it.
    pub(crate) fn needs(&self) -> Needs {
        let [_, source, ..] = self.uses;
        Needs { source, principal: source }
    }

    /// Finds out, on an empty request, what only shows when it runs. That something is missing there is no mistake.
    fn try_out(&self, source: &str) -> Result<(), String> {
        match self.run(&Facts::default(), "/", &Identity::default()) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                let variables = VARIABLES.join("`, `");
                Err(format!("`{source}` speaks of `{name}`; expected `{variables}` and the functions of CEL"))
            }
            Err(error @ ExecutionError::NoSuchOverload(_)) => Err(format!("`{source}`: {error}")),
            Ok(Value::Bool(_)) | Err(_) => Ok(()),
            Ok(other) => Err(format!("`{source}` is a {}; expected a yes or no", other.type_of())),
        }
    }

    fn run(&self, facts: &Facts, path: &str, identity: &Identity) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(ENVIRONMENT.with(Arc::clone));
        for (name, _) in VARIABLES.into_iter().zip(self.uses).filter(|(_, used)| *used) {
            let value = match name {
                "request" => request(facts, path),
                "source" => source_of(facts),
                "jwt" => jwt(identity),
                _ => who(identity),
            };
            context.add_variable_from_value(name, value);
        }
        self.program.execute(&context)
    }
}

fn request(facts: &Facts, path: &str) -> Value {
    let mut headers: HashMap<String, String> = HashMap::with_capacity(facts.header_count());
    for (name, value) in facts.headers().filter(|(name, _)| !name.starts_with(':')) {
        match headers.get_mut(name) {
            // As RFC 9110, section 5.3, lets a recipient combine them.
            Some(values) => *values = format!("{values}, {value}"),
            None => drop(headers.insert(name.to_owned(), value.to_owned())),
        }
    }
    map([
        ("method", facts.method().into()),
        ("path", path.into()),
        ("query", facts.path.query().unwrap_or_default().into()),
        ("host", facts.header(":authority").unwrap_or_default().into()),
        ("headers", headers.into()),
    ])
}

fn source_of(facts: &Facts) -> Value {
    let address = facts.source.map(|address| address.to_string()).unwrap_or_default();
    map([("address", address.into()), ("principal", facts.principal.clone().unwrap_or_default().into())])
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

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>().into()
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
        facts.principal = Some("spiffe://prod/web".to_owned());
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
        Identity { token: Some(token), api_key: Some("ci".into()), user: None }
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
        assert!(compile(&format!("{}true", " ".repeat(LONGEST))).unwrap_err().contains("at most 4096"));
    }

    #[test]
    fn only_what_an_expression_uses_is_asked_of_the_host() {
        assert_eq!(compile(r#"request.path == "/""#).unwrap().needs(), Needs::default());
        assert!(compile(r#"source.address == "::1""#).unwrap().needs().source);
    }
}
