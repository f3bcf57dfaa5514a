//! What goes on succeeding while endpoints fail.

mod breakers;
pub(crate) mod chaos;
pub(crate) mod concurrency;
mod health;
mod hedging;
mod late_failures;
mod outliers;
mod retries;
mod timeouts;
