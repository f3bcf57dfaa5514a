//! One downstream connection in HTTP/1.1, by hyper.

use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::Either;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::drain::DRAIN_GRACE;
use super::h2c::{Asked, Change};
use super::http2;
use super::observed::Observed;
use super::warden::{Verdict, Warden};
use crate::config::model::ListenerLimits;
use crate::error::Failure;
use crate::exchange::{self, Berth, ClientBody, ClientTunnel, Peer, Phase};
use crate::listener::Door;

/// Serves one connection to its end.
pub(super) async fn serve(
    io: Observed,
    peer: Arc<Peer>,
    door: Rc<Door>,
    limits: &ListenerLimits,
    warden: &mut Warden<'_>,
) {
    let (berth, change) = (Berth::default(), Change::default());
    let below_tls = io.stream.below_tls();
    let service = {
        let (door, peer, berth, change) = (door.clone(), peer.clone(), berth.clone(), change.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let site = door.site();
            let mut upgrade = request.extensions_mut().remove::<OnUpgrade>();
            if upgrade.is_some()
                && site.listener().h2c_upgrade
                && !peer.is_encrypted() // by TLS it is agreed on in the handshake alone (RFC 7540, 3.2)
                && let Some(response) = change.agree(&mut request, &mut upgrade)
            {
                return Either::Left(ready(Ok(response)));
            }
            let client =
                upgrade.map(|upgrade| ClientTunnel::Http1(upgrade, below_tls.clone(), berth.clone()));
            Either::Right(exchange::serve(site, peer.clone(), request.map(ClientBody::Http1), client))
        })
    };
    let mut connection = http1::Builder::new()
        .half_close(true)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES))
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let ended = std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending => match berth.poll(cx) {
            // A tunnel's time was over before the request for it was whole.
            Poll::Ready(()) => Poll::Ready(Err(Verdict::Idle)),
            Poll::Pending => warden.poll(cx).map(Err),
        },
    });
    let result = match ended.await {
        Ok(result) => result,
        Err(Verdict::Drain) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
        Err(Verdict::HeadTimeout) => {
            door.site().reporter().cell().count_protocol_error(Failure::RequestHeadTimeout);
            if let Some(parts) = connection.into_parts() {
                Box::pin(refuse(parts.io.into_inner(), Failure::RequestHeadTimeout)).await;
            }
            return;
        }
        Err(Verdict::Stalled) => {
            peer.note_stalled(); // the exchange is told so by what is dropped here
            return;
        }
        Err(Verdict::Idle) => return, // dropped: closed
    };
    match result {
        // hyper has ended this side: that is how it ends. The protocol may have changed: then there are no parts.
        Ok(()) => {
            let Some(parts) = connection.into_parts() else {
                return match change.take() {
                    Some(asked) => Box::pin(serve_http2(asked, &peer, &door, limits, warden)).await,
                    None => berth.carry().await,
                };
            };
            let io = parts.io.into_inner();
            if !parts.read_buf.is_empty() || io.may_receive() {
                Box::pin(io.linger()).await;
            }
        }
        Err(error) if error.is_parse() => {
            let Some(parts) = connection.into_parts() else { return };
            let failure = refusal(&error, &parts.read_buf, limits);
            door.site().reporter().cell().count_protocol_error(failure);
            tracing::debug!(listener = door.site().listener().name, %error, "refused a request");
            let io = parts.io.into_inner();
            if error.is_parse_version_h2() {
                Box::pin(refuse(io, failure)).await; // hyper leaves this answer to its user
            } else if !io.ended {
                Box::pin(io.linger()).await;
            }
        }
        Err(_) => {} // the client left, or an exchange was cut: reported there, and closed at once
    }
}

/// Goes on in HTTP/2, when the client says that it does.
async fn serve_http2(
    asked: Asked,
    peer: &Arc<Peer>,
    door: &Rc<Door>,
    limits: &ListenerLimits,
    warden: &mut Warden<'_>,
) {
    peer.enter(Phase::Head);
    let mut begins = pin!(asked.begin());
    let begun = std::future::poll_fn(|cx| match begins.as_mut().poll(cx) {
        Poll::Ready(begun) => Poll::Ready(Some(begun)),
        Poll::Pending => warden.poll(cx).map(|_| None), // it took too long, or the proxy ends
    });
    match begun.await {
        Some(Ok(io)) => http2::serve(io, peer, door, limits, warden).await,
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            door.site().reporter().cell().count_protocol_error(Failure::Http2Protocol);
        }
        Some(Err(_)) | None => {}
    }
}

/// How much a connection reads at once, and holds of what it could not write yet, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// What hyper refused before it became an exchange.
fn refusal(error: &hyper::Error, head: &[u8], limits: &ListenerLimits) -> Failure {
    if error.is_parse_version_h2() {
        Failure::UnsupportedVersion
    } else if !error.is_parse_too_large() {
        Failure::MalformedRequest
    } else if is_target_too_long(head, limits.header_bytes) {
        Failure::UriTooLong
    } else {
        Failure::RequestHeadTooLarge
    }
}

/// Whether it is for its target that a head was too large: hyper then answers 414, but looks at the target only once
/// the head is there and within the limit.
fn is_target_too_long(head: &[u8], limit: usize) -> bool {
    const MOST: usize = u16::MAX as usize - 1;
    let head = &head[..head.len().min(limit)];
    let target = head.split(|byte| *byte == b' ').nth(1);
    target.is_some_and(|target| target.len() > MOST) && head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// Answers what hyper does not: a head that did not come in time (RFC 9110, 15.5.9), and another version of HTTP.
pub(super) async fn refuse(mut io: Observed, failure: Failure) {
    let status = failure.status().unwrap_or(StatusCode::BAD_REQUEST);
    let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let answer = async {
        io.stream.write_all(response.as_bytes()).await?;
        io.stream.shutdown().await
    };
    // A peer that does not take even this is cut off.
    if let Ok(Ok(())) = tokio::time::timeout(DRAIN_GRACE, answer).await {
        io.linger().await;
    }
}
