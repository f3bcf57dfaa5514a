//! A request as authentication and rules see it: read once from the host, and nothing of the host behind it.

use std::net::IpAddr;

use tidegate_sdk::Block;

use crate::path::Path;

/// The most headers that a request may have.
pub(crate) const MOST_HEADERS: usize = 256;

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) path: Path,
    /// The client's address, where the configuration asks for it and the host knows it.
    pub(crate) source: Option<IpAddr>,
    headers: Block,
}

/// What the configuration looks at beyond the headers: each costs a hostcall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) source: bool,
    pub(crate) principal: bool,
    /// Whether there is a principal, where there are no credentials.
    pub(crate) authenticated: bool,
}

impl Needs {
    /// These and those.
    pub(crate) fn and(self, other: Needs) -> Needs {
        Needs {
            source: self.source || other.source,
            principal: self.principal || other.principal,
            authenticated: self.authenticated || other.authenticated,
        }
    }
}

/// The same headers, with what is not UTF-8 replaced.
fn as_text(headers: Block) -> Block {
    if is_ascii(headers.content()) || std::str::from_utf8(headers.content()).is_ok() {
        return headers; // nearly always
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let texts: Vec<_> = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    texts.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// The same as the method of slices, which in WebAssembly takes four bytes at a time.
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let high = words.iter().fold(0, |high, word| high | u64::from_le_bytes(*word));
    high & 0x8080_8080_8080_8080 == 0 && rest.is_ascii()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default() // it was replaced before
}

impl Facts {
    /// Of the request's headers, pseudo-headers too. What is not UTF-8 is replaced.
    pub(crate) fn new(headers: Block) -> Facts {
        let mut facts = Facts { headers: as_text(headers), ..Facts::default() };
        facts.path = Path::new(facts.header(":path").unwrap_or_default());
        facts
    }

    /// `GET`.
    pub(crate) fn method(&self) -> &str {
        self.header(":method").unwrap_or_default()
    }

    /// Every header with its value, in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (text(name), text(value)))
    }

    /// How many headers there are.
    pub(crate) fn header_count(&self) -> usize {
        self.headers.len()
    }

    /// Every value of a header.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.values(name).map(text)
    }

    /// The first value of a header.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// Makes this the only value of a header, or removes it.
    pub(crate) fn replace(&mut self, name: &str, value: Option<&str>) {
        let name = name.as_bytes();
        let others = self.headers.iter().filter(|(found, _)| *found != name);
        self.headers = others.chain(value.map(|value| (name, value.as_bytes()))).collect();
    }
}

#[cfg(test)]
impl Facts {
    /// Of headers as a test writes them.
    pub(crate) fn of(headers: &[(&str, &str)]) -> Facts {
        Facts::new(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect())
    }
}
