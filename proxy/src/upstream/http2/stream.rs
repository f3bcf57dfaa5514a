//! One request on an HTTP/2 connection: what is sent of it, and what comes back.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame};
use tokio::task::AbortHandle;

use super::super::body::BoxError;
use super::super::health::http::host_of;
use super::super::pool::Lease;
use super::super::send::Attempt;
use super::super::{RequestBody, UpstreamError};
use super::{Turn, acquire};
use crate::boxed;
use crate::config::model::Address;
use crate::http2::{Sending, poll_frame};
use crate::tasks::Tasks;

/// Sends a request on a connection of the lease's pool that has room for it, and is not the one that is `avoided`.
pub(in crate::upstream) async fn send(
    lease: Lease,
    tasks: &Rc<Tasks>,
    request: Box<Request<RequestBody>>,
    attempt: &Cell<Attempt>,
    avoided: Option<u64>,
) -> Result<Response<Http2Body>, UpstreamError> {
    match boxed::pin(|| perform(&lease, tasks, request, attempt, avoided)).await {
        Ok((response, outgoing, turn)) => {
            lease.answered(response.status(), response.headers(), response.body().is_end_stream());
            let outgoing = outgoing.leave_to(tasks);
            Ok(response.map(|incoming| Http2Body::new(incoming, outgoing, turn, lease)))
        }
        // A second try is refused nothing: it would have been a favour.
        Err(error @ UpstreamError::Overflow(_)) if avoided.is_some() => Err(error),
        Err(error) => Err(lease.failed(error)),
    }
}

async fn perform(
    lease: &Lease,
    tasks: &Rc<Tasks>,
    request: Box<Request<RequestBody>>,
    attempt: &Cell<Attempt>,
    avoided: Option<u64>,
) -> Result<(Response<RecvStream>, Outgoing, Turn), UpstreamError> {
    let pool = lease.pool();
    let (mut head, body) = request.into_parts();
    let is_tls = pool.cluster().config().tls.is_some();
    head.uri = absolute(&head.uri, head.headers.remove(HOST), is_tls, pool.endpoint().address());
    head.version = Version::HTTP_2;
    let turn = acquire(pool, tasks, avoided).await?;
    turn.note(attempt, lease.sent());
    let (response, stream) = turn
        .sender()
        .send_request(Request::from_parts(head, ()), body.is_end_stream())
        .map_err(UpstreamError::from_http2)?;
    let mut outgoing = Outgoing::new(body, stream);
    let mut response = pin!(response);
    let response = poll_fn(|cx| {
        outgoing.send(cx);
        match outgoing.failed.take() {
            Some(error) => Poll::Ready(Err(UpstreamError::RequestBody(error))),
            None => response.as_mut().poll(cx).map_err(UpstreamError::from_http2),
        }
    });
    let response = response.await?;
    Ok((response, outgoing, turn))
}

/// What is left to be sent of a request.
struct Outgoing {
    sending: Sending<RequestBody>,
    /// Nothing once all was sent, or cannot be.
    stream: Option<SendStream<Bytes>>,
    /// Why there is no more of the body.
    failed: Option<BoxError>,
}

impl Outgoing {
    fn new(body: RequestBody, stream: SendStream<Bytes>) -> Outgoing {
        let stream = (!body.is_end_stream()).then_some(stream);
        Outgoing { sending: Sending::new(body), stream, failed: None }
    }

    /// Sends what there is and what the peer takes, and sees to it that the task is woken for more. That it failed is
    /// said by the response.
    fn send(&mut self, cx: &mut Context<'_>) {
        if let Some(stream) = &mut self.stream
            && let Poll::Ready(sent) = self.sending.poll(stream, cx)
        {
            self.failed = sent.err();
            if self.failed.is_some() {
                stream.send_reset(Reason::CANCEL);
            }
            self.stream = None;
        }
    }

    /// Leaves what there is yet to be sent to a task. Whoever reads the response may wait with that for its own peer,
    /// which may take nothing before it has sent the whole request.
    fn leave_to(mut self, tasks: &Rc<Tasks>) -> Option<Rest> {
        self.stream.as_ref()?;
        let sending = poll_fn(move |cx| {
            self.send(cx);
            if self.stream.is_some() { Poll::Pending } else { Poll::Ready(()) }
        });
        Some(Rest(tasks.spawn(sending)))
    }
}

/// The rest of a request, which is sent for as long as this is kept.
#[derive(Debug)]
pub(super) struct Rest(AbortHandle);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// HTTP/2 names scheme and authority in every request, in the place of `host` (RFC 9113, section 8.3.1).
pub(super) fn absolute(uri: &Uri, host: Option<HeaderValue>, is_tls: bool, endpoint: Address) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme.get_or_insert(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    if parts.authority.is_none() {
        let named = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        parts.authority = named.or_else(|| host_of(endpoint).parse().ok());
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// The body of a response over HTTP/2, as it comes; what is left of its request is sent meanwhile. Dropped before either
/// has ended, it resets the stream. The request counts as in flight until it is dropped.
pub struct Http2Body {
    incoming: RecvStream,
    _outgoing: Option<Rest>,
    _turn: Turn,
    lease: Lease,
}

impl Http2Body {
    pub(super) fn new(incoming: RecvStream, outgoing: Option<Rest>, turn: Turn, lease: Lease) -> Http2Body {
        Http2Body { incoming, _outgoing: outgoing, _turn: turn, lease }
    }
}

impl std::fmt::Debug for Http2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Body").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let frame = ready!(poll_frame(&mut self.incoming, cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.lease.ended(Some(trailers));
                }
            }
            // What this side took back says nothing of the endpoint.
            Some(Err(error)) if error.is_remote() || error.is_io() => self.lease.cut(),
            Some(Err(_)) | None => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UpstreamError::from_http2)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
