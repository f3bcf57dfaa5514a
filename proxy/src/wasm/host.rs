//! What one instance knows while its guest runs: the store's data, on which every hostcall acts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use super::abi::{AbiVersion, Callback};
use super::context::{Contexts, ROOT};
use super::effect::{CalloutResponse, CalloutStatus, Effect};
use super::fault::Stop;
use super::fields::Fields;
use super::hostcalls::log::LogBudget;
use super::hostcalls::metrics::MetricIds;
use super::services::Services;
use super::shared_data::Space;
use super::stream::StreamRef;
use super::usage::FilterUsage;
use crate::config::model::Filter;

/// The state of one instance.
pub(crate) struct Host {
    /// The filter's configuration.
    pub(crate) filter: Arc<Filter>,
    /// The ABI that the module declares.
    pub(crate) abi: AbiVersion,
    /// What it was given when it started.
    pub(crate) services: Services,
    /// When it was made, on the monotonic clock.
    pub(crate) began: Instant,
    /// The guest's memory, once it is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The guest's allocator, once it is instantiated.
    pub(crate) allocator: Option<TypedFunc<u32, u32>>,
    /// Whether the allocator returned an unusable block during the present callback.
    pub(crate) allocator_failed: bool,
    /// How much memory the guest may have.
    pub(crate) limiter: Limiter,
    /// Which hostcalls are allowed now.
    pub(crate) restriction: Restriction,
    /// Its streams.
    pub(crate) contexts: Contexts,
    /// The callback at hand and the context that it was called with.
    pub(crate) current: Current,
    /// The context that hostcalls act on.
    pub(crate) active: Active,
    /// Whether the guest sent a local reply on the current stream: then its answer is overridden.
    pub(crate) replied: bool,
    /// Whether the root waits for `proxy_done`, and contexts for which it was called.
    pub(crate) root_parked: bool,
    /// Contexts whose `proxy_on_delete` is due when the present callback has returned.
    pub(crate) finished: Vec<u32>,
    /// Callouts in flight.
    pub(crate) callouts: Callouts,
    /// The response that `proxy_on_http_call_response` is shown.
    pub(crate) callout_response: Option<CalloutResponse>,
    /// What `proxy_get_status` says.
    pub(crate) callout_status: CalloutStatus,
    /// What the guest asked for and the pipeline has not taken yet.
    pub(crate) effects: Vec<Effect>,
    /// The shared data of its `vm_id`.
    pub(crate) shared: Arc<Space>,
    /// The metrics that it defined.
    pub(crate) metric_ids: MetricIds,
    /// What its headers are made with.
    pub(crate) fields: Fields,
    /// The last error that it logged while it was started or configured: why it refuses, if it does.
    pub(crate) complaint: Option<String>,
    /// What it may still log.
    pub(crate) log_budget: LogBudget,
    /// What `set_property` stored without a stream.
    pub(crate) root_properties: HashMap<Vec<u8>, Bytes>,
}

/// A callback in progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    /// Which.
    pub(crate) callback: Callback,
    /// Its context.
    pub(crate) context: u32,
    /// Whether it was told that its stream ends here.
    pub(crate) end_of_stream: bool,
}

/// The context that hostcalls act on: the callback's, unless the guest chose another.
#[derive(Debug, Default)]
pub(crate) struct Active {
    /// Its id.
    pub(crate) context: u32,
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

/// Callouts in flight from one instance.
#[derive(Debug, Default)]
pub(crate) struct Callouts {
    last_token: u32,
    in_flight: Vec<u32>,
}

impl Callouts {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A new token. Its low two bits are 0, which says HTTP; 0 itself is never one.
    pub(crate) fn begin(&mut self) -> u32 {
        loop {
            self.last_token = self.last_token.wrapping_add(4);
            if self.last_token != 0 && !self.in_flight.contains(&self.last_token) {
                break;
            }
        }
        self.in_flight.push(self.last_token);
        self.last_token
    }

    /// Whether the token was in flight; it no longer is.
    pub(crate) fn end(&mut self, token: u32) -> bool {
        let place = self.in_flight.iter().position(|in_flight| *in_flight == token);
        place.map(|place| self.in_flight.swap_remove(place)).is_some()
    }
}

impl Host {
    pub(crate) fn new(filter: Arc<Filter>, abi: AbiVersion, services: Services) -> Host {
        Host {
            limiter: Limiter { memory: filter.limits.memory, refused: false, usage: services.usage.clone() },
            shared: services.shared_data.space(&filter.vm_id),
            abi,
            began: services.clock.monotonic(),
            memory: None,
            allocator: None,
            allocator_failed: false,
            restriction: Restriction::Start,
            contexts: Contexts::new(),
            current: Current { callback: Callback::Start, context: 0, end_of_stream: false },
            active: Active::default(),
            replied: false,
            root_parked: false,
            finished: Vec::new(),
            callouts: Callouts::default(),
            callout_response: None,
            callout_status: CalloutStatus::default(),
            effects: Vec::new(),
            metric_ids: MetricIds::default(),
            fields: Fields::default(),
            complaint: None,
            log_budget: LogBudget::new(filter.limits.log_bytes),
            root_properties: HashMap::new(),
            filter,
            services,
        }
    }

    /// Prepares for a callback.
    pub(crate) fn begin(&mut self, callback: Callback, context: u32, end_of_stream: bool) {
        self.current = Current { callback, context, end_of_stream };
        self.replied = false;
        self.allocator_failed = false;
        self.limiter.refused = false;
        self.activate(context);
    }

    /// Lets go of what belonged to the callback.
    pub(crate) fn end(&mut self) {
        self.active = Active::default();
    }

    /// Makes hostcalls act on this context. False if there is none of that id.
    pub(crate) fn activate(&mut self, context: u32) -> bool {
        let stream = match self.contexts.stream(context) {
            Some(found) => Some((found.stream.clone(), found.stage)),
            None if context <= ROOT => None,
            None => return false,
        };
        self.active = Active { context, stream };
        true
    }

    /// The callback that the active context is in; none while the guest acts on another context than its own.
    pub(crate) fn active_callback(&self) -> Option<Callback> {
        (self.active.context == self.current.context).then_some(self.current.callback)
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
        self.services.usage.record_memory(0);
    }
}

/// Holds a guest to its memory, and remembers that it had to. What it has is counted here, where it rarely changes.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    refused: bool,
    usage: Arc<FilterUsage>,
}

/// How many entries a guest's tables of functions may have, how many tables and memories there may be.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
pub(crate) const MAX_TABLES: usize = 8;
pub(crate) const MAX_MEMORIES: usize = 1;

impl Limiter {
    /// Whether memory was refused during the present callback.
    pub(crate) fn refused_memory(&self) -> bool {
        self.refused
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
        self.refused |= !allowed;
        if allowed {
            self.usage.record_memory(desired);
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
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
