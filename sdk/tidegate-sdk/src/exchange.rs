//! The handles through which a filter sees and changes one exchange: a request and its response.
//!
//! Nothing here panics for what the host answers: what is not there is `None`, and a change that the host refuses is
//! logged, because it is a mistake in the filter that its users should not pay for.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::types::{MapType, StreamType};

use crate::callout::Callout;
use crate::fields::{Fields, find_cookie, find_query};
use crate::filter::Next;
use crate::host::{self, Refused, report};
use crate::reply::Reply;
use crate::scope::{Direction, Scope, acting_on};
use crate::timer::Sleep;

/// One exchange. Clones are handles to the same one, for futures to act on ([`Request::wait`], [`Exchange::spawn`]) and for
/// other exchanges: wherever a handle is used, it acts on its own exchange. What it does when that is over is logged and
/// nothing else.
///
/// ```no_run
/// # use std::{cell::RefCell, time::Duration};
/// # use tidegate_sdk::{Exchange, Next, Request};
/// fn hold(held: &RefCell<Vec<Exchange>>, request: &Request<'_>) -> Next {
///     held.borrow_mut().push((**request).clone());
///     Next::Pause
/// }
///
/// fn release(held: &RefCell<Vec<Exchange>>) {
///     held.take().iter().for_each(Exchange::resume_request);
/// }
/// ```
#[derive(Clone)]
pub struct Exchange(pub(crate) Scope);

impl Exchange {
    /// Answers the request here, without the upstream; `status` is 200–599. End it with [`Reply::send`]. Once the
    /// response's headers have gone to the client it is too late: tidegate then cuts the exchange off.
    pub fn reply(&self, status: u16) -> Reply {
        Reply::new(self.0.context, status)
    }

    /// Lets a request go on that a callback paused. Not needed after [`Request::wait`].
    pub fn resume_request(&self) {
        self.act("resume the request", || host::resume(StreamType::HttpRequest));
    }

    /// Lets a response go on that a callback paused. Not needed after [`Response::wait`].
    pub fn resume_response(&self) {
        self.act("resume the response", || host::resume(StreamType::HttpResponse));
    }

    /// Breaks the exchange off without an answer: over HTTP/1 the client's connection is closed.
    pub fn reset(&self) -> Next {
        self.act("reset the exchange", || host::close(StreamType::HttpRequest));
        Next::Pause
    }

