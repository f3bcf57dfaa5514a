//! A server that does what a test says, byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A listening socket of its own.
pub(super) struct Server(TcpListener);

/// The server's side of a connection.
pub(super) struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Server {
    pub(super) async fn start() -> Server {
        Server(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().await.expect("a connection");
        Peer { stream, received: Vec::new() }
    }

    /// Answers every request on every connection until the test ends.
    pub(super) fn serve(self) {
        spawn_local(async move {
            loop {
                let mut peer = self.accept().await;
                spawn_local(async move {
                    while peer.next("\r\n\r\n").await.is_some() {
                        if peer.stream.write_all(OK.as_bytes()).await.is_err() {
                            break; // nobody reads
                        }
                    }
                });
            }
        });
    }

    /// Accepts a connection, reads a request's head and sends `response`.
    pub(super) async fn answer(&self, response: &str) -> Peer {
        let mut peer = self.accept().await;
        peer.answer(response).await;
        peer
    }
}

impl Peer {
    pub(super) fn address(&self) -> SocketAddr {
        self.stream.peer_addr().expect("an address")
    }

    /// Reads a request's head.
    pub(super) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        self.next(end).await.unwrap_or_else(|| panic!("the connection ended before {end:?}"))
    }

    /// The same, if the connection does not end before.
    async fn next(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self.received.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let text = self.received.drain(..at + end.len()).collect();
                return Some(String::from_utf8(text).expect("requests here are text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads `count` bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.more().await, "the connection ended early");
        }
        self.received.drain(..count).collect()
    }

    pub(super) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("somebody reads");
    }

    /// Answers requests for these paths, one after the other, with 200.
    pub(super) async fn serve_in_order(&mut self, paths: &[&str]) {
        for path in paths {
            let head = self.head().await;
            assert!(head.starts_with(&format!("GET {path} ")), "{path} before {head}");
            self.send(OK).await;
        }
    }

    /// Reads a request's head and sends `response`.
    pub(super) async fn answer(&mut self, response: &str) {
        self.head().await;
        self.send(response).await;
    }

    /// Waits until the other side has closed the connection, whatever it sent before.
    pub(super) async fn closed(&mut self) {
        while self.more().await {}
    }

    /// Closes the connection with a reset.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    /// Reads what there is; `false` at the end.
    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.received).await.is_ok_and(|count| count > 0)
    }
}
