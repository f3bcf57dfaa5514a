//! A health check's request over HTTP/1.1.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Uri, response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::probe::{ANSWER_LIMIT, Sick};
use crate::config::model::{Address, Probe};
use crate::transport::Transport;

/// The request of a check by HTTP.
pub(super) fn request(probe: &Probe, endpoint: Address) -> Request<()> {
    let mut request = Request::new(());
    let Probe::Http { path, method, host, headers, .. } = probe else { return request };
    *request.method_mut() = method.clone();
    *request.uri_mut() = Uri::from(path.clone());
    introduce(request.headers_mut(), host.as_ref(), headers, endpoint);
    request
}

/// Says who asks whom.
pub(super) fn introduce(
    fields: &mut HeaderMap,
    host: Option<&HeaderValue>,
    more: &[(HeaderName, HeaderValue)],
    endpoint: Address,
) {
    let address = || HeaderValue::try_from(host_of(endpoint)).ok();
    if let Some(host) = host.cloned().or_else(address) {
        fields.insert(HOST, host);
    }
    fields.insert(USER_AGENT, HeaderValue::from_static("tidegate-health-check"));
    for (name, value) in more {
        fields.insert(name, value.clone());
    }
}

/// What an endpoint is called where nobody says: by its address, if that can be a host.
pub(in crate::upstream) fn host_of(endpoint: Address) -> String {
    endpoint.ip().map_or_else(|| "localhost".to_owned(), |address| address.to_string())
}

/// Sends it, and reads all of the answer, so that its connection ends in order.
pub(super) async fn ask(stream: Transport, request: Request<()>) -> Result<response::Parts, Sick> {
    let mut request = request.map(|()| Empty::<Bytes>::new());
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame?.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_LIMIT {
                break;
            }
        }
        Ok(head)
    };
    drive(exchange, connection).await
}

/// Waits for an exchange while its connection is at work, which may end first.
pub(super) async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut is_over = false;
    poll_fn(|cx| {
        if !is_over {
            is_over = connection.as_mut().poll(cx).is_ready();
        }
        match exchange.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
