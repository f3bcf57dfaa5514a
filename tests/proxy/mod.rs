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
mod grpc;
mod higress;
mod holding;
mod injection;
mod inspect;
mod languages;
mod leaving;
mod limits;
mod lingering;
mod observing;
mod paths;
mod probe;
mod queues;
pub(crate) mod rate_limit;
mod reload;
mod reload_by_admin;
mod scale;
mod sdk;
mod sharing;
mod smuggling;
mod tcp;
mod upgrades;
mod upstream_failures;
mod watch;
