//! From a request to a route, and what a route does to a request's head. Pure: no I/O, no clock, no randomness of its
//! own.

mod condition;
mod host;
mod matcher;
mod query;
mod rewrite;
mod table;
mod trie;

pub use condition::Condition;
pub(crate) use matcher::holds_of_field;
pub use rewrite::{InvalidPath, location, pick, pick_share, rewrite_path};
pub use table::Table;

#[cfg(test)]
mod tests;
