//! Time: what it is, and when to tick.

use super::{Call, Outcome};
use crate::wasm::effect::Effect;
use crate::wasm::host::{Host, tick_period};
use crate::wasm::memory::{check, store_u64, view};
use crate::wasm::root::RootEnd;
use crate::wasm::services;

/// `proxy_set_tick_period_milliseconds` (0.1.0): has `proxy_on_tick` of the root called again and again, this long
/// after each call has returned, whichever context asks; 0 ends it. The last call counts. A root that has gone ticks no
/// more.
pub(crate) fn set_tick_period(call: &mut Call<'_>, milliseconds: u32) -> Outcome {
    let host = call.data_mut();
    if host.root().end == RootEnd::Gone {
        return Ok(());
    }
    let root = host.root().id;
    // The last one counts, so that a guest that asks again and again queues one.
    host.effects.retain(|(of, effect)| *of != root || !matches!(effect, Effect::SetTick(_)));
    host.effects.push((root, Effect::SetTick(tick_period(milliseconds))));
    Ok(())
}

/// `proxy_get_current_time_nanoseconds` (0.1.0): writes the nanoseconds since 1970 to `time`, 8 bytes: the wall clock.
///
/// - `InvalidMemoryAccess`: `time` is not of the guest's memory.
pub(crate) fn current_time(call: &mut Call<'_>, time: u32) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, time, 8)?;
    store_u64(memory, time, wall_nanoseconds(host))?;
    Ok(())
}

/// What the guest is told of the wall clock: see [`services::wall_nanoseconds`].
pub(super) fn wall_nanoseconds(host: &mut Host) -> u64 {
    host.is_repeatable = false;
    services::wall_nanoseconds(host.services.clock.wall())
}
