//! The same with the programs of others.
