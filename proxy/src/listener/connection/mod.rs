//! One downstream connection, from its first byte to its last. Which version of HTTP it is, the TLS handshake
//! says, or its first bytes.

mod date;
mod drain;
mod flood;
mod h2c;
mod http1;
mod http2;
mod observed;
mod warden;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

pub(crate) use drain::Drain;
use observed::Observed;
pub(super) use observed::PREFACE;
use warden::{Verdict, Warden};

use super::Door;
use crate::error::Failure;
use crate::exchange::Peer;
use crate::tls::{H2, HTTP_1_1};
use crate::transport::Transport;

/// Serves one connection to its end.
pub(super) async fn serve(transport: Transport, peer: Arc<Peer>, door: Rc<Door>) {
    // Its own: an idle connection keeps no configuration.
    let limits = &door.site().listener().limits.clone();
    // Both sides may have agreed on a version with TLS.
    let agreed = match transport.alpn().as_deref() {
        Some(H2) => Some(true),
        Some(HTTP_1_1) => Some(false),
        _ => None,
    };
    let mut io = Observed::new(transport, peer.clone());
    let admission = door.site().admission().clone();
    let mut warden = Warden::new(limits, &peer, door.drain(), &admission);
    let version = std::future::poll_fn(|cx| match io.poll_prior_knowledge(cx) {
        Poll::Ready(known) => Poll::Ready(Ok(known)),
        Poll::Pending => warden.poll(cx).map(Err),
    });
    let version = match agreed {
        Some(is_http2) => Ok(Ok(is_http2)),
        None => version.await,
    };
    match version {
        Ok(Ok(true)) => Box::pin(http2::serve(io, &peer, &door, limits, &mut warden)).await,
        Ok(Ok(false)) => http1::serve(io, peer.clone(), door.clone(), limits, &mut warden).await,
        Ok(Err(_)) => {} // the client left before it said anything
        Err(Verdict::HeadTimeout) => {
            door.site().reporter().cell().count_protocol_error(Failure::RequestHeadTimeout);
            Box::pin(http1::refuse(io, Failure::RequestHeadTimeout)).await;
        }
        Err(Verdict::Drain | Verdict::Stalled | Verdict::Idle) => {}
    }
}
