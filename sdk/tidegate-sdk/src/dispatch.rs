//! Between the proxy-wasm crate's callbacks and a [`Filter`]: one root context for a plugin, one context an exchange.

use std::rc::Rc;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, StreamType};

use crate::body::Body;
use crate::exchange::{Exchange, Request, Response};
use crate::filter::{Filter, Next};
use crate::host::report;
use crate::scope::{Background, Scope};
use crate::{callout, config, hold, host, logging};

/// Registers a filter with the host; what [`filter!`](crate::filter) calls at the module's start.
pub fn start<F: Filter>() {
    logging::start();
    proxy_wasm::set_root_context(|context| {
        Box::new(Root::<F> { filter: None, scope: Scope { context, services: Rc::default() } })
    });
}

struct Root<F> {
    filter: Option<Rc<F>>,
    scope: Scope,
}

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, _size: usize) -> bool {
        let made = config::parse(&host::buffer(BufferType::PluginConfiguration)).and_then(F::new);
        let filter = match made {
            Ok(filter) => filter,
            Err(problem) => {
                error!("{problem}"); // the host shows it as the reason
                return false;
            }
        };
        let Scope { context, services } = &self.scope;
        services.cancel(*context); // what the filter did in the background with the configuration before
        filter.on_start(&Background(self.scope.clone()));
        self.filter = Some(Rc::new(filter));
        true
    }

    fn on_tick(&mut self) {
        let Scope { context, services } = &self.scope;
        services.timers.borrow_mut().wake_due(host::now());
        services.run_woken(*context, true);
        let period = services.timers.borrow_mut().rearm(host::now());
        report("set the tick period", host::set_tick_period(period));
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let (filter, services) = (self.filter.clone()?, self.scope.services.clone());
        let exchange = Exchange(Scope { context, services });
        Some(Box::new(Stream { filter, state: F::State::default(), exchange }))
    }
}

impl<F> Context for Root<F> {
    /// An answer to a callout that was made outside the callbacks of exchanges.
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Scope { context, services } = &self.scope;
        callout::receive(services, token, headers);
        services.run_woken(*context, true);
    }
}

struct Stream<F: Filter> {
    filter: Rc<F>,
    state: F::State,
    exchange: Exchange,
}

impl<F: Filter> Stream<F> {
    /// What becomes of the exchange after a callback of one direction: it cannot go on while it waits for a future.
    fn settle(&self, stream: StreamType, next: Next) -> Action {
        let Scope { context, services } = &self.exchange.0;
        services.run_woken(*context, false);
        let next = match next {
            Next::Continue if services.is_waiting(*context, stream) => Next::Hold,
            next => next,
        };
        match next {
            Next::Continue => Action::Continue,
            Next::Pause => Action::Pause,
            Next::Hold => {
                hold::set();
                Action::Pause
            }
        }
    }
}

impl<F: Filter> Drop for Stream<F> {
    fn drop(&mut self) {
        let Scope { context, services } = &self.exchange.0;
        services.cancel(*context);
    }
}

impl<F: Filter> Context for Stream<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Scope { context, services } = &self.exchange.0;
        callout::receive(services, token, headers);
        services.run_woken(*context, false);
    }
}

impl<F: Filter> HttpContext for Stream<F> {
    fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream };
        let next = self.filter.on_request_headers(&mut self.state, &request);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_request_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream };
        let body = Body { buffer: BufferType::HttpRequestBody, len, end_of_stream };
        let next = self.filter.on_request_body(&mut self.state, &request, &body);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        let request = Request { exchange: &self.exchange, end_of_stream: true };
        let next = self.filter.on_request_trailers(&mut self.state, &request);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream };
        let next = self.filter.on_response_headers(&mut self.state, &response);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_http_response_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream };
        let body = Body { buffer: BufferType::HttpResponseBody, len, end_of_stream };
        let next = self.filter.on_response_body(&mut self.state, &response, &body);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        let response = Response { exchange: &self.exchange, end_of_stream: true };
        let next = self.filter.on_response_trailers(&mut self.state, &response);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_log(&mut self) {
        self.filter.on_end(&mut self.state, &self.exchange);
    }
}
