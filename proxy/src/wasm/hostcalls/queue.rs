//! Shared queues: not offered yet. None can be registered, so none is ever found.

use super::{Call, Outcome};
use crate::wasm::abi::Status;

/// `proxy_register_shared_queue`
pub(crate) fn register(_: &mut Call<'_>, _name: u32, _name_len: u32, _id: u32) -> Outcome {
    Err(Status::InternalFailure.into())
}

/// `proxy_resolve_shared_queue`
pub(crate) fn resolve(
    _: &mut Call<'_>,
    _vm: u32,
    _vm_len: u32,
    _name: u32,
    _name_len: u32,
    _id: u32,
) -> Outcome {
    Err(Status::NotFound.into())
}

/// `proxy_enqueue_shared_queue`
pub(crate) fn enqueue(_: &mut Call<'_>, _id: u32, _item: u32, _item_len: u32) -> Outcome {
    Err(Status::NotFound.into())
}

/// `proxy_dequeue_shared_queue`
pub(crate) fn dequeue(_: &mut Call<'_>, _id: u32, _item: u32, _item_len: u32) -> Outcome {
    Err(Status::NotFound.into())
}