    /// Does `work` beside the exchange, which goes on meanwhile; what is not done when the exchange ends is dropped.
    /// It begins at once, before this returns; in a callback of another exchange a millisecond later.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidegate_sdk::{Request, log};
    /// fn report(request: &Request<'_>) {
    ///     let path = request.path();
    ///     request.spawn(async move |exchange| {
    ///         let sent = exchange.call("audit").method("POST").body(path.as_bytes()).send(Duration::from_secs(1));
    ///         if let Err(error) = sent.await {
    ///             log::warn!("not audited: {error}");
    ///         }
    ///     });
    /// }
    /// ```
    pub fn spawn<W: AsyncFnOnce(Exchange) + 'static>(&self, work: W) {
        let exchange = self.clone();
        self.0.spawn(async move { work(exchange).await });
    }

    /// Waits, in a future of this exchange. Hosts keep time in milliseconds: it takes as long as was asked for, and up to one
    /// more. The wall clock has no say in it.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }

    /// A request of the filter's own to a cluster of the host's configuration. End it with [`Callout::send`].
    pub fn call<'a>(&self, cluster: &'a str) -> Callout<'a> {
        self.0.call(cluster)
    }

    /// A property of the exchange, such as `["source", "address"]`, in the host's encoding. Many have a method of their
    /// own, such as [`source_address`](Exchange::source_address). `None`: there is none at this time.
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        acting_on(self.0.context, || host::property(path)).ok()?
    }

    /// Leaves a value for filters further on, for as long as the exchange lasts, which read it as a property of the same path, and for the access log. In
    /// Envoy it is there as `["wasm.NAME"]`.
    pub fn set_property(&self, path: &[&str], value: &[u8]) {
        self.act("set a property", || host::set_property(path, value));
    }

    /// The request's headers, as far as the host lets a filter read them at this time.
    pub fn request_headers(&self) -> Fields {
        self.fields(MapType::HttpRequestHeaders)
    }

    /// The response's headers, as far as the host lets a filter read them at this time.
    pub fn response_headers(&self) -> Fields {
        self.fields(MapType::HttpResponseHeaders)
    }

    /// Time since 1970 by the host's clock.
    pub fn now(&self) -> Duration {
        host::now()
    }

    /// Has the host choose the route again for what the request is now. Hosts do so by themselves only when some headers
    /// change: call this after changing what routes match on. Before the request's headers have gone on.
    pub fn clear_route_cache(&self) {
        self.act("choose the route again", || host::call_function("clear_route_cache", &[]).map(drop));
    }

    fn act(&self, what: &str, act: impl FnOnce() -> Result<(), Refused>) {
        report(what, acting_on(self.0.context, act).flatten());
    }

    fn fields(&self, map: MapType) -> Fields {
        Fields { map, context: self.0.context }
    }

    /// Lets the exchange take so much longer than its route's timeout says: for a time that it is made to wait on purpose.
    /// Up to an hour for all filters together. Returns whether the host can do that; where it cannot, its timeout may not
    /// count the time in filters anyway, as Envoy's does not.
    pub fn extend_timeout(&self, by: Duration) -> bool {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        host::call_function("tidegate.timeout.extend", &nanoseconds.to_le_bytes()).is_ok()
    }

    /// Pauses one direction until `work` is done, or lets it go on at once when `work` did not have to wait.
    fn wait<W: AsyncFnOnce(Exchange) -> Next + 'static>(&self, stream: StreamType, work: W) -> Next {
        let direction = Direction { context: self.0.context, stream };
        let turn = Rc::new(Cell::new(Turn::InCallback));
        let (theirs, exchange) = (turn.clone(), self.clone());
        self.0.services.begin_wait(direction);
        self.0.spawn(async move {
            let services = exchange.0.services.clone();
            let next = work(exchange).await;
            let goes_on = services.end_wait(direction, next);
            if matches!(theirs.replace(Turn::Over(next)), Turn::Later) && goes_on {
                services.resume(direction);
            }
        });
        match turn.replace(Turn::Later) {
            Turn::Over(next) => next,
            Turn::InCallback | Turn::Later => Next::Hold,
        }
    }
}

/// Where a wait is.
#[derive(Clone, Copy)]
enum Turn {
    /// The callback that began it has not returned: what it gives decides.
    InCallback,
    /// The callback has returned, so the direction has to be resumed.
    Later,
    /// It is over.
    Over(Next),
}

/// The request of an exchange, in a callback of its side. Derefs to [`Exchange`].
///
/// ```no_run
/// # use tidegate_sdk::{Next, Request};
/// fn check(request: &Request<'_>) -> Next {
///     if request.method() == "DELETE" && request.query("force").is_none() {
///         return request.reply(409).body("are you sure? ?force\n").send();
///     }
///     request.set_header("x-checked", "yes");
///     Next::Continue
/// }
/// ```
pub struct Request<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) end_of_stream: bool,
}

/// The response of an exchange, in a callback of its side. Derefs to [`Exchange`].
///
/// ```no_run
/// # use tidegate_sdk::{Next, Response};
/// fn hide(response: &Response<'_>) -> Next {
///     response.remove_header("x-powered-by");
///     if response.status() >= 500 {
///         response.set_header("cache-control", "no-store");
///     }
///     Next::Continue
/// }
/// ```
pub struct Response<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) end_of_stream: bool,
}

impl Deref for Request<'_> {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        self.exchange
    }
}

impl Deref for Response<'_> {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        self.exchange
    }
}

