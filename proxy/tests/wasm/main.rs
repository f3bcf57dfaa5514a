//! The Wasm host without the proxy: guests made of text, on a bench with a clock of its own.

mod bench;
#[path = "../../../tests/docs/hostcalls.rs"]
mod documented;
mod guest;

mod accounting;
mod arguments;
mod bodies;
mod callouts;
mod capabilities;
mod connections;
mod faults;
mod foreign;
mod grpc;
mod headers;
mod inspect;
mod life_cycle;
mod loading;
mod properties;
mod queues;
mod replies;
mod services;
mod sharing;
mod wasi;
mod watching;
