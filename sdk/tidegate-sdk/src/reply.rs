//! Answers of the filter's own.

use std::borrow::Cow;

use log::warn;
use proxy_wasm::types::StreamType;

use crate::filter::Next;
use crate::host::{self, Refused, report};
use crate::scope::acting_on;

/// What no field may have in it (RFC 9110, section 5.5).
const BREAKS: [char; 3] = ['\r', '\n', '\0'];

/// An answer of the filter's own: made by [`Exchange::reply`](crate::Exchange::reply).
///
/// ```no_run
/// # use tidegate_sdk::{Next, Request};
/// fn refuse(request: &Request<'_>) -> Next {
///     let reply = request.reply(429).header("retry-after", "3").body("too many\n");
///     reply.grpc_status(8).details("over_the_limit").send()
/// }
/// ```
#[must_use = "a reply goes out with `send`"]
pub struct Reply {
    context: u32,
    status: u16,
    details: Cow<'static, str>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    grpc_status: Option<u8>,
}

impl Reply {
    pub(crate) fn new(context: u32, status: u16) -> Reply {
        let (headers, body) = (Vec::new(), Vec::new());
        Reply { context, status, details: "".into(), headers, body, grpc_status: None }
    }

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

    /// The status for clients that speak gRPC: 0–16, see the codes of gRPC. Hosts answer such a client with it, the body
    /// as its message, and HTTP's status 200.
    pub fn grpc_status(mut self, code: u8) -> Reply {
        self.grpc_status = Some(code);
        self
    }

    /// Why, in one word, for the host's access log. Clients do not see it.
    pub fn details(mut self, details: impl Into<Cow<'static, str>>) -> Reply {
        self.details = details.into();
        self
    }

    /// Sends it; return what this gives from the callback.
    ///
    /// A reply that the host refuses, because of its status or a header with a line break in it, is logged, and the client
    /// gets a bare 500 with the same details: a request that was to be answered does not go on.
    pub fn send(self) -> Next {
        report("reply", acting_on(self.context, || self.send_or_fail()).flatten());
        Next::Pause
    }

    fn send_or_fail(&self) -> Result<(), Refused> {
        let grpc_status = self.grpc_status.map_or(-1, i32::from);
        let reply = |status, body, headers: &[(String, String)]| {
            // Not every host looks for what would be another field, or another answer.
            let breaks =
                |(name, value): &(String, String)| [name, value].iter().any(|text| text.contains(BREAKS));
            if headers.iter().any(breaks) {
                return Err(Refused::BAD_ARGUMENT);
            }
            host::reply(status, &self.details, body, headers, grpc_status)
        };
        let Err(refused) = reply(self.status.into(), &self.body, &self.headers) else { return Ok(()) };
        warn!("the host refused to reply with status {}: {refused}; the reply is a bare 500", self.status);
        reply(500, b"", &[]).or_else(|_| host::close(StreamType::HttpRequest))
    }
}
