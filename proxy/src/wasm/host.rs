//! What one instance knows while its guest runs: the store's data, on which every hostcall acts.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use super::abi::{AbiVersion, Callback, Status};
use super::context::{Contexts, VM};
use super::effect::{Abandoned, CalloutResponse, CalloutStatus, Effect};
use super::fault::Stop;
use super::fields::Fields;
use super::grpc::{Grpc, TokenKind};
use super::hostcalls::metrics::MetricIds;
use super::plugin::Plugin;
use super::root::{Root, RootEnd, Ticket};
use super::services::Services;
use super::shared_data::Space;
use super::stopwatch::Stopwatch;
use super::stream::StreamRef;
use super::usage::FilterUsage;
use super::witness::{Beginning, Recorder};
use crate::config::{Quantity, Size};

/// The state of one instance.
// What each call needs comes first, in few lines of the cache: five filters have more state than the fastest holds.
#[repr(C)]
pub(crate) struct Host {
    /// Its streams.
    pub(crate) contexts: Contexts,
    /// The filters that it runs, each with a root context: one, unless they share a `vm_id`.
    pub(crate) roots: Vec<Root>,
    /// The callback at hand and the context that it was called with.
    pub(crate) current: Current,
    /// The context that hostcalls act on.
    pub(crate) active: Active,
    /// Which hostcalls are allowed now.
    pub(crate) restriction: Restriction,
    /// Whether the guest sent a local reply on the current stream: then its answer is overridden.
    pub(crate) replied: bool,
    /// Whether the allocator returned an unusable block during the present callback.
    pub(crate) allocator_failed: bool,
    /// The ABI that the module declares.
    pub(crate) abi: AbiVersion,
    /// What measures its calls.
    pub(crate) stopwatch: Rc<Stopwatch>,
    /// What is put together for whoever watches it.
    pub(crate) recorder: Option<Box<Recorder>>,
    /// Contexts whose `proxy_on_delete` is due when the present callback has returned.
    pub(crate) finished: Vec<u32>,
    /// What the guest asked for and the pipeline has not taken yet, with the root that it is for.
    pub(crate) effects: Vec<(u32, Effect)>,
    /// How much memory the guest may have.
    pub(crate) limiter: Limiter,
    /// The guest's memory, once it is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The guest's allocator, once it is instantiated.
    pub(crate) allocator: Option<TypedFunc<u32, u32>>,
    /// What its headers are made with.
    pub(crate) fields: Fields,
    /// The places of those that have gone.
    freed: Vec<usize>,
    /// What it was given when it started, its first filter's.
    pub(crate) services: Rc<Services>,
    /// When it was made, on the monotonic clock.
    pub(crate) began: Instant,
    /// Callouts in flight.
    pub(crate) callouts: Callouts,
    /// The response that `proxy_on_http_call_response` is shown.
    pub(crate) callout_response: Option<CalloutResponse>,
    /// What is sent on gRPC callouts, which are among those in flight, and shown of them.
    pub(crate) grpc: Grpc,
    /// The shared data of its `vm_id`.
    pub(crate) shared: Arc<Space>,
    /// The arguments that `proxy_on_foreign_function` is shown.
    pub(crate) call_data: Option<Bytes>,
    /// The metrics that it defined.
    pub(crate) metric_ids: MetricIds,
    /// Whether it is there for one exchange.
    pub(crate) serves_one: bool,
    /// Whether the guest was never told the time, nor given randomness: then another that is started so is the same.
    pub(crate) is_repeatable: bool,
    /// What ids of queues mean that the instance has from the one that it was made from.
    pub(crate) queue_ids: QueueIds,
}

/// Ids of queues, and what they are called in this process.
pub(crate) type QueueIds = Rc<[(u32, u32)]>;

