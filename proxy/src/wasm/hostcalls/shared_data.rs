//! Shared data, as [`crate::wasm::shared_data`] keeps it.

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::grants::Capability;
use crate::wasm::memory::{Out, check, give, slice, store_u32, view};
use crate::wasm::shared_data::Refusal;

/// `proxy_get_shared_data` (0.1.0): gives the guest the value of a key, and writes the number of its last change to
/// `cas`. All filters with the same `vm_id` share them, on all workers.
///
/// - `NotFound`: the key has no value, or the filter may not use it.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
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
    if !host.may(Capability::SharedData, key) {
        return Err(Status::NotFound.into());
    }
    let (found, found_cas) = host.shared.value(key).ok_or(Status::NotFound)?;
    give(call, out, &found)?;
    let (memory, _) = view(call)?;
    store_u32(memory, cas, found_cas)?;
    Ok(())
}

/// `proxy_set_shared_data` (0.1.0): sets the value of a key. A `cas` other than 0 has to be the number of its last
/// change, unless it has no value yet.
///
/// - `CasMismatch`: it was changed since, or the filter may not use it.
/// - `InternalFailure`: it does not fit into the filter's `limits.shared_data`.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
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
    if !host.may(Capability::SharedData, key) {
        return Err(Status::CasMismatch.into());
    }
    host.shared.set(key, value, cas, host.root().filter.limits.shared_data).map_err(
        |refusal| match refusal {
            Refusal::CasMismatch => Status::CasMismatch,
            Refusal::Quota => Status::InternalFailure,
        },
    )?;
    Ok(())
}
