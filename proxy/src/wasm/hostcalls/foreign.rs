//! Foreign functions: calls by name that a host may have or not. An unknown one is `NotFound`.

use super::{Call, Outcome, log};
use crate::wasm::abi::Status;
use crate::wasm::memory::{Out, give, slice, view};

/// `proxy_call_foreign_function`. A null place for the value means that the guest does not want it.
pub(crate) fn call_function(
    call: &mut Call<'_>,
    name: u32,
    name_len: u32,
    arguments: u32,
    arguments_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let name = slice(memory, name, name_len)?;
    slice(memory, arguments, arguments_len)?;
    let answer: &[u8] = match name {
        b"clear_route_cache" => {
            if let Some((stream, _)) = &host.active.stream {
                stream.borrow_mut().route_stale = true;
            }
            &[]
        }
        b"get_log_level" => &(log::current_level() as u32).to_le_bytes(),
        _ => return Err(Status::NotFound.into()),
    };
    if value == 0 || value_len == 0 {
        return Ok(());
    }
    give(call, Out { pointer: value, len: value_len }, answer)
}
