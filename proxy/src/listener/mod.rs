//! Downstream connections: accepting them, bounding them, and handing them to the HTTP implementation.
//!
//! Each worker accepts on a socket of its own (`SO_REUSEPORT`). What a request becomes is not decided here: see
//! [`exchange`](crate::exchange); nor what a TCP connection becomes: see [`tcp`](crate::tcp).

mod connection;
mod socket;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

pub(crate) use connection::Drain;
pub(crate) use socket::bind;

use crate::config::model::Protocol;
use crate::exchange::{Peer, Site};
use crate::tcp;

/// After an error that only time can mend (no file descriptor left), before the next try.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Connections of one listener that are open, on all workers.
#[derive(Debug, Default)]
pub(crate) struct Open(AtomicUsize);

/// Accepts connections until the drain begins, and takes those that the kernel had accepted by then.
pub(crate) async fn accept(listener: TcpListener, site: Rc<Site>, open: Arc<Open>, drain: Rc<Drain>) {
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => take(stream, &site, &open, &drain),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(listener = site.listener().name, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            () = drain.begun() => break,
        }
    }
    // Closing the socket resets what waits in its queue.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        take(stream, &site, &open, &drain);
    }
}

/// Errors that accept(2) reports for a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves a connection, unless there are as many as the listener may have.
fn take(stream: TcpStream, site: &Rc<Site>, open: &Arc<Open>, drain: &Rc<Drain>) {
    let cell = site.reporter().cell();
    cell.connections.increment();
    let Some(place) = Place::take(open, site) else {
        cell.refused_connections.increment();
        return; // dropped: closed
    };
    let (Ok(address), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let (id, site, drain) = (next_connection_id(), site.clone(), drain.clone());
    let tasks = site.tasks().clone();
    match site.listener().protocol {
        Protocol::Http => tasks.spawn(async move {
            let peer = Arc::new(Peer::new(address, local, id));
            connection::serve(stream, peer, site, drain).await;
            drop(place);
        }),
        Protocol::Tcp(_) => tasks.spawn(async move {
            tcp::serve(stream, (address, local), id, site).await;
            drop(place);
        }),
    };
}

/// Unique in the process, from 1.
fn next_connection_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One of the connections that a listener may have.
struct Place {
    open: Arc<Open>,
    site: Rc<Site>,
}

impl Place {
    fn take(open: &Arc<Open>, site: &Rc<Site>) -> Option<Place> {
        if open.0.fetch_add(1, Ordering::Relaxed) >= site.listener().limits.connections {
            open.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        site.reporter().cell().active_connections.increment();
        Some(Place { open: open.clone(), site: site.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
        self.site.reporter().cell().active_connections.decrement();
    }
}
