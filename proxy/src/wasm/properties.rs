//! What guests store under names of their own (`proxy_set_property`): on an exchange, on its connection, or on a root.
//!
//! Envoy calls it filter state. What a guest declares of a name (`declare_property`) holds for the values that are
//! stored under it from then on: whether they may be changed, and how long they live.

use std::collections::HashMap;
use std::ops::Index;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::abi::Status;

/// What may be stored in one place: entries, and bytes of names and values.
const MAX_STORED: usize = 128;
const MAX_STORED_BYTES: usize = 256 << 10;

/// How many names one root may declare, and how long all of them may be, in bytes.
const MAX_DECLARED: usize = 128;
const MAX_DECLARED_BYTES: usize = 16 << 10;

/// Values by their paths, of which each is its segments joined by NULs.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    values: HashMap<Vec<u8>, Property>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Property {
    value: Bytes,
    read_only: bool,
}

/// Why a value was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is one, and it was declared not to change.
    ReadOnly,
    /// There is no room.
    Full,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::ReadOnly => Status::BadArgument,
            Refusal::Full => Status::InternalFailure,
        }
    }
}

impl Properties {
    /// The value at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Bytes> {
        self.values.get(path).map(|property| &property.value)
    }

    /// Every path and its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Bytes)> {
        self.values.iter().map(|(path, property)| (path, &property.value))
    }

    /// Stores a value. `read_only` counts where there is none yet.
    pub(crate) fn set(&mut self, path: &[u8], value: &[u8], read_only: bool) -> Result<(), Refusal> {
        let old = self.values.get(path);
        if old.is_some_and(|old| old.read_only) {
            return Err(Refusal::ReadOnly);
        }
        let entries = self.values.len() + usize::from(old.is_none());
        let freed = old.map_or(0, |old| path.len() + old.value.len());
        let bytes = self.bytes - freed + path.len() + value.len();
        if entries > MAX_STORED || bytes > MAX_STORED_BYTES {
            return Err(Refusal::Full);
        }
        let read_only = read_only && old.is_none();
        self.put(path.to_vec(), Property { value: Bytes::copy_from_slice(value), read_only });
        Ok(())
    }

    fn put(&mut self, path: Vec<u8>, property: Property) {
        let (path_len, len) = (path.len(), path.len() + property.value.len());
        let old = self.values.insert(path, property);
        self.bytes = self.bytes + len - old.map_or(0, |old| path_len + old.value.len());
    }
}

/// For those that set a stage: there is no limit, and everything may be changed.
impl Extend<(Vec<u8>, Bytes)> for Properties {
    fn extend<T: IntoIterator<Item = (Vec<u8>, Bytes)>>(&mut self, values: T) {
        values.into_iter().for_each(|(path, value)| self.put(path, Property { value, read_only: false }));
    }
}

/// # Panics
///
/// When there is no such value.
impl Index<&[u8]> for Properties {
    type Output = Bytes;

    fn index(&self, path: &[u8]) -> &Bytes {
        self.get(path).unwrap_or_else(|| panic!("no property {:?}", String::from_utf8_lossy(path)))
    }
}

/// What guests store for as long as a downstream connection lives. Costs nothing until one does.
#[derive(Debug, Default)]
pub struct ConnectionProperties(OnceLock<Mutex<Properties>>);

impl ConnectionProperties {
    /// The value at a path.
    pub(crate) fn value(&self, path: &[u8]) -> Option<Bytes> {
        lock(self.0.get()?).get(path).cloned()
    }

    pub(crate) fn set(&self, path: &[u8], value: &[u8], read_only: bool) -> Result<(), Refusal> {
        lock(self.0.get_or_init(Mutex::default)).set(path, value, read_only)
    }
}

/// A panic while the lock was held left no value half written: each is replaced whole.
fn lock(properties: &Mutex<Properties>) -> MutexGuard<'_, Properties> {
    properties.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a value lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LifeSpan {
    /// As long as its exchange.
    #[default]
    Exchange,
    /// As long as the connection that the exchange came on.
    Connection,
}

/// What a guest declared of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// The first value stays.
    pub(crate) read_only: bool,
    pub(crate) span: LifeSpan,
}

/// What one root declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declarations {
    names: HashMap<Vec<u8>, Declaration>,
    bytes: usize,
}

impl Declarations {
    /// What holds for a path.
    pub(crate) fn of(&self, path: &[u8]) -> Declaration {
        if self.names.is_empty() {
            return Declaration::default(); // nearly always
        }
        self.names.get(path).copied().unwrap_or_default()
    }

    /// Whether there was room for one more, and none of that name. The first one stays.
    pub(crate) fn add(&mut self, name: &[u8], declaration: Declaration) -> Result<(), Status> {
        if self.names.contains_key(name) {
            return Err(Status::BadArgument);
        }
        if self.names.len() >= MAX_DECLARED || self.bytes + name.len() > MAX_DECLARED_BYTES {
            return Err(Status::InternalFailure);
        }
        self.bytes += name.len();
        self.names.insert(name.to_vec(), declaration);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_has_a_limit_and_room_that_is_freed_is_used_again() {
        let mut properties = Properties::default();
        let most = MAX_STORED_BYTES - 1;
        assert_eq!(properties.set(b"a", &vec![0; most], false), Ok(()));
        assert_eq!(properties.set(b"b", b"", false), Err(Refusal::Full));
        assert_eq!(properties.set(b"a", b"", false), Ok(()));
        assert_eq!(properties.set(b"b", &vec![0; most - 1], false), Ok(()));
        let mut many = Properties::default();
        let stored = (0..1000u32).take_while(|number| many.set(&number.to_le_bytes(), b"", false).is_ok());
        assert_eq!(stored.count(), MAX_STORED);
        assert_eq!(many.set(&0u32.to_le_bytes(), b"again", false), Ok(()));
    }

    #[test]
    fn the_first_value_of_a_read_only_name_stays() {
        let mut properties = Properties::default();
        assert_eq!(properties.set(b"a", b"1", true), Ok(()));
        assert_eq!(properties.set(b"a", b"2", false), Err(Refusal::ReadOnly));
        assert_eq!(properties[&b"a"[..]], "1");
        assert_eq!(properties.set(b"b", b"1", false), Ok(()));
        assert_eq!(properties.set(b"b", b"2", true), Ok(()), "it was there before");
        assert_eq!(properties.set(b"b", b"3", true), Ok(()));
    }

    #[test]
    fn declarations_have_a_limit_and_the_first_stays() {
        let mut declarations = Declarations::default();
        let read_only = Declaration { read_only: true, span: LifeSpan::Exchange };
        assert_eq!(declarations.of(b"a"), Declaration::default());
        assert_eq!(declarations.add(b"a", read_only), Ok(()));
        assert_eq!(declarations.add(b"a", Declaration::default()), Err(Status::BadArgument));
        assert_eq!(declarations.of(b"a"), read_only);
        assert_eq!(
            declarations.add(&vec![b'n'; MAX_DECLARED_BYTES], read_only),
            Err(Status::InternalFailure)
        );
        let added = (0..1000u32)
            .take_while(|number| declarations.add(&number.to_le_bytes(), read_only).is_ok())
            .count();
        assert_eq!(added, MAX_DECLARED - 1);
    }
}
