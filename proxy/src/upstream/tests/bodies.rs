//! How bodies are framed and how they flow, both ways.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::join;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::server::{OK, Server};
use super::*;
use crate::upstream::BoxError;

type Frames = UnboundedSender<Result<Frame<Bytes>, BoxError>>;

struct Channel(UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// A body that comes as the test sends it, and ends when the sender is dropped.
pub(super) fn channel() -> (Frames, RequestBody) {
    let (frames, receiver) = unbounded_channel();
    (frames, RequestBody::Stream(Box::pin(Channel(receiver))))
}

/// A body of unknown length that comes in these parts.
pub(super) fn stream(parts: impl IntoIterator<Item = &'static str>) -> RequestBody {
    let (frames, body) = channel();
    parts.into_iter().for_each(|part| frames.send(Ok(Frame::data(part.into()))).expect("it is open"));
    body
}

/// What the server receives of a request up to `end`, having answered it.
async fn received(request: Request<RequestBody>, end: &str) -> String {
    let server = Server::start().await;
    let worker = Worker::to(&server);
    let (sent, (received, _peer)) = join!(worker.send(request), async {
        let mut peer = server.accept().await;
        let received = peer.until(end).await;
        peer.send(OK).await;
        (received, peer)
    });
    assert_eq!(text(sent).await, "ok");
    assert_eq!(worker.idle(), 1, "the connection can be used again");
    received
}

#[test]
fn a_request_without_a_body_has_no_framing() {
    on_worker(async {
        assert_eq!(received(get(), "\r\n\r\n").await, "GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let empty = request(Method::POST, RequestBody::Full(Bytes::new()));
        assert_eq!(received(empty, "\r\n\r\n").await, "POST / HTTP/1.1\r\nhost: test\r\n\r\n");
    });
}

#[test]
fn a_body_that_is_at_hand_has_its_length() {
    on_worker(async {
        let put = request(Method::PUT, RequestBody::Full("body".into()));
        let head = "PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\n";
        assert_eq!(received(put, "body").await, format!("{head}body"));
    });
}

#[test]
fn a_streamed_body_is_chunked_unless_the_request_says_its_length() {
    on_worker(async {
        let post = request(Method::POST, stream(["one", "", "three"]));
        let head = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = "3\r\none\r\n5\r\nthree\r\n0\r\n\r\n";
        assert_eq!(received(post, "0\r\n\r\n").await, format!("{head}{body}"));

        let mut post = request(Method::POST, stream(["one", "three"]));
        post.headers_mut().insert("content-length", 8.into());
        let head = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\n";
        assert_eq!(received(post, "three").await, format!("{head}onethree"));
    });
}

#[test]
fn trailers_of_a_request_are_sent_when_they_were_announced() {
    on_worker(async {
        let (frames, body) = channel();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        frames.send(Ok(Frame::data("one".into()))).expect("it is open");
        frames.send(Ok(Frame::trailers(trailers))).expect("it is open");
        drop(frames);
        let mut post = request(Method::POST, body);
        post.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        let received = received(post, "0\r\nx-sum: 1\r\n\r\n").await;
        assert!(received.contains("\r\n\r\n3\r\none\r\n0\r\n"), "{received}");
    });
}

#[test]
fn a_response_that_has_no_body_leaves_its_connection_at_once() {
    on_worker(async {
        for (method, head) in [
            (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
            (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
            (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ] {
            let server = Server::start().await;
            let worker = Worker::to(&server);
            let make = || request(method.clone(), RequestBody::Empty);
            let (sent, mut peer) = join!(worker.send(make()), server.answer(head));
            let sent = sent.expect("a head");
            assert!(sent.body().is_end_stream());
            assert_eq!((worker.idle(), worker.cluster.active()), (1, 0), "{head}");
            let (again, ()) = join!(worker.send(make()), peer.answer(head));
            assert!(worker.reused());
            assert_eq!(text(again).await, "");
            assert_eq!(text(Ok(sent)).await, "");
        }
    });
}

#[test]
fn a_chunked_response_ends_with_its_trailers() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                        3\r\none\r\n5;ext=1\r\nthree\r\n0\r\nx-sum: 1\r\n\r\n";
        let (sent, _peer) = join!(worker.get(), server.answer(response));
        let (body, trailers) = read(sent).await.expect("a whole response");
        assert_eq!(body, "onethree");
        assert_eq!(trailers.expect("trailers")["x-sum"], "1");
        assert_eq!(worker.idle(), 1);
    });
}

#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let (sent, peer) = join!(worker.get(), server.answer("HTTP/1.1 200 OK\r\n\r\nuntil the end"));
        drop(peer);
        assert_eq!(text(sent).await, "until the end");
        assert_eq!(worker.idle(), 0);
    });
}

#[test]
fn informational_responses_are_dropped() {
    on_worker(async {
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let response =
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
        let (sent, _peer) = join!(worker.get(), server.answer(&response));
        assert!(!sent.as_ref().expect("a head").headers().contains_key("link"));
        assert_eq!(text(sent).await, "ok");
        assert_eq!(worker.idle(), 1);
    });
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    on_worker(async {
        const SIZE: usize = 3 << 20;
        let large: Bytes = (0..SIZE).map(|at| b'a' + (at % 23) as u8).collect::<Vec<_>>().into();
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let put = request(Method::PUT, RequestBody::Full(large.clone()));
        let echo = async {
            let mut peer = server.accept().await;
            peer.head().await;
            let body = peer.bytes(SIZE).await;
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n")).await;
            peer.send(body).await;
            peer
        };
        let exchange = async { worker.send(put).await.expect("a head").into_body().collect().await };
        let (response, _peer) = join!(exchange, echo);
        assert!(response.expect("a whole response").to_bytes() == large);
        assert_eq!(worker.idle(), 1);
    });
}

#[test]
fn a_response_that_nobody_reads_holds_its_upstream_back() {
    on_worker(async {
        // More than the sockets' buffers and ours together can hold.
        const SIZE: usize = 64 << 20;
        let server = Server::start().await;
        let worker = Worker::to(&server);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        let (sent, mut peer) = join!(worker.get(), server.answer(&head));
        let mut body = sent.expect("a head").into_body();
        let mut left = SIZE;
        let mut write = std::pin::pin!(async {
            peer.send(vec![b'a'; SIZE]).await;
            peer
        });
        tokio::select! {
            biased;
            _ = &mut write => panic!("nobody has read it"),
            // The writer comes to a stop; then a little is read, and all of it on the way out.
            frame = body.frame() => left -= frame.expect("a frame").expect("of data").into_data().expect("data").len(),
        }
        let read = async {
            while let Some(frame) = body.frame().await {
                left -= frame.expect("a frame").into_data().expect("data").len();
            }
            left
        };
        let (left, _peer) = join!(read, write);
        assert_eq!(left, 0);
    });
}
