//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;

/// Who else of this process listens on the address, or on one that includes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Nobody.
    None,
    /// A listener that is to be closed when the new one opens.
    Leaving,
}

/// Binds one socket for each of `workers` to the same address; port 0 is the same free port for all. With a neighbour
/// the sockets do not listen yet (see [`listen`]): the kernel would give them connections that are the other's.
///
/// # Errors
///
/// The kernel's. An address that any other socket listens on is in use, although `SO_REUSEPORT` would share it, unless
/// it is the neighbour's.
pub(crate) fn bind(
    address: SocketAddr,
    workers: usize,
    neighbours: Neighbours,
) -> io::Result<Vec<TcpListener>> {
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
pub(super) fn listen(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    SockRef::from(&socket).listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(socket)
}

/// Binds without sharing, to see whether the address is free and which port it is; closed again at once.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
