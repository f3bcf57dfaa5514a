//! How much memory a step takes that waits to be written.

use super::blob::{Blob, Fields, Value};
use super::step::{Callout, Change, Grpc, Hostcall, Line, Op, Piece, Step};

/// What a step, a call or a field takes beside its bytes, about.
const EACH: usize = 128;

impl Step {
    /// About so many bytes.
    pub(crate) fn weight(&self) -> usize {
        let streams = self.streams.iter().map(|stream| change(&stream.before) + change(&stream.after));
        let calls = self.calls.iter().map(|call| {
            let hostcalls = call.hostcalls.iter().map(Hostcall::weight);
            let logs = call.logs.iter().map(Line::weight);
            EACH + hostcalls.sum::<usize>() + logs.sum::<usize>()
        });
        EACH + op(&self.op) + streams.sum::<usize>() + calls.sum::<usize>()
    }
}

impl Hostcall {
    /// About so many bytes.
    pub(super) fn weight(&self) -> usize {
        EACH + self.args.iter().chain(&self.answer).map(value).sum::<usize>()
    }
}

impl Line {
    /// About so many bytes.
    pub(super) fn weight(&self) -> usize {
        EACH + self.text.0.len()
    }
}

fn op(op: &Op) -> usize {
    match op {
        Op::HttpCallResponse { result: Callout::Response { headers, body, trailers, .. }, .. } => {
            fields(headers) + body.0.len() + trailers.as_ref().map_or(0, fields)
        }
        Op::Grpc { event: Grpc::Message(message), .. } => message.0.len(),
        Op::Grpc { event: Grpc::InitialMetadata { metadata, .. }, .. }
        | Op::Grpc { event: Grpc::TrailingMetadata { metadata, .. }, .. } => fields(metadata),
        Op::ForeignFunction { arguments, .. } => arguments.0.len(),
        Op::Clusters { clusters } => clusters.len() * EACH,
        _ => 0,
    }
}

fn change(change: &Change) -> usize {
    let heads = [
        change.request.as_ref().map(|head| &head.headers),
        change.response.as_ref().map(|head| &head.headers),
        change.staged_response_headers.as_ref(),
        change.request_trailers.as_ref(),
        change.response_trailers.as_ref(),
    ];
    let bodies =
        [&change.request_body, &change.response_body].into_iter().flatten().map(|piece| match piece {
            Piece::Added(Blob(bytes)) | Piece::Whole(Blob(bytes)) => bytes.len(),
        });
    EACH + heads.into_iter().flatten().map(fields).sum::<usize>()
        + bodies.sum::<usize>()
        + fields(&change.properties)
}

fn value(value: &Value) -> usize {
    match value {
        Value::Number(_) => 0,
        Value::Bytes(blob) => blob.0.len(),
        Value::Fields(map) => fields(map),
    }
}

fn fields(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| EACH + name.0.len() + value.0.len()).sum()
}
