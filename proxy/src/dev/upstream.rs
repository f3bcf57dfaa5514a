//! The sample service: says what it received, so that one sees what the filter made of it, or answers as its path asks: in
//! pieces, with trailers, late, broken off.

mod wish;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRAILER};
use http::{HeaderValue, Request, Response, StatusCode, request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use wish::Wish;

/// What is read of a request's body, in bytes.
const MAX_BODY: usize = 16 << 20;

/// How much of it is in the answer, in bytes.
const SAID_BODY: usize = 64 << 10;

/// A piece of a long body: 1024 lines of 64 bytes.
const PIECE: usize = 64 << 10;

/// Between the beginning of a body and where it is cut off: what was written is sent meanwhile.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The service, on a thread of its own, until this is dropped.
#[derive(Debug)]
pub(super) struct Sample {
    address: SocketAddr,
    _stop: oneshot::Sender<Infallible>,
}

impl Sample {
    /// Begins to serve, at a port that the kernel chooses.
    pub(super) fn start() -> anyhow::Result<Sample> {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(socket) => {}
                    _ = stopped => {} // its sender is gone
                }
            });
        })?;
        Ok(Sample { address, _stop: stop })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(socket: std::net::TcpListener) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    loop {
        let (stream, _) = socket.accept().await?;
        tokio::spawn(async move {
            // A client that goes away is none of its business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

type Answer = Response<Either<Full<Bytes>, Pieces>>;

/// A body that is made while it is sent. Whoever makes it waits for the one who reads it.
struct Pieces(mpsc::Receiver<io::Result<Frame<Bytes>>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context)
    }
}

/// The end of it into which pieces are put. None can be put in when nobody reads any more.
struct Sink(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Sink {
    async fn send(&self, piece: impl Into<Bytes>) -> Option<()> {
        self.0.send(Ok(Frame::data(piece.into()))).await.ok()
    }
}

/// An answer whose body `make` sends.
fn pieces<F: Future<Output = Option<()>> + Send + 'static>(make: impl FnOnce(Sink) -> F) -> Answer {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(make(Sink(sender)));
    Response::new(Either::Right(Pieces(receiver)))
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let wish = Wish::of(&head.uri);
    if let Ok(Wish::Echo) = wish {
        return Ok(echo(&head, body));
    }
    let collected = Limited::new(body, MAX_BODY).collect().await.ok();
    let trailers = collected.as_ref().and_then(|body| body.trailers().cloned());
    let body = collected.map(|body| body.to_bytes()).unwrap_or_default();
    let told = || tell(&head, &body, trailers.as_ref());
    Ok(match wish {
        Ok(Wish::Tell | Wish::Echo) => whole(told()),
        Ok(Wish::Status(status)) => with(whole(told()), |answer| *answer.status_mut() = status),
        Ok(Wish::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            whole(told())
        }
        Ok(Wish::Headers(headers)) => with(whole(told()), |answer| answer.headers_mut().extend(headers)),
        Ok(Wish::Trailers) => with_trailers(told()),
        Ok(Wish::Stream { pieces, every }) => stream(&head, pieces, every),
        Ok(Wish::Bytes(size)) => long(size),
        Ok(Wish::Cut) => cut(),
        Err(reason) => {
            let mut answer = Response::new(Either::Left(Full::from(reason + "\n")));
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            typed(answer, "text/plain")
        }
    })
}

/// What came: all of it but of a large body, of which it has the beginning and the size.
fn tell(head: &request::Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> String {
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut said = json!({"method": head.method.as_str(), "path": target, "headers": fields(&head.headers)});
    if !body.is_empty() {
        let some = &body[..body.len().min(SAID_BODY)];
        said["body"] = String::from_utf8_lossy(some).into();
        if some.len() < body.len() {
            said["body_bytes"] = body.len().into();
        }
    }
    if let Some(trailers) = trailers {
        said["trailers"] = fields(trailers).into();
    }
    format!("{said:#}\n")
}

/// The fields by name, the values of one joined.
fn fields(headers: &HeaderMap) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = match fields.get(name.as_str()).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.into_owned(),
        };
        fields.insert(name.to_string(), joined.into());
    }
    fields
}

fn whole(said: String) -> Answer {
    typed(Response::new(Either::Left(Full::from(said))), "application/json")
}

fn with(mut answer: Answer, change: impl FnOnce(&mut Answer)) -> Answer {
    change(&mut answer);
    answer
}

fn typed(answer: Answer, kind: &'static str) -> Answer {
    with(answer, |answer| drop(answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind))))
}

/// What came, and behind it a trailer with its length. It is sent to whoever says `te: trailers`, which the proxy passes on.
fn with_trailers(said: String) -> Answer {
    let answer = pieces(move |sink| async move {
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-length"), said.len().into())]);
        sink.send(said).await?;
        sink.0.send(Ok(Frame::trailers(trailers))).await.ok()
    });
    let announced = HeaderValue::from_static("x-length");
    typed(with(answer, |answer| drop(answer.headers_mut().insert(TRAILER, announced))), "application/json")
}

/// The request's body and trailers as they come, while they come.
fn echo(head: &request::Parts, mut body: Incoming) -> Answer {
    let answer = pieces(move |sink| async move {
        while let Some(frame) = body.frame().await {
            sink.0.send(frame.map_err(io::Error::other)).await.ok()?;
        }
        Some(())
    });
    with(answer, |answer| {
        for name in [CONTENT_TYPE, CONTENT_LENGTH, TRAILER] {
            if let Some(value) = head.headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
    })
}

/// A line each, or an event each for whoever accepts a stream of events.
fn stream(head: &request::Parts, count: u64, every: Duration) -> Answer {
    let accepts = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_events = accepts.contains("text/event-stream");
    let answer = pieces(move |sink| async move {
        for piece in 1..=count {
            if piece > 1 {
                tokio::time::sleep(every).await;
            }
            let line = match is_events {
                true => format!("data: piece {piece} of {count}\n\n"),
                false => format!("piece {piece} of {count}\n"),
            };
            sink.send(line).await?;
        }
        Some(())
    });
    typed(answer, if is_events { "text/event-stream" } else { "text/plain" })
}

/// A body of this many bytes, in lines.
fn long(size: u64) -> Answer {
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
    let piece = Bytes::from(line.repeat(PIECE / line.len()));
    let answer = pieces(move |sink| async move {
        let mut left = size;
        while left > 0 {
            let some = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            sink.send(piece.slice(..some)).await?;
            left -= some as u64;
        }
        Some(())
    });
    let answer = with(answer, |answer| drop(answer.headers_mut().insert(CONTENT_LENGTH, size.into())));
    typed(answer, "text/plain")
}

/// A body that does not come to its end.
fn cut() -> Answer {
    let beginning = "this is the beginning\n";
    let answer = pieces(move |sink| async move {
        sink.send(beginning).await?;
        tokio::time::sleep(BEFORE_CUT).await;
        sink.0.send(Err(io::ErrorKind::ConnectionReset.into())).await.ok()
    });
    let twice = 2 * beginning.len() as u64;
    typed(
        with(answer, |answer| drop(answer.headers_mut().insert(CONTENT_LENGTH, twice.into()))),
        "text/plain",
    )
}
