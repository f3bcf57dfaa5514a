//! Downstream connections: accepting them, bounding them, and handing them to the HTTP implementation.
//!
//! Each worker accepts on a socket of its own (`SO_REUSEPORT`). What a request becomes is not decided here: see
//! [`exchange`](crate::exchange); nor what a TCP connection becomes: see [`tcp`](crate::tcp).

mod arrival;
mod connection;
mod introduction;
mod sight;
mod socket;
mod unix;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(crate) use connection::Drain;
pub(crate) use socket::{Listening, Neighbours, bind};
pub(crate) use unix::SocketFile;

use arrival::Arrival;
use introduction::Ends;
use socket::Entrance;

use crate::config::model::Protocol;
use crate::exchange::{Peer, Site};
use crate::overload::Admitted;
use crate::tasks::Tasks;
use crate::telemetry::Reporter;
use crate::transport::{Socket, Transport};
use crate::{route, tcp};

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
    /// Who accepts them, and where.
    accepting: RefCell<Option<(AbortHandle, Weak<Entrance>)>>,
}

impl Door {
    /// A door that nobody comes in by yet.
    pub(crate) fn new(site: Rc<Site>, open: Arc<Open>, drain: Rc<Drain>) -> Rc<Door> {
        let (tasks, connections, accepting) = (Rc::default(), RefCell::default(), RefCell::default());
        Rc::new(Door { site: RefCell::new(site), open, drain, tasks, connections, accepting })
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
    pub(crate) fn let_in(self: &Rc<Self>, socket: Listening) {
        match socket::listen(socket) {
            Ok(entrance) => self.accept_at(Rc::new(entrance)),
            // Only memory can be short: the address was bound before.
            Err(error) => tracing::error!(listener = self.site().listener().name, %error, "cannot listen"),
        }
    }

    /// Lets in who would have come in by `former`, a door of the same address, which lets in nobody from now on.
    pub(crate) fn let_in_instead_of(self: &Rc<Self>, former: &Door) {
        let Some((accepting, entrance)) = former.accepting.take() else { return };
        let entrance = entrance.upgrade(); // which only who accepts there keeps
        accepting.abort();
        if let Some(entrance) = entrance {
            self.accept_at(entrance);
        }
    }

    fn accept_at(self: &Rc<Self>, entrance: Rc<Entrance>) {
        let at = Rc::downgrade(&entrance);
        let accepting = self.tasks.spawn(accept(self.clone(), entrance));
        *self.accepting.borrow_mut() = Some((accepting, at));
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
    fn take(self: &Rc<Self>, socket: Socket, ends: Ends) {
        let site = self.site();
        let cell = site.reporter().cell();
        cell.connections.increment();
        let Some(place) = Place::take(self, &site) else {
            cell.refused_connections.increment();
            return; // dropped: closed
        };
        if let Err(error) = socket.send_at_once().and_then(|()| socket.keep_alive()) {
            tracing::debug!(%error, "cannot set options of a client's socket");
        }
        let (id, door) = (place.id, self.clone());
        let connection = match (site.listener().is_plain(), &site.listener().protocol) {
            (true, Protocol::Http) => self.tasks.spawn(async move {
                let _place = place;
                serve(socket, ends, id, door).await;
            }),
            (true, Protocol::Tcp(shares)) => {
                let Some(cluster) = route::pick_share(shares, fastrand::u64(..)) else { return };
                self.tasks.spawn(async move {
                    let _place = place;
                    let arrived = tcp::Arrived { ends, id, tls: None, cluster, opaque: false };
                    tcp::serve(socket.into(), arrived, site).await;
                })
            }
            (false, _) | (_, Protocol::Auto(_)) => {
                let arrival = Arrival { door, site, ends, id, since: Instant::now() };
                self.tasks.spawn(async move {
                    let _place = place;
                    Box::pin(arrival.go(socket)).await;
                })
            }
        };
        self.connections.borrow_mut().insert(id, connection);
    }
}

async fn serve(socket: Socket, (address, local): Ends, id: u64, door: Rc<Door>) {
    let peer = Arc::new(Peer::new(address, local, id));
    connection::serve(Transport::from(socket), peer, door).await;
}

async fn accept(door: Rc<Door>, entrance: Rc<Entrance>) {
    loop {
        tokio::select! {
            biased;
            accepted = entrance.accept() => match accepted {
                Ok((socket, ends)) => door.take(socket, ends),
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
    while let Ok(Ok((socket, ends))) = tokio::time::timeout(Duration::ZERO, entrance.accept()).await {
        door.take(socket, ends);
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
