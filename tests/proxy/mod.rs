//! What the proxy promises, one sentence a test.

mod ab_route;
mod authz;
mod bad_input;
mod bodies;
mod cluster_header;
mod connections;
mod drain;
mod examples;
mod faults;
mod filters;
mod forwarding;
mod framing;
mod holding;
mod injection;
mod leaving;
mod limits;
mod lingering;
mod observing;
mod paths;
mod queues;
pub(crate) mod rate_limit;
mod scale;
mod sdk;
mod sharing;
mod smuggling;
mod upgrades;
mod upstream_failures;
