//! The handles through which a filter sees and changes one exchange: a request and its response.
//!
//! Nothing here panics for what the host answers: what is not there is `None`, and a change that the host refuses is
//! logged, because it is a mistake in the filter that its users should not pay for.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use proxy_wasm::types::{BufferType, MapType, StreamType};

use crate::callout::{Callout, Callouts};
use crate::filter::Next;
use crate::host::{self, Refused};
use crate::timer::Timers;

/// What the exchanges of one root context share.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) timers: RefCell<Timers>,
    pub(crate) callouts: RefCell<Callouts>,
}

/// One exchange.
pub struct Exchange {
    pub(crate) context: u32,
    pub(crate) services: Rc<Services>,
}

impl Exchange {
    /// Answers the request here, without the upstream; `status` is 200–599. End it with [`Reply::send`].
    pub fn reply(&self, status: u16) -> Reply {
        Reply { status, details: "", headers: Vec::new(), body: Vec::new() }
    }

    /// Lets a paused request go on.
    pub fn resume_request(&self) {
        report("resume the request", host::resume(StreamType::HttpRequest));
    }

    /// Lets a paused response go on.
    pub fn resume_response(&self) {
        report("resume the response", host::resume(StreamType::HttpResponse));
    }

    /// Breaks the exchange off without an answer: over HTTP/1 the client's connection is closed.
    pub fn reset(&self) -> Next {
        report("reset the exchange", host::close(StreamType::HttpRequest));
        Next::Pause
    }

    /// Does `later` once `delay` is over, unless the exchange ends before. Hosts keep time in milliseconds.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tidegate_sdk::{Next, Request};
    /// fn wait(request: &Request<'_>) -> Next {
    ///     request.after(Duration::from_millis(250), |exchange| exchange.resume_request());
    ///     Next::Pause
    /// }
    /// ```
    pub fn after(&self, delay: Duration, later: impl FnOnce(&Exchange) + 'static) {
        let mut timers = self.services.timers.borrow_mut();
        if let Some(period) = timers.add(host::now(), delay, self.context, Box::new(later)) {
            report("set the tick period", host::set_tick_period(period));
        }
    }

    /// A request of the filter's own to a cluster of the host's configuration. End it with [`Callout::send`].
    pub fn call<'a>(&'a self, cluster: &'a str) -> Callout<'a> {
        Callout::new(self, cluster)
    }

    /// A property of the exchange, such as `["source", "address"]`, in the host's encoding.
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        host::property(path)
    }

    /// The request's headers, as far as the host lets a filter read them at this time.
    pub fn request_headers(&self) -> Fields {
        Fields(MapType::HttpRequestHeaders)
    }

    /// The response's headers, as far as the host lets a filter read them at this time.
    pub fn response_headers(&self) -> Fields {
        Fields(MapType::HttpResponseHeaders)
    }

    /// Time since 1970 by the host's clock.
    pub fn now(&self) -> Duration {
        host::now()
    }
}

/// The request of an exchange, in a callback of its side. Derefs to [`Exchange`].
pub struct Request<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) end_of_stream: bool,
}

