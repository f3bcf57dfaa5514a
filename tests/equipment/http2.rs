//! A client that speaks HTTP/2 with prior knowledge, with any number of requests at once on its connection.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::wait::BOUND;

/// One connection to a proxy. Its frames move on a thread of their own.
pub(crate) struct Http2Client {
    runtime: Handle,
    /// Dropped, it ends that thread.
    _thread: oneshot::Sender<()>,
    sender: SendRequest<Bytes>,
    authority: String,
}

/// A request that was sent, and whose response is to come.
pub(crate) struct Http2Exchange {
    response: ResponseFuture,
    upload: h2::SendStream<Bytes>,
}

/// A response that has begun.
pub(crate) struct Http2Beginning {
    head: http::response::Parts,
    body: RecvStream,
}

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Http2Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is text"))
    }
}

impl Http2Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Http2Client {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let handle = runtime.handle().clone();
        let (thread, dropped) = oneshot::channel::<()>();
        std::thread::spawn(move || drop(runtime.block_on(dropped)));
        let sender = handle.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            // However small the frames are that a test leaves unread.
            let mut builder = h2::client::Builder::new();
            let shaken = builder.data_frame_budget(usize::MAX).handshake(stream).await;
            let (sender, connection) = shaken.expect("it speaks HTTP/2");
            tokio::spawn(async move { drop(connection.await) });
            sender
        });
        Http2Client { runtime: handle, _thread: thread, sender, authority: address.to_string() }
    }

    /// Sends a request's head; its body, if it has one, is to follow.
    pub(crate) fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> Result<Http2Exchange, h2::Error> {
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is one");
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            std::future::poll_fn(|cx| sender.poll_ready(cx)).await?;
            let (response, upload) = sender.send_request(request, ends)?;
            Ok(Http2Exchange { response, upload })
        })
    }

    /// Sends a piece of a request's body, however long the proxy takes for it.
    pub(crate) fn send(
        &self,
        exchange: &mut Http2Exchange,
        piece: &[u8],
        ends: bool,
    ) -> Result<(), h2::Error> {
        exchange.upload.send_data(Bytes::copy_from_slice(piece), ends)
    }

    /// Waits for a response.
    pub(crate) fn finish(&self, exchange: Http2Exchange) -> Result<Http2Response, h2::Error> {
        let whole = async {
            let response = exchange.response.await?;
            let (head, body) = response.into_parts();
            let (body, trailers) = read(body).await?;
            Ok(Http2Response { status: head.status.as_u16(), headers: head.headers, body, trailers })
        };
        self.runtime.block_on(async { tokio::time::timeout(BOUND, whole).await.expect("a response in time") })
    }

    /// Waits for a response's head. The request may still be sent, or taken back.
    pub(crate) fn head(&self, exchange: &mut Http2Exchange) -> Result<Http2Beginning, h2::Error> {
        let head = async { (&mut exchange.response).await };
        let head = async { tokio::time::timeout(BOUND, head).await.expect("a head in time") };
        let (head, body) = self.runtime.block_on(head)?.into_parts();
        Ok(Http2Beginning { head, body })
    }

    /// The next piece of a response's body.
    pub(crate) fn piece(&self, began: &mut Http2Beginning) -> Result<Vec<u8>, h2::Error> {
        let piece = async { began.body.data().await.transpose() };
        let piece = async { tokio::time::timeout(BOUND, piece).await.expect("a piece in time") };
        Ok(self.runtime.block_on(piece)?.unwrap_or_default().to_vec())
    }

    /// What is left of a response.
    pub(crate) fn rest(&self, began: Http2Beginning) -> Result<Http2Response, h2::Error> {
        let rest = async { tokio::time::timeout(BOUND, read(began.body)).await.expect("an end in time") };
        let (body, trailers) = self.runtime.block_on(rest)?;
        Ok(Http2Response { status: began.head.status.as_u16(), headers: began.head.headers, body, trailers })
    }

    /// One request from beginning to end.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Http2Response, h2::Error> {
        let mut exchange = self.begin(method, path, headers, body.is_empty())?;
        if !body.is_empty() {
            self.send(&mut exchange, body, true)?;
        }
        self.finish(exchange)
    }

    /// A request without a body.
    pub(crate) fn get(&mut self, path: &str) -> Http2Response {
        self.request("GET", path, &[], b"").expect("it is answered")
    }

    /// Waits until the proxy has closed the connection.
    pub(crate) fn wait_for_end(mut self) {
        self.runtime.block_on(async {
            let closed = std::future::poll_fn(|cx| match self.sender.poll_ready(cx) {
                std::task::Poll::Ready(Err(_)) => std::task::Poll::Ready(()),
                _ => {
                    cx.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
            });
            tokio::time::timeout(BOUND, closed).await.expect("it closes");
        });
    }
}

impl Http2Exchange {
    /// Says that the request has ended, with these trailers.
    pub(crate) fn trailers(&mut self, trailers: HeaderMap) -> Result<(), h2::Error> {
        self.upload.send_trailers(trailers)
    }

    /// Wants no response any more.
    pub(crate) fn reset(mut self) {
        self.upload.send_reset(h2::Reason::CANCEL);
    }
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok((whole, body.trailers().await?))
}
