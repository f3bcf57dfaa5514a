//! Header fields that guests may still read when they have gone on.

use std::cell::OnceCell;
use std::ops::{Deref, DerefMut};

use http::{HeaderMap, HeaderName, HeaderValue};

/// A header map that can be let go and is still there: as bytes, which are made a map again if somebody looks. After a
/// message's head was sent hardly anybody does, and to clone a map costs what a filter costs: each of its values is
/// counted by whoever else has it, and counted again when it is dropped.
#[derive(Debug, Clone, Default)]
pub struct LazyHeaders {
    /// Until it is let go.
    map: HeaderMap,
    /// What was let go: for each value the lengths of its name and of itself, and both.
    written: Option<Vec<u8>>,
    /// The same, once somebody has looked at it.
    read: OnceCell<HeaderMap>,
}

/// More than the head of most messages has, in bytes.
const USUAL: usize = 512;

impl LazyHeaders {
    /// Gives the map away; who looks here sees what it had at this moment.
    pub fn let_go(&mut self) -> HeaderMap {
        let map = std::mem::take(&mut **self);
        self.written = Some(write(&map));
        map
    }
}

fn write(map: &HeaderMap) -> Vec<u8> {
    let mut written = Vec::with_capacity(USUAL);
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        // A head is shorter than 4 GiB, whoever sent it.
        written.extend_from_slice(&(name.len() as u32).to_ne_bytes());
        written.extend_from_slice(&(value.len() as u32).to_ne_bytes());
        written.extend_from_slice(name);
        written.extend_from_slice(value);
    }
    written
}

fn read(written: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    let mut rest = written;
    while let Some((name, value)) = take(&mut rest) {
        // It was in a map before: it is a name, and a value.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The next name and value.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name_len, after) = rest.split_first_chunk()?;
    let (value_len, after) = after.split_first_chunk()?;
    let (name, after) = after.split_at_checked(u32::from_ne_bytes(*name_len) as usize)?;
    let (value, after) = after.split_at_checked(u32::from_ne_bytes(*value_len) as usize)?;
    *rest = after;
    Some((name, value))
}

impl From<HeaderMap> for LazyHeaders {
    fn from(map: HeaderMap) -> LazyHeaders {
        LazyHeaders { map, ..LazyHeaders::default() }
    }
}

impl Deref for LazyHeaders {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        match &self.written {
            None => &self.map,
            Some(written) => self.read.get_or_init(|| read(written)),
        }
    }
}

impl DerefMut for LazyHeaders {
    fn deref_mut(&mut self) -> &mut HeaderMap {
        if let Some(written) = self.written.take() {
            self.map = self.read.take().unwrap_or_else(|| read(&written));
        }
        &mut self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_is_seen_as_it_was() {
        let map: HeaderMap = [("b", "1"), ("content-type", "text/plain"), ("b", ""), ("a", "\u{e9}\t2")]
            .into_iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        let mut lazy = LazyHeaders::from(map.clone());
        let mut gone = lazy.let_go();
        assert_eq!(gone, map);
        gone.clear();
        assert_eq!(lazy.iter().collect::<Vec<_>>(), map.iter().collect::<Vec<_>>(), "in the same order");
        assert_eq!(*lazy.clone(), map);
        assert_eq!(lazy.let_go(), map, "and again");
        lazy.insert("c", HeaderValue::from_static("3"));
        assert_eq!(lazy.len(), map.len() + 1);
        assert!(LazyHeaders::default().is_empty());
    }
}
