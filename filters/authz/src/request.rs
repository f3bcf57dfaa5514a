//! A request as authentication and rules see it: read once from the host, and nothing of the host behind it.

use std::net::IpAddr;
use std::ops::Range;

use crate::path::Path;

/// The most headers that a request may have.
pub(crate) const MOST_HEADERS: usize = 256;

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) path: Path,
    /// The client's address, where the configuration asks for it and the host knows it.
    pub(crate) source: Option<IpAddr>,
    /// What the client's certificate says it is, likewise.
    pub(crate) principal: Option<String>,
    headers: Headers,
}

/// Every header in order, pseudo-headers too, in one piece of memory: most of them are looked at by their name alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    text: String,
    spans: Vec<(Range<usize>, Range<usize>)>,
}

/// What the configuration looks at beyond the headers: each costs a hostcall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) source: bool,
    pub(crate) principal: bool,
}

impl Needs {
    /// These and those.
    pub(crate) fn and(self, other: Needs) -> Needs {
        Needs { source: self.source || other.source, principal: self.principal || other.principal }
    }
}

impl Headers {
    /// Room for a request as browsers send it.
    pub(crate) fn new() -> Headers {
        Headers { text: String::with_capacity(2048), spans: Vec::with_capacity(24) }
    }

    /// Adds one; its name is in lower case. What is not UTF-8 is replaced.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = self.push_text(name);
        let value = self.push_text(value);
        self.spans.push((name, value));
    }

    fn push_text(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.text.len();
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(_) => self.text.push_str(&String::from_utf8_lossy(bytes)),
        }
        start..self.text.len()
    }
}

impl Facts {
    /// Of the request's headers.
    pub(crate) fn new(headers: Headers) -> Facts {
        let mut facts = Facts { headers, ..Facts::default() };
        facts.path = Path::new(facts.header(":path").unwrap_or_default());
        facts
    }

    /// `GET`.
    pub(crate) fn method(&self) -> &str {
        self.header(":method").unwrap_or_default()
    }

    /// Every header with its value, in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let Headers { text, spans } = &self.headers;
        spans.iter().map(|(name, value)| (&text[name.clone()], &text[value.clone()]))
    }

    /// How many headers there are.
    pub(crate) fn header_count(&self) -> usize {
        self.headers.spans.len()
    }

    /// Every value of a header.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers().filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Makes this the only value of a header, or removes it.
    pub(crate) fn replace(&mut self, name: &str, value: Option<&str>) {
        let Headers { text, spans } = &mut self.headers;
        spans.retain(|(found, _)| text[found.clone()] != *name);
        if let Some(value) = value {
            self.headers.push(name.as_bytes(), value.as_bytes());
        }
    }
}

#[cfg(test)]
impl Facts {
    /// Of headers as a test writes them.
    pub(crate) fn of(headers: &[(&str, &str)]) -> Facts {
        let mut all = Headers::new();
        headers.iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
        Facts::new(all)
    }
}
