//! Connections that change the protocol.

use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::join;

use super::server::Server;
use super::*;

fn upgrade() -> Request<RequestBody> {
    let mut request = get();
    request.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
    request.headers_mut().insert("upgrade", http::HeaderValue::from_static("test"));
    request
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_and_counts_until_it_ends() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let response = format!("{SWITCHING}first");
        let (sent, mut peer) = join!(worker.send(upgrade()), server.answer(&response));
        let mut response = sent.expect("a head");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("an upgrade"));

        let mut bytes = [0; 5];
        tunnel.read_exact(&mut bytes).await.expect("bytes");
        assert_eq!(&bytes, b"first", "what came with the head is not lost");
        tunnel.write_all(b"there").await.expect("the other side reads");
        assert_eq!(peer.bytes(5).await, b"there");
        peer.send("back.").await;
        tunnel.read_exact(&mut bytes).await.expect("bytes");
        assert_eq!(&bytes, b"back.");

        assert_eq!((worker.idle(), worker.cluster.active()), (0, 1));
        drop(response);
        assert_eq!(worker.cluster.active(), 0);
        drop(tunnel);
        peer.closed().await;
        worker.upstreams.drain().await;
    });
}

/// A worker of two, of whose cluster's two connections it has a tunnel, and the other a connection that nobody uses; and
/// what keeps those.
async fn beside_a_tunnel(server: &Server) -> (Worker, Sent, impl Sized) {
    let mut config = cluster_config([server.address()]);
    config.recovery.breakers.connections = 2;
    let worker = Worker::new(config);
    let (sent, tunnel) = join!(worker.send(upgrade()), server.answer(SWITCHING));
    let other = worker.beside();
    let (idle, peer) = join!(other.get(), server.answer(server::OK));
    assert_eq!((text(idle).await, other.idle()), ("ok".to_owned(), 1));
    (worker, sent, (tunnel, other, peer))
}

#[test]
fn a_worker_whose_connections_are_tunnels_gets_one_for_requests() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, tunnel, _others) = beside_a_tunnel(&server).await;
        let (sent, mut peer) = join!(worker.get(), server.answer(server::OK));
        assert_eq!(text(sent).await, "ok");
        // It is one for all of them, and none more if it becomes a tunnel as well.
        let (sent, ()) = join!(worker.send(upgrade()), peer.answer(SWITCHING));
        let mut waits = Box::pin(worker.get());
        begin(&mut waits).await;
        drop(tunnel);
        let (waited, _peer) = join!(waits, server.answer(server::OK));
        assert_eq!(text(waited).await, "ok");
        drop(sent);
    });
}

#[test]
fn who_waits_for_what_becomes_a_tunnel_gets_another_connection() {
    on_worker(async {
        let server = Server::start().await;
        let mut config = cluster_config([server.address()]);
        config.recovery.breakers.connections = 1;
        let worker = Worker::new(config);
        let mut first = Box::pin(worker.send(upgrade()));
        begin(&mut first).await;
        let mut second = Box::pin(worker.get());
        begin(&mut second).await;
        let answers = async {
            let tunnel = server.answer(SWITCHING).await;
            (tunnel, server.answer(server::OK).await)
        };
        let (_tunnel, waited, _peers) = join!(first, second, answers);
        assert_eq!(text(waited).await, "ok");
    });
}

#[test]
fn an_upgrade_that_the_upstream_does_not_want_is_an_ordinary_response() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, _peer) = join!(worker.send(upgrade()), server.answer(server::OK));
        assert_eq!(text(sent).await, "ok");
        assert_eq!(worker.idle(), 1);
    });
}

#[test]
fn an_upgrade_that_nobody_takes_closes_the_connection() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, mut peer) = join!(worker.send(upgrade()), server.answer(SWITCHING));
        drop(sent);
        peer.closed().await;
    });
}
