//! What became of an exchange: what the client got, what the upstream got, and what it cost.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::cluster::Call;
use super::usage::Usage;
use super::world::LogLine;
use crate::error::Failure;
use crate::wasm::{Callback, FaultKind};

/// How an exchange ended.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// # use tidegate_test::{Kit, Module};
/// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
/// use tidegate_test::{Outcome, Request};
///
/// assert_eq!(kit.send(Request::get("/")).outcome(), Outcome::Answered);
/// assert_eq!(kit.open(Request::get("/")).cut().outcome(), Outcome::Left);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With the upstream's response.
    Answered,
    /// With a response of the filter's own.
    Replied,
    /// With the filter's failure, under a policy that closes.
    Fault(FaultKind),
    /// With another failure: the client got what the proxy says of it, or a cut connection.
    Failed(Failure),
    /// The client left.
    Left,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered by the upstream"),
            Outcome::Replied => f.write_str("answered by the filter"),
            Outcome::Fault(kind) => write!(f, "failed by a fault of the filter ({kind})"),
            Outcome::Failed(failure) => write!(f, "failed: {failure} ({})", failure.reason()),
            Outcome::Left => f.write_str("left by the client"),
        }
    }
}

/// A request as the upstream got it.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// # use tidegate_test::{Kit, Module};
/// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
/// use tidegate_test::{Request, Response};
///
/// kit.upstream(|request| {
///     assert_eq!((request.target(), request.header("x-tag")), ("/items", Some("seen")));
///     Response::new(200).body(request.body())
/// });
/// assert_eq!(kit.send(Request::post("/items").body("abc")).text(), "abc");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Flowed,
}

/// A response as the client got it.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// # use tidegate_test::{Kit, Module};
/// # let kit = Kit::of(&Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
/// use tidegate_test::{Request, Response};
///
/// kit.upstream(|_| Response::new(200).chunks(["a", "bc"]).trailer("x-sum", "3"));
/// let seen = kit.send(Request::get("/"));
/// assert_eq!((seen.response().chunks().len(), seen.response().trailer("x-sum")), (2, Some("3")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Flowed,
}

/// What has come out of the chain of a message's body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flowed {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) complete: bool,
}

impl Flowed {
    pub(crate) fn all(&self) -> Bytes {
        match &self.pieces[..] {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

macro_rules! message {
    ($of:literal) => {
        /// A header's first value.
        ///
        /// # Panics
        ///
        /// When it is not UTF-8; [`headers`](Self::headers) has it then.
        #[track_caller]
        pub fn header(&self, name: &str) -> Option<&str> {
            text(&self.headers, name)
        }

        /// Every header.
        pub fn headers(&self) -> &HeaderMap {
            &self.headers
        }

        #[doc = concat!("The body, as much of it as ", $of, " got.")]
        pub fn body(&self) -> Bytes {
            self.body.all()
        }

        /// The pieces in which it came.
        pub fn chunks(&self) -> &[Bytes] {
            &self.body.pieces
        }

        /// A trailer's first value.
        #[track_caller]
        pub fn trailer(&self, name: &str) -> Option<&str> {
            self.body.trailers.as_ref().and_then(|trailers| text(trailers, name))
        }

        /// Every trailer, if there was any.
        pub fn trailers(&self) -> Option<&HeaderMap> {
            self.body.trailers.as_ref()
        }

        /// Whether it came to its end.
        pub fn is_complete(&self) -> bool {
            self.body.complete
        }
    };
}

impl Forwarded {
    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Its path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    message!("the upstream");
}

impl Received {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    message!("the client");
}

/// What became of an exchange.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// # use tidegate_test::{Kit, Module, Request, Response};
/// # let module = Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
/// # let kit = Kit::of(&module).start();
/// let seen = kit.send(Request::get("/items"));
/// assert_eq!(seen.status(), 200);
/// assert_eq!(seen.forwarded().header("x-tag"), Some("seen"));
/// assert!(seen.instructions() < 5_000, "a request costs {} instructions", seen.instructions());
/// ```
#[derive(Debug, Clone)]
pub struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) details: String,
    pub(crate) received: Option<Received>,
    pub(crate) forwarded: Option<Forwarded>,
    pub(crate) rerouted: bool,
    pub(crate) properties: Vec<(Vec<u8>, Bytes)>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) faults: Vec<crate::wasm::Fault>,
    pub(crate) callouts: Vec<Call>,
    pub(crate) usage: Usage,
    pub(crate) duration: Duration,
}

