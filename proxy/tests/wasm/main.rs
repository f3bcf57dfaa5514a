//! The Wasm host without the proxy: guests made of text, on a bench with a clock of its own.

mod bench;
mod guest;

mod arguments;
mod bodies;
mod callouts;
mod faults;
mod foreign;
mod headers;
mod life_cycle;
mod loading;
mod properties;
mod queues;
mod replies;
mod services;
mod sharing;
mod wasi;
