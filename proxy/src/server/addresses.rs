//! The addresses that the process listens on, from one configuration to the next.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;

use super::worker::WayIn;
use crate::config::model::Listener;
use crate::config::{Finding, Loaded, Part, Problems};
use crate::listener::{self, Neighbours, Open};

/// For each listener of a configuration where it listens.
#[derive(Default)]
pub(super) struct Addresses(Vec<Bound>);

/// An address that the process listens on.
#[derive(Clone)]
struct Bound {
    /// The configuration's.
    address: SocketAddr,
    /// The listener that had it first: port 0 is another port for each.
    first: String,
    open: Arc<Open>,
}

impl Bound {
    fn is_of(&self, listener: &Listener) -> bool {
        self.address == listener.address && (self.address.port() != 0 || self.first == listener.name)
    }
}

/// The sockets of each listener that is new, one for each worker; none for one that has them.
pub(super) struct Sockets(Vec<Vec<TcpListener>>);

impl Addresses {
    /// Those of the next configuration, and sockets for what is new in it.
    ///
    /// # Errors
    ///
    /// Every address that cannot be bound, at its place in the file.
    pub(super) fn successor(
        &self,
        loaded: &Loaded,
        workers: usize,
    ) -> Result<(Addresses, Sockets), Problems> {
        let listeners = &loaded.config.listeners;
        let leaving: Vec<SocketAddr> = {
            let leaving =
                self.0.iter().filter(|bound| !listeners.iter().any(|listener| bound.is_of(listener)));
            leaving.map(|bound| bound.address).collect()
        };
        let mut findings = Vec::new();
        let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
        for (index, listener) in listeners.iter().enumerate() {
            if let Some(bound) = self.0.iter().find(|bound| bound.is_of(listener)) {
                addresses.push(bound.clone());
                sockets.push(Vec::new());
                continue;
            }
            let is_taken = addresses.iter().any(|other: &Bound| overlap(other.address, listener.address));
            let makes_way = leaving.iter().any(|former| overlap(*former, listener.address));
            let bound = match (is_taken, makes_way) {
                (true, _) => Err(io::ErrorKind::AddrInUse.into()),
                (_, true) => listener::bind(listener.address, workers, Neighbours::Leaving),
                (_, false) => listener::bind(listener.address, workers, Neighbours::None),
            };
            match bound {
                Ok(bound) => sockets.push(bound),
                Err(error) => findings.push(unbound(Part::ListenerAddress(index), listener.address, &error)),
            }
            let (address, first) = (listener.address, listener.name.clone());
            addresses.push(Bound { address, first, open: Arc::default() });
        }
        if findings.is_empty() {
            Ok((Addresses(addresses), Sockets(sockets)))
        } else {
            Err(loaded.blame(findings))
        }
    }

    /// One worker's ways in: it takes a socket of each listener that is new.
    pub(super) fn ways_in(&self, sockets: &mut Sockets) -> Vec<WayIn> {
        let each = self.0.iter().zip(&mut sockets.0);
        each.map(|(bound, sockets)| WayIn { open: bound.open.clone(), socket: sockets.pop() }).collect()
    }

    /// Where each new listener really listens.
    pub(super) fn announced(&self, sockets: &Sockets) -> anyhow::Result<Vec<(String, SocketAddr)>> {
        let new =
            self.0.iter().zip(&sockets.0).filter_map(|(bound, sockets)| Some((bound, sockets.first()?)));
        new.map(|(bound, socket)| {
            Ok((bound.first.clone(), socket.local_addr().context("a socket has no address")?))
        })
        .collect()
    }
}

/// Whether the kernel takes two addresses for one, unless their sockets share it: the same port, and one of them is
/// every address of the machine. `[::]` is every IPv4 address too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && narrow.is_ipv4(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() != 0 && one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

pub(super) fn unbound(part: Part, address: SocketAddr, error: &io::Error) -> Finding {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => Some(format!("`ss -ltnp` shows who has port {}", address.port())),
        io::ErrorKind::PermissionDenied => Some("ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()),
        io::ErrorKind::AddrNotAvailable => {
            Some("`ip address` shows which addresses this machine has".to_owned())
        }
        _ => None,
    };
    Finding { part, message: format!("cannot listen on {address}: {error}"), hint }
}
