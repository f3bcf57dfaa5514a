//! The end-to-end tests: the built proxy over loopback, with real sockets on both sides of it.

mod differential;
mod equipment;
mod proxy;
