//! What the host has, in the words of a recording, and the other way round.

use std::net::SocketAddr;

use http::StatusCode;

use super::blob::Blob;
use super::sight::{fields, header_map};
use super::step::{Beginning, Callout, Facts, Grpc};
use crate::wasm::abi::{ConnectionStatus, DataStatus, HeadersStatus, TrailersStatus};
use crate::wasm::effect::{CalloutResponse, CalloutResult};
use crate::wasm::grpc::GrpcEvent;
use crate::wasm::plugin::Plugin;
use crate::wasm::services::{Clusters, Services, wall_nanoseconds};
use crate::wasm::stream::{Stream, Subject};

impl Beginning {
    /// What an instance of this plugin is given.
    pub(crate) fn of(plugin: &Plugin, services: &Services) -> Beginning {
        let filter = plugin.filter();
        Beginning {
            filter: filter.name.clone(),
            module: plugin.module().sha256().to_string(),
            abi: plugin.module().abi().number().to_owned(),
            worker: services.worker,
            wall: wall_nanoseconds(services.clock.wall()),
            config: Blob(filter.config.clone()),
            vm_config: Blob(filter.vm_config.clone()),
            vm_id: filter.vm_id.clone(),
            root_id: filter.root_id.clone(),
            env: filter.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
            capabilities: plugin.capabilities().map(|capabilities| capabilities.to_json()),
            allow_on_headers_stop_iteration: filter.allow_on_headers_stop_iteration,
            instructions: filter.limits.instructions,
            memory: filter.limits.memory,
            cells: filter.limits.cells != 0,
            log_level: services.log.level().into(),
            clusters: listed(&services.clusters),
        }
    }
}

/// Clusters with their endpoints, by name.
pub(crate) fn listed(clusters: &Clusters) -> Vec<(String, Vec<SocketAddr>)> {
    let mut listed: Vec<_> =
        clusters.iter().map(|(name, endpoints)| (name.clone(), endpoints.clone())).collect();
    listed.sort_unstable();
    listed
}

impl Facts {
    /// Those of an exchange, for the filter at `stage` of its chain.
    pub(crate) fn of(stream: &Stream, stage: usize) -> Facts {
        Facts {
            tcp: stream.subject == Subject::Connection,
            stage,
            buffer_limit: stream.buffer_limit,
            connection: stream.connection.is_some(),
        }
    }
}

/// The word that a recording has for what a step answers.
pub(crate) trait Word {
    fn word(&self) -> &'static str;
}

impl Word for () {
    fn word(&self) -> &'static str {
        "done"
    }
}

/// Whether more is wanted.
impl Word for bool {
    fn word(&self) -> &'static str {
        if *self { "more" } else { "no_more" }
    }
}

impl Word for HeadersStatus {
    fn word(&self) -> &'static str {
        match self {
            HeadersStatus::Continue => "continue",
            HeadersStatus::StopIteration => "stop_iteration",
            HeadersStatus::StopAllIterationAndBuffer => "stop_all_iteration_and_buffer",
            HeadersStatus::StopAllIterationAndWatermark => "stop_all_iteration_and_watermark",
            HeadersStatus::Leave => "leave",
        }
    }
}

impl Word for DataStatus {
    fn word(&self) -> &'static str {
        match self {
            DataStatus::Continue => "continue",
            DataStatus::StopIterationAndBuffer => "stop_iteration_and_buffer",
            DataStatus::StopIterationAndWatermark => "stop_iteration_and_watermark",
            DataStatus::StopIterationNoBuffer => "stop_iteration_no_buffer",
        }
    }
}

impl Word for TrailersStatus {
    fn word(&self) -> &'static str {
        match self {
            TrailersStatus::Continue => "continue",
            TrailersStatus::StopIteration => "stop_iteration",
        }
    }
}

impl Word for ConnectionStatus {
    fn word(&self) -> &'static str {
        match self {
            ConnectionStatus::Continue => "continue",
            ConnectionStatus::StopIteration => "stop_iteration",
        }
    }
}

impl From<&CalloutResult> for Callout {
    fn from(result: &CalloutResult) -> Callout {
        match result {
            CalloutResult::Response(response) => Callout::Response {
                status: response.status.as_u16(),
                headers: fields(&response.headers),
                body: Blob(response.body.clone()),
                trailers: response.trailers.as_ref().map(fields),
            },
            CalloutResult::Unavailable(why) => Callout::Unavailable(why.clone()),
            CalloutResult::TimedOut => Callout::TimedOut,
            CalloutResult::Reset(why) => Callout::Reset(why.clone()),
        }
    }
}

impl From<&Callout> for CalloutResult {
    fn from(callout: &Callout) -> CalloutResult {
        match callout {
            Callout::Response { status, headers, body, trailers } => {
                CalloutResult::Response(CalloutResponse {
                    status: status_code(*status).unwrap_or(StatusCode::OK),
                    headers: header_map(headers),
                    body: body.0.clone(),
                    trailers: trailers.as_ref().map(header_map),
                })
            }
            Callout::Unavailable(why) => CalloutResult::Unavailable(why.clone()),
            Callout::TimedOut => CalloutResult::TimedOut,
            Callout::Reset(why) => CalloutResult::Reset(why.clone()),
        }
    }
}

impl From<&GrpcEvent> for Grpc {
    fn from(event: &GrpcEvent) -> Grpc {
        let number = |status: &Option<StatusCode>| status.map(|status| status.as_u16());
        match event {
            GrpcEvent::InitialMetadata(status, metadata) => {
                Grpc::InitialMetadata { status: number(status), metadata: fields(metadata) }
            }
            GrpcEvent::Message(message) => Grpc::Message(Blob(message.clone())),
            GrpcEvent::TrailingMetadata(status, metadata) => {
                Grpc::TrailingMetadata { status: number(status), metadata: fields(metadata) }
            }
            GrpcEvent::Close { status, message } => Grpc::Close { status: *status, message: message.clone() },
        }
    }
}

impl From<&Grpc> for GrpcEvent {
    fn from(event: &Grpc) -> GrpcEvent {
        let code = |status: &Option<u16>| status.and_then(status_code);
        match event {
            Grpc::InitialMetadata { status, metadata } => {
                GrpcEvent::InitialMetadata(code(status), header_map(metadata))
            }
            Grpc::Message(message) => GrpcEvent::Message(message.0.clone()),
            Grpc::TrailingMetadata { status, metadata } => {
                GrpcEvent::TrailingMetadata(code(status), header_map(metadata))
            }
            Grpc::Close { status, message } => GrpcEvent::Close { status: *status, message: message.clone() },
        }
    }
}

fn status_code(number: u16) -> Option<StatusCode> {
    StatusCode::from_u16(number).ok()
}
