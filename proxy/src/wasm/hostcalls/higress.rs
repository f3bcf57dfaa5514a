//! What Higress has beside the ABI (its version 0.2.100). Modules built for it import these whether they use them or not,
//! so all of them link; its Redis calls are not offered yet, and say so with a status that filters can act on.

use std::net::SocketAddr;

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::grants::Capability;
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, check, give, slice, view};
use crate::wasm::pairs;
use crate::wasm::stream::Progress;

/// `proxy_inject_encoded_data_to_filter_chain` (0.2.100, Higress): sends bytes to the client behind what the filter has
/// let go on of the response, when the callback has returned; the filters behind it see them as body. A head that the
/// filter holds goes on before them; what it holds of the body stays held. The response ends with them if
/// `end_of_stream` is not 0: then nothing more of it is wanted. Behind the end, and in a response that may have no body,
/// they have no effect.
///
/// - `NotFound`: there is no exchange.
/// - `BadArgument`: there is no response yet, the exchange is over, as in `proxy_on_log`, or the filter may not write
///   bodies.
/// - `InternalFailure`: more than the listener's `buffer_limit` waits to be sent.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn inject_data(call: &mut Call<'_>, data: u32, data_len: u32, end_of_stream: u32) -> Outcome {
    let (memory, host) = view(call)?;
    inject(host, slice(memory, data, data_len)?, end_of_stream != 0).map_err(Into::into)
}

pub(super) fn inject(host: &Host, data: &[u8], end_of_stream: bool) -> Result<(), Status> {
    let (stream, stage) = host.active.stream.as_ref().ok_or(Status::NotFound)?;
    if !host.may(Capability::BodyWrite, b"") {
        return Err(Status::BadArgument);
    }
    let mut stream = stream.borrow_mut();
    if host.is_over() || stream.response.is_none() {
        return Err(Status::BadArgument);
    }
    if stream.inject(*stage, data, end_of_stream) { Ok(()) } else { Err(Status::InternalFailure) }
}

/// `proxy_get_upstream_hosts` (0.2.100, Higress): gives the guest the endpoints of the cluster that the request is for,
/// as pairs of an address and what is known of it, in JSON: `{"health_status":"Healthy"}`.
///
/// - `NotFound`: there is no exchange, or no cluster for it, or none that the filter may call.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn upstream_hosts(call: &mut Call<'_>, value: u32, value_len: u32) -> Outcome {
    // There are no health checks that could say otherwise.
    const HEALTHY: &[u8] = br#"{"health_status":"Healthy"}"#;
    let out = Out { pointer: value, len: value_len };
    let (memory, host) = view(call)?;
    out.check(memory)?;
    let hosts = {
        let (stream, _) = host.active.stream.as_ref().ok_or(Status::NotFound)?;
        let stream = stream.borrow();
        let cluster = stream.info.cluster_name.as_deref().ok_or(Status::NotFound)?;
        if !host.may(Capability::Clusters, cluster.as_bytes()) {
            return Err(Status::NotFound.into());
        }
        let endpoints = host.services.clusters.get(cluster).ok_or(Status::NotFound)?;
        let addresses: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
        let hosts = || addresses.iter().map(|address| (address.as_bytes(), HEALTHY));
        let mut bytes = vec![0; pairs::serialised_len(hosts())];
        pairs::write(&mut bytes, addresses.len(), hosts());
        bytes
    };
    give(call, out, &hosts)
}

/// `proxy_set_upstream_override_host` (0.2.100, Higress): has the request go to this endpoint, `ADDRESS:PORT`, if the
/// cluster that it is for has it; otherwise that one is picked whose turn it is. It counts until the request is sent, so
/// a filter asks for it before it lets the head go on.
///
/// - `NotFound`: there is no exchange.
/// - `BadArgument`: this is no IP address with a port, the request has been sent, or the filter may not call the
///   cluster that it is for.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn set_upstream_host(call: &mut Call<'_>, address: u32, address_len: u32) -> Outcome {
    let (memory, host) = view(call)?;
    let address = slice(memory, address, address_len)?;
    let address = std::str::from_utf8(address).ok().and_then(|address| address.parse().ok());
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::NotFound)?;
    let mut stream = stream.borrow_mut();
    let cluster = stream.info.cluster_name.as_deref().unwrap_or_default();
    if stream.request_progress != Progress::Head || !host.may(Capability::Clusters, cluster.as_bytes()) {
        return Err(Status::BadArgument.into());
    }
    stream.preferred_endpoint = Some(address.ok_or(Status::BadArgument)?);
    Ok(())
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
