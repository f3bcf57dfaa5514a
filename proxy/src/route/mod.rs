//! From a request to a route, and what a route does to a request's head. Pure: no I/O, no clock, no randomness of its
//! own.

mod claims;
mod condition;
mod cookie;
mod hash;
mod host;
mod matcher;
mod query;
mod rewrite;
mod table;
mod trie;

pub use condition::Condition;
pub use cookie::first as first_cookie;
pub use hash::{Hashed, hash, hash_of_address, set_cookie};
pub use host::with_suffix as with_host_suffix;
pub(crate) use matcher::holds_of_field;
pub use matcher::{Stored, holds_of_value};
pub use rewrite::{InvalidPath, Target, location, pick, pick_share, rewrite_path};
pub use table::Table;

#[cfg(test)]
mod tests;
