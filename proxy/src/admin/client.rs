//! Asks an admin listener: the other side of this module, for commands that talk to a running proxy.

use std::io;
use std::time::Duration;

use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take, and how large it may be: a thousand filters with all their callbacks are 4 MiB.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Where a proxy's admin listener is: `HOST:PORT`.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: String,
}

type Sender = http1::SendRequest<Empty<Bytes>>;
type Connection = http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens there, or what listens broke off.
    #[error("no admin listener answers at {address}: {error}")]
    Unreachable { address: String, error: io::Error },
    /// Nothing came in time.
    #[error("the admin listener at {0} did not answer within 5s")]
    Late(String),
    /// What came is no answer of an admin listener.
    #[error(
        "{address} is no admin listener of a tidegate: {why}; `--admin` takes the `admin.address` of the proxy's configuration"
    )]
    Strange { address: String, why: String },
}

impl Client {
    /// For the listener at `HOST:PORT`.
    pub(crate) fn new(address: &str) -> Client {
        Client { address: address.to_owned() }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Asks for a page, or says something to it. `path` is in origin form.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not in time, or not in HTTP.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let answer = tokio::time::timeout(PATIENCE, self.fetch(method, path)).await;
        answer.unwrap_or_else(|_| Err(ClientError::Late(self.address.clone())))
    }

    /// Says something to a page whose answer comes as it is made: `each` is given its pieces, until it ends or `each`
    /// answers false. An answer other than 200 is a page.
    ///
    /// # Errors
    ///
    /// As [`ask`](Client::ask); the answer may take as long as it likes.
    pub(crate) async fn follow(
        &self,
        path: &str,
        mut each: impl FnMut(Bytes) -> bool,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection, host) = self.connect().await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(self.request(Method::POST, path, &host)?).await;
        let response = response.map_err(|error| self.broken(error))?;
        let (status, mut body) = (response.status(), response.into_body());
        if status != StatusCode::OK {
            let page = Limited::new(body, MAX_PAGE_BYTES).collect().await;
            let page = page.map_err(|error| self.unreachable(io::Error::other(error)))?;
            return Ok((status, page.to_bytes()));
        }
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|error| self.broken(error))?.into_data() else { continue };
            if !each(piece) {
                break;
            }
        }
        connection.abort();
        Ok((status, Bytes::new()))
    }

    fn request(&self, method: Method, path: &str, host: &str) -> Result<Request<Empty<Bytes>>, ClientError> {
        let request = Request::builder().method(method).uri(path).header(HOST, host);
        request.body(Empty::new()).map_err(|error| self.unreachable(io::Error::other(error)))
    }

    /// A connection, and what the listener is called on it.
    async fn connect(&self) -> Result<(Sender, Connection, String), ClientError> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| self.unreachable(error))?;
        // Whatever name led here: the listener answers none but addresses and localhost.
        let host = stream.peer_addr().map_err(|error| self.unreachable(error))?.to_string();
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| self.broken(error))?;
        Ok((sender, connection, host))
    }

    fn broken(&self, error: hyper::Error) -> ClientError {
        match error.is_parse() {
            true => self.strange("it does not answer in HTTP"),
            false => self.unreachable(io::Error::other(error)),
        }
    }

    async fn fetch(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection, host) = self.connect().await?;
        let exchange = async {
            let request = self.request(method, path, &host)?;
            let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_PAGE_BYTES).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => self.strange("it answers more than any page has"),
                false => self.unreachable(io::Error::other(error)),
            })?;
            Ok((status, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            page = &mut exchange => page,
            // It ends when the answer is there, which is still to be read then.
            _ = connection => exchange.await,
        }
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        ClientError::Unreachable { address: self.address.clone(), error }
    }

    /// What came makes no sense: in whose words it does not is nothing to whoever asks.
    fn strange(&self, why: impl Into<String>) -> ClientError {
        ClientError::Strange { address: self.address.clone(), why: why.into() }
    }

    /// What came is no page that the admin listener has at `path`.
    pub(crate) fn no_such_page(&self, path: &str) -> ClientError {
        self.strange(format!("what it answers is not the page {path}"))
    }

    /// There is no page at `path`, where the admin listener has one.
    pub(crate) fn refused(&self, path: &str, status: StatusCode) -> ClientError {
        self.strange(format!("it has no page {path} and answered {}", status.as_u16()))
    }
}
