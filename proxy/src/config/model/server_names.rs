//! Hosts that TLS connections ask for, and where these go.

use std::collections::HashMap;
use std::fmt;

/// A host as a client asks for it (RFC 6066, 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerNamePattern {
    /// This one. Lower case.
    Exact(String),
    /// Every one below this: of `*.example.com` it is `example.com`.
    Below(String),
}

impl fmt::Display for ServerNamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerNamePattern::Exact(name) => f.write_str(name),
            ServerNamePattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// For each of some hosts a cluster, an index into [`Config::clusters`](super::Config::clusters).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerNames {
    exact: HashMap<String, usize>,
    below: HashMap<String, usize>,
    /// In the order of the file.
    listed: Vec<(ServerNamePattern, usize)>,
}

impl ServerNames {
    /// Adds a host. Whether it was not there yet.
    pub fn insert(&mut self, pattern: ServerNamePattern, cluster: usize) -> bool {
        let before = match &pattern {
            ServerNamePattern::Exact(name) => self.exact.insert(name.clone(), cluster),
            ServerNamePattern::Below(name) => self.below.insert(name.clone(), cluster),
        };
        self.listed.push((pattern, cluster));
        before.is_none()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The cluster of a host, which is in lower case: that of the host itself, or of the longest of those above it.
    pub fn find(&self, name: &str) -> Option<usize> {
        let above = || {
            let mut rest = name;
            std::iter::from_fn(move || {
                rest = rest.split_once('.')?.1;
                Some(rest)
            })
        };
        self.exact.get(name).or_else(|| above().find_map(|name| self.below.get(name))).copied()
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &(ServerNamePattern, usize)> {
        self.listed.iter()
    }
}
