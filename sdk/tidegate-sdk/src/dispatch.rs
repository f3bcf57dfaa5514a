//! Between the proxy-wasm crate's callbacks and a [`Filter`]: one root context for a plugin, one context an exchange.

use std::rc::Rc;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel};

use crate::callout::Answer;
use crate::exchange::{Body, Exchange, Request, Response, Services, report};
use crate::filter::{Filter, Next};
use crate::{config, hold, host};

/// Registers a filter with the host; what [`filter!`](crate::filter) calls at the module's start.
pub fn start<F: Filter>() {
    // Sets the panic hook too: message and place go to the host's log. Which levels are shown is the host's choice.
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::<F> { filter: None, services: Rc::default() }));
}

struct Root<F> {
    filter: Option<Rc<F>>,
    services: Rc<Services>,
}

impl<F> Root<F> {
    /// Runs what belongs to an exchange outside its own callbacks; not when it is over.
    fn enter(&self, context: u32, run: impl FnOnce(&Exchange)) {
        if host::set_effective_context(context).is_ok() {
            run(&Exchange { context, services: self.services.clone() });
        }
    }
}

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, _size: usize) -> bool {
        let made = config::parse(&host::buffer(BufferType::PluginConfiguration)).and_then(F::new);
        match made {
            Ok(filter) => self.filter = Some(Rc::new(filter)),
            Err(problem) => error!("configuration refused: {problem}"),
        }
        self.filter.is_some()
    }

    fn on_tick(&mut self) {
        let due = self.services.timers.borrow_mut().take_due(host::now());
        for (context, later) in due {
            self.enter(context, later);
        }
        let period = self.services.timers.borrow_mut().rearm(host::now());
        report("set the tick period", host::set_tick_period(period));
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let (filter, services) = (self.filter.clone()?, self.services.clone());
        Some(Box::new(Stream {
            filter,
            state: F::State::default(),
            exchange: Exchange { context, services },
        }))
    }
}

impl<F> Context for Root<F> {
    /// An answer to a callout that was made outside the exchange's own callbacks.
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let waiting = self.services.callouts.borrow_mut().remove(&token);
        if let Some((context, answered)) = waiting {
            self.enter(context, |exchange| answered(exchange, &Answer { has_headers: headers > 0 }));
        }
    }
}

struct Stream<F: Filter> {
    filter: Rc<F>,
    state: F::State,
    exchange: Exchange,
}

impl<F: Filter> Drop for Stream<F> {
    fn drop(&mut self) {
        let Exchange { context, services } = &self.exchange;
        services.timers.borrow_mut().cancel(*context);
        let mut callouts = services.callouts.borrow_mut();
        if !callouts.is_empty() {
            callouts.retain(|_, (owner, _)| owner != context);
        }
    }
}

impl<F: Filter> Context for Stream<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let waiting = self.exchange.services.callouts.borrow_mut().remove(&token);
        if let Some((_, answered)) = waiting {
            answered(&self.exchange, &Answer { has_headers: headers > 0 });
        }
    }
}

impl<F: Filter> HttpContext for Stream<F> {
    fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream };
        action(self.filter.on_request_headers(&mut self.state, &request))
    }

    fn on_http_request_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream };
        let body = Body { buffer: BufferType::HttpRequestBody, len, end_of_stream };
        action(self.filter.on_request_body(&mut self.state, &request, &body))
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream: true };
        action(self.filter.on_request_trailers(&mut self.state, &request))
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream };
        action(self.filter.on_response_headers(&mut self.state, &response))
    }

    fn on_http_response_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream };
        let body = Body { buffer: BufferType::HttpResponseBody, len, end_of_stream };
        action(self.filter.on_response_body(&mut self.state, &response, &body))
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream: true };
        action(self.filter.on_response_trailers(&mut self.state, &response))
    }

    fn on_log(&mut self) {
        self.filter.on_end(&mut self.state, &self.exchange);
    }
}

fn action(next: Next) -> Action {
    match next {
        Next::Continue => Action::Continue,
        Next::Pause => Action::Pause,
        Next::Hold => {
            hold::set();
            Action::Pause
        }
    }
}
