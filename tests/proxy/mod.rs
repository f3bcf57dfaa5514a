//! What the proxy promises, one sentence a test.

mod bad_input;
mod bodies;
mod connections;
mod drain;
mod faults;
mod filters;
mod forwarding;
mod framing;
mod holding;
mod injection;
mod limits;
mod lingering;
mod observing;
mod rate_limit;
mod scale;
mod sdk;
mod smuggling;
mod upgrades;
mod upstream_failures;
