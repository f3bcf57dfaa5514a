//! Test filters: the built module on the real host, driven by the proxy's own pipeline, in a world that the test controls.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_test::{Kit, Module, Outcome, Request, Response};
//!
//! let module = Module::build(env!("CARGO_MANIFEST_DIR"));
//! let kit = Kit::of(&module).config(serde_json::json!({"rate": "1/s"})).workers(2).start();
//! kit.upstream(|request| Response::new(200).body(request.target().to_owned()));
//!
//! let seen = kit.send(Request::get("/items").header("x-user", "ann"));
//! assert_eq!((seen.status(), seen.text().as_str()), (200, "/items"));
//!
//! let seen = kit.send(Request::get("/items").header("x-user", "ann").on_worker(1));
//! assert_eq!((seen.outcome(), seen.status()), (Outcome::Replied, 429));
//! assert!(!seen.was_forwarded());
//!
//! kit.advance(Duration::from_secs(1));
//! assert_eq!(kit.send(Request::get("/items").header("x-user", "ann")).status(), 200);
//! assert_eq!(kit.counter("rate_limited"), 1);
//! ```
//!
//! # What is real, and what is not
//!
//! The module is the one that ships, in whatever language it was written, compiled and bounded as in the proxy. Pauses,
//! held bodies, limits, replies, failures and callouts go through the code that the proxy serves with: what a test sees
//! here is what a client would see. There are no sockets, no routes and no threads: workers are instances that take turns,
//! a request names the worker that takes it, and what the proxy does around its chain (finding routes, forwarding headers,
//! timeouts of routes) is not done.
//!
//! Nothing depends on the machine: time is [virtual](Kit), randomness has a [seed](Setup::seed), and a callback costs
//! the same number of [instructions](Seen::instructions) in every run. A test that asserts a cost fails only when the
//! filter, or the compiler that built it, has changed.
//!
//! # Where to begin
//!
//! [`Module`] is the code, [`Kit::of`] configures it ([`Setup`]), [`Setup::start`] runs it ([`Kit`]). [`Kit::send`] is a
//! whole exchange, [`Kit::open`] one step by step ([`Exchange`]); [`Seen`] is what became of it.
//! [`Setup::assert_chunking_is_invisible`] tries an exchange in every division of its bodies.
//!
//! A kit has a runtime of its own: use it from plain `#[test]` functions. Each test has its own kit, and kits share
//! nothing.

#[doc(inline)]
pub use tidegate::kit::{
    Answer, Call, Callback, Certificate, Exchange, Failure, Fault, FaultKind, FilterLimits, Forwarded,
    Histogram, Kit, LogLevel, LogLine, Module, Outcome, Received, Refused, Request, Response, Seen, Setup,
    Tls,
};
