//! x
#![allow(missing_docs, dead_code)]
mod shares;
