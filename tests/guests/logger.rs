//! Logs every callback with its arguments, at `info`: the order and the arguments are what two hosts are compared by.
//! Configuration: names of request headers to log, separated by spaces. With `pause-body` among them it pauses on each
//! piece of a body but the last, so that the accumulated sizes show.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use log::info;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    info!("start");
    proxy_wasm::set_root_context(|id| {
        info!("root {id}: create");
        Box::new(Root { id, names: Vec::new() })
    });
}}

struct Root {
    id: u32,
    names: Vec<String>,
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        info!("root {}: done", self.id);
        true
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        info!("root {}: vm_start {size} {}", self.id, shown(self.get_vm_configuration()));
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let config = self.get_plugin_configuration();
        info!("root {}: configure {size} {}", self.id, shown(config.clone()));
        let config = String::from_utf8(config.unwrap_or_default()).unwrap_or_default();
        self.names = config.split_whitespace().map(str::to_owned).collect();
        true
    }

    fn on_log(&mut self) {
        info!("root {}: log", self.id);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        info!("stream {id}: create");
        let (pauses, names) = self.names.iter().cloned().partition(|name| name == "pause-body");
        Some(Box::new(Stream { id, names, pauses: !Vec::<String>::is_empty(&pauses) }))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        info!("root {}: delete", self.id);
    }
}

struct Stream {
    id: u32,
    names: Vec<String>,
    pauses: bool,
}

impl Stream {
    fn after_piece(&self, last: bool) -> Action {
        if self.pauses && !last { Action::Pause } else { Action::Continue }
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        info!("stream {}: done", self.id);
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        info!("stream {}: request_headers end={end_of_stream}", self.id);
        for name in &self.names {
            let value = self.get_http_request_header_bytes(name);
            info!("stream {}:   {name}: {}", self.id, shown(value));
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        info!("stream {}: request_body {size} end={end_of_stream}", self.id);
        self.after_piece(end_of_stream)
    }

    fn on_http_request_trailers(&mut self, trailers: usize) -> Action {
        info!("stream {}: request_trailers {trailers}", self.id);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let status = self.get_http_response_header_bytes(":status");
        info!("stream {}: response_headers {} end={end_of_stream}", self.id, shown(status));
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        info!("stream {}: response_body {size} end={end_of_stream}", self.id);
        self.after_piece(end_of_stream)
    }

    fn on_http_response_trailers(&mut self, trailers: usize) -> Action {
        info!("stream {}: response_trailers {trailers}", self.id);
        Action::Continue
    }

    fn on_log(&mut self) {
        info!("stream {}: log", self.id);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        info!("stream {}: delete", self.id);
    }
}

fn shown(bytes: Option<Bytes>) -> String {
    bytes.map_or("-".to_owned(), |bytes| format!("{:?}", String::from_utf8_lossy(&bytes)))
}
