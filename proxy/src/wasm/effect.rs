//! What a guest asks for that takes time, and what comes back: values that the pipeline turns into I/O and timers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::oneshot;

use super::grpc::GrpcCallout;
use super::queues::Inbox;

/// What an instance asks for; taken by [`Vm::take_effects`](super::Vm::take_effects) after each call into it.
#[derive(Debug)]
pub enum Effect {
    /// `proxy_http_call`: perform it and call [`Vm::on_http_call_response`](super::Vm::on_http_call_response) once.
    HttpCall(Box<HttpCall>, Abandoned),
    /// `proxy_grpc_call`, `proxy_grpc_stream`: perform it and call [`Vm::on_grpc`](super::Vm::on_grpc) with what comes
    /// of it, until that says that nothing more is wanted.
    Grpc(Box<GrpcCallout>),
    /// `proxy_set_tick_period_milliseconds`: call [`Vm::on_tick`](super::Vm::on_tick) this long after each last call
    /// of it has returned, or never (`None`). At most one in a batch: the last that was asked for.
    SetTick(Option<Duration>),
    /// `proxy_register_shared_queue`, the first time: whenever the inbox is ready, call
    /// [`Vm::on_queue_ready`](super::Vm::on_queue_ready).
    WatchQueues(Arc<Inbox>),
}

/// An HTTP callout, checked: its cluster is one that the filter may call, its head is a valid request.
#[derive(Debug)]
pub struct HttpCall {
    /// Names it; never 0, unique in its instance while in flight.
    pub token: u32,
    /// The cluster's name.
    pub cluster: String,
    /// `:method`.
    pub method: Method,
    /// `:path`, in origin form.
    pub uri: Uri,
    /// `:authority`, or `host`; the cluster's name where the guest gave none.
    pub authority: HeaderValue,
    /// `:scheme`; `http` where the guest gave none.
    pub scheme: HeaderValue,
    /// Its headers, without `host`, `content-length` and those that belong to a connection.
    pub headers: HeaderMap,
    /// Its whole body; may be empty.
    pub body: Bytes,
    /// Its trailers, if it has any.
    pub trailers: Option<HeaderMap>,
    /// How long the whole of it may take; `None` is for ever.
    pub timeout: Option<Duration>,
}

/// Whether anybody waits for a callout: not if its guest was lost, nor if the root that it is for has gone.
#[derive(Debug)]
pub struct Abandoned(pub(crate) oneshot::Receiver<Infallible>);

impl Abandoned {
    /// Ends when nobody does.
    pub async fn wait(self) {
        let _ = self.0.await; // nothing is ever sent
    }
}

/// How a callout ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each callout, and nearly all are responses")]
pub enum CalloutResult {
    /// With a response.
    Response(CalloutResponse),
    /// No endpoint took it. The guest sees a 503 made here, as in Envoy, and `get_status` says why.
    Unavailable(String),
    /// Its time was up. The guest sees a 504 made here, as in Envoy.
    TimedOut,
    /// Its response broke off or was too large. The guest sees neither headers nor body (Envoy's 0, 0, 0).
    Reset(String),
}

/// A callout's response.
#[derive(Debug)]
pub struct CalloutResponse {
    /// `:status`.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// Its trailers, if it had any.
    pub trailers: Option<HeaderMap>,
}

impl CalloutResult {
    /// What the guest is shown, and what `proxy_get_status` then says.
    pub(crate) fn into_parts(self) -> (Option<CalloutResponse>, CalloutStatus) {
        match self {
            CalloutResult::Response(response) => (Some(response), CalloutStatus::default()),
            CalloutResult::Unavailable(why) => {
                let response = synthesise(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream");
                (Some(response), CalloutStatus::broken(why))
            }
            CalloutResult::TimedOut => {
                let response = synthesise(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout");
                (Some(response), CalloutStatus::broken("timeout".to_owned()))
            }
            CalloutResult::Reset(why) => (None, CalloutStatus::broken(why)),
        }
    }
}

/// What `proxy_get_status` says of the last callout.
#[derive(Debug, Default)]
pub(crate) struct CalloutStatus {
    /// 0, or 11 (`BrokenConnection`); of a gRPC callout its gRPC status.
    pub(crate) code: u32,
    /// Why.
    pub(crate) message: String,
}

impl CalloutStatus {
    fn broken(message: String) -> CalloutStatus {
        const BROKEN_CONNECTION: u32 = 11;
        CalloutStatus { code: BROKEN_CONNECTION, message }
    }
}

/// The response that Envoy's router makes where there is none.
fn synthesise(status: StatusCode, body: &'static str) -> CalloutResponse {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    CalloutResponse { status, headers, body: Bytes::from_static(body.as_bytes()), trailers: None }
}