impl Seen {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The response that the client got.
    ///
    /// # Panics
    ///
    /// When it got none: then how the exchange ended is said.
    #[track_caller]
    pub fn response(&self) -> &Received {
        self.received.as_ref().unwrap_or_else(|| panic!("the client got no response: {self}"))
    }

    /// The status that the client got. Panics as [`response`](Seen::response) does, and so do the next three.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.response().status()
    }

    /// The first value of a header that the client got.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response().header(name)
    }

    /// The body that the client got.
    #[track_caller]
    pub fn body(&self) -> Bytes {
        self.response().body()
    }

    /// The body that the client got, as text.
    #[track_caller]
    pub fn text(&self) -> String {
        let body = self.body();
        String::from_utf8(body.to_vec())
            .unwrap_or_else(|_| panic!("the body is not text: {}", body.escape_ascii()))
    }

    /// The request that the upstream got.
    ///
    /// # Panics
    ///
    /// When it got none: then how the exchange ended is said.
    #[track_caller]
    pub fn forwarded(&self) -> &Forwarded {
        self.forwarded.as_ref().unwrap_or_else(|| panic!("nothing was sent to the upstream: {self}"))
    }

    /// Whether the upstream got the request, or some of it.
    pub fn was_forwarded(&self) -> bool {
        self.forwarded.is_some()
    }

    /// Whether the client got less than a whole response: its connection was cut.
    pub fn was_cut(&self) -> bool {
        !self.received.as_ref().is_some_and(Received::is_complete)
    }

    /// The details of how it ended: those of the filter's reply (`response.code_details`), or of a failure.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Whether the filter changed what routing looks at, or asked for the route to be found again.
    pub fn was_rerouted(&self) -> bool {
        self.rerouted
    }

    /// What the filter stored on the exchange under this property path.
    pub fn property(&self, path: &[&str]) -> Option<&[u8]> {
        let path = path.join("\0").into_bytes();
        self.properties.iter().find(|(found, _)| *found == path).map(|(_, value)| &**value)
    }

    /// What was logged meanwhile.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }

    /// Whether a line that has `text` in it was logged meanwhile.
    pub fn logged(&self, text: &str) -> bool {
        self.logs.iter().any(|line| line.text.contains(text))
    }

    /// How the filter failed meanwhile, under a policy that closes or one that lets requests pass.
    pub fn faults(&self) -> &[crate::wasm::Fault] {
        &self.faults
    }

    /// What the filter asked of other services meanwhile.
    pub fn callouts(&self) -> &[Call] {
        &self.callouts
    }

    /// The instructions that the exchange's worker spent in the filter meanwhile: the same in every run, on every
    /// machine, for one module. Ticks are included, and other exchanges on the worker if there were any.
    pub fn instructions(&self) -> u64 {
        self.usage.instructions()
    }

    /// Those spent in one callback.
    pub fn instructions_in(&self, callback: Callback) -> u64 {
        self.usage.instructions_in(callback)
    }

    /// How often a callback was called.
    pub fn calls(&self, callback: Callback) -> u64 {
        self.usage.calls(callback)
    }

    /// How long it took, in virtual time.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

/// How it ended, and what led to it.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the exchange was {}", self.outcome)?;
        if !self.details.is_empty() {
            write!(f, ", {}", self.details)?;
        }
        if let Some(received) = &self.received {
            write!(f, "; the client got {}", received.status)?;
        }
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        if !self.logs.is_empty() {
            f.write_str("\nthe filter logged:")?;
        }
        self.logs.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// A field's first value, as text.
#[track_caller]
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.as_bytes();
    let text = std::str::from_utf8(value);
    Some(text.unwrap_or_else(|_| panic!("the value of `{name}` is not text: {}", value.escape_ascii())))
}
