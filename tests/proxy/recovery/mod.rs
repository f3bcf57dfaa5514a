//! What goes on succeeding while endpoints fail.

pub(crate) mod chaos;
mod health;
mod outliers;
mod retries;
mod timeouts;
