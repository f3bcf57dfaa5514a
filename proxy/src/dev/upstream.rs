//! The sample service: says what it received, so that one sees what the filter made of it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What is read of a request's body, in bytes.
const MAX_BODY: usize = 16 << 20;

/// How much of it is in the answer, in bytes.
const SAID_BODY: usize = 64 << 10;

/// The longest that `/delay/N` waits.
const MAX_DELAY: Duration = Duration::from_secs(60);

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

async fn serve(socket: std::net::TcpListener) -> std::io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    loop {
        let (stream, _) = socket.accept().await?;
        tokio::spawn(async move {
            // A client that goes away is none of its business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

/// `/status/503` and `/delay/200ms` do what they say; the answer is otherwise 200, and says what came: all of it but of a
/// large body, of which it has the beginning and the size.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path();
    if let Some(delay) = path.strip_prefix("/delay/").and_then(delay) {
        tokio::time::sleep(delay.min(MAX_DELAY)).await;
    }
    let status = path.strip_prefix("/status/").and_then(|status| status.parse::<u16>().ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.into_owned(),
        };
        headers.insert(name.to_string(), joined.into());
    }
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut said = json!({"method": head.method.as_str(), "path": target, "headers": headers});
    if !body.is_empty() {
        let some = &body[..body.len().min(SAID_BODY)];
        said["body"] = String::from_utf8_lossy(some).into();
        if some.len() < body.len() {
            said["body_bytes"] = body.len().into();
        }
    }
    let text = format!("{said:#}\n");
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}

fn delay(text: &str) -> Option<Duration> {
    use crate::config::Parse as _;
    Duration::parse(text).ok()
}
