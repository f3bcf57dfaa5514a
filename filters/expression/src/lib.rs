//! Expressions in CEL, the Common Expression Language, that decide about requests: the same variables in all filters.
//!
//! `request.method`, `request.path` (without the query), `request.query`, `request.host`, `request.headers` (a map),
//! `source.address` (without the port), `source.principal` (the URI of the client's certificate). What is not known is an
//! empty text.
//!
//! An expression is compiled and tried when the configuration is read: what names something unknown, or is not a yes or
//! no, is refused there. At a request only the variables that it uses are made.

mod functions;
mod request;

use std::fmt;
use std::rc::Rc;

use cel::{Context, ExecutionError, Program, Value};
use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::request::Facts;

/// The longest expression, in bytes: compiling one takes some 4,000 instructions a byte beside 8 million, of those that a filter
/// has for its start.
const LONGEST: usize = 4096;

/// What an expression may speak of.
const VARIABLES: [&str; 2] = ["request", "source"];

/// A compiled expression.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Expression {
    program: Rc<Program>,
    /// The variables that it uses, of [`VARIABLES`].
    uses: [bool; VARIABLES.len()],
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
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
        let expression = Expression { program: Rc::new(program), uses };
        expression.try_out(&source)?;
        Ok(expression)
    }
}

impl Expression {
    /// What it says of a request; `None` when it fails, for instance on a header that is not there.
    pub fn evaluate(&self, request: &impl Facts) -> Option<bool> {
        match self.run(request) {
            Ok(Value::Bool(truth)) => Some(truth),
            _ => None,
        }
    }

    /// Finds out, on an empty request, what only shows when it runs. That something is missing there is no mistake.
    fn try_out(&self, source: &str) -> Result<(), String> {
        match self.run(&request::Nothing) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                let variables = VARIABLES.join("`, `");
                Err(format!("`{source}` speaks of `{name}`; expected `{variables}` and the functions of CEL"))
            }
            Err(error @ ExecutionError::NoSuchOverload(_)) => Err(format!("`{source}`: {error}")),
            Ok(Value::Bool(_)) | Err(_) => Ok(()),
            Ok(other) => Err(format!("`{source}` is a {}; expected a yes or no", other.type_of())),
        }
    }

    fn run(&self, request: &impl Facts) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(functions::environment());
        let [uses_request, uses_source] = self.uses;
        if uses_request {
            context.add_variable_from_value("request", request::request(request));
        }
        if uses_source {
            context.add_variable_from_value("source", request::source(request));
        }
        self.program.execute(&context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request;

    impl Facts for Request {
        fn headers(&self) -> Vec<(String, Vec<u8>)> {
            [(":method", "GET"), (":path", "/a?b=c"), (":authority", "h"), ("x-a", "1"), ("x-a", "2")]
                .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                .to_vec()
        }

        fn address(&self) -> Option<String> {
            Some("10.0.0.1".to_owned())
        }

        fn principal(&self) -> Option<String> {
            Some("spiffe://prod/web".to_owned())
        }
    }

    fn compile(source: &str) -> Result<Expression, String> {
        Expression::try_from(source.to_owned())
    }

    #[test]
    fn an_expression_sees_the_request_and_its_source() {
        for source in [
            r#"request.method == "GET" && request.path.startsWith("/a") && request.query == "b=c""#,
            r#"request.headers["x-a"] == "1, 2" && request.host == "h""#,
            r#"source.address == "10.0.0.1" && source.principal.endsWith("/web")"#,
            r#"request.path.matches("^/[a-z]$") && !("x-b" in request.headers)"#,
        ] {
            assert_eq!(compile(source).unwrap().evaluate(&Request), Some(true), "{source}");
        }
        assert_eq!(compile(r#"request.method == "PUT""#).unwrap().evaluate(&Request), Some(false));
    }

    #[test]
    fn an_expression_that_fails_says_neither_yes_nor_no() {
        assert_eq!(compile(r#"request.headers["x-b"] == "1""#).unwrap().evaluate(&Request), None);
    }

    #[test]
    fn what_cannot_work_is_refused_when_the_configuration_is_read() {
        for (source, message) in [
            ("request.path ==", "is not CEL"),
            ("requst.path == \"/\"", "speaks of `requst`; expected `request`, `source` and the functions"),
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
        struct NoSource;
        impl Facts for NoSource {
            fn headers(&self) -> Vec<(String, Vec<u8>)> {
                Vec::new()
            }
            fn address(&self) -> Option<String> {
                panic!("the address was asked for")
            }
            fn principal(&self) -> Option<String> {
                panic!("the principal was asked for")
            }
        }
        assert_eq!(compile(r#"request.path == """#).unwrap().evaluate(&NoSource), Some(true));
    }
}
