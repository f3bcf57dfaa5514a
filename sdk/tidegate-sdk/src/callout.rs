//! Requests that a filter makes itself, and their answers.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proxy_wasm::hostcalls::dispatch_http_call;
use proxy_wasm::types::{BufferType, MapType, Status};

use crate::fields::into_text;
use crate::numbered::Numbered;
use crate::scope::{Scope, Services, acting_on};
use crate::{entry, host};

/// Hosts count in whole milliseconds, and take none for no limit.
const SHORTEST: Duration = Duration::from_millis(1);
/// The most that hosts take: 24 days.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// The callouts in flight, by the host's token.
pub(crate) type Callouts = Numbered<Rc<RefCell<Flight>>>;

/// A callout in flight.
#[derive(Default)]
pub(crate) struct Flight {
    result: Option<Result<Answer, CalloutError>>,
    waker: Option<Waker>,
}

/// A request of the filter's own: made by [`Exchange::call`](crate::Exchange::call) and
/// [`Background::call`](crate::Background::call).
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::{Answer, CalloutError, Exchange};
/// async fn decide(exchange: &Exchange, question: &[u8]) -> Result<Answer, CalloutError> {
///     let call = exchange.call("policy").method("POST").path("/decide").authority("policy.internal");
///     call.header("content-type", "application/json").body(question).send(Duration::from_millis(200)).await
/// }
/// ```
#[must_use = "a callout goes out with `send`"]
pub struct Callout<'a> {
    scope: Scope,
    cluster: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<&'a [u8]>,
}

impl<'a> Callout<'a> {
    pub(crate) fn new(scope: Scope, cluster: &'a str) -> Callout<'a> {
        let headers = vec![(":method", "GET"), (":path", "/"), (":authority", cluster)];
        Callout { scope, cluster, headers, body: None }
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

    /// Adds a header. `content-length` comes by itself.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Callout<'a> {
        self.headers.push((name, value));
        self
    }

    /// The body, whole. None without this.
    pub fn body(mut self, body: &'a [u8]) -> Callout<'a> {
        self.body = Some(body);
        self
    }

    /// Sends it, now. Await what this gives for the answer, which has come when it has come whole; dropping it, or the
    /// end of the exchange, gives up the answer and not the request. Await it in a future of the same exchange: with the
    /// exchange the answer is forgotten, and who else waits for it waits for ever.
    ///
    /// `timeout` is from a millisecond to 24 days: shorter and longer ones count as these.
    ///
    /// # Errors
    ///
    /// [`CalloutError::Refused`] if the host does not send it: the cluster is unknown, or the filter may not call it.
    /// [`CalloutError::NoAnswer`] if none came within `timeout`, or the connection failed; some hosts report these as
    /// an answer of 503 or 504.
    pub fn send(self, timeout: Duration) -> PendingAnswer {
        let Scope { context, services } = self.scope;
        let timeout = timeout.clamp(SHORTEST, LONGEST);
        let sent = acting_on(context, || {
            entry::call_out();
            dispatch_http_call(self.cluster, self.headers, self.body, vec![], timeout)
        });
        let mut flight = Flight::default();
        let sent = sent.unwrap_or(Err(Status::BadArgument)); // the exchange is over
        let token = sent.inspect_err(|status| flight.result = Some(Err(CalloutError::Refused(*status)))).ok();
        let flight = Rc::new(RefCell::new(flight));
        if let Some(token) = token {
            services.callouts.borrow_mut().insert(token, flight.clone());
        }
        PendingAnswer { services, token, flight }
    }

    fn replace(mut self, name: &str, value: &'a str) -> Callout<'a> {
        if let Some(header) = self.headers.iter_mut().find(|(found, _)| *found == name) {
            header.1 = value;
        }
        self
    }
}

/// The answer to a callout that was sent: a future, see [`Callout::send`]. Several may be under way at once:
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::{CalloutError, Exchange};
/// async fn both(exchange: &Exchange) -> Result<bool, CalloutError> {
///     let second = Duration::from_secs(1);
///     let (users, rules) = (exchange.call("users").send(second), exchange.call("rules").send(second));
///     Ok(users.await?.status() == 200 && rules.await?.status() == 200)
/// }
/// ```
#[must_use = "await it for the answer, or drop it to give the answer up"]
pub struct PendingAnswer {
    services: Rc<Services>,
    token: Option<u32>,
    flight: Rc<RefCell<Flight>>,
}

impl Future for PendingAnswer {
    type Output = Result<Answer, CalloutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut flight = self.flight.borrow_mut();
        match flight.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                flight.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.services.callouts.borrow_mut().remove(&token);
        }
    }
}

/// Takes an answer that the host shows now; nobody may be waiting for it any more.
pub(crate) fn receive(services: &Services, token: u32, headers: usize) {
    let waiting = services.callouts.borrow_mut().remove(&token);
    let Some(flight) = waiting else { return };
    let answered = || Answer {
        headers: host::headers(MapType::HttpCallResponseHeaders),
        body: host::buffer(BufferType::HttpCallResponseBody),
    };
    let result = if headers > 0 { Ok(answered()) } else { Err(CalloutError::NoAnswer) };
    let waker = {
        let mut flight = flight.borrow_mut();
        flight.result = Some(result);
        flight.waker.take()
    };
    waker.into_iter().for_each(Waker::wake);
}

/// Why a callout has no answer. An answer with a status of 500 or above is one: look at [`Answer::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CalloutError {
    /// The host did not send it.
    Refused(Status),
    /// It was sent, and no answer came: the time was over, or the connection failed.
    NoAnswer,
}

impl std::fmt::Display for CalloutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CalloutError::Refused(status) => write!(f, "the host did not send the callout: {status:?}"),
            CalloutError::NoAnswer => f.write_str("no answer came to the callout"),
        }
    }
}

impl std::error::Error for CalloutError {}

/// What came back, whole. How large it may be is the host's limit: in tidegate 1 MiB, beyond which there is no answer.
///
/// ```no_run
/// # use tidegate_sdk::Answer;
/// fn user(answer: Answer) -> Option<String> {
///     let is_text = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/"));
///     (answer.status() == 200 && is_text).then(|| answer.into_text())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Answer {
    /// 100–599; 0 if the host does not tell.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The first value of a header, if it is text. Names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Every header, in order; `:status` is among them.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text. What is not UTF-8 is replaced.
    pub fn into_text(self) -> String {
        into_text(self.body)
    }
}
