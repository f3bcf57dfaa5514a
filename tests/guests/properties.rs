//! Shows properties to the client. Configuration: dotted paths separated by spaces, such as `source.address
//! request.method`. Each becomes a response header `x-property: PATH=VALUE`, read while the response's headers are at
//! hand; a value that is not printable text is shown in hexadecimal, one that is not there as `-`.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Properties(Vec::new())));
}}

#[derive(Clone)]
struct Properties(Vec<String>);

impl Context for Properties {}

impl RootContext for Properties {
    fn on_configure(&mut self, _size: usize) -> bool {
        let config = self.get_plugin_configuration().unwrap_or_default();
        self.0 = String::from_utf8_lossy(&config).split_whitespace().map(str::to_owned).collect();
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(self.clone()))
    }
}

impl HttpContext for Properties {
    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        for path in &self.0 {
            let value = self.get_property(path.split('.').collect()).map_or("-".to_owned(), shown);
            self.add_http_response_header("x-property", &format!("{path}={value}"));
        }
        Action::Continue
    }
}

fn shown(value: Vec<u8>) -> String {
    match String::from_utf8(value) {
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic() || c == ' ') => text,
        Ok(text) => hexadecimal(text.as_bytes()),
        Err(error) => hexadecimal(error.as_bytes()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
