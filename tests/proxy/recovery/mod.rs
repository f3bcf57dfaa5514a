//! What goes on succeeding while endpoints fail.

mod breakers;
pub(crate) mod chaos;
mod health;
mod late_failures;
mod outliers;
mod retries;
mod timeouts;
