//! Shared data, as [`crate::wasm::shared_data`] keeps it.

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::memory::{Out, check, give, slice, store_u32, view};
use crate::wasm::shared_data::Refusal;

/// `proxy_get_shared_data`
pub(crate) fn value(
    call: &mut Call<'_>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    cas: u32,
) -> Outcome {
    let out = Out { pointer: value, len: value_len };
    let (memory, host) = view(call)?;
    let key = slice(memory, key, key_len)?;
    out.check(memory)?;
    check(memory, cas, 4)?;
    let (found, found_cas) = host.shared.value(key).ok_or(Status::NotFound)?;
    give(call, out, &found)?;
    let (memory, _) = view(call)?;
    store_u32(memory, cas, found_cas)?;
    Ok(())
}

/// `proxy_set_shared_data`. A quota that is used up is an `InternalFailure`.
pub(crate) fn set_value(
    call: &mut Call<'_>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    cas: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let (key, value) = (slice(memory, key, key_len)?, slice(memory, value, value_len)?);
    host.shared.set(key, value, cas, host.root().filter.limits.shared_data).map_err(
        |refusal| match refusal {
            Refusal::CasMismatch => Status::CasMismatch,
            Refusal::Quota => Status::InternalFailure,
        },
    )?;
    Ok(())
}
