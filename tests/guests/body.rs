//! Changes or counts bodies as they stream by. Configuration: which side, what to do, and with which text, such as
//! `request uppercase`, `response append:tail`, `request replace:other`, `response count`.
//!
//! `replace` pauses until the body is whole; the others change or count each piece and let it go. What is done at the
//! end is not done to a body that trailers follow: its last piece does not say that it is.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use log::info;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root(Job { side: Side::Request, change: Change::Count })));
}}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Request,
    Response,
}

#[derive(Clone)]
enum Change {
    Uppercase,
    Append(String),
    Replace(String),
    Count,
}

#[derive(Clone)]
struct Job {
    side: Side,
    change: Change,
}

struct Root(Job);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let config = self.get_plugin_configuration().unwrap_or_default();
        let config = String::from_utf8_lossy(&config);
        let Some((side, change)) = config.split_once(' ') else { return false };
        let (change, text) = change.split_once(':').unwrap_or((change, ""));
        let change = match change {
            "uppercase" => Change::Uppercase,
            "append" => Change::Append(text.to_owned()),
            "replace" => Change::Replace(text.to_owned()),
            "count" => Change::Count,
            _ => return false,
        };
        self.0 = Job { side: if side == "response" { Side::Response } else { Side::Request }, change };
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { job: self.0.clone(), counted: 0 }))
    }
}

struct Stream {
    job: Job,
    counted: u64,
}

impl Stream {
    fn changes_length(&self, side: Side) -> bool {
        self.job.side == side && matches!(self.job.change, Change::Append(_) | Change::Replace(_))
    }

    fn on_piece(&mut self, side: Side, size: usize, last: bool) -> Action {
        if self.job.side != side {
            return Action::Continue;
        }
        let set = |start, size, bytes: &[u8]| match side {
            Side::Request => self.set_http_request_body(start, size, bytes),
            Side::Response => self.set_http_response_body(start, size, bytes),
        };
        match &self.job.change {
            Change::Uppercase => {
                let bytes = match side {
                    Side::Request => self.get_http_request_body(0, size),
                    Side::Response => self.get_http_response_body(0, size),
                };
                set(0, size, &bytes.unwrap_or_default().to_ascii_uppercase());
            }
            Change::Append(text) if last => set(size, 0, text.as_bytes()),
            Change::Replace(text) if last => set(0, size, text.as_bytes()),
            Change::Replace(_) => return Action::Pause,
            Change::Append(_) => {}
            Change::Count => {
                self.counted += size as u64;
                if last {
                    info!("{side:?} body: {} bytes", self.counted);
                }
            }
        }
        Action::Continue
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if self.changes_length(Side::Request) {
            self.set_http_request_header("content-length", None);
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_piece(Side::Request, size, end_of_stream)
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if self.changes_length(Side::Response) {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_piece(Side::Response, size, end_of_stream)
    }
}