impl Request<'_> {
    /// `GET` and the like; empty outside the callbacks of the request.
    pub fn method(&self) -> String {
        self.header(":method").unwrap_or_default()
    }

    /// Path and query: `/items?page=2`. Of what a client sends there is no more checked than the host does: see its
    /// normalisation of paths.
    pub fn path(&self) -> String {
        self.header(":path").unwrap_or_default()
    }

    /// The host that the client asked for, with the port if it gave one.
    pub fn authority(&self) -> String {
        self.header(":authority").unwrap_or_default()
    }

    /// Neither body nor trailers follow the headers.
    pub fn is_complete(&self) -> bool {
        self.end_of_stream
    }

    /// All headers, to read and to change. Pseudo-headers such as `:path` are among them.
    pub fn headers(&self) -> Fields {
        self.fields(MapType::HttpRequestHeaders)
    }

    /// The trailers: readable in their own callback, and can be added to at the end of the body.
    pub fn trailers(&self) -> Fields {
        self.fields(MapType::HttpRequestTrailers)
    }

    /// See [`Fields::text`].
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().text(name)
    }

    /// The value of one cookie, see [`find_cookie`]. A client may send several `cookie` fields.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let first = self.header("cookie")?;
        if let Some(value) = find_cookie(&first, name) {
            return Some(value.to_owned());
        }
        let all = self.headers().block();
        let mut others = all.iter().filter(|(found, _)| *found == b"cookie").skip(1);
        others
            .find_map(|(_, cookies)| find_cookie(&String::from_utf8_lossy(cookies), name).map(str::to_owned))
    }

    /// The first value of one parameter of the query, decoded (`application/x-www-form-urlencoded`).
    pub fn query(&self, name: &str) -> Option<String> {
        find_query(&self.path(), name)
    }

    /// Pauses the request until `work` is done, which begins at once: return what this gives. The request goes on when
    /// `work` gives [`Next::Continue`]; it does not when `work` replied or reset. While it waits, pieces of its body are
    /// held. Of several that wait all have to give [`Next::Continue`]. `work` is dropped when the exchange ends.
    ///
    /// Give every wait an end: a sleep beside it, or a callout's timeout. A request whose wait never ends lasts until the
    /// client leaves or a timeout of the host's comes.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidegate_sdk::{Next, Request};
    /// fn ask(request: &Request<'_>) -> Next {
    ///     request.wait(async |exchange| {
    ///         let answer = exchange.call("auth").path("/check").send(Duration::from_secs(1)).await;
    ///         match answer {
    ///             Ok(answer) if answer.status() == 200 => Next::Continue,
    ///             Ok(_) => exchange.reply(403).send(),
    ///             Err(_) => exchange.reply(503).send(),
    ///         }
    ///     })
    /// }
    /// ```
    pub fn wait<W: AsyncFnOnce(Exchange) -> Next + 'static>(&self, work: W) -> Next {
        self.exchange.wait(StreamType::HttpRequest, work)
    }

    /// See [`Fields::set`].
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) {
        self.headers().set(name, value);
    }

    /// See [`Fields::add`].
    pub fn add_header(&self, name: &str, value: impl AsRef<[u8]>) {
        self.headers().add(name, value);
    }

    /// See [`Fields::remove`].
    pub fn remove_header(&self, name: &str) {
        self.headers().remove(name);
    }
}

impl Response<'_> {
    /// As [`Request::wait`], for the response: also for one that this filter replied with.
    pub fn wait<W: AsyncFnOnce(Exchange) -> Next + 'static>(&self, work: W) -> Next {
        self.exchange.wait(StreamType::HttpResponse, work)
    }

    /// 200–599; 0 when the host does not tell.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Neither body nor trailers follow the headers.
    pub fn is_complete(&self) -> bool {
        self.end_of_stream
    }

    /// All headers, to read and to change. `:status` is among them.
    pub fn headers(&self) -> Fields {
        self.fields(MapType::HttpResponseHeaders)
    }

    /// The trailers: readable in their own callback, and can be added to at the end of the body.
    pub fn trailers(&self) -> Fields {
        self.fields(MapType::HttpResponseTrailers)
    }

    /// See [`Fields::text`].
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().text(name)
    }

    /// See [`Fields::set`].
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) {
        self.headers().set(name, value);
    }

    /// See [`Fields::add`].
    pub fn add_header(&self, name: &str, value: impl AsRef<[u8]>) {
        self.headers().add(name, value);
    }

    /// See [`Fields::remove`].
    pub fn remove_header(&self, name: &str) {
        self.headers().remove(name);
    }
}
