//! The Envoy differential: one neutral description of a case runs through tidegate and through a real Envoy with the
//! same modules, and what the client saw, what the upstream saw and what the guests logged must be the same.
//!
//! A difference fails its test unless `deliberate` lists it with a reason; so does one that is listed and no longer
//! there. `TIDEGATE_DIFFERENTIAL=envoy` runs both sides through Envoy: that shows that a case is
//! deterministic and that the equipment itself makes no differences.

mod case;
mod compare;
mod deliberate;
mod observe;
mod render_envoy;
mod render_tidegate;
mod stage;
mod sweep;
mod tcp_stage;

mod balancing;
mod bodies;
mod callouts;
mod calls;
mod chaos;
mod concurrency;
mod connections;
mod examples;
mod foreign;
mod grpc;
mod headers;
mod languages;
mod late;
mod lifecycle;
mod paths;
mod pauses;
mod queues;
mod replies;
mod routing;
mod sdk;
mod services;
mod sharing;
#[cfg(feature = "builtin")]
mod shipped;
mod steering;
mod traps;

pub(crate) use case::{
    Action, Case, Edits, EscapedSlashes, Filter, Path, Paths, Route, Value, value, with_held_headers,
};
pub(crate) use stage::Stage;
pub(crate) use tcp_stage::TcpCase;
