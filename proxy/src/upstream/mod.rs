//! Sending requests to clusters: pick an endpoint, get a connection, send, hand back the response as it comes.
//!
//! One [`Upstreams`] a worker owns that worker's connections; nothing here is shared between workers but the
//! [`Cluster`]s with their counts of requests in flight. It knows no filters and no routes, sets no deadline but
//! the one for connecting (a caller that gives up drops the future, which closes the connection), and tries again
//! only where HTTP says that nobody can tell (see [`Upstreams::send`]).
//!
//! Informational responses (1xx, [RFC 9110 section 15.2]) other than 101 are read and dropped: `100 Continue` from
//! an upstream does not hold the request's body back, and `103 Early Hints` does not reach the client.
//!
//! [RFC 9110 section 15.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.2

mod affinity;
mod balance;
mod body;
mod breakers;
mod budget;
mod cluster;
pub(crate) mod concurrency;
mod connection;
mod endpoint;
mod error;
pub(crate) mod health;
mod http2;
pub(crate) mod outlier;
mod pool;
mod queue;
mod send;
mod tunnel;

pub use affinity::Affinity;
pub use balance::{Balancer, Criteria, Pick};
pub use body::{BoxError, RequestBody, ResponseBody};
pub use budget::Retrying;
pub use cluster::Cluster;
pub use endpoint::{Endpoint, Health, HealthFlag};
pub use error::UpstreamError;
pub use http2::Http2Body;
pub use send::{Attempt, Upstreams};
pub use tunnel::Tunnel;

#[cfg(test)]
mod tests;
