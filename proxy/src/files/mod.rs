//! What is read from the disk, as far as it may change: which files a configuration came from and what was in them
//! ([`Footprint`]), and which module of a folder serves ([`newest`]).
//!
//! It decides nothing and watches nothing: see [`server`](crate::server).

mod footprint;
mod versions;

pub(crate) use footprint::{Digest, Footprint};
pub(crate) use versions::{NoVersion, is_module, newest};
