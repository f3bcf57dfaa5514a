//! Configuration as 0.1.0 reads it. Later versions read it as buffers: see [`super::body`].

use super::{Call, Outcome};
use crate::wasm::abi::Callback;
use crate::wasm::memory::{Out, give};

/// `proxy_get_configuration` (0.1.0 only): gives the guest a configuration: the plugin's while its root is created and
/// in `proxy_on_configure`, the VM's otherwise. Later versions read both as buffers.
///
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn configuration(call: &mut Call<'_>, value: u32, value_len: u32) -> Outcome {
    let host = call.data();
    let bytes = match host.current.callback {
        Callback::Configure => host.root().filter.config.clone(),
        Callback::ContextCreate if host.active.stream.is_none() => host.root().filter.config.clone(),
        _ => host.root().filter.vm_config.clone(),
    };
    give(call, Out { pointer: value, len: value_len }, &bytes)
}
