//! Why a request to an upstream failed, as far as an operator would tell the reasons apart.

use std::error::Error as _;
use std::io;

use crate::telemetry::metrics::Limit;

use h2::Reason;

use super::BoxError;

/// Why there is no response, or not the whole of it.
///
/// Which status this becomes, whose fault it is and what metrics call it is decided where errors become responses.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The cluster has no endpoint.
    #[error("the cluster has no endpoint")]
    NoEndpoint,
    /// As much of the cluster is in use as may be: of what its `breakers` limit.
    #[error("the cluster has as many {} as it may have", .0.word())]
    Overflow(Limit),
    /// Nobody listens at the endpoint.
    #[error("the upstream refused the connection")]
    ConnectRefused(#[source] io::Error),
    /// The endpoint cannot be reached, or this process has no socket left.
    #[error("could not connect to the upstream")]
    Connect(#[source] io::Error),
    /// The endpoint did not accept within the cluster's `connect_timeout`.
    #[error("connecting to the upstream took too long")]
    ConnectTimeout,
    /// There is a connection to the endpoint, and no TLS on it: it is not who it has to be, or there is no agreement with it.
    #[error("the TLS handshake with the upstream failed")]
    Tls(#[source] io::Error),
    /// The upstream closed or reset the connection before its response's head was complete.
    #[error("the upstream closed the connection before it answered")]
    Closed {
        /// Whether a part of the head had come: then it was at work on the request.
        mid_head: bool,
        /// What the connection says.
        #[source]
        source: hyper::Error,
    },
    /// The response's head is not HTTP.
    #[error("the upstream's response is malformed")]
    Malformed(#[source] hyper::Error),
    /// The response's head is larger than the cluster's `header_bytes`, or has more than 100 fields.
    #[error("the upstream's response head is too large")]
    HeadTooLarge(#[source] hyper::Error),
    /// The request's body failed, or was shorter than its `content-length`. The body's own error is a source of
    /// this one: see [`UpstreamError::find`].
    #[error("the request's body ended early")]
    RequestBody(#[source] BoxError),
    /// The response's body was cut or is malformed.
    #[error("the upstream's response ended early")]
    ResponseBody(#[source] hyper::Error),
    /// What came of the response's body is not what its head says that it is.
    #[error("the upstream's body cannot be decompressed")]
    Undecodable(#[source] BoxError),
    /// The upstream did not begin with the request: it reset the stream for that, or ended the connection before it
    /// (RFC 9113, sections 6.8 and 8.7). It may be sent again, whatever it is.
    #[error("the upstream refused the stream")]
    RefusedStream(#[source] h2::Error),
    /// The request asks for another protocol, which over HTTP/2 is a CONNECT that the endpoint has to allow in its SETTINGS
    /// (RFC 8441, section 3), and it does not; or the request has a body besides.
    #[error("the upstream's SETTINGS do not allow to connect for another protocol (RFC 8441)")]
    NoUpgrade,
    /// An HTTP/2 connection failed, or the upstream reset the stream on it.
    #[error("the upstream ended the stream")]
    Http2(#[source] h2::Error),
}

impl UpstreamError {
    /// The first error of type `E` among the sources, for example the error with which a request's body failed.
    pub fn find<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let mut source = self.source();
        while let Some(error) = source {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            source = error.source();
        }
        None
    }

    /// Whether it is only known from here: the endpoint may be well, and the way to it not.
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            UpstreamError::ConnectRefused(_)
                | UpstreamError::Connect(_)
                | UpstreamError::ConnectTimeout
                | UpstreamError::Tls(_)
        )
    }

    /// Whether it says something about the endpoint, rather than about the request or the cluster.
    pub fn blames_endpoint(&self) -> bool {
        match self {
            UpstreamError::NoEndpoint
            | UpstreamError::Overflow(_)
            | UpstreamError::RequestBody(_)
            | UpstreamError::NoUpgrade => false,
            // Who says goodbye may be well.
            UpstreamError::RefusedStream(error) => !error.is_go_away(),
            UpstreamError::ConnectRefused(_)
            | UpstreamError::Connect(_)
            | UpstreamError::ConnectTimeout
            | UpstreamError::Tls(_)
            | UpstreamError::Closed { .. }
            | UpstreamError::Malformed(_)
            | UpstreamError::HeadTooLarge(_)
            | UpstreamError::ResponseBody(_)
            | UpstreamError::Undecodable(_)
            | UpstreamError::Http2(_) => true,
        }
    }

    /// What a gRPC client would make of it, where the upstream reset a stream on which it had answered ("HTTP2 Transport
    /// Mapping" of gRPC, "Errors").
    pub(crate) fn grpc_status(&self) -> Option<u8> {
        let (UpstreamError::Http2(error) | UpstreamError::RefusedStream(error)) = self else { return None };
        if !(error.is_reset() && error.is_remote()) {
            return None;
        }
        Some(match error.reason()? {
            Reason::CANCEL => 1,
            Reason::REFUSED_STREAM => 14,
            Reason::ENHANCE_YOUR_CALM => 8,
            Reason::INADEQUATE_SECURITY => 7,
            _ => 13,
        })
    }

    pub(super) fn from_http2(error: h2::Error) -> UpstreamError {
        let refused = error.reason() == Some(Reason::REFUSED_STREAM) || error.is_go_away();
        match error.is_remote() && refused {
            true => UpstreamError::RefusedStream(error),
            false => UpstreamError::Http2(error),
        }
    }

    pub(super) fn from_connect(error: io::Error) -> UpstreamError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => UpstreamError::ConnectRefused(error),
            // The kernel gives up by itself after a while; to an operator it is the same.
            io::ErrorKind::TimedOut => UpstreamError::ConnectTimeout,
            _ => UpstreamError::Connect(error),
        }
    }

    /// Why no head came. `mid_head` is whether any byte of one did.
    pub(super) fn from_exchange(error: hyper::Error, mid_head: bool) -> UpstreamError {
        if error.is_user() {
            UpstreamError::RequestBody(Box::new(error))
        } else if error.is_parse_too_large() {
            UpstreamError::HeadTooLarge(error)
        } else if error.is_parse() {
            UpstreamError::Malformed(error)
        } else {
            UpstreamError::Closed { mid_head, source: error }
        }
    }
}
