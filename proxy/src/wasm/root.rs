//! One filter in an instance: its root context, and what is its own though others may share the instance.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::abi::AbiVersion;
use super::effect::CalloutStatus;
use super::engine::{START_ALLOWANCE, epochs};
use super::grants::Grants;
use super::hostcalls::log::LogBudget;
use super::properties::{Declarations, Properties};
use super::queues::Inbox;
use super::usage::FilterUsage;
use crate::config::model::{Filter, FilterLimits};

/// A root context and the filter that it is.
#[derive(Debug)]
// What each call needs comes first, in few lines of the cache: five filters have more state than the fastest holds.
#[repr(C)]
pub(crate) struct Root {
    /// Its context's number.
    pub(crate) id: u32,
    /// Whether 1, the SDKs' `Pause`, stops headers alone.
    pub(crate) lone_stop: bool,
    /// Whether it has gone, or waits for `proxy_done` to go.
    pub(crate) end: RootEnd,
    /// What one call into the guest may cost on behalf of the filter.
    pub(crate) budget: Budget,
    /// What it may do; none if that is everything.
    pub(crate) grants: Option<Arc<Grants>>,
    /// What the filter costs.
    pub(crate) usage: Arc<FilterUsage>,
    /// The filter's configuration.
    pub(crate) filter: Arc<Filter>,
    /// The shared queues that it knows by their names, where what it may use of those depends on them.
    pub(crate) queues: Vec<u32>,
    /// Whether the filter's instance is counted with this root: it is with the first of its filter.
    is_counted: bool,
    /// Whether it has not started yet.
    pub(crate) starting: bool,
    /// What `proxy_get_status` says.
    pub(crate) callout_status: CalloutStatus,
    /// The last error that it logged while it was started or configured: why it refuses, if it does.
    pub(crate) complaint: Option<String>,
    /// What it may still do, it and the filter's other instances on this worker.
    pub(crate) allowance: Rc<Allowance>,
    /// What `set_property` stored without a stream.
    pub(crate) properties: Properties,
    /// What `declare_property` said of names.
    pub(crate) declarations: Declarations,
    /// What it is to be told of the queues that it registered, if it registered any.
    pub(crate) inbox: Option<Arc<Inbox>>,
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.is_counted {
            self.usage.record_instance_gone();
        }
    }
}

/// What the instances of one filter may still do together, where there is one for each exchange.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// What they may log.
    pub(crate) log: RefCell<LogBudget>,
    /// How many callouts of theirs are in flight.
    callouts: Cell<usize>,
}

impl Allowance {
    pub(crate) fn new(limits: &FilterLimits) -> Rc<Allowance> {
        Rc::new(Allowance { log: RefCell::new(LogBudget::new(limits.log_bytes)), callouts: Cell::new(0) })
    }

    /// How many callouts are in flight.
    pub(crate) fn callouts(&self) -> usize {
        self.callouts.get()
    }

    /// Counts a callout as in flight for as long as the ticket lives.
    pub(crate) fn callout(self: &Rc<Self>) -> Ticket {
        self.callouts.set(self.callouts.get() + 1);
        Ticket(self.clone())
    }
}

/// A callout in flight.
#[derive(Debug)]
pub(crate) struct Ticket(Rc<Allowance>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.callouts.set(self.0.callouts.get() - 1);
    }
}

/// How far a root has gone towards its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootEnd {
    /// Not at all.
    Running,
    /// It said in `proxy_on_done` that it was not done: it goes when it calls `proxy_done`.
    Parked,
    /// It was deleted.
    Gone,
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// WebAssembly instructions.
    pub(crate) instructions: u64,
    /// Wall-clock time, in epochs of the engine.
    pub(crate) epochs: u64,
}

impl Budget {
    fn of(limits: &FilterLimits) -> Budget {
        Budget { instructions: limits.instructions, epochs: epochs(limits.wall_clock) }
    }

    /// What each step of a start may cost.
    fn of_start(limits: &FilterLimits) -> Budget {
        Budget {
            instructions: limits.instructions.saturating_mul(u64::from(START_ALLOWANCE)),
            epochs: epochs(limits.wall_clock.saturating_mul(START_ALLOWANCE)),
        }
    }
}

impl Root {
    /// A root that has not started. `allowance` is that of the filter's other roots, if there are some.
    pub(crate) fn new(
        id: u32,
        filter: Arc<Filter>,
        grants: Option<Arc<Grants>>,
        abi: AbiVersion,
        usage: Arc<FilterUsage>,
        allowance: Option<Rc<Allowance>>,
    ) -> Root {
        let is_counted = allowance.is_none();
        if is_counted {
            usage.record_instance();
        }
        Root {
            is_counted,
            id,
            grants,
            queues: Vec::new(),
            starting: true,
            budget: Budget::of_start(&filter.limits),
            lone_stop: filter.allow_on_headers_stop_iteration || abi == AbiVersion::V0_2_100,
            end: RootEnd::Running,
            callout_status: CalloutStatus::default(),
            complaint: None,
            allowance: allowance.unwrap_or_else(|| Allowance::new(&filter.limits)),
            properties: Properties::default(),
            declarations: Declarations::default(),
            inbox: None,
            filter,
            usage,
        }
    }

    /// From here on a call costs what a call may.
    pub(crate) fn has_started(&mut self) {
        self.starting = false;
        self.budget = Budget::of(&self.filter.limits);
    }
}
