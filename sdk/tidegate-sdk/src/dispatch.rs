//! Between the proxy-wasm crate's callbacks and a [`Filter`]: one root context for a plugin, one context an exchange.

use std::cell::RefCell;
use std::rc::Rc;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, StreamType};

use crate::body::Body;
use crate::exchange::{Exchange, Request, Response};
use crate::filter::{Filter, Next};
use crate::scope::{Background, Direction, Scope, Services, enter};
use crate::{callout, config, entry, hold, host, logging};

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
        let plugin = Rc::new(Plugin::<F> { filter: RefCell::default(), scope: Scope { context, services } });
        entry::register(context, plugin.clone());
        Box::new(Root(plugin))
    });
}

/// A filter with its configuration, once it has one that it accepts.
struct Plugin<F> {
    filter: RefCell<Option<Rc<F>>>,
    scope: Scope,
}

impl<F: Filter> Plugin<F> {
    /// A new exchange.
    fn stream(&self, context: u32) -> Option<Stream<F>> {
        let filter = self.filter.borrow().clone()?;
        let exchange = Exchange(Scope { context, services: self.scope.services.clone() });
        Some(Stream {
            part: Some((filter, F::State::default())),
            exchange: Ending { exchange, has_left: false },
        })
    }
}

impl<F: Filter> entry::Begin for Plugin<F> {
    fn begin(
        &self,
        context: u32,
        headers: usize,
        end_of_stream: bool,
    ) -> (Action, Option<Box<dyn HttpContext>>) {
        let Some(mut stream) = self.stream(context) else { return (Action::Continue, None) };
        let action = stream.on_http_request_headers(headers, end_of_stream);
        match stream.part {
            Some(_) => (action, Some(Box::new(stream))),
            None => (action, None),
        }
    }
}

struct Root<F: Filter>(Rc<Plugin<F>>);

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Scope { context, services } = &self.0.scope;
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
        filter.on_start(&Background(self.0.scope.clone()));
        self.0.filter.replace(Some(Rc::new(filter)));
        services.tick_for_woken();
        true
    }

    fn on_tick(&mut self) {
        let Scope { context, services } = &self.0.scope;
        enter(*context);
        services.tick(*context);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        entry::take_begun().or_else(|| Some(Box::new(self.0.stream(context)?)))
    }
}

impl<F: Filter> Context for Root<F> {
    /// An answer to a callout that was made outside the callbacks of exchanges, or while one began.
    fn on_http_call_response(&mut self, token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Scope { context, services } = &self.0.scope;
        enter(*context);
        callout::receive(services, token, headers);
        services.run_woken(*context, None);
        services.tick_for_woken();
    }
}

/// A host may end one of several roots of a module.
impl<F: Filter> Drop for Root<F> {
    fn drop(&mut self) {
        let Scope { context, services } = &self.0.scope;
        enter(*context);
        entry::forget(*context);
        services.cancel(*context);
    }
}

struct Stream<F: Filter> {
    /// The filter and what it remembers of the exchange, until it leaves.
    part: Option<(Rc<F>, F::State)>,
    /// The last to be dropped.
    exchange: Ending,
}

impl<F: Filter> Stream<F> {
    /// Has the filter see something of one direction.
    fn show(
        &mut self,
        stream: StreamType,
        callback: impl FnOnce(&F, &mut F::State, &Exchange) -> Next,
    ) -> Action {
        let exchange = self.exchange.enter();
        let Some((filter, state)) = &mut self.part else {
            entry::leave(); // where it was left the host could not be told
            return Action::Continue;
        };
        let next = callback(filter, state, exchange);
        let Scope { context, services } = &exchange.0;
        match services.settle(Direction { context: *context, stream }, next) {
            Next::Continue => Action::Continue,
            Next::Leave => {
                entry::leave();
                self.part = None;
                self.exchange.leave();
                Action::Continue
            }
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
struct Ending {
    exchange: Exchange,
    /// What there was of it was given up when the filter left. Handles may have begun more since.
    has_left: bool,
}

impl Ending {
    /// The host has called it.
    fn enter(&self) -> &Exchange {
        enter(self.exchange.0.context);
        &self.exchange
    }

    /// The filter leaves.
    fn leave(&mut self) {
        self.has_left = true;
        self.cancel();
    }

    fn cancel(&self) {
        let Scope { context, services } = &self.enter().0;
        services.cancel(*context);
        services.tick_for_woken();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.has_left || self.exchange.0.services.tasks.borrow().wait() {
            self.cancel();
        }
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
        self.show(StreamType::HttpRequest, |filter, state, exchange| {
            filter.on_request_headers(state, &Request { exchange, end_of_stream })
        })
    }

    fn on_http_request_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let body = Body { buffer: BufferType::HttpRequestBody, len, end_of_stream };
        self.show(StreamType::HttpRequest, |filter, state, exchange| {
            filter.on_request_body(state, &Request { exchange, end_of_stream }, &body)
        })
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        self.show(StreamType::HttpRequest, |filter, state, exchange| {
            filter.on_request_trailers(state, &Request { exchange, end_of_stream: true })
        })
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        self.show(StreamType::HttpResponse, |filter, state, exchange| {
            filter.on_response_headers(state, &Response { exchange, end_of_stream })
        })
    }

    fn on_http_response_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let body = Body { buffer: BufferType::HttpResponseBody, len, end_of_stream };
        self.show(StreamType::HttpResponse, |filter, state, exchange| {
            filter.on_response_body(state, &Response { exchange, end_of_stream }, &body)
        })
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        self.show(StreamType::HttpResponse, |filter, state, exchange| {
            filter.on_response_trailers(state, &Response { exchange, end_of_stream: true })
        })
    }

    fn on_log(&mut self) {
        let exchange = self.exchange.enter();
        if let Some((filter, state)) = &mut self.part {
            filter.on_end(state, exchange);
        }
    }
}
