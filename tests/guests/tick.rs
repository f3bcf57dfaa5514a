//! Ticks. Configuration: the period in milliseconds. A request with `x-wait: N` is paused and resumed from the Nth tick
//! after it; `x-ticks` tells it how many there were by then.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls::set_effective_context;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { ticks: 0, waiting: Waiting::default() }));
}}

/// By stream: how many ticks it waits yet.
type Waiting = Rc<RefCell<BTreeMap<u32, u32>>>;

struct Root {
    ticks: u32,
    waiting: Waiting,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let config = String::from_utf8(self.get_plugin_configuration().unwrap_or_default());
        let Some(period_ms) = config.ok().and_then(|config| config.trim().parse().ok()) else { return false };
        self.set_tick_period(Duration::from_millis(period_ms));
        true
    }

    fn on_tick(&mut self) {
        self.ticks += 1;
        let mut due = Vec::new();
        self.waiting.borrow_mut().retain(|stream, left| {
            *left -= 1;
            if *left == 0 {
                due.push(*stream);
            }
            *left > 0
        });
        for stream in due {
            if set_effective_context(stream).is_ok() {
                let resumed = Stream { id: stream, waiting: self.waiting.clone() };
                resumed.add_http_request_header("x-ticks", &self.ticks.to_string());
                resumed.resume_http_request();
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, waiting: self.waiting.clone() }))
    }
}

struct Stream {
    id: u32,
    waiting: Waiting,
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        self.waiting.borrow_mut().remove(&self.id);
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let ticks = self.get_http_request_header("x-wait").and_then(|ticks| ticks.parse().ok());
        match ticks.filter(|ticks| *ticks > 0) {
            Some(ticks) => {
                self.waiting.borrow_mut().insert(self.id, ticks);
                Action::Pause
            }
            None => Action::Continue,
        }
    }
}