/// A callback in progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    /// Which.
    pub(crate) callback: Callback,
    /// Its context.
    pub(crate) context: u32,
    /// The root that it is or belongs to, by its place among the instance's.
    pub(crate) root: usize,
    /// Whether it was told that its stream ends here.
    pub(crate) end_of_stream: bool,
}

/// The context that hostcalls act on: the callback's, unless the guest chose another.
#[derive(Debug, Default)]
pub(crate) struct Active {
    /// Its id.
    pub(crate) context: u32,
    /// The root that it is or belongs to, by its place among the instance's.
    pub(crate) root: usize,
    /// Its exchange and the filter's place in the chain; none for a root.
    pub(crate) stream: Option<(StreamRef, usize)>,
}

/// Which hostcalls are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// All.
    None,
    /// Logs, WASI and the like: there is no context yet.
    Start,
    /// The same: the guest's allocator runs on behalf of a hostcall.
    Allocation,
}

/// Callouts of every kind in flight from one instance.
#[derive(Debug, Default)]
pub(crate) struct Callouts {
    /// Of each kind, without the bits that say which.
    last_tokens: [u32; 3],
    in_flight: Vec<Flight>,
}

/// A callout in flight.
#[derive(Debug)]
struct Flight {
    token: u32,
    /// The root that it is for.
    root: u32,
    _ticket: Ticket,
    /// Dropped, it says that nobody waits for the result any more.
    _wanted: oneshot::Sender<Infallible>,
}

impl Callouts {
    /// Whether none is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// A new token. Its low two bits say of which kind; the rest counts those of its kind and is never 0.
    fn begin(&mut self, kind: TokenKind, root: u32, ticket: Ticket) -> (u32, Abandoned) {
        let last = &mut self.last_tokens[kind as usize];
        loop {
            *last = last.wrapping_add(TokenKind::MASK + 1);
            let token = *last | kind as u32;
            if *last != 0 && self.in_flight.iter().all(|other| other.token != token) {
                let (wanted, abandoned) = oneshot::channel();
                self.in_flight.push(Flight { token, root, _ticket: ticket, _wanted: wanted });
                return (token, Abandoned(abandoned));
            }
        }
    }

    /// The root that a token in flight is for; it no longer is in flight.
    pub(crate) fn end(&mut self, token: u32) -> Option<u32> {
        let place = self.in_flight.iter().position(|flight| flight.token == token)?;
        Some(self.in_flight.swap_remove(place).root)
    }

    /// Forgets a root's: their results have nobody to go to.
    pub(crate) fn forget(&mut self, root: u32) {
        self.in_flight.retain(|flight| flight.root != root);
    }
}

impl Host {
    /// The state of an instance that `first` is the first filter of.
    pub(crate) fn new(first: &Plugin, services: Services) -> Host {
        let shared = services.shared_data.space(&first.filter().vm_id);
        let usage = services.usage.clone();
        let mut host =
            Host::empty(first.module().abi(), Rc::new(services), shared, Rc::new(Stopwatch::new()));
        host.add(first, usage);
        host
    }

    /// The state of an instance without a filter.
    pub(crate) fn empty(
        abi: AbiVersion,
        services: Rc<Services>,
        shared: Arc<Space>,
        stopwatch: Rc<Stopwatch>,
    ) -> Host {
        Host {
            limiter: Limiter::new(services.usage.clone()),
            shared,
            roots: Vec::with_capacity(1),
            freed: Vec::new(),
            abi,
            began: services.clock.monotonic(),
            memory: None,
            allocator: None,
            allocator_failed: false,
            restriction: Restriction::Start,
            contexts: Contexts::new(),
            current: Current { callback: Callback::Start, context: VM, root: 0, end_of_stream: false },
            active: Active::default(),
            replied: false,
            finished: Vec::new(),
            callouts: Callouts::default(),
            callout_response: None,
            grpc: Grpc::default(),
            effects: Vec::new(),
            call_data: None,
            metric_ids: MetricIds::default(),
            serves_one: false,
            is_repeatable: true,
            queue_ids: QueueIds::default(),
            fields: Fields::default(),
            stopwatch,
            recorder: None,
            services,
        }
    }

