//! Between the proxy-wasm crate's callbacks and a [`Filter`]: one root context for a plugin, one context an exchange.

use std::rc::Rc;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, StreamType};

use crate::body::Body;
use crate::exchange::{Exchange, Request, Response};
use crate::filter::{Filter, Next};
use crate::scope::{Background, Direction, Scope, Services, enter};
use crate::{callout, config, hold, host, logging};

/// Registers a filter with the host; what [`filter!`](crate::filter) calls at the module's start. A module with a start of
/// its own, or with several roots, calls it there:
///
/// ```no_run
/// # use tidegate_sdk::{Filter, NoConfig};
/// # struct Mine;
/// # impl Filter for Mine {
/// #     type Config = NoConfig;
/// #     type State = ();
/// #     fn new(_: NoConfig) -> Result<Mine, String> { Ok(Mine) }
/// # }
/// tidegate_sdk::proxy_wasm::main! {{
///     tidegate_sdk::start::<Mine>();
/// }}
/// # fn main() {}
/// ```
pub fn start<F: Filter>() {
    logging::start();
    proxy_wasm::set_root_context(|context| {
        let services = Rc::new(Services::of(context));
        Box::new(Root::<F> { filter: None, scope: Scope { context, services } })
    });
}

struct Root<F> {
    filter: Option<Rc<F>>,
    scope: Scope,
}

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Scope { context, services } = &self.scope;
        enter(*context);
        let made = config::parse(&host::buffer(BufferType::PluginConfiguration)).and_then(F::new);
        let filter = match made {
            Ok(filter) => filter,
            Err(problem) => {
                error!("{problem}"); // the host shows it as the reason
                return false;
            }
        };
        services.cancel(*context); // what the filter did in the background with the configuration before
        filter.on_start(&Background(self.scope.clone()));
        self.filter = Some(Rc::new(filter));
        services.tick_for_woken();
        true
    }

    fn on_tick(&mut self) {
        let Scope { context, services } = &self.scope;
        enter(*context);
        services.tick(*context);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let (filter, services) = (self.filter.clone()?, self.scope.services.clone());
        let exchange = Ending(Exchange(Scope { context, services }));
        Some(Box::new(Stream { filter, state: F::State::default(), exchange }))
    }
}

impl<F> Context for Root<F> {
    /// An answer to a callout that was made outside the callbacks of exchanges.
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Scope { context, services } = &self.scope;
        enter(*context);
        callout::receive(services, token, headers);
        services.run_woken(*context, None);
        services.tick_for_woken();
    }
}

/// A host may end one of several roots of a module.
impl<F> Drop for Root<F> {
    fn drop(&mut self) {
        let Scope { context, services } = &self.scope;
        enter(*context);
        services.cancel(*context);
    }
}

struct Stream<F: Filter> {
    filter: Rc<F>,
    state: F::State,
    /// The last to be dropped.
    exchange: Ending,
}

impl<F: Filter> Stream<F> {
    /// What becomes of the exchange after a callback of one direction.
    fn settle(&self, stream: StreamType, next: Next) -> Action {
        let Scope { context, services } = &self.exchange.0.0;
        match services.settle(Direction { context: *context, stream }, next) {
            Next::Continue => Action::Continue,
            Next::Pause => Action::Pause,
            Next::Hold => {
                hold::set();
                Action::Pause
            }
        }
    }
}

/// An exchange whose tasks end with it. What is dropped with them, or with the state of the exchange, may wake others: a
/// lock is released, a channel closes.
struct Ending(Exchange);

impl Ending {
    /// The host has called it.
    fn enter(&self) -> &Exchange {
        enter(self.0.0.context);
        &self.0
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Scope { context, services } = &self.0.0;
        enter(*context);
        services.cancel(*context);
        services.tick_for_woken();
    }
}

impl<F: Filter> Context for Stream<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Scope { context, services } = &self.exchange.enter().0;
        callout::receive(services, token, headers);
        services.run_own(*context);
    }
}

impl<F: Filter> HttpContext for Stream<F> {
    fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: self.exchange.enter(), end_of_stream };
        let next = self.filter.on_request_headers(&mut self.state, &request);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_request_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let request = Request { exchange: self.exchange.enter(), end_of_stream };
        let body = Body { buffer: BufferType::HttpRequestBody, len, end_of_stream };
        let next = self.filter.on_request_body(&mut self.state, &request, &body);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        let request = Request { exchange: self.exchange.enter(), end_of_stream: true };
        let next = self.filter.on_request_trailers(&mut self.state, &request);
        self.settle(StreamType::HttpRequest, next)
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: self.exchange.enter(), end_of_stream };
        let next = self.filter.on_response_headers(&mut self.state, &response);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_http_response_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let response = Response { exchange: self.exchange.enter(), end_of_stream };
        let body = Body { buffer: BufferType::HttpResponseBody, len, end_of_stream };
        let next = self.filter.on_response_body(&mut self.state, &response, &body);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        let response = Response { exchange: self.exchange.enter(), end_of_stream: true };
        let next = self.filter.on_response_trailers(&mut self.state, &response);
        self.settle(StreamType::HttpResponse, next)
    }

    fn on_log(&mut self) {
        self.filter.on_end(&mut self.state, self.exchange.enter());
    }
}
