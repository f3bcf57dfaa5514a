//! What Higress has beside the ABI (its version 0.2.100). Modules built for it import these whether they use them or
//! not, so they link; none is offered yet, and each says so with a status that filters can act on.

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::memory::{Out, check, slice, view};

/// `proxy_inject_encoded_data_to_filter_chain` (0.2.100, Higress): would send bytes to the client on the filter's
/// behalf.
///
/// - `InternalFailure`: always; it is not offered yet. `proxy_set_buffer_bytes` changes a body.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn inject_data(call: &mut Call<'_>, data: u32, data_len: u32, _end_of_stream: u32) -> Outcome {
    slice(view(call)?.0, data, data_len)?;
    Err(Status::InternalFailure.into())
}

/// `proxy_get_upstream_hosts` (0.2.100, Higress): would give the guest the endpoints of the route's cluster.
///
/// - `NotFound`: always; it is not offered yet.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory.
pub(crate) fn upstream_hosts(call: &mut Call<'_>, value: u32, value_len: u32) -> Outcome {
    Out { pointer: value, len: value_len }.check(view(call)?.0)?;
    Err(Status::NotFound.into())
}

/// `proxy_set_upstream_override_host` (0.2.100, Higress): would pick the endpoint that the request goes to.
///
/// - `InternalFailure`: always; it is not offered yet.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn set_upstream_host(call: &mut Call<'_>, address: u32, address_len: u32) -> Outcome {
    slice(view(call)?.0, address, address_len)?;
    Err(Status::InternalFailure.into())
}

/// `proxy_redis_init` (0.2.100, Higress): would connect a cluster to the filter as a Redis; `timeout_ms` in
/// milliseconds.
///
/// - `InternalFailure`: always; it is not offered yet.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
pub(crate) fn redis_init(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    user: u32,
    user_len: u32,
    password: u32,
    password_len: u32,
    _timeout_ms: u32,
) -> Outcome {
    let (memory, _) = view(call)?;
    for (text, len) in [(upstream, upstream_len), (user, user_len), (password, password_len)] {
        slice(memory, text, len)?;
    }
    Err(Status::InternalFailure.into())
}

/// `proxy_redis_call` (0.2.100, Higress): would send a query to a Redis and write the token of the call to `token`.
///
/// - `InternalFailure`: always; it is not offered yet, and no token is ever given.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn redis_call(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    query: u32,
    query_len: u32,
    token: u32,
) -> Outcome {
    let (memory, _) = view(call)?;
    slice(memory, upstream, upstream_len)?;
    slice(memory, query, query_len)?;
    check(memory, token, 4)?;
    Err(Status::InternalFailure.into())
}
