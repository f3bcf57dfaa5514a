//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use socket2::{Domain, Protocol, SockRef, Type};

use super::introduction::Ends;
use super::unix::{self, SocketFile};
use crate::config::model::Address;
use crate::transport::Socket;

/// Connections that the kernel holds for a worker that is busy.
pub(super) const BACKLOG: i32 = 4096;

/// Who else of this process listens on the address, or on one that includes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Nobody.
    None,
    /// A listener that is to be closed when the new one opens.
    Leaving,
}

/// Binds one socket for each of `workers` to the same address, or gives each the same UNIX socket, whose file gets `mode`; port 0 is the same free port for all. With a neighbour
/// the sockets do not listen yet (see [`listen`]): the kernel would give them connections that are the other's.
///
/// # Errors
///
/// The kernel's. An address that any other socket listens on is in use, although `SO_REUSEPORT` would share it, unless
/// it is the neighbour's.
pub(crate) fn bind(
    address: Address,
    mode: Option<u32>,
    workers: usize,
    neighbours: Neighbours,
) -> io::Result<(Vec<Listening>, Option<SocketFile>)> {
    match address {
        Address::Ip(address) => {
            let sockets = bind_ip(address, workers, neighbours)?;
            Ok((sockets.into_iter().map(Listening::Tcp).collect(), None))
        }
        Address::Unix(address) => {
            let (sockets, file) = unix::bind(address, mode, workers)?;
            Ok((sockets.into_iter().map(Listening::Unix).collect(), file))
        }
    }
}

fn bind_ip(address: SocketAddr, workers: usize, neighbours: Neighbours) -> io::Result<Vec<TcpListener>> {
    let address = match neighbours {
        Neighbours::None => probe(address)?,
        Neighbours::Leaving => address,
    };
    (0..workers)
        .map(|_| {
            let socket = open(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            if neighbours == Neighbours::None {
                socket.listen(BACKLOG)?;
            }
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// Has a socket listen that does not yet; for one that does it changes nothing. Only then may the runtime have it: a
/// socket that does not listen counts as closed there, for ever.
///
/// # Errors
///
/// The kernel's.
pub(super) fn listen(socket: Listening) -> io::Result<Entrance> {
    match socket {
        Listening::Tcp(socket) => {
            SockRef::from(&socket).listen(BACKLOG)?;
            tokio::net::TcpListener::from_std(socket).map(Entrance::Tcp)
        }
        Listening::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Entrance::Unix),
    }
}

/// A socket that a worker is to listen on.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One that it listens on.
pub(super) enum Entrance {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// Where a connection within the machine comes from and goes to, for those who know addresses of IP alone.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Entrance {
    /// The next connection, and between whom it is.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Ends)> {
        match self {
            Entrance::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let at = stream.local_addr()?;
                Ok((stream.into(), (from, at)))
            }
            Entrance::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into(), (NOWHERE, NOWHERE)))
            }
        }
    }
}

/// Binds without sharing, to see whether the address is free and which port it is; closed again at once.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
}

fn open(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
