//! Misbehaves on demand: `x-fault: panic | unreachable | loop | memory | stack` on a request or on a response, or as the
//! configuration: `reject` refuses it, `panic` fails while reading it.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use std::hint::black_box;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Faulty));
}}

struct Faulty;

impl Context for Faulty {}

impl RootContext for Faulty {
    fn on_configure(&mut self, _size: usize) -> bool {
        match self.get_plugin_configuration().unwrap_or_default().as_slice() {
            b"reject" => {
                log::error!("configuration refused, as it asks for");
                false
            }
            b"panic" => panic!("configuration that panics"),
            _ => true,
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Faulty))
    }
}

impl HttpContext for Faulty {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        misbehave(self.get_http_request_header("x-fault").as_deref());
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        misbehave(self.get_http_response_header("x-fault").as_deref());
        Action::Continue
    }
}

fn misbehave(fault: Option<&str>) {
    match fault {
        Some("panic") => panic!("x-fault asked for a panic"),
        Some("unreachable") => std::process::abort(),
        Some("loop") => loop {
            black_box(());
        },
        Some("memory") => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1u8; 1 << 20]));
            }
        }
        Some("stack") => {
            black_box(deeper(0));
        }
        _ => {}
    }
}

/// What it returns depends on every level, so that none of them can be optimised away.
#[expect(unconditional_recursion, reason = "the fault asked for")]
fn deeper(level: u64) -> u64 {
    let frame = black_box([level; 64]);
    deeper(level + 1) + frame[level as usize % 64]
}
