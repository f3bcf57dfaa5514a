//! tidegate: a programmable proxy for service-to-service traffic, extended with WebAssembly.

pub mod admin;
pub mod canary;
#[cfg(feature = "kit")]
pub mod cases;
pub mod cli;
pub mod config;
pub mod error;
pub mod exchange;
pub mod filter;
pub mod grpc;
pub mod inspect;
#[cfg(feature = "kit")]
pub mod kit;
pub mod path;
pub mod recording;
pub mod route;
pub mod signature;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wasm;

mod boxed;
mod builtin;
#[cfg(feature = "kit")]
mod dev;
mod files;
mod http2;
mod listener;
mod origin;
mod overload;
mod snapshot;
mod socket;
mod tcp;
mod terminal;
mod top;
mod transport;

pub mod server;
