//! tidegate: a programmable proxy for service-to-service traffic, extended with WebAssembly.

pub mod config;
pub mod wasm;
