//! What a hostcall answers that a filter's `capabilities.hostcalls` leaves out.
//!
//! A guest goes on after every one of these answers: what SDKs expect to fail fails, what they expect never to fail does
//! nothing. (The Rust SDK stops its guest at any status that it does not know of the call at hand.)

use super::{Call, Outcome};
use crate::wasm::abi::{AbiVersion, Status};
use crate::wasm::grants::Capability;
use crate::wasm::memory::{check, store_u32, view};

/// What is answered.
enum Refusal {
    /// It fails.
    Fails(Status),
    /// It does nothing and succeeds; 0 is written where these parameters point.
    Nothing(&'static [usize]),
}

/// How a hostcall ends that the filter at hand may not make; none if it may. There is no need to ask for a filter without
/// `capabilities`.
#[cold]
pub(super) fn of(call: &mut Call<'_>, name: &'static str, arguments: &[u64]) -> Option<Outcome> {
    let grants = call.data().grants()?;
    grants.capabilities().hostcalls.as_ref()?;
    if grants.allows(Capability::Hostcalls, name.as_bytes()) {
        return None;
    }
    let refusal = refusal(name, call.data().abi)?;
    call.data().deny(Capability::Hostcalls, name.as_bytes());
    Some(refuse(call, &refusal, arguments))
}

fn refuse(call: &mut Call<'_>, refusal: &Refusal, arguments: &[u64]) -> Outcome {
    let outs = match refusal {
        Refusal::Fails(status) => return Err((*status).into()),
        Refusal::Nothing(outs) => outs.iter().filter_map(|&at| u32::try_from(*arguments.get(at)?).ok()),
    };
    let (memory, _) = view(call)?;
    for pointer in outs.clone() {
        check(memory, pointer, 4)?;
    }
    for pointer in outs {
        store_u32(memory, pointer, 0)?;
    }
    Ok(())
}

/// How each hostcall is refused; none for what every filter has: its own configuration, contexts and callouts' status,
/// and the time. A reply and a foreign function are refused where they are known by name.
fn refusal(name: &str, abi: AbiVersion) -> Option<Refusal> {
    Some(match name {
        "proxy_get_configuration"
        | "proxy_get_status"
        | "proxy_get_current_time_nanoseconds"
        | "proxy_set_effective_context"
        | "proxy_done"
        | "proxy_send_local_response"
        | "proxy_call_foreign_function" => return None,
        "proxy_get_header_map_value" if abi == AbiVersion::V0_1_0 => Refusal::Nothing(&[3, 4]),
        "proxy_get_header_map_size" => Refusal::Nothing(&[1]),
        "proxy_get_header_map_pairs" => Refusal::Nothing(&[1, 2]),
        "proxy_register_shared_queue" => Refusal::Nothing(&[2]),
        "proxy_define_metric" => Refusal::Nothing(&[3]),
        "proxy_set_header_map_pairs"
        | "proxy_add_header_map_value"
        | "proxy_replace_header_map_value"
        | "proxy_remove_header_map_value"
        | "proxy_set_buffer_bytes"
        | "proxy_set_property"
        | "proxy_set_tick_period_milliseconds"
        | "proxy_continue_stream"
        | "proxy_close_stream"
        | "proxy_continue_request"
        | "proxy_continue_response"
        | "proxy_clear_route_cache" => Refusal::Nothing(&[]),
        "proxy_http_call"
        | "proxy_inject_encoded_data_to_filter_chain"
        | "proxy_set_upstream_override_host" => Refusal::Fails(Status::BadArgument),
        "proxy_set_shared_data" => Refusal::Fails(Status::CasMismatch),
        "proxy_grpc_call" | "proxy_grpc_stream" => Refusal::Fails(Status::ParseFailure),
        _ => Refusal::Fails(Status::NotFound),
    })
}
