//! One downstream connection, from its first byte to its last. Which version of HTTP it is, its first bytes say.

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

use tokio::net::TcpStream;

pub(crate) use drain::Drain;
use observed::Observed;
use warden::{Verdict, Warden};

use super::Door;
use crate::error::Failure;
use crate::exchange::Peer;

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: Arc<Peer>, door: Rc<Door>) {
    // Its own: an idle connection keeps no configuration.
    let limits = &door.site().listener().limits.clone();
    let mut io = Observed::new(stream, peer.clone());
    let admission = door.site().admission().clone();
    let mut warden = Warden::new(limits, &peer, door.drain(), &admission);
    let version = std::future::poll_fn(|cx| match io.poll_prior_knowledge(cx) {
        Poll::Ready(known) => Poll::Ready(Ok(known)),
        Poll::Pending => warden.poll(cx).map(Err),
    });
    match version.await {
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
