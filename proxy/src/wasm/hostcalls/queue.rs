//! Shared queues, as [`crate::wasm::queues`] keeps them.

use std::sync::Arc;

use super::{Call, Halt, Outcome, log};
use crate::wasm::abi::{LogLevel, Status};
use crate::wasm::effect::Effect;
use crate::wasm::grants::Capability;
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, check, give, slice, store_u32, view};
use crate::wasm::queues::{Inbox, Refusal};
use crate::wasm::root::RootEnd;

/// `proxy_register_shared_queue` (0.1.0): makes a queue in the guest's own `vm_id`, or takes over the one that there
/// is, with what is in it, and writes its id to `id`. From now on this root is told of its items
/// (`proxy_on_queue_ready`). A filter that may not use a queue of that name is given 0, which no queue has.
///
/// - `InternalFailure`: the name is longer than 1 KiB, the `vm_id` has 128 queues, or the root has gone.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn register(call: &mut Call<'_>, name: u32, name_len: u32, id: u32) -> Outcome {
    let (memory, host) = view(call)?;
    let name = slice(memory, name, name_len)?;
    check(memory, id, 4)?;
    if host.root().end == RootEnd::Gone {
        return Err(Status::InternalFailure.into()); // nobody is left to be told of its items
    }
    if !host.may(Capability::SharedData, name) {
        store_u32(memory, id, DENIED)?;
        return Ok(());
    }
    let queue = match host.shared.queue_names().resolve(name).filter(|_| host.serves_one) {
        // Whoever registered it hears of its items for longer than this guest would.
        Some(queue) => queue,
        None => {
            let registrant = Arc::downgrade(inbox(host));
            let capacity = host.root().filter.limits.queue;
            let queues = host.services.shared_data.queues();
            queues.register(host.shared.queue_names(), name, capacity, registrant)?
        }
    };
    note(host, queue);
    store_u32(memory, id, queue)?;
    Ok(())
}

/// Where the root is told of its queues. The first time somebody is asked to look into it.
fn inbox(host: &mut Host) -> &Arc<Inbox> {
    let (root, effects) = (&mut host.roots[host.active.root], &mut host.effects);
    root.inbox.get_or_insert_with(|| {
        let inbox = Arc::<Inbox>::default();
        effects.push((root.id, Effect::WatchQueues(inbox.clone())));
        inbox
    })
}

/// `proxy_resolve_shared_queue` (0.1.0): writes the id of a queue that someone registered to `id`; an empty `vm` is the
/// guest's own `vm_id`.
///
/// - `NotFound`: there is no such queue, or the filter may not use it.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn resolve(
    call: &mut Call<'_>,
    vm: u32,
    vm_len: u32,
    name: u32,
    name_len: u32,
    id: u32,
) -> Outcome {
    let (memory, host) = view(call)?;
    let (vm, name) = (slice(memory, vm, vm_len)?, slice(memory, name, name_len)?);
    check(memory, id, 4)?;
    if !may_resolve(host, vm, name) {
        return Err(Status::NotFound.into());
    }
    let found = match vm {
        b"" => host.shared.queue_names().resolve(name),
        // A `vm_id` is text: no other bytes are one.
        vm => str::from_utf8(vm).ok().and_then(|vm| host.services.shared_data.resolve_queue(vm, name)),
    };
    let found = found.ok_or(Status::NotFound)?;
    note(host, found);
    store_u32(memory, id, found)?;
    Ok(())
}

/// What a filter that may not register a queue is given for one: no queue has this id.
const DENIED: u32 = 0;

/// Whether the filter may use a queue, which is granted by its name, and by `VM_ID/NAME` where it is of others.
fn may_resolve(host: &Host, vm: &[u8], name: &[u8]) -> bool {
    if vm.is_empty() || host.grants().is_none() || vm == host.root().filter.vm_id.as_bytes() {
        return host.may(Capability::SharedData, name);
    }
    host.may(Capability::SharedData, &[vm, b"/", name].concat())
}

/// Remembers that the filter knows a queue by its name, where that decides what it may use.
fn note(host: &mut Host, queue: u32) {
    let root = host.root_mut();
    if root.grants.is_some()
        && let Err(place) = root.queues.binary_search(&queue)
    {
        root.queues.insert(place, queue);
    }
}

/// Whether the filter may use the queue of this id: a number is no way around a name.
fn may_use(host: &Host, queue: u32) -> bool {
    let root = host.root();
    root.grants.is_none()
        || root.queues.binary_search(&queue).is_ok()
        || host.deny(Capability::SharedData, format!("queue {queue}").as_bytes())
}

/// `proxy_enqueue_shared_queue` (0.1.0): puts an item into a queue, whoever's it is.
///
/// - `NotFound`: no queue has this id, or none that the filter has learned by a name that it may use.
/// - `InternalFailure`: it holds as much as its registrant lets it (`limits.queue`); the log says which it is.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn enqueue(call: &mut Call<'_>, id: u32, item: u32, item_len: u32) -> Outcome {
    let (memory, host) = view(call)?;
    let item = slice(memory, item, item_len)?;
    let id = host.queue_id(id);
    if !may_use(host, id) {
        return Err(Status::NotFound.into());
    }
    let outcome = host.services.shared_data.queues().enqueue(id, item);
    if outcome == Err(Refusal::Full) {
        report_full(host, id);
    }
    Ok(outcome?)
}

/// Some SDKs panic on the status of a full queue: the log says what it was about.
fn report_full(host: &mut Host, id: u32) {
    let line = format!("the shared queue {id} is full (limits.queue of the filter that registered it)");
    log::write_line(host, LogLevel::Warn, line.as_bytes());
}

/// `proxy_dequeue_shared_queue` (0.1.0): gives the guest the first item of a queue. One that its memory has no room for
/// stays where it is.
///
/// - `NotFound`: no queue has this id, or none that the filter has learned by a name that it may use.
/// - `Empty`: it has no item.
/// - `InvalidMemoryAccess`: a pointer is not of the guest's memory, or the allocator gave no block in it.
pub(crate) fn dequeue(call: &mut Call<'_>, id: u32, item: u32, item_len: u32) -> Outcome {
    let out = Out { pointer: item, len: item_len };
    let (memory, host) = view(call)?;
    out.check(memory)?;
    let id = host.queue_id(id);
    if !may_use(host, id) {
        return Err(Status::NotFound.into());
    }
    let item = host.services.shared_data.queues().dequeue(id)?;
    let given = give(call, out, &item);
    if given.is_err() {
        call.data().services.shared_data.queues().put_back(id, item);
    }
    given
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Status(match refusal {
            Refusal::NotFound => Status::NotFound,
            Refusal::Empty => Status::Empty,
            Refusal::Full => Status::InternalFailure,
        })
    }
}
