//! Where something listens: an IP address and a port, or a UNIX socket.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;

use serde::{Serialize, Serializer};

/// What the address of a UNIX socket begins with.
const UNIX: &str = "unix:";

/// Where something listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// By TCP.
    Ip(SocketAddr),
    /// Within the machine.
    Unix(UnixAddress),
}

/// The name of a UNIX socket: a path, or behind a `@` a name without a file (`unix(7)`: abstract). It is no longer than the
/// kernel takes it, so that it can be copied like an address of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixAddress {
    /// Behind the name NULs.
    bytes: [u8; UnixAddress::LONGEST],
    length: u8,
}

impl Address {
    /// The address that a text in the form of the file is, if it is one of a UNIX socket.
    ///
    /// # Errors
    ///
    /// The name is empty, too long or has a NUL in it.
    pub fn unix(text: &str) -> Option<Result<UnixAddress, BadUnixAddress>> {
        text.strip_prefix(UNIX).map(UnixAddress::new)
    }

    /// The address of IP, if it is one.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => write!(f, "{UNIX}{}", address.name()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no name of a UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUnixAddress {
    /// There is none.
    #[error("the socket has no name")]
    Empty,
    /// The kernel does not take it.
    #[error("the name of a socket has at most {} bytes", UnixAddress::LONGEST)]
    TooLong,
    /// It would end there.
    #[error("the name of a socket has no NUL in it")]
    Nul,
}

impl UnixAddress {
    /// The longest name, in bytes: `sun_path` has 108, of which one is the NUL behind a path, or before an abstract name.
    pub const LONGEST: usize = 107;

    /// The address of this name.
    ///
    /// # Errors
    ///
    /// It is empty, too long or has a NUL in it.
    pub fn new(name: &str) -> Result<UnixAddress, BadUnixAddress> {
        if name.is_empty() || name == "@" {
            return Err(BadUnixAddress::Empty);
        }
        if name.contains('\0') {
            return Err(BadUnixAddress::Nul);
        }
        if name.len() > UnixAddress::LONGEST {
            return Err(BadUnixAddress::TooLong);
        }
        let mut bytes = [0; UnixAddress::LONGEST];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(UnixAddress { bytes, length: name.len() as u8 })
    }

    /// Its name: a path, or `@` and an abstract one.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        (!self.name().starts_with('@')).then(|| Path::new(self.name()))
    }

    /// The abstract name, if it is one.
    pub fn abstract_name(&self) -> Option<&str> {
        self.name().strip_prefix('@')
    }
}

impl Hash for UnixAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}
