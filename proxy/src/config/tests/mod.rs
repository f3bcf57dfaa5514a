//! What the configuration promises as a whole: diagnostics, checked values, the schema, and that nothing panics.

mod balancing;
mod canary;
mod capabilities;
mod diagnostics;
mod environment;
mod fields;
mod files;
mod forms;
mod modules;
mod never_panics;
mod routes;
mod schema;
mod syntax;
mod tcp;
mod tls;
mod values;

use std::path::Path;

use super::{Loaded, Problems, parse};

/// Parses what must be valid.
fn valid(text: &str) -> Loaded {
    parse(text, Path::new("tidegate.yaml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Parses what must not be valid, and gives what is told about it.
fn problems(text: &str) -> String {
    match parse(text, Path::new("tidegate.yaml")) {
        Ok(_) => panic!("this passed:\n{text}"),
        Err(problems) => format!("{}\n", Problems::render(&problems, false)),
    }
}

/// A file that is valid but for its routes, which are indented by six.
fn with_routes(routes: &str) -> String {
    format!(
        "clusters:\n  api: {{endpoints: [127.0.0.1:9001]}}\n  web: {{endpoints: [127.0.0.1:9002]}}\n\
         listeners:\n  - name: ingress\n    address: 127.0.0.1:0\n    routes:\n{routes}"
    )
}

/// A file that is valid but for one filter's fields, which are indented by four.
fn with_filter(fields: &str) -> String {
    format!(
        "listeners:\n  - {{name: l, address: 127.0.0.1:0, filters: [f], routes: [{{match: {{}}, respond: {{}}}}]}}\n\
         filters:\n  f:\n{fields}"
    )
}

/// Every setting of the language, each away from its default.
const EVERYTHING: &str = include_str!("everything.yaml");
