//! Endpoints that are UNIX sockets.

use std::io;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::join;
use tokio::net::UnixListener;

use super::*;
use crate::config::model::{Address, UnixAddress};

/// A cluster with an endpoint at this path.
fn at(path: &Path) -> Worker {
    let name = path.to_str().expect("a plain name");
    let address = Address::Unix(UnixAddress::new(name).expect("it is short"));
    let mut config = cluster_config([]);
    config.endpoints = vec![Arc::new(address.into())];
    Worker::new(config)
}

/// Listens with the shortest queue, and fills it.
fn crowded(path: &Path) -> (UnixListener, Vec<Socket>) {
    let name = SockAddr::unix(path).expect("a name");
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&name).expect("it is free");
    listener.listen(0).expect("it is bound");
    listener.set_nonblocking(true).expect("a socket takes its options");
    let mut waiting = Vec::new();
    loop {
        let next = socket();
        next.set_nonblocking(true).expect("a socket takes its options");
        match next.connect(&name) {
            Ok(()) => waiting.push(next),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let listener = std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(listener));
                return (UnixListener::from_std(listener).expect("a runtime"), waiting);
            }
        }
    }
}

#[test]
fn a_request_waits_where_as_many_wait_to_be_accepted_as_may() {
    on_worker(async {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("up.sock");
        let (listener, waiting) = crowded(&path);
        let worker = at(&path);
        let mut sent = Box::pin(worker.get());
        begin(&mut sent).await;
        let served = async {
            for _ in &waiting {
                listener.accept().await.expect("it waits");
            }
            let (mut peer, _) = listener.accept().await.expect("there is room");
            let mut head = [0; 4096];
            assert!(peer.read(&mut head).await.expect("it asks") > 0);
            peer.write_all(server::OK.as_bytes()).await.expect("somebody reads");
            peer
        };
        let (sent, _peer) = join!(sent, served);
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn a_request_waits_no_longer_for_that_than_for_any_connection() {
    on_worker(async {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("up.sock");
        let (_listener, _waiting) = crowded(&path);
        let mut config = at(&path).cluster.config().clone();
        config.connect_timeout = Duration::from_millis(60);
        let sent = Worker::new(config).get().await;
        assert!(matches!(sent, Err(UpstreamError::ConnectTimeout)), "{sent:?}");
    });
}
