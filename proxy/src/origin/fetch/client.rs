//! HTTP: one server's, with what it is to be shown.

use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use reqwest::redirect::{self, Policy};

use super::credentials::{self, Basic};
use super::{FetchError, Request};
use crate::config::model::{Location, Remote};

/// Longest way from a name to its content.
const MAX_REDIRECTS: usize = 5;
/// For a connection to come about; an attempt as a whole has its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for one module.
pub(super) struct Client {
    inner: reqwest::Client,
    remote: Remote,
    /// Where to ask instead of the URL's host.
    endpoints: Option<Vec<SocketAddr>>,
    /// Whether what came is known by its digest, so that its end need not be told.
    pinned: bool,
}

impl Client {
    /// # Errors
    ///
    /// There is no TLS on this machine: no certificate authorities are installed.
    pub(super) fn new(request: &Request) -> Result<Client, FetchError> {
        let remote = request.remote.clone();
        let builder = || {
            let through_cluster = request.endpoints.is_some();
            let builder = reqwest::Client::builder()
                .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .referer(false)
                .redirect(if through_cluster { Policy::none() } else { Policy::custom(follow) });
            if through_cluster { builder.no_proxy() } else { builder }
        };
        // The process's own choice, where something else has made one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner = builder().build().or_else(|error| match is_plain(&remote) {
            // Where no authorities are installed there is no TLS, and none is needed.
            true => builder().tls_backend_preconfigured(trusting_nobody()?).build().map_err(|_| error),
            false => Err(error),
        });
        let inner =
            inner.map_err(|error| FetchError::Client(format!("TLS cannot be had: {}", cause(&error))))?;
        Ok(Client { inner, remote, endpoints: request.endpoints.clone(), pinned: request.sha256.is_some() })
    }

    /// What is at an address, whole, if it is no longer than `limit` bytes. `attempt` picks the endpoint.
    pub(super) async fn get(&self, url: &Uri, attempt: u32, limit: u64) -> Result<Bytes, FetchError> {
        let mut headers = HeaderMap::new();
        let host = host(url);
        let credentials = credentials::of(&self.remote.credentials, &host)?;
        if let Some(basic) = &credentials {
            headers.insert(AUTHORIZATION, basic.header()?);
        }
        let target = match &self.endpoints {
            None => url.to_string(),
            Some(endpoints) => {
                let endpoint = endpoints.get(attempt as usize % endpoints.len().max(1)).ok_or_else(|| {
                    FetchError::Connection {
                        host: host.clone(),
                        cause: "the cluster has no endpoint".to_owned(),
                    }
                })?;
                let told = HeaderValue::from_str(url.authority().map_or("", |authority| authority.as_str()));
                headers.insert(HOST, told.map_err(|error| FetchError::Client(error.to_string()))?);
                format!("http://{endpoint}{}", url.path_and_query().map_or("/", |path| path.as_str()))
            }
        };
        let response = self.send(&target, headers).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(host, response.status(), credentials.is_some(), false));
        }
        let is_chunked = response.headers().contains_key(TRANSFER_ENCODING);
        if response.content_length().is_none() && !is_chunked && !self.pinned {
            return Err(FetchError::Endless { host });
        }
        body(response, &host, "the module", limit).await
    }

    /// Sends a request. Any answer is one.
    pub(super) async fn send(&self, url: &str, headers: HeaderMap) -> Result<reqwest::Response, FetchError> {
        let sent = self.inner.get(url).headers(headers).send().await;
        sent.map_err(|error| {
            let host = url.parse().map_or_else(|_| "the server".to_owned(), |uri| host(&uri));
            if error.is_redirect() {
                return FetchError::Redirect { host, why: redirect_problem(&error) };
            }
            if is_answered_without_tls(&error) {
                return FetchError::NoTls { host };
            }
            FetchError::Connection { host, cause: cause(&error) }
        })
    }
}

/// The answer's body, if it is no longer than `limit` bytes.
pub(super) async fn body(
    mut response: reqwest::Response,
    host: &str,
    what: &'static str,
    limit: u64,
) -> Result<Bytes, FetchError> {
    let too_large = || FetchError::TooLarge { what, limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| FetchError::Cut { host: host.to_owned(), cause: cause(&error) })?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

/// What a status other than the expected one means. `shown`: credentials were.
pub(super) fn refusal(host: String, status: StatusCode, shown: bool, is_registry: bool) -> FetchError {
    match status.as_u16() {
        status @ (401 | 403) => FetchError::Unauthorized { host, status, shown },
        status => FetchError::Status { host, status, is_registry },
    }
}

impl Basic {
    /// # Errors
    ///
    /// A line break is in it.
    pub(super) fn header(&self) -> Result<HeaderValue, FetchError> {
        use base64::Engine as _;
        let Basic { username, password } = self;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        let value = HeaderValue::from_str(&format!("Basic {text}"));
        let mut value = value.map_err(|error| FetchError::Credentials(error.to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The host, and the port where one is given. A name and a password before them are shown to nobody.
pub(super) fn host(url: &Uri) -> String {
    let authority = url.authority().map_or("the server", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

fn is_plain(remote: &Remote) -> bool {
    match &remote.location {
        Location::Url { url, .. } => url.scheme_str() == Some("http"),
        Location::Image(_) => remote.plain_http,
    }
}

const TOO_OFTEN: &str = "too often";
const WITHOUT_TLS: &str = "from TLS to none";

/// Follows a server that sends elsewhere, a few times and never out of TLS. The client itself shows credentials to no
/// other host.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let leaves_tls = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
        && attempt.url().scheme() != "https";
    if leaves_tls {
        return attempt.error(WITHOUT_TLS);
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(TOO_OFTEN);
    }
    attempt.follow()
}

fn redirect_problem(error: &reqwest::Error) -> &'static str {
    if cause(error) == WITHOUT_TLS { WITHOUT_TLS } else { TOO_OFTEN }
}

/// Whether what answered a greeting of TLS is no TLS.
fn is_answered_without_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) {
            return true;
        }
        // An error of I/O has for its source that of the error which it carries, not that error itself.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    false
}

/// The innermost reason. What is around it repeats the URL, which may be secret.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    match cause {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "it took too long".to_owned(),
        None => "the request failed".to_owned(),
    }
}

/// TLS that comes about with no server.
fn trusting_nobody() -> Result<rustls::ClientConfig, reqwest::Error> {
    let nobody = rustls::RootCertStore::empty();
    Ok(rustls::ClientConfig::builder().with_root_certificates(nobody).with_no_client_auth())
}
