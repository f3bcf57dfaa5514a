//! What can go wrong, told apart, and that nothing stays behind.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::Method;
use http_body::Frame;
use http_body_util::BodyExt;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::join;

use super::bodies::{channel, stream};
use super::server::{OK, Server};
use super::*;

#[test]
fn a_cluster_without_endpoints_has_nowhere_to_send() {
    on_worker(async {
        let worker = Worker::new(cluster_config([]));
        let sent = worker.get().await;
        assert!(matches!(sent, Err(UpstreamError::NoEndpoint)), "{sent:?}");
        assert_eq!(worker.last.get(), Attempt::default());
    });
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let address = server.address();
        drop(server);
        let sent = worker.get().await;
        assert!(matches!(sent, Err(UpstreamError::ConnectRefused(_))), "{sent:?}");
        assert_eq!(worker.last.get().endpoint, Some(address.into()));
        assert_eq!(worker.last.get().local, None);
    });
}

#[test]
fn an_address_that_cannot_be_reached_is_told_from_one_that_refuses() {
    on_worker(async {
        // Connecting to a broadcast address is not permitted.
        let worker = Worker::new(cluster_config([([255, 255, 255, 255], 80).into()]));
        let sent = worker.get().await;
        assert!(matches!(sent, Err(UpstreamError::Connect(_))), "{sent:?}");
    });
}

#[test]
fn connecting_ends_at_the_connect_timeout() {
    on_worker(async {
        // The queue of a socket that nobody accepts from holds one connection; the kernel ignores further attempts.
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("a listening socket");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let _queue = [(); 3].map(|()| begin_to_connect(address));

        let connect_timeout = Duration::from_millis(50);
        let worker = Worker::new(model::Cluster { connect_timeout, ..cluster_config([address]) });
        let begin = Instant::now();
        let sent = worker.get().await;
        assert!(matches!(sent, Err(UpstreamError::ConnectTimeout)), "{sent:?}");
        assert!(begin.elapsed() >= connect_timeout);
    });
}

fn begin_to_connect(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let _ = socket.connect(&SockAddr::from(address));
    socket
}

#[test]
fn a_new_connection_that_closes_before_it_answers_is_an_error_at_once() {
    on_worker(async {
        for reset in [false, true] {
            let server = Server::start().await;
            let worker = Worker::to(&server);
            let again = || panic!("nobody may ask for it");
            let (sent, ()) = join!(worker.send_or(get(), again), async {
                let mut peer = server.accept().await;
                peer.head().await;
                if reset {
                    peer.reset();
                }
            });
            assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: false, .. })), "{sent:?}");
            assert!(!worker.reused());
        }
    });
}

#[test]
fn a_connection_that_closes_without_reading_is_an_error_at_once() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, ()) = join!(worker.get(), async { drop(server.accept().await) });
        assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: false, .. })), "{sent:?}");
    });
}

#[test]
fn a_head_that_is_cut_is_told_from_one_that_never_came() {
    on_worker(async {
        for reset in [false, true] {
            let server = Server::start().await;
            let worker = Worker::to(&server);
            let (sent, ()) = join!(worker.get(), async {
                let peer = server.answer("HTTP/1.1 200 OK\r\ncontent-le").await;
                if reset {
                    peer.reset();
                }
            });
            assert!(matches!(sent, Err(UpstreamError::Closed { mid_head: true, .. })), "{sent:?}");
        }
    });
}

#[test]
fn a_body_that_is_cut_is_an_error_of_the_body() {
    on_worker(async {
        for response in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ncut",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ncut\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ncut\r\n0\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n",
        ] {
            let server = Server::start().await;
            let worker = Worker::to(&server);
            let (sent, peer) = join!(worker.get(), server.answer(response));
            assert_eq!(worker.cluster.active(), 1);
            drop(peer);
            let read = read(sent).await;
            assert!(matches!(read, Err(UpstreamError::ResponseBody(_))), "{response}: {read:?}");
            assert_eq!(worker.idle(), 0);
        }
    });
}

#[test]
fn what_is_not_http_is_malformed() {
    on_worker(async {
        for response in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/3.0 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        ] {
            let server = Server::start().await;
            let worker = Worker::to(&server);
            let (sent, mut peer) = join!(worker.get(), server.answer(response));
            assert!(matches!(sent, Err(UpstreamError::Malformed(_))), "{response}: {sent:?}");
            peer.closed().await;
        }
    });
}

