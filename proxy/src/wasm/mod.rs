//! The Proxy-Wasm host.

pub mod stream;
