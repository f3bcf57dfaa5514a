//! What is known of an exchange, for texts that say it.

use std::borrow::Cow;
use std::time::SystemTime;

use http::StatusCode;
use http::header::HOST;

use super::Exchange;
use super::peer::is_nowhere;
use crate::config::model::{Address, Operator, RequestField};
use crate::telemetry::timestamp;
use crate::wasm::stream::{Certificate, RequestHead, Stream};

impl Exchange {
    /// What an operator stands for, as far as it is known before there is an answer. `stream` is the exchange's.
    pub(super) fn known(&self, stream: &Stream, operator: &Operator) -> Option<Cow<'static, [u8]>> {
        let (request, info) = (&stream.request, &stream.info);
        let field = |field: &RequestField| said(request, field);
        let tls = info.tls.as_deref();
        let peer = || -> Option<&Certificate> { tls?.peer.as_ref() };
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let text = match operator {
            Operator::Request(name, other) => {
                return field(name).or_else(|| field(other.as_ref()?)).map(Cow::from);
            }
            Operator::Protocol => info.protocol.to_owned(),
            // Who came by a UNIX socket has none.
            Operator::ClientAddress { .. } if is_nowhere(info.source) => return None,
            Operator::ClientAddress { port: true } => info.source.to_string(),
            Operator::ClientAddress { port: false } => info.source.ip().to_string(),
            Operator::LocalAddress => info
                .unix
                .map_or_else(|| info.destination.to_string(), |address| Address::Unix(address).to_string()),
            Operator::RouteName => info.route_name.as_ref()?.to_string(),
            Operator::Cluster => info.cluster_name.as_ref()?.to_string(),
            Operator::Upstream => info.upstream?.to_string(),
            Operator::ServerName => said(&tls?.server_name)?,
            Operator::TlsVersion => said(&tls?.version)?,
            Operator::PeerSubject => said(&peer()?.subject)?,
            Operator::PeerUri => peer()?.uri_sans.first()?.clone(),
            Operator::StartTime => timestamp(SystemTime::now() - self.watch.beginning.elapsed()).to_string(),
            Operator::ResponseCode
            | Operator::ResponseCodeDetails
            | Operator::ResponseFlags
            | Operator::Outcome
            | Operator::LocalReplyBody => return None,
        };
        Some(text.into_bytes().into())
    }

    /// The same of an exchange that has this answer.
    pub(super) fn known_of_response(
        &self,
        stream: &Stream,
        status: StatusCode,
        operator: &Operator,
    ) -> Option<Cow<'static, [u8]>> {
        match operator {
            Operator::ResponseCode => Some(status.as_str().as_bytes().to_vec().into()),
            operator => self.known(stream, operator),
        }
    }
}

/// What a request says in a field.
fn said(request: &RequestHead, field: &RequestField) -> Option<Vec<u8>> {
    let value = match field {
        RequestField::Method => return Some(request.method.as_str().into()),
        RequestField::Path => return Some(request.uri.to_string().into()),
        RequestField::Scheme => &request.scheme,
        RequestField::Authority => request.headers.get(HOST)?,
        RequestField::Named(name) => request.headers.get(name)?,
    };
    Some(value.as_bytes().to_vec())
}