#[test]
fn a_head_may_be_as_large_as_the_cluster_allows_and_no_larger() {
    on_worker(async {
        let head = |size: usize| {
            let (begin, end) = ("HTTP/1.1 204 No Content\r\nx: ", "\r\n\r\n");
            format!("{begin}{}{end}", "a".repeat(size - begin.len() - end.len()))
        };
        for (size, fits) in [(2048, true), (2049, false), (100_000, false)] {
            let server = Server::start().await;
            let config = model::Cluster { header_bytes: 2048, ..cluster_config([server.address()]) };
            let worker = Worker::new(config);
            let head = head(size);
            let (sent, _peer) = join!(worker.get(), server.answer(&head));
            assert_eq!(sent.is_ok(), fits, "{size}");
            assert!(fits || matches!(sent, Err(UpstreamError::HeadTooLarge(_))), "{size}: {sent:?}");
        }
    });
}

#[test]
fn a_head_may_not_have_more_than_a_hundred_fields() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let response = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "x: y\r\n".repeat(101));
        let (sent, _peer) = join!(worker.get(), server.answer(&response));
        assert!(matches!(sent, Err(UpstreamError::HeadTooLarge(_))), "{sent:?}");
    });
}

#[derive(Debug, thiserror::Error)]
#[error("the client left")]
struct ClientLeft;

#[test]
fn a_request_body_that_fails_is_told_by_its_own_error() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (frames, body) = channel();
        frames.send(Ok(Frame::data("some".into()))).expect("it is open");
        let (sent, mut peer) = join!(worker.send(request(Method::POST, body)), async {
            let mut peer = server.accept().await;
            peer.until("some").await;
            frames.send(Err(ClientLeft.into())).expect("it is still wanted");
            peer
        });
        let error = sent.expect_err("there is no response");
        assert!(matches!(error, UpstreamError::RequestBody(_)), "{error:?}");
        assert!(error.find::<ClientLeft>().is_some());
        peer.closed().await;
    });
}

#[test]
fn a_request_body_that_is_shorter_than_it_said_fails() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let mut post = request(Method::POST, stream(["four"]));
        post.headers_mut().insert("content-length", 5.into());
        let (sent, mut peer) = join!(worker.send(post), server.accept());
        assert!(matches!(sent, Err(UpstreamError::RequestBody(_))), "{sent:?}");
        peer.closed().await;
    });
}

#[test]
fn giving_up_closes_the_connection() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let mut peer = tokio::select! {
            sent = worker.get() => panic!("nobody answers: {sent:?}"),
            peer = async {
                let mut peer = server.accept().await;
                peer.head().await;
                assert_eq!(worker.cluster.active(), 1);
                peer
            } => peer,
        };
        assert_eq!(worker.cluster.active(), 0);
        peer.closed().await;
    });
}

#[test]
fn what_is_known_of_an_attempt_is_known_when_it_is_given_up() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let attempt = Cell::default();
        let criteria = Criteria::default();
        let peer = tokio::select! {
            sent = worker.upstreams.send(0, &criteria, Box::new(get()), || None, &attempt) => panic!("nobody answers: {sent:?}"),
            peer = async {
                let mut peer = server.accept().await;
                peer.head().await;
                peer
            } => peer,
        };
        let expected = Attempt {
            endpoint: Some(server.address().into()),
            local: Some(peer.address()),
            multiplexed: None,
            reused: false,
            waits: false,
            since: None,
            silent_since: None,
        };
        assert_eq!(attempt.get(), expected);
    });
}

#[test]
fn a_response_that_nobody_reads_to_its_end_closes_the_connection() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, mut peer) =
            join!(worker.get(), server.answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1"));
        let mut body = sent.expect("a head").into_body();
        body.frame().await.expect("a frame").expect("of data");
        assert_eq!(worker.cluster.active(), 1);
        drop(body);
        assert_eq!((worker.idle(), worker.cluster.active()), (0, 0));
        peer.closed().await;
    });
}

#[test]
fn an_early_response_ends_the_request_whose_body_is_still_coming() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (frames, body) = channel();
        let (sent, mut peer) = join!(worker.send(request(Method::POST, body)), server.answer(OK));
        frames.send(Ok(Frame::data("more".into()))).expect("it is still wanted");
        assert_eq!(text(sent).await, "ok");
        assert_eq!((worker.idle(), worker.cluster.active()), (0, 0));
        peer.closed().await;
        frames.closed().await;
    });
}

#[test]
fn a_refused_request_does_not_touch_the_connections_that_others_use() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (kept, mut kept_peer) =
            join!(worker.get(), server.answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"));
        let (sent, ()) = join!(worker.get(), async { server.accept().await.reset() });
        assert!(sent.is_err());
        kept_peer.send("ok").await;
        assert_eq!(text(kept).await, "ok");
        assert_eq!(worker.idle(), 1);
    });
}
