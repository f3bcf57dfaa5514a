//! Expressions in CEL, the Common Expression Language, that decide about requests: the same variables in all filters.
//!
//! `request.method`, `request.path` (without the query), `request.query`, `request.host`, `request.headers` (a map),
//! `source.address` (without the port), `source.principal` (the URI of the client's certificate). What is not known is an
//! empty text.
//!
//! An expression is compiled and tried when the configuration is read: what names something unknown, or is not a yes or
//! no, is refused there. At a request only the variables that it uses are made.

mod compiled;
mod functions;
mod regexes;
mod request;

use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::compiled::Compiled;
pub use crate::request::{Facts, map, request, source};
pub use cel::Value;

/// What an expression may speak of.
const VARIABLES: &[&str] = &["request", "source"];

/// A compiled expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Expression(Compiled);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(source: String) -> Result<Expression, String> {
        Compiled::new(&source, VARIABLES, |name| variable(name, &request::Nothing)).map(Expression)
    }
}

impl Expression {
    /// What it says of a request; `None` when it fails, for instance on a header that is not there.
    pub fn evaluate(&self, request: &impl Facts) -> Option<bool> {
        self.0.evaluate(|name| variable(name, request))
    }
}

fn variable(name: &str, facts: &impl Facts) -> Value {
    match name {
        "request" => request::of(facts),
        _ => source(facts.address(), facts.principal()),
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
        assert!(compile(&format!("{}true", " ".repeat(4096))).unwrap_err().contains("at most 4096"));
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
