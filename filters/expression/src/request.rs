//! The variables that a request gives.

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

pub(crate) fn request(facts: &impl Facts) -> Value {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in facts.headers() {
        let value = String::from_utf8_lossy(&value);
        match headers.get_mut(&name) {
            // As RFC 9110, section 5.3, lets a recipient combine them.
            Some(values) => *values = format!("{values}, {value}"),
            None => drop(headers.insert(name, value.into_owned())),
        }
    }
    let mut pseudo = |name: &str| headers.remove(name).unwrap_or_default();
    let (method, target, host) = (pseudo(":method"), pseudo(":path"), pseudo(":authority"));
    headers.retain(|name, _| !name.starts_with(':'));
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    map([
        ("method", method.into()),
        ("path", path.into()),
        ("query", query.into()),
        ("host", host.into()),
        ("headers", headers.into()),
    ])
}

pub(crate) fn source(facts: &impl Facts) -> Value {
    map([
        ("address", facts.address().unwrap_or_default().into()),
        ("principal", facts.principal().unwrap_or_default().into()),
    ])
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>().into()
}
