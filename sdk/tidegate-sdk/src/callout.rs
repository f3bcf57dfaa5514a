//! Requests that a filter makes itself, and their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use proxy_wasm::hostcalls::dispatch_http_call;
use proxy_wasm::types::{BufferType, MapType, Status};

use crate::exchange::{Exchange, Fields};
use crate::host;

/// What to do with an answer.
pub(crate) type Answered = Box<dyn FnOnce(&Exchange, &Answer)>;

/// The callouts in flight, by the host's token: whose, and what to do with the answer.
pub(crate) type Callouts = BTreeMap<u32, (u32, Answered)>;

/// A request of the filter's own: made by [`Exchange::call`].
#[must_use = "a callout goes out with `send`"]
pub struct Callout<'a> {
    exchange: &'a Exchange,
    cluster: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<&'a [u8]>,
}

impl<'a> Callout<'a> {
    pub(crate) fn new(exchange: &'a Exchange, cluster: &'a str) -> Callout<'a> {
        let headers = vec![(":method", "GET"), (":path", "/"), (":authority", cluster)];
        Callout { exchange, cluster, headers, body: None }
    }

    /// `GET` without this.
    pub fn method(self, method: &'a str) -> Callout<'a> {
        self.replace(":method", method)
    }

    /// `/` without this.
    pub fn path(self, path: &'a str) -> Callout<'a> {
        self.replace(":path", path)
    }

    /// The cluster's name without this.
    pub fn authority(self, authority: &'a str) -> Callout<'a> {
        self.replace(":authority", authority)
    }

    /// Adds a header.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Callout<'a> {
        self.headers.push((name, value));
        self
    }

    /// The body.
    pub fn body(mut self, body: &'a [u8]) -> Callout<'a> {
        self.body = Some(body);
        self
    }

    /// Sends it. `answered` runs once, when the answer has come whole, the call has failed or the time is over; not
    /// at all when the exchange ends before. Return [`Next::Pause`](crate::Next::Pause) to wait for it, and resume
    /// or reply in `answered`.
    ///
    /// An error means that nothing was sent and `answered` will not run: the cluster is unknown, or the filter may
    /// not call it.
    pub fn send(
        self,
        timeout: Duration,
        answered: impl FnOnce(&Exchange, &Answer) + 'static,
    ) -> Result<(), CalloutRefused> {
        let token = dispatch_http_call(self.cluster, self.headers, self.body, vec![], timeout)?;
        let mut callouts = self.exchange.services.callouts.borrow_mut();
        callouts.insert(token, (self.exchange.context, Box::new(answered)));
        Ok(())
    }

    fn replace(mut self, name: &str, value: &'a str) -> Callout<'a> {
        if let Some(header) = self.headers.iter_mut().find(|(found, _)| *found == name) {
            header.1 = value;
        }
        self
    }
}

/// The host did not send a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalloutRefused(Status);

impl From<Status> for CalloutRefused {
    fn from(status: Status) -> CalloutRefused {
        CalloutRefused(status)
    }
}

impl std::fmt::Display for CalloutRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the host did not send the callout: {:?}", self.0)
    }
}

impl std::error::Error for CalloutRefused {}

/// What came back. Readable while `answered` runs.
#[derive(Debug)]
pub struct Answer {
    pub(crate) has_headers: bool,
}

impl Answer {
    /// 200–599; `None` when no answer came. Hosts also report failures as 503 and a timeout as 504.
    pub fn status(&self) -> Option<u16> {
        self.has_headers.then(|| self.header(":status")?.parse().ok()).flatten()
    }

    /// See [`Fields::text`].
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().text(name)
    }

    /// The headers, to read.
    pub fn headers(&self) -> Fields {
        Fields(MapType::HttpCallResponseHeaders)
    }

    /// A copy of the body.
    pub fn body(&self) -> Vec<u8> {
        host::buffer(BufferType::HttpCallResponseBody)
    }
}
