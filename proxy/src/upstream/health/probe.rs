//! One question to one endpoint, on a connection of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{grpc, http};
use crate::config::model::{ClusterProtocol, HealthCheck, Probe};
use crate::telemetry::metrics::ClusterCell;
use crate::tls::{H2, Purpose};
use crate::upstream::dial::dial;
use crate::upstream::{Cluster, Endpoint};

/// An endpoint is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Well {
    /// But not as well as it could be, it says.
    pub(super) is_degraded: bool,
}

/// An endpoint is not: why, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sick(pub(super) String);

impl<E: std::error::Error> From<E> for Sick {
    fn from(error: E) -> Sick {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Sick(text)
    }
}

/// How much of an answer is read, in bytes.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// Asks an endpoint. The caller sees to the time.
pub(super) async fn probe(
    cluster: &Cluster,
    endpoint: &Endpoint,
    check: &HealthCheck,
    cell: &ClusterCell,
) -> Result<Well, Sick> {
    let config = cluster.config();
    let purpose = match (&check.probe, config.protocol) {
        (Probe::Tcp { .. }, _) => Purpose::Tcp,
        (Probe::Grpc { .. }, _) | (_, ClusterProtocol::Http2) => Purpose::Http2,
        (_, ClusterProtocol::Http1) => Purpose::Http1,
        (_, ClusterProtocol::Auto) => Purpose::Http,
    };
    let mut stream = dial(config, endpoint, purpose, &[], cell).await?;
    match &check.probe {
        Probe::Http { statuses, .. } => {
            let request = http::request(&check.probe, endpoint.address());
            let is_http2 = match purpose {
                Purpose::Http => stream.alpn().as_deref() == Some(H2),
                purpose => purpose == Purpose::Http2,
            };
            let head = match is_http2 {
                false => http::ask(stream, request).await?,
                true => grpc::ask(stream, request, None).await?.head,
            };
            if !statuses.iter().any(|range| range.contains(head.status)) {
                return Err(Sick(format!("it answered {}", head.status.as_u16())));
            }
            Ok(Well { is_degraded: head.headers.contains_key("x-envoy-degraded") })
        }
        Probe::Grpc { service, host, headers } => {
            let request = grpc::request(host.as_ref(), headers, endpoint.address());
            grpc::judge(&grpc::ask(stream, request, Some(grpc::question(service))).await?)
        }
        Probe::Tcp { send, receive } => {
            stream.write_all(send).await?;
            let mut answer = Vec::new();
            while !receive.is_empty() && !contains(&answer, receive) {
                if answer.len() >= ANSWER_LIMIT || stream.read_buf(&mut answer).await? == 0 {
                    return Err(Sick("it did not answer what it should".to_owned()));
                }
            }
            Ok(Well { is_degraded: false })
        }
    }
}

fn contains(answer: &[u8], part: &[u8]) -> bool {
    answer.windows(part.len()).any(|window| window == part)
}
