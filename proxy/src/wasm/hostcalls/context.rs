//! Contexts: which one hostcalls act on, and when one is done.

use super::{Call, Outcome};
use crate::wasm::abi::Status;
use crate::wasm::root::RootEnd;

/// `proxy_set_effective_context`: until the present callback returns.
pub(crate) fn set_effective_context(call: &mut Call<'_>, context: u32) -> Outcome {
    if call.data_mut().activate(context) { Ok(()) } else { Err(Status::BadArgument.into()) }
}

/// `proxy_done`: `NotFound` unless the context said in `proxy_on_done` that it was not done yet. Its end follows when
/// the present callback has returned.
pub(crate) fn done(call: &mut Call<'_>) -> Outcome {
    let host = call.data_mut();
    let context = host.active.context;
    let waits = match host.contexts.stream(context) {
        Some(stream) => stream.parked.is_some(),
        None => context == host.root().id && host.root().end == RootEnd::Parked,
    };
    if !waits {
        return Err(Status::NotFound.into());
    }
    if !host.finished.contains(&context) {
        host.finished.push(context);
    }
    Ok(())
}
