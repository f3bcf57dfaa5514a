//! What is read from the disk: as much of a file as it may have ([`read`]), which files a configuration came from and
//! what was in them ([`Footprint`]), and which module of a folder serves ([`newest`]).
//!
//! It decides nothing and watches nothing: see [`server`](crate::server).

mod footprint;
mod read;
mod sha256;
mod versions;

pub(crate) use footprint::Footprint;
pub(crate) use read::{ReadError, read, read_stream};
pub use sha256::Sha256;
pub(crate) use versions::{NoVersion, is_module, newest};
