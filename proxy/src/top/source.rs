//! Asks an admin listener for its page `/filters`.

use std::io;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::telemetry::metrics::Overview;

/// How long an answer may take, and how large it may be: a thousand filters with all their callbacks are 4 MiB.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Where a proxy's admin listener is.
#[derive(Debug, Clone)]
pub(super) struct Source {
    address: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Nobody listens there, or what listens broke off.
    #[error("no admin listener answers at {address}: {error}")]
    Unreachable { address: String, error: io::Error },
    /// Nothing came in time.
    #[error("the admin listener at {0} did not answer within 5s")]
    Late(String),
    /// What listens there answered something else.
    #[error("{address} is no admin listener of a tidegate that has the page /filters: it answered {status}")]
    Refused { address: String, status: StatusCode },
    /// What came is not the page.
    #[error("{address} is no admin listener of a tidegate: {why}")]
    Strange { address: String, why: String },
    /// The operating system gives this process no means to ask.
    #[error("nobody can be asked: {0}")]
    Local(#[from] io::Error),
}

impl Source {
    /// The listener at `HOST:PORT`.
    pub(super) fn new(address: &str) -> Source {
        Source { address: address.to_owned() }
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What it says now.
    pub(super) async fn ask(&self) -> Result<Overview, SourceError> {
        let answer = tokio::time::timeout(PATIENCE, self.fetch()).await;
        answer.unwrap_or_else(|_| Err(SourceError::Late(self.address.clone())))
    }

    async fn fetch(&self) -> Result<Overview, SourceError> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| self.unreachable(error))?;
        let broken = |error: hyper::Error| self.unreachable(io::Error::other(error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let request = Request::get("/filters").header(HOST, &self.address).body(Empty::<Bytes>::new());
            let request = request.map_err(|error| self.strange(&error))?;
            let response = sender.send_request(request).await.map_err(broken)?;
            if response.status() != StatusCode::OK {
                let (address, status) = (self.address.clone(), response.status());
                return Err(SourceError::Refused { address, status });
            }
            let body = Limited::new(response.into_body(), MAX_PAGE_BYTES).collect().await;
            let body = body.map_err(|error| self.strange(&*error))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| self.strange(&error))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            page = &mut exchange => page,
            // It ends when the answer is there, which is still to be read then.
            _ = connection => exchange.await,
        }
    }

    fn unreachable(&self, error: io::Error) -> SourceError {
        SourceError::Unreachable { address: self.address.clone(), error }
    }

    fn strange(&self, why: &(dyn std::error::Error + 'static)) -> SourceError {
        SourceError::Strange { address: self.address.clone(), why: why.to_string() }
    }
}
