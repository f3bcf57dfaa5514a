//! A stream that carries another protocol to an endpoint and back (RFC 8441): a WebSocket, usually.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use tokio::time::timeout;

use super::super::body::ResponseBody;
use super::super::pool::Lease;
use super::super::send::Attempt;
use super::super::{RequestBody, UpstreamError};
use super::stream::{Http2Body, absolute};
use super::{Turn, acquire};
use crate::http2::Duplex;
use crate::tasks::Tasks;

/// An endpoint's side of a tunnel over HTTP/2, in the place of a body. The request counts as in flight until it is dropped.
pub struct Http2Tunnel {
    duplex: Option<Duplex>,
    _turn: Turn,
    _lease: Lease,
}

impl Http2Tunnel {
    /// What carries the bytes. There once.
    pub(in crate::upstream) fn take(&mut self) -> Option<Duplex> {
        self.duplex.take()
    }
}

impl std::fmt::Debug for Http2Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Tunnel").finish_non_exhaustive()
    }
}

/// Asks for what a request with `upgrade` asks for, on a connection of the lease's pool. An agreement reads as over
/// HTTP/1.1: it is a 101 that names the protocol.
pub(in crate::upstream) async fn send(
    lease: Lease,
    tasks: &Rc<Tasks>,
    request: Request<RequestBody>,
    attempt: &Cell<Attempt>,
) -> Result<Response<ResponseBody>, UpstreamError> {
    let protocol = request.headers().get(UPGRADE).cloned();
    let (response, outgoing, turn) = match perform(&lease, tasks, request, attempt).await {
        Ok(answered) => answered,
        Err(error) => return Err(lease.failed(error)),
    };
    let agreed = response.status().is_success();
    let is_whole = agreed || response.body().is_end_stream();
    lease.answered(response.status(), response.headers(), is_whole);
    let (mut head, incoming) = response.into_parts();
    if !agreed {
        let body = Http2Body::new(incoming, None, turn, lease);
        return Ok(Response::from_parts(head, ResponseBody::Http2(body)));
    }
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.headers.remove(SEC_WEBSOCKET_ACCEPT); // there is nothing that it could be of (RFC 8441, 5.1)
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    let duplex = Some(Duplex::new(incoming, outgoing));
    let tunnel = Http2Tunnel { duplex, _turn: turn, _lease: lease };
    Ok(Response::from_parts(head, ResponseBody::Tunnel(tunnel)))
}

async fn perform(
    lease: &Lease,
    tasks: &Rc<Tasks>,
    request: Request<RequestBody>,
    attempt: &Cell<Attempt>,
) -> Result<(Response<RecvStream>, SendStream<Bytes>, Turn), UpstreamError> {
    let pool = lease.pool();
    let (mut head, body) = request.into_parts();
    head.headers.remove(CONNECTION);
    head.headers.remove(SEC_WEBSOCKET_KEY);
    let wanted = head.headers.remove(UPGRADE);
    let wanted = wanted.as_ref().and_then(|protocol| protocol.to_str().ok()).map(Protocol::from);
    let (Some(protocol), true) = (wanted, body.is_end_stream()) else {
        return Err(UpstreamError::NoUpgrade); // what follows the head is the tunnel's
    };
    head.method = Method::CONNECT;
    let is_tls = pool.cluster().config().tls.is_some();
    head.uri = absolute(&head.uri, head.headers.remove(HOST), is_tls, pool.endpoint().address());
    head.version = Version::HTTP_2;
    head.extensions.insert(protocol);
    let turn = acquire(pool, tasks, None).await?;
    turn.note(attempt, None);
    // One that has not said by then what it takes is as one that does not connect.
    let settled = timeout(pool.cluster().config().connect_timeout, turn.settled()).await;
    settled.map_err(|_| UpstreamError::ConnectTimeout)?;
    let mut sender = turn.sender();
    if !sender.is_extended_connect_protocol_enabled() {
        return Err(UpstreamError::NoUpgrade);
    }
    attempt.update(|it| Attempt { since: lease.sent(), ..it });
    let (response, outgoing) =
        sender.send_request(Request::from_parts(head, ()), false).map_err(UpstreamError::from_http2)?;
    let response = response.await.map_err(UpstreamError::from_http2)?;
    Ok((response, outgoing, turn))
}