/// The response of an exchange, in a callback of its side. Derefs to [`Exchange`].
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
    /// `GET`.
    pub fn method(&self) -> String {
        self.header(":method").unwrap_or_default()
    }

    /// Path and query: `/items?page=2`.
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
        Fields(MapType::HttpRequestHeaders)
    }

    /// The trailers: readable in their own callback, and can be added to at the end of the body.
    pub fn trailers(&self) -> Fields {
        Fields(MapType::HttpRequestTrailers)
    }

    /// See [`Fields::text`].
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().text(name)
    }

    /// The value of one cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.header("cookie")?;
        find_cookie(&cookies, name).map(str::to_owned)
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
        Fields(MapType::HttpResponseHeaders)
    }

    /// The trailers: readable in their own callback, and can be added to at the end of the body.
    pub fn trailers(&self) -> Fields {
        Fields(MapType::HttpResponseTrailers)
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

/// A set of header or trailer fields, kept by the host: each call is a hostcall. Names are in lower case.
#[derive(Debug, Clone, Copy)]
pub struct Fields(pub(crate) MapType);

impl Fields {
    /// The first value of a field. What is not UTF-8 is replaced: use [`Fields::bytes`] where that matters.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(into_text)
    }

    /// The first value of a field.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        host::header(self.0, name)
    }

    /// Every field, in order.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        host::headers(self.0)
    }

    /// Makes this the only value of the field.
    pub fn set(&self, name: &str, value: impl AsRef<[u8]>) {
        report_field("set", name, host::set_header(self.0, name, value.as_ref()));
    }

    /// Adds a value to those that are there.
    pub fn add(&self, name: &str, value: impl AsRef<[u8]>) {
        report_field("add", name, host::add_header(self.0, name, value.as_ref()));
    }

    /// Removes every value of the field.
    pub fn remove(&self, name: &str) {
        report_field("remove", name, host::remove_header(self.0, name));
    }
}

/// A piece of a body: what has just come, or all that is held when the filter paused on the pieces before.
#[derive(Debug)]
pub struct Body {
    pub(crate) buffer: BufferType,
    pub(crate) len: usize,
    pub(crate) end_of_stream: bool,
}

impl Body {
    /// Bytes in this piece; the last may be empty.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are no bytes in this piece.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nothing follows, trailers neither.
    pub fn is_last(&self) -> bool {
        self.end_of_stream
    }

    /// A copy of the bytes.
    pub fn bytes(&self) -> Vec<u8> {
        host::buffer(self.buffer)
    }

    /// Puts other bytes in their place. Remove `content-length` in the headers callback when the length changes:
    /// not every host does it by itself.
    pub fn replace(&self, bytes: impl AsRef<[u8]>) {
        report("replace the body", host::set_buffer(self.buffer, 0, self.len, bytes.as_ref()));
    }

    /// Adds bytes in front.
    pub fn prepend(&self, bytes: impl AsRef<[u8]>) {
        report("prepend to the body", host::set_buffer(self.buffer, 0, 0, bytes.as_ref()));
    }

    /// Adds bytes at the end.
    pub fn append(&self, bytes: impl AsRef<[u8]>) {
        report("append to the body", host::set_buffer(self.buffer, self.len, 0, bytes.as_ref()));
    }
}

/// An answer of the filter's own.
#[must_use = "a reply goes out with `send`"]
pub struct Reply {
    status: u16,
    details: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// Adds a header. `content-length` comes by itself, and `content-type: text/plain` unless one is given.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self
    }

    /// Why, in one word, for the host's access log.
    pub fn details(mut self, details: &'static str) -> Reply {
        self.details = details;
        self
    }

    /// Sends it; return what this gives from the callback.
    pub fn send(self) -> Next {
        report("reply", host::reply(self.status.into(), self.details, &self.body, &self.headers));
        Next::Pause
    }
}

pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

pub(crate) fn report(what: &str, result: Result<(), Refused>) {
    if let Err(refused) = result {
        warn!("the host refused to {what}: {refused}");
    }
}

fn report_field(verb: &str, name: &str, result: Result<(), Refused>) {
    if let Err(refused) = result {
        warn!("the host refused to {verb} {name}: {refused}");
    }
}

/// The value of one cookie in a `cookie` header (RFC 6265, section 4.2.1: `name=value` pairs between semicolons).
pub fn find_cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookies = "session=1; user=\"ann\";flag; other=a=b";
        assert_eq!(find_cookie(cookies, "user"), Some("ann"));
        assert_eq!(find_cookie(cookies, "other"), Some("a=b"));
        assert_eq!(find_cookie(cookies, "ser"), None);
        assert_eq!(find_cookie(cookies, "flag"), None);
    }
}
