//! What must always hold, checked for every message that the equipment reads through a proxy: no hop-by-hop field
//! leaks, and a message says in exactly one way where it ends.

use super::http1::{Body, End, Head};

/// Fields that concern one connection only (RFC 9110 section 7.6.1, RFC 9112 section 7) and never pass a proxy.
/// `connection`, `upgrade` and `te` have their exceptions below.
const HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "proxy-authenticate"];

/// What is wrong with a request as an upstream received it. Empty is good.
pub(crate) fn request(head: &Head) -> Vec<String> {
    let mut found = common(head);
    let (_, version) = head.line.rsplit_once(' ').unwrap_or_default();
    if version != "HTTP/1.1" {
        found.push(format!("a request that is not HTTP/1.1: {:?}", head.line));
    }
    if head.all("host").len() != 1 {
        found.push(format!("a request with {} host fields", head.all("host").len()));
    }
    if head.all("te").iter().any(|te| *te != "trailers") {
        found.push(format!("te other than `trailers`: {:?}", head.all("te")));
    }
    upgrade(head, head.field("upgrade").is_some(), &mut found);
    named(&format!("request {:?}", head.line), found)
}

/// What is wrong with a response as a client received it. Empty is good.
pub(crate) fn response(head: &Head) -> Vec<String> {
    let mut found = common(head);
    let status = head.status();
    // A response of a proxy's own may say that it closes; 101 and 426 speak of upgrades.
    upgrade(head, matches!(status, 101 | 426), &mut found);
    if matches!(status, 100..200 | 204) && head.field("content-length").is_some() {
        found.push(format!("content-length in a {status} (RFC 9110 section 8.6)"));
    }
    named(&format!("response {:?}", head.line), found)
}

/// What is wrong with the trailers of a body. Empty is good.
pub(crate) fn trailers(body: &Body) -> Vec<String> {
    let framing = ["transfer-encoding", "content-length", "host", "connection", "trailer"];
    let forbidden =
        |name: &str| framing.iter().chain(&HOP_BY_HOP).any(|field| name.eq_ignore_ascii_case(field));
    let found = body.trailers.iter().filter(|(name, _)| body.end == End::Complete && forbidden(name));
    found.map(|(name, value)| format!("trailers carry `{name}: {value}`")).collect()
}

fn common(head: &Head) -> Vec<String> {
    let mut found = Vec::new();
    for name in HOP_BY_HOP {
        if let Some(value) = head.field(name) {
            found.push(format!("hop-by-hop field `{name}: {value}`"));
        }
    }
    let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        found.push(format!(
            "more than one framing: content-length {lengths:?}, transfer-encoding {codings:?}"
        ));
    }
    if codings.iter().any(|coding| *coding != "chunked") {
        found.push(format!("transfer-encoding: {codings:?}"));
    }
    for (name, value) in &head.fields {
        let token = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c));
        if !token {
            found.push(format!("field name {name:?} is no token"));
        }
        if value.contains(['\0', '\r', '\n']) {
            found.push(format!("field value {value:?} has a control character"));
        }
    }
    found
}

/// `connection` may only say `close` or `keep-alive`, or `upgrade` together with an upgrade that may be there.
fn upgrade(head: &Head, allowed: bool, found: &mut Vec<String>) {
    for value in head.all("connection") {
        for word in value.split(',').map(str::trim) {
            let fine = word.eq_ignore_ascii_case("close")
                || word.eq_ignore_ascii_case("keep-alive")
                || (allowed && word.eq_ignore_ascii_case("upgrade"));
            if !fine {
                found.push(format!("connection: {value}"));
            }
        }
    }
    if head.field("upgrade").is_some() && !(allowed && head.lists("connection", "upgrade")) {
        found.push("upgrade without `connection: upgrade`".to_owned());
    }
}

fn named(message: &str, found: Vec<String>) -> Vec<String> {
    found.into_iter().map(|what| format!("{message}: {what}")).collect()
}
