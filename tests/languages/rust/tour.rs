//! The tour in Rust, with the plain `proxy-wasm` crate: see ../README.md.
#![allow(missing_docs, unsafe_code)] // what the crate's macro makes

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel, MapType, MetricType, Status};

const TIMEOUT: Duration = Duration::from_secs(5);

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context| {
        say(&format!("context_create ctx={context} parent=0"));
        Box::new(Root::default())
    });
}}

fn say(line: &str) {
    let _ = hostcalls::log(LogLevel::Info, &format!("[tour] {line}"));
}

#[derive(Default)]
struct Root {
    configuration: String,
    requests: u32,
    ticks: u32,
    /// Which exchange waits for a tick; 0 for none.
    later: Rc<Cell<u32>>,
}

impl Root {
    fn define_metrics(&mut self) -> Result<(), Status> {
        self.requests = hostcalls::define_metric(MetricType::Counter, "tour_requests")?;
        self.ticks = hostcalls::define_metric(MetricType::Gauge, "tour_ticks")?;
        Ok(())
    }

    fn let_go(&self) -> Result<(), Status> {
        hostcalls::increment_metric(self.ticks, 1)?;
        let count = hostcalls::get_metric(self.ticks)?;
        hostcalls::set_effective_context(self.later.get())?;
        hostcalls::set_map_value(MapType::HttpRequestHeaders, "x-ticks", Some(&count.to_string()))?;
        hostcalls::resume_http_request()
    }
}

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        match cfg!(target_os = "wasi") {
            true => println!("[tour] printed"),
            false => say("printed"), // there is no standard output
        }
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        self.configuration = String::from_utf8_lossy(&bytes).into_owned();
        if self.configuration.is_empty() {
            let _ = hostcalls::log(LogLevel::Error, "[tour] there is no configuration");
            return false;
        }
        say(&format!("configured with {}", self.configuration));
        self.define_metrics().is_ok()
    }

    fn on_tick(&mut self) {
        self.set_tick_period(Duration::ZERO);
        let _ = self.let_go(); // unless the client has left
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let (configuration, requests, later) =
            (self.configuration.clone(), self.requests, self.later.clone());
        Some(Box::new(Exchange { context, configuration, requests, later }))
    }
}

struct Exchange {
    context: u32,
    configuration: String,
    requests: u32,
    later: Rc<Cell<u32>>,
}

impl Exchange {
    fn wait(&self) -> Action {
        self.later.set(self.context);
        let _ = hostcalls::set_tick_period(Duration::from_millis(1));
        Action::Pause
    }

    fn ask(&self) -> Action {
        let headers = vec![
            (":method", "POST"),
            (":path", "/question"),
            (":authority", "asked.test"),
            ("x-tour", "asks"),
        ];
        match self.dispatch_http_call("up", headers, Some(b"question"), vec![], TIMEOUT) {
            Ok(_) => Action::Pause,
            Err(_) => Action::Continue,
        }
    }
}

fn text(bytes: Option<Bytes>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

impl Context for Exchange {
    fn on_http_call_response(&mut self, _: u32, _: usize, size: usize, _: usize) {
        let header = |name| self.get_http_call_response_header(name).unwrap_or_default();
        let body = text(self.get_http_call_response_body(0, size));
        let answer = format!("{} {} {body}", header(":status"), header("x-by"));
        self.set_http_request_header("x-answer", Some(&answer));
        self.resume_http_request();
    }
}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        say(&format!("request_headers {path}"));
        let _ = hostcalls::increment_metric(self.requests, 1);
        if path == "/denied" {
            let body = format!("denied by {}\n", self.configuration);
            self.send_http_response(403, vec![("x-tour", "denied")], Some(body.as_bytes()));
            return Action::Pause;
        }
        let value = self.get_http_request_header("x-in").unwrap_or_default();
        self.set_http_request_header("x-out", Some(&format!("{}({value})", self.configuration)));
        self.add_http_request_header("x-many", "c");
        let headers = self.get_http_request_headers();
        let many: Vec<&str> =
            headers.iter().filter(|(name, _)| name == "x-many").map(|(_, value)| value.as_str()).collect();
        self.set_http_request_header("x-pairs", Some(&many.join("|")));
        self.set_http_request_header("x-remove", None);
        self.set_http_request_header("content-length", None);
        match path.as_str() {
            "/asked" => self.ask(),
            "/later" => self.wait(),
            _ => Action::Continue,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        let body = text(self.get_http_request_body(0, size)).to_uppercase();
        self.set_http_request_body(0, size, format!("{}: {body}", self.configuration).as_bytes());
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let status = self.get_http_response_header(":status").unwrap_or_default();
        self.set_http_response_header("x-status", Some(&status));
        self.set_http_response_header("x-internal", None);
        self.set_http_response_header("content-length", None);
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        self.set_http_response_body(size, 0, format!(" and {}", self.configuration).as_bytes());
        Action::Continue
    }

    fn on_log(&mut self) {
        let status = self.get_http_response_header(":status").unwrap_or_default();
        let requests = hostcalls::get_metric(self.requests).unwrap_or_default();
        say(&format!("log {status} requests={requests}"));
    }
}
