//! The addresses that the process listens on, from one configuration to the next.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;

use super::worker::WayIn;
use crate::config::model::{Address, Listener, UnixAddress};
use crate::config::{Finding, Loaded, Part, Problems};
use crate::listener::{self, Listening, Neighbours, Open, SocketFile};

/// For each listener of a configuration where it listens.
#[derive(Default)]
pub(super) struct Addresses(Vec<Bound>);

/// An address that the process listens on.
#[derive(Clone)]
struct Bound {
    /// The configuration's.
    address: Address,
    /// The listener that had it first: port 0 is another port for each.
    first: String,
    open: Arc<Open>,
    /// The file of a UNIX socket.
    file: Option<Arc<SocketFile>>,
}

impl Bound {
    fn is_of(&self, listener: &Listener) -> bool {
        let is_certain = self.address.ip().is_none_or(|address| address.port() != 0);
        self.address == listener.address && (is_certain || self.first == listener.name)
    }
}

/// The sockets of each listener that is new, one for each worker; none for one that has them.
pub(super) struct Sockets(Vec<Vec<Listening>>);

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
        let leaving: Vec<Address> = {
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
            let neighbours = if makes_way { Neighbours::Leaving } else { Neighbours::None };
            let bound = match is_taken {
                true => Err(io::ErrorKind::AddrInUse.into()),
                false => listener::bind(listener.address, listener.socket_mode, workers, neighbours),
            };
            let mut file = None;
            match bound {
                Ok((bound, made)) => {
                    sockets.push(bound);
                    file = made.map(Arc::new);
                }
                Err(error) => findings.push(unbound(Part::ListenerAddress(index), listener.address, &error)),
            }
            let (address, first) = (listener.address, listener.name.clone());
            addresses.push(Bound { address, first, open: Arc::default(), file });
        }
        if findings.is_empty() {
            Ok((Addresses(addresses), Sockets(sockets)))
        } else {
            Err(loaded.blame(findings))
        }
    }

    /// Lets those connect to UNIX sockets whom the configuration names, also to those that were there before.
    ///
    /// # Errors
    ///
    /// A file cannot have the permissions it is to have, and no file has others than before.
    pub(super) fn permit(&self, loaded: &Loaded) -> Result<(), Problems> {
        let (mut changed, mut findings) = (Vec::new(), Vec::new());
        for (index, (bound, listener)) in self.0.iter().zip(&loaded.config.listeners).enumerate() {
            let (Some(file), Some(mode)) = (&bound.file, listener.socket_mode) else { continue };
            match file.permit(mode) {
                Ok(former) => changed.push((file, former)),
                Err(error) => {
                    findings.push(unbound(Part::ListenerAddress(index), listener.address, &error));
                }
            }
        }
        if findings.is_empty() {
            return Ok(());
        }
        for (file, former) in changed {
            let _ = file.permit(former); // it let itself be changed just now
        }
        Err(loaded.blame(findings))
    }

    /// One worker's ways in: it takes a socket of each listener that is new.
    pub(super) fn ways_in(&self, sockets: &mut Sockets) -> Vec<WayIn> {
        let each = self.0.iter().zip(&mut sockets.0);
        each.map(|(bound, sockets)| WayIn { open: bound.open.clone(), socket: sockets.pop() }).collect()
    }

    /// Where each new listener really listens.
    pub(super) fn announced(&self, sockets: &Sockets) -> anyhow::Result<Vec<(String, Address)>> {
        let new =
            self.0.iter().zip(&sockets.0).filter_map(|(bound, sockets)| Some((bound, sockets.first()?)));
        new.map(|(bound, socket)| {
            let address = match socket {
                Listening::Tcp(socket) => socket.local_addr().context("a socket has no address")?.into(),
                Listening::Unix(_) => bound.address,
            };
            Ok((bound.first.clone(), address))
        })
        .collect()
    }
}

/// Whether the kernel takes two addresses for one, unless their sockets share it: the same port, and one of them is
/// every address of the machine. `[::]` is every IPv4 address too.
fn overlap(one: Address, other: Address) -> bool {
    let (Some(one), Some(other)) = (one.ip(), other.ip()) else { return one == other };
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && narrow.is_ipv4(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() != 0 && one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

pub(super) fn unbound(part: Part, address: impl Into<Address>, error: &io::Error) -> Finding {
    let address = address.into();
    let hint = match address {
        Address::Ip(address) => hint_for_ip(address, error),
        Address::Unix(address) => hint_for_unix(address, error),
    };
    Finding { part, message: format!("cannot listen on {address}: {error}"), hint }
}

fn hint_for_unix(address: UnixAddress, error: &io::Error) -> Option<String> {
    let name = address.name();
    match error.kind() {
        io::ErrorKind::AddrInUse if address.path().is_some_and(|path| path.exists()) => Some(format!(
            "`ss -lxp src {name}` shows who listens there; if nobody does, it is no socket: choose another path"
        )),
        io::ErrorKind::AddrInUse => Some(format!("`ss -lxp src {name}` shows who listens there")),
        io::ErrorKind::NotFound => Some("the folder of the socket is to be there".to_owned()),
        io::ErrorKind::PermissionDenied => {
            Some("let the user that runs tidegate write to the folder of the socket".to_owned())
        }
        _ => None,
    }
}

fn hint_for_ip(address: SocketAddr, error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::AddrInUse => Some(format!("`ss -ltnp` shows who has port {}", address.port())),
        io::ErrorKind::PermissionDenied => Some("ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()),
        io::ErrorKind::AddrNotAvailable => {
            Some("`ip address` shows which addresses this machine has".to_owned())
        }
        _ => None,
    }
}
