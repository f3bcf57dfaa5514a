//! Closes connections whose first line begins with a word that the configuration lists, before any of it has gone on.
//!
//! It stands straight on the proxy-wasm crate: the SDK is for HTTP. So it runs in Envoy too, as a network filter.
#![allow(missing_docs, reason = "what `main!` expands to has none")]

use std::rc::Rc;

use proxy_wasm::hostcalls::{define_metric, increment_metric};
use proxy_wasm::traits::{Context, RootContext, StreamContext};
use proxy_wasm::types::{Action, ContextType, MetricType, PeerType};

/// A line may be this long, in bytes; a connection that begins with a longer one is closed too.
const LONGEST_LINE: usize = 4096;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// The filter on one worker.
#[derive(Default)]
struct Root {
    denied: Rc<Vec<String>>,
    refused: u32,
}

impl Context for Root {}

impl RootContext for Root {
    /// The configuration is a word a line.
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = self.get_plugin_configuration().unwrap_or_default();
        let Ok(text) = String::from_utf8(text) else {
            log::error!("the configuration is not text");
            return false;
        };
        self.denied = Rc::new(text.split_whitespace().map(str::to_owned).collect());
        match define_metric(MetricType::Counter, "first_line_refused") {
            Ok(metric) => self.refused = metric,
            Err(status) => log::warn!("refusals are not counted: {status:?}"),
        }
        true
    }

    fn create_stream_context(&self, _context: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Connection { denied: self.denied.clone(), refused: self.refused, looked: false }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }
}

/// One connection.
struct Connection {
    denied: Rc<Vec<String>>,
    refused: u32,
    /// Its first line was looked at.
    looked: bool,
}

impl Context for Connection {}

impl StreamContext for Connection {
    /// `size` counts all that is held: while this pauses, each piece is shown together with those before it.
    fn on_downstream_data(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.looked {
            return Action::Continue;
        }
        let data = self.get_downstream_data(0, size.min(LONGEST_LINE)).unwrap_or_default();
        let end = data.iter().position(|byte| *byte == b'\n');
        if end.is_none() && !end_of_stream && size < LONGEST_LINE {
            return Action::Pause; // the line is not whole yet
        }
        self.looked = true;
        let line = String::from_utf8_lossy(&data[..end.unwrap_or(data.len())]);
        let word = line.split_whitespace().next().unwrap_or_default();
        if (end.is_none() && size >= LONGEST_LINE) || self.denied.iter().any(|denied| denied == word) {
            log::info!("refused: {word}");
            let _ = increment_metric(self.refused, 1);
            self.close_downstream();
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_downstream_close(&mut self, peer: PeerType) {
        log::debug!("closed by {peer:?}");
    }
}
