//! Logs trailers and adds `x-guest-trailer` to those of either side; with the configuration `create` also to messages
//! that have none, at the end of their body.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use log::info;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Trailers { create: false }));
}}

struct Trailers {
    create: bool,
}

impl Context for Trailers {}

impl RootContext for Trailers {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.create = self.get_plugin_configuration().is_some_and(|config| config == b"create");
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Trailers { create: self.create }))
    }
}

impl HttpContext for Trailers {
    fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if self.create && end_of_stream {
            self.add_http_request_trailer("x-guest-trailer", "created");
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, trailers: usize) -> Action {
        info!("request trailers {trailers}: {:?}", self.get_http_request_trailers());
        self.add_http_request_trailer("x-guest-trailer", "added");
        Action::Continue
    }

    fn on_http_response_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if self.create && end_of_stream {
            self.add_http_response_trailer("x-guest-trailer", "created");
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, trailers: usize) -> Action {
        info!("response trailers {trailers}: {:?}", self.get_http_response_trailers());
        self.add_http_response_trailer("x-guest-trailer", "added");
        Action::Continue
    }
}
