//! The variables that a request gives.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::Value;

/// What expressions look at in a request. Each is asked for only when an expression uses it.
pub trait Facts {
    /// Every header in order, pseudo-headers too; names in lower case.
    fn headers(&self) -> Vec<(String, Vec<u8>)>;

    /// The client's address, without the port.
    fn address(&self) -> Option<String>;

    /// What the client's certificate says it is.
    fn principal(&self) -> Option<String>;
}

impl Facts for tidegate_sdk::Request<'_> {
    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        tidegate_sdk::Request::headers(self).all()
    }

    fn address(&self) -> Option<String> {
        self.source_address().map(|address| address.ip().to_canonical().to_string())
    }

    fn principal(&self) -> Option<String> {
        self.peer_identity()
    }
}

/// A request with nothing in it.
pub(crate) struct Nothing;

impl Facts for Nothing {
    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }

    fn address(&self) -> Option<String> {
        None
    }

    fn principal(&self) -> Option<String> {
        None
    }
}

/// `request` of what is known of one.
pub(crate) fn of(facts: &impl Facts) -> Value {
    let headers = facts.headers();
    let headers = || headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value)));
    let pseudo = |wanted: &str| {
        headers().find(|(name, _)| *name == wanted).map(|(_, value)| value).unwrap_or_default()
    };
    let target = pseudo(":path");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    request(&pseudo(":method"), path, query, &pseudo(":authority"), headers())
}

/// The variable `request`. Pseudo-headers are left out of its headers.
pub fn request<'a>(
    method: &str,
    path: &str,
    query: &str,
    host: &str,
    headers: impl Iterator<Item = (&'a str, Cow<'a, str>)>,
) -> Value {
    let mut fields: HashMap<String, String> = HashMap::new();
    for (name, value) in headers.filter(|(name, _)| !name.starts_with(':')) {
        match fields.get_mut(name) {
            // As RFC 9110, section 5.3, lets a recipient combine them.
            Some(values) => *values = format!("{values}, {value}"),
            None => drop(fields.insert(name.to_owned(), value.into_owned())),
        }
    }
    map([
        ("method", method.into()),
        ("path", path.into()),
        ("query", query.into()),
        ("host", host.into()),
        ("headers", fields.into()),
    ])
}

/// The variable `source`.
pub fn source(address: Option<String>, principal: Option<String>) -> Value {
    map([
        ("address", address.unwrap_or_default().into()),
        ("principal", principal.unwrap_or_default().into()),
    ])
}

/// A map of these members.
pub fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>().into()
}
