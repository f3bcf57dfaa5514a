//! Downstream connections: accepting them, bounding them, and handing them to the HTTP implementation.
//!
//! Each worker accepts on a socket of its own (`SO_REUSEPORT`). What a request becomes is not decided here: see
//! [`exchange`](crate::exchange); nor what a TCP connection becomes: see [`tcp`](crate::tcp).

mod connection;
mod introduction;
mod socket;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub(crate) use connection::Drain;
pub(crate) use socket::{Neighbours, bind};

use introduction::{Ends, Unintroduced};

use crate::config::model::Protocol;
use crate::error::Failure;
use crate::exchange::{Peer, Site};
use crate::overload::Admitted;
use crate::socket::keep_alive;
use crate::tasks::Tasks;
use crate::tcp;
use crate::telemetry::Reporter;

/// After an error that only time can mend (no file descriptor left), before the next try.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Connections of one listener that are open, on all workers.
#[derive(Debug, Default)]
pub(crate) struct Open(AtomicUsize);

/// One listener on one worker: where its connections come in, whatever the configuration of the moment.
pub(crate) struct Door {
    site: RefCell<Rc<Site>>,
    open: Arc<Open>,
    drain: Rc<Drain>,
    /// Its connections, and who accepts them.
    tasks: Rc<Tasks>,
    connections: RefCell<HashMap<u64, AbortHandle>>,
}

impl Door {
    /// A door that nobody comes in by yet.
    pub(crate) fn new(site: Rc<Site>, open: Arc<Open>, drain: Rc<Drain>) -> Rc<Door> {
        let (tasks, connections) = (Rc::default(), RefCell::default());
        Rc::new(Door { site: RefCell::new(site), open, drain, tasks, connections })
    }

    /// Where it leads to now.
    pub(crate) fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    /// From now on requests, also on connections that there are, and TCP connections go there.
    pub(crate) fn lead_to(&self, site: Rc<Site>) {
        *self.site.borrow_mut() = site;
    }

    /// What all workers' doors of this address share, and no other.
    pub(crate) fn open(&self) -> &Arc<Open> {
        &self.open
    }

    pub(crate) fn drain(&self) -> &Rc<Drain> {
        &self.drain
    }

    /// Lets connections in, until the drain begins.
    pub(crate) fn let_in(self: &Rc<Self>, socket: std::net::TcpListener) {
        match socket::listen(socket) {
            Ok(listener) => drop(self.tasks.spawn(accept(self.clone(), listener))),
            // Only memory can be short: the address was bound before.
            Err(error) => tracing::error!(listener = self.site().listener().name, %error, "cannot listen"),
        }
    }

    /// Waits until nobody is let in any more and the last connection has ended.
    pub(crate) async fn ended(&self) {
        self.tasks.ended().await;
    }

    /// Lets nobody in any more, and ends the connections: what is under way has `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        self.drain.begin();
        if tokio::time::timeout(limit, self.ended()).await.is_err() {
            self.drain.give_up();
            self.connections.borrow().values().for_each(AbortHandle::abort);
            self.ended().await;
        }
    }

    /// Serves a connection, unless there are as many as the listener may have.
    fn take(self: &Rc<Self>, stream: TcpStream) {
        let site = self.site();
        let cell = site.reporter().cell();
        cell.connections.increment();
        let Some(place) = Place::take(self, &site) else {
            cell.refused_connections.increment();
            return; // dropped: closed
        };
        let (Ok(address), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
        if let Err(error) = stream.set_nodelay(true).and_then(|()| keep_alive(&stream)) {
            tracing::debug!(%error, "cannot set options of a client's socket");
        }
        let (id, door, ends) = (place.id, self.clone(), (address, local));
        let connection = match (site.listener().proxy_protocol, &site.listener().protocol) {
            (false, Protocol::Http) => self.tasks.spawn(async move {
                let _place = place;
                serve(stream, ends, id, door).await;
            }),
            (false, Protocol::Tcp(_)) => self.tasks.spawn(async move {
                let _place = place;
                tcp::serve(stream, ends, id, site).await;
            }),
            (true, _) => self.tasks.spawn(async move {
                let _place = place;
                serve_introduced(stream, ends, id, door, site).await;
            }),
        };
        self.connections.borrow_mut().insert(id, connection);
    }
}

async fn serve(stream: TcpStream, (address, local): Ends, id: u64, door: Rc<Door>) {
    let peer = Arc::new(Peer::new(address, local, id));
    connection::serve(stream, peer, door).await;
}

/// Serves a connection that says first whose it is.
async fn serve_introduced(mut stream: TcpStream, own: Ends, id: u64, door: Rc<Door>, site: Rc<Site>) {
    let limit = site.listener().limits.header_timeout;
    let introduced = tokio::time::timeout(limit, introduction::receive(&mut stream, own)).await;
    let ends = match introduced {
        Ok(Ok(ends)) => ends,
        Ok(Err(Unintroduced::Cut(_))) => return, // a check of health, most often
        Ok(Err(error @ (Unintroduced::Malformed | Unintroduced::TooLong))) => {
            site.reporter().cell().count_protocol_error(Failure::NotIntroduced);
            tracing::debug!(listener = site.listener().name, from = %own.0, %error, "closed a connection");
            return;
        }
        Err(_) => {
            site.reporter().cell().count_protocol_error(Failure::NotIntroduced);
            return;
        }
    };
    match site.listener().protocol {
        Protocol::Http => Box::pin(serve(stream, ends, id, door)).await,
        Protocol::Tcp(_) => Box::pin(tcp::serve(stream, ends, id, site)).await,
    }
}

async fn accept(door: Rc<Door>, listener: TcpListener) {
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => door.take(stream),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(listener = door.site().listener().name, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            () = door.drain.begun() => break,
        }
    }
    // Closing the socket resets what waits in its queue.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        door.take(stream);
    }
}

/// Errors that accept(2) reports for a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Unique in the process, from 1.
fn next_connection_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One of the connections that a listener may have.
struct Place {
    id: u64,
    door: Rc<Door>,
    reporter: Rc<Reporter>,
    _admitted: Admitted,
}

impl Place {
    fn take(door: &Rc<Door>, site: &Site) -> Option<Place> {
        if door.open.0.fetch_add(1, Ordering::Relaxed) >= site.listener().limits.connections {
            door.open.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let is_tcp = matches!(site.listener().protocol, Protocol::Tcp(_));
        let Ok(admitted) = site.admission().connection(site.overload(), is_tcp) else {
            door.open.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let reporter = site.reporter().clone();
        reporter.cell().active_connections.increment();
        Some(Place { id: next_connection_id(), door: door.clone(), reporter, _admitted: admitted })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.connections.borrow_mut().remove(&self.id);
        self.door.open.0.fetch_sub(1, Ordering::Relaxed);
        self.reporter.cell().active_connections.decrement();
    }
}
