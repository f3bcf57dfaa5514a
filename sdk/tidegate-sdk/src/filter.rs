//! What a filter author implements.

use serde::de::DeserializeOwned;

use crate::body::Body;
use crate::exchange::{Exchange, Request, Response};
use crate::scope::Background;

/// A filter. One value serves every exchange of a worker; what belongs to one exchange is in its
/// [`State`](Filter::State). Implement the callbacks of interest: the others let everything through.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_sdk::{Filter, Next, Request, filter};
///
/// #[derive(Deserialize)]
/// struct RequireHeader {
///     name: String,
/// }
///
/// impl Filter for RequireHeader {
///     type Config = Self;
///     type State = ();
///
///     fn new(config: Self) -> Result<Self, String> {
///         Ok(config)
///     }
///
///     fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
///         match request.header(&self.name) {
///             Some(_) => Next::Continue,
///             None => request.reply(403).body(format!("{} is missing\n", self.name)).send(),
///         }
///     }
/// }
///
/// filter!(RequireHeader);
/// ```
#[expect(unused_variables, reason = "the names of the parameters are part of the documentation")]
pub trait Filter: Sized + 'static {
    /// What the operator writes under `config`. Let it refuse unknown fields (`#[serde(deny_unknown_fields)]`), so
    /// that a mistyped one does not go unnoticed. [`NoConfig`](crate::NoConfig) for nothing.
    type Config: DeserializeOwned;

    /// What the filter remembers of one exchange; `()` for nothing.
    type State: Default + 'static;

    /// Makes the filter from its configuration: compile patterns, define metrics. An error is the reason, for the
    /// operator to read: name the field. The host then keeps to the configuration that it had.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// The filter has been made, on this worker: begin here what it does beside its exchanges, such as keeping a list fresh.
    fn on_start(&self, background: &Background) {}

    /// The request's headers have come.
    fn on_request_headers(&self, state: &mut Self::State, request: &Request<'_>) -> Next {
        Next::Continue
    }

    /// A piece of the request's body has come.
    fn on_request_body(&self, state: &mut Self::State, request: &Request<'_>, body: &Body) -> Next {
        Next::Continue
    }

    /// The request ends with trailers.
    fn on_request_trailers(&self, state: &mut Self::State, request: &Request<'_>) -> Next {
        Next::Continue
    }

    /// The response's headers have come: the upstream's, another filter's or this filter's own.
    fn on_response_headers(&self, state: &mut Self::State, response: &Response<'_>) -> Next {
        Next::Continue
    }

    /// A piece of the response's body has come.
    fn on_response_body(&self, state: &mut Self::State, response: &Response<'_>, body: &Body) -> Next {
        Next::Continue
    }

    /// The response ends with trailers.
    fn on_response_trailers(&self, state: &mut Self::State, response: &Response<'_>) -> Next {
        Next::Continue
    }

    /// The exchange is over, whichever way. Called once, also for an exchange of which the filter saw nothing else, but not
    /// for one that it [left](Next::Leave). Its futures are dropped after this.
    fn on_end(&self, state: &mut Self::State, exchange: &Exchange) {}
}

/// What becomes of the exchange after a callback.
///
/// ```
/// # use tidegate_sdk::{Body, Next};
/// fn until_whole(body: &Body) -> Next {
///     if body.is_last() { Next::Continue } else { Next::Pause }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Continue,
    /// It goes on, and the filter has no more to do with it: none of its callbacks are called for this exchange again, not
    /// even [`Filter::on_end`], its [`State`](Filter::State) is dropped and what it spawned is given up. A filter that leaves
    /// as soon as it can costs a fraction of one that stays. While something of it still [waits](crate::Request::wait), and
    /// as what such a wait gives later, it is `Continue`. After a [reply](crate::Reply::send) it leaves the reply to the
    /// others.
    ///
    /// What it paused in the other direction goes on: in a host that cannot be told only when more comes, so resume it
    /// before.
    Leave,
    /// It waits here until the filter resumes it. Of a body the host keeps what comes in the meantime, up to its buffer
    /// limit; beyond that the exchange fails.
    Pause,
    /// Like `Pause`, but a body that comes faster than it can go on is held back at its sender when the host's buffer
    /// is full, instead of failing; and the next piece shows itself alone, without what is held already.
    ///
    /// Needs a module finished by `tidegate-build`; else it is `Pause`.
    Hold,
}