    /// Has the instance watched, from its start on, if anybody wants to.
    pub(crate) fn record(&mut self, plugin: &Plugin) {
        if let Some(witness) = self.services.witness.clone() {
            let instance = witness.begin(Beginning::of(plugin, &self.services));
            self.recorder = Some(Box::new(Recorder::new(witness, instance, self.began)));
        }
    }

    /// Adds a filter. The guest may have as much memory as the filter says that may have most.
    pub(crate) fn add(&mut self, plugin: &Plugin, usage: Arc<FilterUsage>) -> usize {
        let filter = plugin.filter().clone();
        self.limiter.allow(filter.limits.memory);
        let freed = self.freed_place();
        let id = self.contexts.add_root(freed);
        // What the filter is already, under another configuration: together they may do what it may.
        let same = self.roots.iter().find(|root| Arc::ptr_eq(&root.usage, &usage));
        let allowance = same.map(|root| root.allowance.clone());
        let root = Root::new(id, filter, plugin.grants().cloned(), self.abi, usage, allowance);
        match freed {
            Some(place) => {
                self.roots[place] = root;
                place
            }
            None => {
                self.roots.push(root);
                self.roots.len() - 1
            }
        }
    }

    /// The root at `place` has gone.
    pub(crate) fn bury(&mut self, place: usize) {
        let root = &mut self.roots[place];
        root.inbox = None;
        if root.end != RootEnd::Gone {
            root.end = RootEnd::Gone;
            // The first root's is kept: images are made of it.
            self.freed.extend((place != 0).then_some(place));
        }
    }

    /// The place of a root that has gone, and its streams with it.
    fn freed_place(&mut self) -> Option<usize> {
        let at = self.freed.iter().rposition(|&place| !self.contexts.has_streams_of(place))?;
        Some(self.freed.swap_remove(at))
    }

    /// The root of the context that hostcalls act on.
    pub(crate) fn root(&self) -> &Root {
        &self.roots[self.active.root]
    }

    /// The root of the context that hostcalls act on.
    pub(crate) fn root_mut(&mut self) -> &mut Root {
        &mut self.roots[self.active.root]
    }

    /// Prepares for a callback.
    pub(crate) fn begin(&mut self, callback: Callback, context: u32, end_of_stream: bool) {
        self.replied = false;
        self.allocator_failed = false;
        self.limiter.refused = None;
        self.activate(context);
        self.current = Current { callback, context, root: self.active.root, end_of_stream };
    }

    /// Lets go of what belonged to the callback.
    pub(crate) fn end(&mut self) {
        self.active.stream = None;
    }

    /// Makes hostcalls act on this context. False if there is none of that id. The VM acts for its first root.
    pub(crate) fn activate(&mut self, context: u32) -> bool {
        let (root, stream) = match self.contexts.stream(context) {
            Some(found) => (found.root, Some((found.stream.clone(), found.stage))),
            None if context == VM => (0, None),
            None => match self.contexts.root(context) {
                Some(root) if self.roots[root].end != RootEnd::Gone => (root, None),
                _ => return false,
            },
        };
        if let (Some(recorder), Some((stream, stage))) = (&mut self.recorder, &stream) {
            recorder.find(context, stream, *stage);
        }
        self.active = Active { context, root, stream };
        true
    }

    /// The callback that the active context is in; none while the guest acts on another context than its own.
    pub(crate) fn active_callback(&self) -> Option<Callback> {
        (self.active.context == self.current.context).then_some(self.current.callback)
    }

