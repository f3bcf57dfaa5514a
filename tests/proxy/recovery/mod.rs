//! What goes on succeeding while endpoints fail.

mod retries;
mod timeouts;
