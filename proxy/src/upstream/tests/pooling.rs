//! When connections are kept, used again, and closed.

use std::time::{Duration, Instant};

use http::Method;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::join;

use super::server::{OK, Server};
use super::*;

#[test]
fn a_connection_is_used_again_after_the_end_of_a_response() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);

        let (sent, mut peer) = join!(worker.get(), server.answer(OK));
        assert!(!worker.reused());
        assert_eq!(worker.last.get().endpoint, Some(server.address().into()));
        assert_eq!(worker.last.get().local, Some(peer.address()));
        assert_eq!((worker.idle(), worker.cluster.active()), (0, 1));
        assert_eq!(text(sent).await, "ok");
        assert_eq!((worker.idle(), worker.cluster.active()), (1, 0));

        let (sent, ()) = join!(worker.get(), peer.answer(OK));
        assert!(worker.reused());
        assert_eq!(worker.last.get().local, Some(peer.address()));
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn a_sized_response_leaves_its_connection_with_its_last_byte() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, _peer) = join!(worker.get(), server.answer(OK));
        let mut body = sent.expect("a head").into_body();
        let frame = body.frame().await.expect("a frame").expect("of data");
        assert_eq!(frame.into_data().expect("data"), "ok");
        assert!(body.is_end_stream());
        assert_eq!((worker.idle(), worker.cluster.active()), (1, 0));
    });
}

#[test]
fn the_connection_that_was_used_last_is_used_first() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (first, mut first_peer) = join!(worker.get(), server.answer(OK));
        let (second, mut second_peer) = join!(worker.get(), server.answer(OK));
        text(second).await;
        text(first).await;
        assert_eq!(worker.idle(), 2);

        let (sent, ()) = join!(worker.get(), first_peer.answer(OK));
        let (other, ()) = join!(worker.get(), second_peer.answer(OK));
        text(sent).await;
        text(other).await;
    });
}

#[test]
fn the_oldest_unused_connection_makes_room_for_the_newest() {
    on_worker(async {
        let server = Server::start().await;
        let config = model::Cluster { idle_connections: 2, ..cluster_config([server.address()]) };
        let worker = Worker::new(config);
        let (first, mut first_peer) = join!(worker.get(), server.answer(OK));
        let (second, mut second_peer) = join!(worker.get(), server.answer(OK));
        let (third, mut third_peer) = join!(worker.get(), server.answer(OK));
        text(first).await;
        text(second).await;
        text(third).await;
        assert_eq!(worker.idle(), 2);
        first_peer.closed().await;
        let (sent, ()) = join!(worker.get(), third_peer.answer(OK));
        let (other, ()) = join!(worker.get(), second_peer.answer(OK));
        text(sent).await;
        text(other).await;
    });
}

#[test]
fn a_closed_connection_does_not_hide_an_open_one() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (older, mut older_peer) = join!(worker.get(), server.answer(OK));
        let (newer, newer_peer) = join!(worker.get(), server.answer(OK));
        text(older).await;
        text(newer).await;
        drop(newer_peer);
        worker.until_idle(1).await;
        let (sent, ()) = join!(worker.get(), older_peer.answer(OK));
        assert!(worker.reused());
        text(sent).await;
    });
}

#[test]
fn without_room_for_unused_connections_each_is_closed() {
    on_worker(async {
        let server = Server::start().await;
        let config = model::Cluster { idle_connections: 0, ..cluster_config([server.address()]) };
        let worker = Worker::new(config);
        let (sent, mut peer) = join!(worker.get(), server.answer(OK));
        assert_eq!(text(sent).await, "ok");
        peer.closed().await;
    });
}

#[test]
fn an_unused_connection_is_closed_after_the_idle_timeout_and_not_before() {
    on_worker(async {
        let server = Server::start().await;
        let idle_timeout = Duration::from_millis(60);
        let worker = Worker::new(model::Cluster { idle_timeout, ..cluster_config([server.address()]) });
        // Twice, because sweeping pauses while there is nothing to sweep.
        for _ in 0..2 {
            let (sent, mut peer) = join!(worker.get(), server.answer(OK));
            assert!(!worker.reused());
            text(sent).await;
            let unused_since = Instant::now();
            peer.closed().await;
            assert!(unused_since.elapsed() >= idle_timeout);
            assert_eq!(worker.idle(), 0);
        }
    });
}

#[test]
fn an_unused_connection_that_the_upstream_closes_is_not_used_again() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, peer) = join!(worker.get(), server.answer(OK));
        text(sent).await;
        drop(peer);
        worker.until_idle(0).await;
        let (sent, _peer) = join!(worker.get(), server.answer(OK));
        assert!(!worker.reused());
        text(sent).await;
    });
}

