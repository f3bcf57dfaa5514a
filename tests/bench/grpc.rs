//! The gRPC service that the proxies ask, and the client that tells its right answers from wrong ones.
//!
//! nginx, which is the upstream of everything else, cannot send a message at a time. This runs as a process of its own,
//! pinned beside the load. Messages are opaque bytes: neither proxy looks into them, so there is nothing to encode.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use crate::probe::{PATIENCE, SHOWN};

/// Answers a message with the same message.
pub(crate) const UNARY: &str = "/bench.Echo/Unary";
/// Answers a message with [`STREAMED`] of it.
pub(crate) const STREAMING: &str = "/bench.Echo/Stream";
/// Messages that the server streams for a call.
pub(crate) const STREAMED: usize = 100;
/// A message: not compressed, of 60 bytes.
pub(crate) const MESSAGE: &[u8] = b"\0\0\0\0\x3c012345678901234567890123456789012345678901234567890123456789";
/// What every call says besides.
pub(crate) const FIELDS: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

/// What came back over HTTP/2.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Serves at `address` until the process ends.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = TcpListener::bind(address).await.context("cannot listen")?;
        loop {
            let (socket, _) = listener.accept().await.context("cannot accept")?;
            socket.set_nodelay(true)?;
            tokio::spawn(async move {
                // A connection that fails is one that the other side closed; what that loses, the load counts.
                let _ = serve_connection(socket).await;
            });
        }
    })
}

async fn serve_connection(socket: TcpStream) -> anyhow::Result<()> {
    let mut builder = h2::server::Builder::new();
    let builder = builder.max_concurrent_streams(10_000).initial_connection_window_size(16 << 20);
    let mut connection = builder.handshake::<_, Bytes>(socket).await?;
    while let Some(call) = connection.accept().await {
        let (request, mut respond) = call?;
        tokio::spawn(async move {
            let count = if request.uri().path() == STREAMING { STREAMED } else { 1 };
            let message = read(request.into_body()).await?;
            let mut head = Response::new(());
            head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            let mut stream = respond.send_response(head, false)?;
            for _ in 0..count {
                stream.send_data(message.clone(), false)?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        });
    }
    Ok(())
}

/// Asks for `path`: a call with [`MESSAGE`] if `calls`, else a GET.
pub(crate) fn ask(address: SocketAddr, path: &str, calls: bool) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = async { tokio::time::timeout(PATIENCE, exchange(address, path, calls)).await };
    runtime.block_on(answer).context("no answer over HTTP/2")?
}

async fn exchange(address: SocketAddr, path: &str, calls: bool) -> anyhow::Result<Answer> {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(address).await?).await?;
    tokio::spawn(connection);
    let method = if calls { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    let fields = if calls { &FIELDS[..] } else { &[] };
    for (name, value) in SHOWN.iter().chain(fields) {
        request = request.header(*name, *value);
    }
    let (response, mut sending) = client.send_request(request.body(())?, !calls)?;
    if calls {
        sending.send_data(Bytes::from_static(MESSAGE), true)?;
    }
    let (head, mut receiving) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = receiving.data().await {
        let piece = piece?;
        receiving.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = receiving.trailers().await?;
    Ok(Answer { status: head.status, fields: head.headers, body, trailers })
}

/// The whole body of a call.
async fn read(mut receiving: RecvStream) -> Result<Bytes, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(piece) = receiving.data().await.transpose()? {
        receiving.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

impl Answer {
    /// Is it the right answer to a call with so many messages?
    pub(crate) fn check_messages(&self, count: usize) -> anyhow::Result<()> {
        ensure!(self.body == MESSAGE.repeat(count), "{} bytes instead of {count} messages", self.body.len());
        let status = self.trailers.as_ref().and_then(|fields| fields.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "the call ends with status {status:?}");
        Ok(())
    }
}
