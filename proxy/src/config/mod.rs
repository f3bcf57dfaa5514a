//! From a file to a checked configuration.

pub mod model;