#[test]
fn an_unused_connection_on_which_the_upstream_speaks_is_not_used_again() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, mut peer) = join!(worker.get(), server.answer(OK));
        text(sent).await;
        peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
        worker.until_idle(0).await;
        peer.closed().await;
    });
}

/// A worker with an unused connection, and the other end of it.
async fn warm(server: &Server) -> (Worker, server::Peer) {
    let worker = Worker::to(server);
    let (sent, peer) = join!(worker.get(), server.answer(OK));
    text(sent).await;
    (worker, peer)
}

#[test]
fn a_request_to_a_connection_that_was_just_closed_goes_out_on_a_new_one() {
    on_worker(async {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::DELETE] {
            let server = Server::start().await;
            let (worker, peer) = warm(&server).await;
            let make = || request(method.clone(), RequestBody::Empty);
            // Nothing has noticed it yet.
            drop(peer);
            let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
            let (sent, _peer) = join!(worker.send_or(make(), || Some(make())), server.answer(no_content));
            assert_eq!(sent.expect("an answer").status(), 204, "{method}");
            assert!(!worker.reused());
        }
    });
}

#[test]
fn an_idempotent_request_whose_connection_dies_before_it_is_answered_is_sent_again_once() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, mut stale) = warm(&server).await;
        let make = || request(Method::PUT, RequestBody::Full("body".into()));
        let (sent, peer) = join!(worker.send_or(make(), || Some(make())), async {
            stale.until("body").await;
            drop(stale);
            let mut peer = server.accept().await;
            peer.until("body").await;
            peer.send(OK).await;
            peer
        });
        assert_eq!(text(sent).await, "ok");
        assert!(!worker.reused());
        assert_eq!(worker.last.get().local, Some(peer.address()));
    });
}

#[test]
fn a_request_that_must_not_be_received_twice_is_not_sent_again() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, mut stale) = warm(&server).await;
        let post = request(Method::POST, RequestBody::Full("body".into()));
        let again = || panic!("nobody may ask for it");
        let (sent, ()) = join!(worker.send_or(post, again), async {
            stale.until("body").await;
            stale.reset();
        });
        assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: false, .. })), "{sent:?}");
        assert!(worker.reused());
    });
}

#[test]
fn a_request_that_the_upstream_began_to_answer_is_not_sent_again() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, mut stale) = warm(&server).await;
        let again = || panic!("nobody may ask for it");
        let (sent, ()) = join!(worker.send_or(get(), again), async {
            stale.answer("HTTP/1.1 2").await;
            drop(stale);
        });
        assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: true, .. })), "{sent:?}");
    });
}

#[test]
fn a_request_that_cannot_be_made_again_fails_with_the_first_error() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, mut stale) = warm(&server).await;
        let (sent, ()) = join!(worker.get(), async {
            stale.head().await;
            drop(stale);
        });
        assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: false, .. })), "{sent:?}");
    });
}

#[test]
fn a_connection_that_the_upstream_wants_closed_is_not_kept() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        for head in [
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ] {
            let (sent, mut peer) = join!(worker.get(), server.answer(head));
            assert!(!worker.reused());
            assert_eq!(text(sent).await, "ok");
            assert_eq!(worker.idle(), 0);
            peer.closed().await;
        }
    });
}

#[test]
fn each_endpoint_gets_its_turn() {
    on_worker(async {
        let servers = [Server::start().await, Server::start().await, Server::start().await];
        let addresses = servers.each_ref().map(Server::address);
        let worker = Worker::new(cluster_config(addresses));
        servers.into_iter().for_each(Server::serve);
        let mut turns = [0; 3];
        for _ in 0..9 {
            text(worker.get().await).await;
            let endpoint = worker.last.get().endpoint;
            turns[addresses
                .iter()
                .position(|&address| Some(address.into()) == endpoint)
                .expect("one of them")] += 1;
        }
        assert_eq!(turns, [3, 3, 3]);
    });
}

#[test]
fn a_drain_closes_what_is_unused_and_waits_for_what_is_in_use() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (in_use, mut in_use_peer) =
            join!(worker.get(), server.answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"));
        let (unused, mut unused_peer) = join!(worker.get(), server.answer(OK));
        text(unused).await;

        let drain = worker.upstreams.drain();
        tokio::pin!(drain);
        tokio::select! {
            () = &mut drain => panic!("a response is not over"),
            () = unused_peer.closed() => {}
        }
        in_use_peer.send("k").await;
        let (body, ()) = join!(text(in_use), drain);
        assert_eq!(body, "ok");
        in_use_peer.closed().await;
    });
}

#[test]
fn without_its_upstreams_an_unused_connection_is_closed() {
    on_worker(async {
        let server = Server::start().await;
        let (worker, mut peer) = warm(&server).await;
        drop(worker);
        peer.closed().await;
    });
}
