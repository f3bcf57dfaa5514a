//! Counts requests over all workers in shared data, by compare-and-swap, and in a counter metric `shared_requests`. Each
//! response tells its number in `x-count`.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use proxy_wasm::hostcalls::{define_metric, increment_metric};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MetricType, Status};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Shared { counter: 0, number: 0 }));
}}

const KEY: &str = "requests";

struct Shared {
    counter: u32,
    number: u64,
}

impl Context for Shared {}

impl RootContext for Shared {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.counter = define_metric(MetricType::Counter, "shared_requests").unwrap_or(0);
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Shared { counter: self.counter, number: 0 }))
    }
}

impl HttpContext for Shared {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let _ = increment_metric(self.counter, 1);
        loop {
            let (value, cas) = self.get_shared_data(KEY);
            let last = value.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
            self.number = last.unwrap_or(0) + 1;
            match self.set_shared_data(KEY, Some(&self.number.to_le_bytes()), cas) {
                Err(Status::CasMismatch) => continue,
                _ => return Action::Continue,
            }
        }
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        self.add_http_response_header("x-count", &self.number.to_string());
        Action::Continue
    }
}
