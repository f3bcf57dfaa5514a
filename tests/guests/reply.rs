//! Answers in the upstream's place, at the callback that the request header `x-reply-at` names: `request-headers`,
//! `request-body`, `response-headers` or `response-body`. Status: `x-reply-status`, else 403.
//!
//! It marks every response that passes it with `x-reply-seen`, its own too.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Reply { at: String::new(), status: 403 }));
}}

struct Reply {
    at: String,
    status: u32,
}

impl Reply {
    fn at(&mut self, place: &str) -> Action {
        if self.at != place {
            return Action::Continue;
        }
        // Once: the reply runs through the callbacks of the response itself.
        self.at.clear();
        self.send_http_response(self.status, vec![("x-reply", place)], Some(place.as_bytes()));
        Action::Pause
    }
}

impl Context for Reply {}

impl HttpContext for Reply {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        self.at = self.get_http_request_header("x-reply-at").unwrap_or_default();
        let status = self.get_http_request_header("x-reply-status");
        self.status = status.and_then(|status| status.parse().ok()).unwrap_or(403);
        self.at("request-headers")
    }

    fn on_http_request_body(&mut self, _size: usize, _end_of_stream: bool) -> Action {
        self.at("request-body")
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        self.add_http_response_header("x-reply-seen", "1");
        self.at("response-headers")
    }

    fn on_http_response_body(&mut self, _size: usize, _end_of_stream: bool) -> Action {
        self.at("response-body")
    }
}
