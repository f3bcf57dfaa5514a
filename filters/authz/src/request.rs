//! A request as authentication and rules see it: read once from the host, and nothing of the host behind it.

use std::net::IpAddr;
use std::ops::Range;

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
    /// Those of a block. What is not UTF-8 is replaced.
    pub(crate) fn of(block: &Block) -> Headers {
        let Ok(text) = std::str::from_utf8(block.content()) else {
            let mut headers = Headers::default();
            block.iter().for_each(|(name, value)| headers.push(name, value));
            return headers;
        };
        let mut spans = Vec::with_capacity(block.len());
        let mut start = 0;
        for (name, value) in block.iter() {
            let name = start..start + name.len();
            let value = name.end + 1..name.end + 1 + value.len();
            start = value.end + 1;
            spans.push((name, value));
        }
        Headers { text: text.to_owned(), spans }
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
        let Headers { text, spans } = &self.headers;
        let has_name = move |(found, _): &&(Range<usize>, Range<usize>)| {
            text.as_bytes()[found.clone()] == *name.as_bytes()
        };
        spans.iter().filter(has_name).map(|(_, value)| &text[value.clone()])
    }

    /// The first value of a header.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
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
        let mut all = Headers::default();
        headers.iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
        Facts::new(all)
    }
}
