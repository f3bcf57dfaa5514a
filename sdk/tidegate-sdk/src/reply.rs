//! Answers of the filter's own.

use std::borrow::Cow;

use crate::filter::Next;
use crate::host::{self, report};

/// An answer of the filter's own.
#[must_use = "a reply goes out with `send`"]
pub struct Reply {
    status: u16,
    details: Cow<'static, str>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    grpc_status: Option<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Reply {
        Reply { status, details: "".into(), headers: Vec::new(), body: Vec::new(), grpc_status: None }
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

    /// Why, in one word, for the host's access log.
    pub fn details(mut self, details: impl Into<Cow<'static, str>>) -> Reply {
        self.details = details.into();
        self
    }

    /// Sends it; return what this gives from the callback.
    pub fn send(self) -> Next {
        let grpc_status = self.grpc_status.map_or(-1, i32::from);
        let status = u32::from(self.status);
        report("reply", host::reply(status, &self.details, &self.body, &self.headers, grpc_status));
        Next::Pause
    }
}
