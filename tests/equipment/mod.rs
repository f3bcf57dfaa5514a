//! The equipment of the end-to-end tests: three nouns over loopback, and what must always hold between them.
//!
//! [`Upstream`] is a real HTTP/1.1 server that does exactly what a test's script says, and [`GrpcService`] a gRPC one; [`Proxy`] is the built
//! `tidegate` binary; [`Client`] says and reads exact bytes. [`Envoy`] is the arbiter, behind the same face as the
//! proxy. [`Guest`] makes small Proxy-Wasm modules. Plain threads and blocking sockets: what is tested is the only
//! asynchronous thing here. Everything binds port 0, owns what it starts, and waits for conditions, never for time.

mod backend;
mod chaos;
mod checks;
mod client;
pub(crate) mod compression;
mod envoy;
pub(crate) mod frames;
mod grpc;
pub(crate) mod grpc_web;
mod guest;
mod hostcall;
mod http1;
mod http2;
pub(crate) mod interop;
pub(crate) mod language;
pub(crate) mod load;
pub(crate) mod peers;
pub(crate) mod process;
mod proxy;
mod registry;
mod script;
mod step;
mod terminal;
mod tls;
pub(crate) mod tool;
mod upstream;
mod wait;
mod wat;

pub(crate) use backend::Backend;
pub(crate) use chaos::{Chaos, Outcome};
pub(crate) use client::{Client, Response, is_whole, request_text};
pub(crate) use envoy::{Envoy, envoy_cluster, guest_line, http_bootstrap};
pub(crate) use grpc::{GrpcAct, GrpcEnd, GrpcService, Rpc};
pub(crate) use guest::{Guest, On};
pub(crate) use hostcall::pairs;
pub(crate) use http1::{Body, End, Framing, Head};
pub(crate) use http2::{Http2Client, Http2Response};
pub(crate) use language::Language;
pub(crate) use proxy::{Exit, Proxy, Start, forwarding, in_listener, message, text, with_admin};
pub(crate) use registry::{ANN, Layout, Registry, base64, digest};
pub(crate) use script::{Act, Answer, Gate};
pub(crate) use step::{Buffer, Flow, GrpcRequest, Map, Step, Token, When};
pub(crate) use terminal::Terminal;
pub(crate) use tls::{Authority, Issued, TlsClient, TlsOptions, TlsServer, tls_accepted};
pub(crate) use upstream::{Received, Upstream, refusing_address, silent_address};
pub(crate) use wait::{BOUND, eventually};
