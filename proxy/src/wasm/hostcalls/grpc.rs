//! gRPC callouts: not offered yet. No call or stream can be opened, so no token is ever one.

use super::{Call, Outcome};
use crate::wasm::abi::Status;

/// `proxy_grpc_call`
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn call(
    _: &mut Call<'_>,
    _upstream: u32,
    _upstream_len: u32,
    _service: u32,
    _service_len: u32,
    _method: u32,
    _method_len: u32,
    _metadata: u32,
    _metadata_len: u32,
    _message: u32,
    _message_len: u32,
    _timeout_ms: u32,
    _token: u32,
) -> Outcome {
    Err(Status::InternalFailure.into())
}

/// `proxy_grpc_stream`
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn stream(
    _: &mut Call<'_>,
    _upstream: u32,
    _upstream_len: u32,
    _service: u32,
    _service_len: u32,
    _method: u32,
    _method_len: u32,
    _metadata: u32,
    _metadata_len: u32,
    _token: u32,
) -> Outcome {
    Err(Status::InternalFailure.into())
}

/// `proxy_grpc_send`
pub(crate) fn send(
    _: &mut Call<'_>,
    _token: u32,
    _message: u32,
    _message_len: u32,
    _end_of_stream: u32,
) -> Outcome {
    Err(Status::NotFound.into())
}

/// `proxy_grpc_close`
pub(crate) fn close(_: &mut Call<'_>, _token: u32) -> Outcome {
    Err(Status::NotFound.into())
}

/// `proxy_grpc_cancel`
pub(crate) fn cancel(_: &mut Call<'_>, _token: u32) -> Outcome {
    Err(Status::NotFound.into())
}
