//! Reads one header and adds one, each way: the filter of the benchmark.
//!
//! Straight on the proxy-wasm crate, so that what is measured is the host and nothing of ours.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Headers));
}}

struct Headers;

impl Context for Headers {}

impl HttpContext for Headers {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let agent = self.get_http_request_header_bytes("user-agent");
        self.add_http_request_header("x-guest-request", if agent.is_some() { "agent" } else { "no agent" });
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let kind = self.get_http_response_header_bytes("content-type");
        self.add_http_response_header("x-guest-response", if kind.is_some() { "typed" } else { "untyped" });
        Action::Continue
    }
}
