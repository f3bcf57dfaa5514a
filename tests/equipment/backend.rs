//! A TCP server whose connections the test itself takes and speaks on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::client::Client;
use super::wait::eventually;

/// A server on a port of its own, which takes connections when the test does.
pub(crate) struct Backend {
    listener: TcpListener,
    address: SocketAddr,
}

impl Backend {
    /// Starts it.
    pub(crate) fn start() -> Backend {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket takes its options");
        let address = listener.local_addr().expect("a bound socket has an address");
        Backend { listener, address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> Client {
        eventually("a connection to the upstream", || self.try_accept())
    }

    /// The next connection, if there is one by now.
    pub(crate) fn try_accept(&self) -> Option<Client> {
        let (stream, peer) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("a socket takes its options");
        Some(Client::accepted(stream, peer))
    }

    /// Takes connections from now on and sends back what comes on each, until its end.
    pub(crate) fn echo(self) -> SocketAddr {
        self.listener.set_nonblocking(false).expect("a socket takes its options");
        std::thread::spawn(move || {
            while let Ok((stream, _)) = self.listener.accept() {
                std::thread::spawn(move || {
                    let mut from = stream.try_clone().expect("a socket can be duplicated");
                    let _ = std::io::copy(&mut from, &mut &stream);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                });
            }
        });
        self.address
    }
}