    /// Whether the active context is being told of its end: what is asked of its exchange comes too late.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.active_callback(), Some(Callback::Log | Callback::Done | Callback::Delete))
    }

    /// The root that a callout begun now is for: it must not have as many in flight as it may, nor have gone, as a root
    /// may whose streams go on. Nobody would hear of its end then.
    pub(crate) fn caller(&self) -> Result<u32, Status> {
        let root = self.root();
        let may_call = root.end != RootEnd::Gone && root.allowance.callouts() < root.filter.limits.callouts;
        if may_call { Ok(root.id) } else { Err(Status::InternalFailure) }
    }

    /// A token for a callout of a root that [may](Host::caller) have one more, and what tells whoever performs it that
    /// nobody waits for it.
    pub(crate) fn begin_callout(&mut self, kind: TokenKind, root: u32) -> (u32, Abandoned) {
        let place = self.contexts.root(root).unwrap_or(0);
        let ticket = self.roots[place].allowance.callout();
        self.callouts.begin(kind, root, ticket)
    }

    /// The queue that the guest means by an id.
    pub(crate) fn queue_id(&self, id: u32) -> u32 {
        self.queue_ids.iter().find(|(known, _)| *known == id).map_or(id, |(_, real)| *real)
    }

    /// Notes what `proxy_get_status` says to a root.
    pub(crate) fn note_status(&mut self, root: u32, status: CalloutStatus) {
        if let Some(place) = self.contexts.root(root) {
            self.roots[place].callout_status = status;
        }
    }

    /// Ends a gRPC callout: its token is none any more, and if nobody has heard of it yet, nobody will.
    pub(crate) fn end_grpc(&mut self, token: u32) {
        self.callouts.end(token);
        self.grpc.remove(token);
        let is_this = |effect: &Effect| matches!(effect, Effect::Grpc(callout) if callout.token == token);
        self.effects.retain(|(_, effect)| !is_this(effect));
    }

    /// Whether a hostcall is allowed now. It is told by name if it is not.
    pub(crate) fn admit(&self, call: &'static str) -> Result<(), Stop> {
        let during = match self.restriction {
            Restriction::None => return Ok(()),
            Restriction::Start => "before the root context was created",
            Restriction::Allocation => "by the allocator",
        };
        Err(Stop::Restricted { call, during })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.limiter.usage.record_memory(self.limiter.counted, 0);
    }
}

/// Holds a guest to its memory, and remembers that it had to. What it has is counted here, where it rarely changes.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    /// How much it would have had when it last asked for more.
    asked: usize,
    /// How much of it is counted as the filter's.
    counted: usize,
    /// The same of the last time that it was refused, if that was during the present callback.
    refused: Option<usize>,
    usage: Arc<FilterUsage>,
}

/// How many entries a guest's tables of functions may have, how many tables and memories there may be.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
pub(crate) const MAX_TABLES: usize = 8;
pub(crate) const MAX_MEMORIES: usize = 1;

impl Limiter {
    fn new(usage: Arc<FilterUsage>) -> Limiter {
        Limiter { memory: 0, asked: 0, counted: 0, refused: None, usage }
    }

    /// Lets it have so much, in bytes, unless it may have more.
    pub(crate) fn allow(&mut self, memory: usize) {
        self.memory = self.memory.max(memory);
    }

    /// The most that it may have, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// What memory was refused during the present callback, in words.
    pub(crate) fn refusal(&self) -> Option<String> {
        let asked = self.refused?;
        let [size, most] = [asked, self.memory].map(|bytes| Size(bytes as u64).write());
        Some(match asked > self.memory {
            true => format!("it asked for {size} of memory, more than it may have (`limits.memory: {most}`)"),
            false => format!("it asked for {size} of memory, which this machine does not have"),
        })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.asked = desired;
        if allowed {
            self.usage.record_memory(std::mem::replace(&mut self.counted, desired), desired);
        } else {
            self.refused = Some(desired);
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(self.asked);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// The time between two ticks, as a guest gives it; 0 is never.
pub(crate) fn tick_period(milliseconds: u32) -> Option<Duration> {
    (milliseconds != 0).then(|| Duration::from_millis(u64::from(milliseconds)))
}
