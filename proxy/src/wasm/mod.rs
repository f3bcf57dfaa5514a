//! The Proxy-Wasm host: runs filters that are WebAssembly modules.
//!
//! In the order in which one would read it:
//!
//! - [`outline`] reads what a module says of itself, and finds what keeps it from being a filter; [`exports`] is the
//!   table of what it may offer.
//! - [`engine`] compiles; [`module`] is what was compiled, and linked; [`plugin`] is a module and its configuration.
//! - [`vm`] is one running instance of a plugin: the callbacks that the pipeline calls. `instance` is how it starts,
//!   [`proof`] how that is tried before anything depends on it.
//! - `host` is what an instance knows: its contexts, the one that it acts on, what it asked for; `root` what each of
//!   the filters that share it has of its own.
//! - [`hostcalls`] is what a guest may call: one table, one file for each family; `grants` is what of it a filter may do
//!   whose configuration says so, and [`manifest`] what its module asks for.
//! - [`grpc`] is what an instance has open of gRPC callouts; an [`effect`] is what else it asks for that takes time.
//! - `memory` and `pairs` are how values go in and out of a guest, `header_map` how it sees headers; `tally` and
//!   `stopwatch` measure it meanwhile.
//! - [`stream`] is the exchange as guests see it, shared with the pipeline; [`body`] a piece of its body.
//! - [`witness`] is who watches an instance: what is recorded, and replayed.
//! - [`shared_data`] (and `cells` and [`queues`], beside it), [`metrics`] and [`usage`] outlive instances; [`services`]
//!   hands them to one.
//!
//! It must know no sockets and no HTTP implementation: what a guest asks for that takes time comes out as an
//! [`Effect`] or a [`stream::StreamAction`], performed by the caller after the guest has returned. A guest call never
//! awaits. Every guest is hostile until shown otherwise.

pub mod abi;
pub mod body;
pub mod debug_info;
pub mod effect;
pub mod engine;
pub mod exports;
pub mod fault;
pub mod grpc;
pub mod lazy_headers;
pub mod manifest;
pub mod metrics;
pub mod module;
pub mod outline;
pub mod plugin;
pub mod proof;
pub mod properties;
pub mod queues;
pub mod services;
pub mod shared_data;
mod store;
pub mod stream;
pub mod usage;
pub mod vm;
pub mod witness;

mod cells;
mod context;
mod fields;
mod grants;
mod grpc_service;
mod header_map;
mod host;
pub mod hostcalls;
pub mod image;
mod instance;
mod memory;
mod pairs;
mod protobuf;
mod root;
pub mod stamp;
mod stopwatch;
mod tally;

pub use abi::{
    AbiVersion, Callback, ConnectionStatus, DataStatus, HeadersStatus, LogLevel, PeerType, TrailersStatus,
};
pub use cells::CellsUsage;
pub use effect::{Abandoned, CalloutResponse, CalloutResult, Effect, HttpCall};
pub use engine::{EPOCH_PERIOD, Engine};
pub use fault::{Fault, FaultKind};
pub use grants::Capability;
pub use grpc::{GrpcCallout, GrpcEvent, GrpcKind};
pub use image::{Blank, NoImage};
pub use metrics::GuestMetrics;
pub use module::{LoadError, Module};
pub use outline::Outline;
pub use plugin::Plugin;
pub use proof::Proof;
pub use queues::Inbox;
pub use services::{
    Clock, Clusters, GuestLog, NoRandomness, ProcessLog, Randomness, Services, SystemClock, SystemRandomness,
};
pub use shared_data::SharedData;
pub use stamp::Stamp;
pub use usage::{CallbackCost, FilterUsage, Work};
pub use vm::{ContextId, Vm};
