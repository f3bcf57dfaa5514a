//! What each filter did and cost.
//!
//! Whoever runs filters counts for himself, one set of numbers an instance; here they are asked for, added up by the
//! filter's name and written. So the host of filters need not know metrics, nor metrics the host.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::page::{Described, Number, Page};
use super::registry::lock;

/// What a filter did on one worker since it began there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterSample {
    /// What its callbacks cost, by name: those that were called.
    pub callbacks: BTreeMap<&'static str, CallbackSample>,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Work withheld at the filter's `instructions_per_second`, by kind.
    pub rate_limited: BTreeMap<&'static str, u64>,
    /// What the filter was denied, by capability.
    pub denials: BTreeMap<&'static str, u64>,
    /// Log lines dropped at the filter's `log_bytes`.
    pub dropped_log_lines: u64,
    /// Instances made in place of faulty ones.
    pub rebuilds: u64,
    /// Instances made in place of ones that had served long enough.
    pub recycles: u64,
    /// Exchanges that `on_fault` was applied to.
    pub policies: u64,
    /// How often the filter began to be left alone.
    pub breaker_trips: u64,
    /// Workers that leave it alone now. A level: it ends with its observation.
    pub breakers_open: u64,
    /// Workers that run it. A level: it ends with its observation.
    pub workers: u64,
    /// Instances alive. A level: it ends with its observation.
    pub instances: u64,
    /// Linear memory of the instances alive, in bytes. A level: it ends with its observation.
    pub memory_bytes: u64,
}

/// What one of a filter's callbacks cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallbackSample {
    /// How often it was entered.
    pub calls: u64,
    /// Wasm instructions run.
    pub instructions: u64,
    /// Time spent in it, hostcalls included.
    pub time: Duration,
    /// Calls from it into the host.
    pub hostcalls: u64,
    /// Bytes copied into the guest's memory.
    pub bytes_in: u64,
    /// Bytes copied out of it.
    pub bytes_out: u64,
}

impl AddAssign<&CallbackSample> for CallbackSample {
    fn add_assign(&mut self, other: &CallbackSample) {
        self.calls += other.calls;
        self.instructions += other.instructions;
        self.time += other.time;
        self.hostcalls += other.hostcalls;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

impl AddAssign<&FilterSample> for FilterSample {
    fn add_assign(&mut self, other: &FilterSample) {
        for (callback, sample) in &other.callbacks {
            *self.callbacks.entry(callback).or_default() += sample;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (work, count) in &other.rate_limited {
            *self.rate_limited.entry(work).or_default() += count;
        }
        for (capability, count) in &other.denials {
            *self.denials.entry(capability).or_default() += count;
        }
        self.dropped_log_lines += other.dropped_log_lines;
        self.rebuilds += other.rebuilds;
        self.recycles += other.recycles;
        self.policies += other.policies;
        self.breaker_trips += other.breaker_trips;
        self.breakers_open += other.breakers_open;
        self.workers += other.workers;
        self.instances += other.instances;
        self.memory_bytes += other.memory_bytes;
    }
}

/// Something that knows what a filter cost.
pub(super) type Sampler = Box<dyn Fn() -> FilterSample + Send + Sync>;

/// Every filter that was ever observed.
#[derive(Default)]
pub(super) struct Filters {
    next: u64,
    observed: BTreeMap<u64, (String, Sampler)>,
    /// The counts of observations that ended.
    ended: BTreeMap<String, FilterSample>,
}

/// Keeps a filter's sampler asked; when it drops, the filter's counts so far are kept and its levels end.
#[must_use = "a filter is observed only for as long as this is kept"]
pub struct FilterObservation {
    filters: Arc<Mutex<Filters>>,
    key: u64,
}

impl FilterObservation {
    pub(super) fn begin(filters: &Arc<Mutex<Filters>>, filter: &str, sampler: Sampler) -> FilterObservation {
        let mut all = lock(filters);
        let key = all.next;
        all.next += 1;
        all.observed.insert(key, (filter.to_owned(), sampler));
        FilterObservation { filters: Arc::clone(filters), key }
    }
}

impl Drop for FilterObservation {
    fn drop(&mut self) {
        let mut all = lock(&self.filters);
        if let Some((filter, sampler)) = all.observed.remove(&self.key) {
            let last =
                FilterSample { workers: 0, instances: 0, memory_bytes: 0, breakers_open: 0, ..sampler() };
            *all.ended.entry(filter).or_default() += &last;
        }
    }
}

impl fmt::Debug for FilterObservation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FilterObservation").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Filters {
    /// What each filter did on all workers and in all its versions together.
    pub(super) fn sum(&self) -> Totals {
        let mut totals = self.ended.clone();
        for (filter, sampler) in self.observed.values() {
            *totals.entry(filter.clone()).or_default() += &sampler();
        }
        totals
    }

    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = self.sum();
        write_callbacks(page, &totals)?;
        write_kinds(
            page,
            &totals,
            "tidegate_filter_faults_total",
            "Faults of a filter: traps, budgets, refused starts.",
            ("kind", |sample| &sample.faults),
        )?;
        write_kinds(
            page,
            &totals,
            "tidegate_filter_denials_total",
            "What a filter tried to do and its capabilities do not grant.",
            ("capability", |sample| &sample.denials),
        )?;
        write_kinds(
            page,
            &totals,
            "tidegate_filter_rate_limited_total",
            "What a filter was not called for, being over its instructions_per_second.",
            ("work", |sample| &sample.rate_limited),
        )?;

        let counts: [Described<FilterSample, u64>; 5] = [
            (
                "tidegate_filter_dropped_log_lines_total",
                "Log lines of a filter dropped at its log_bytes limit.",
                |s| s.dropped_log_lines,
            ),
            ("tidegate_filter_rebuilds_total", "Instances made in place of faulty ones.", |s| s.rebuilds),
            (
                "tidegate_filter_recycles_total",
                "Instances made in place of ones that had served as long as `recycle` lets them.",
                |s| s.recycles,
            ),
            (
                "tidegate_filter_on_fault_total",
                "Exchanges that a filter's `on_fault` was applied to: it failed, or could not be called.",
                |s| s.policies,
            ),
            (
                "tidegate_filter_breaker_trips_total",
                "How often a worker began to leave a filter alone that did nothing but fail.",
                |s| s.breaker_trips,
            ),
        ];
        for (name, help, value) in counts {
            let mut family = page.counter(name, help)?;
            totals.iter().try_for_each(|(filter, s)| family.sample(&[("filter", filter)], value(s)))?;
        }

        let levels: [Described<FilterSample, u64>; 3] = [
            (
                "tidegate_filter_breakers_open",
                "Workers that leave a filter alone now, because it did nothing but fail.",
                |s| s.breakers_open,
            ),
            (
                "tidegate_filter_instances",
                "Instances of a filter alive: one for each worker, and one for each exchange that has its own.",
                |s| s.instances,
            ),
            (
                "tidegate_filter_memory_bytes",
                "Linear memory of a filter's instances; of one that filters share, with the first of them.",
                |s| s.memory_bytes,
            ),
        ];
        for (name, help, value) in levels {
            let mut family = page.gauge(name, help)?;
            totals.iter().try_for_each(|(filter, s)| family.sample(&[("filter", filter)], value(s)))?;
        }
        Ok(())
    }
}

/// Writes what callbacks cost.
fn write_callbacks(page: &mut Page<'_>, totals: &Totals) -> fmt::Result {
    let counts: [Described<CallbackSample, Number>; 4] = [
        ("tidegate_filter_calls_total", "Callbacks of a filter entered.", |s| s.calls.into()),
        ("tidegate_filter_instructions_total", "Wasm instructions run by a filter.", |s| {
            s.instructions.into()
        }),
        (
            "tidegate_filter_time_seconds_total",
            "Time spent in a filter's callbacks, hostcalls included; an estimate once calls are many.",
            |s| s.time.as_secs_f64().into(),
        ),
        ("tidegate_filter_hostcalls_total", "Calls of a filter into the proxy.", |s| s.hostcalls.into()),
    ];
    for (name, help, value) in counts {
        let mut family = page.counter(name, help)?;
        for (filter, sample) in totals {
            for (callback, cost) in &sample.callbacks {
                family.sample(&[("filter", filter), ("callback", callback)], value(cost))?;
            }
        }
    }
    let mut copied = page.counter(
        "tidegate_filter_copied_bytes_total",
        "Bytes copied into a filter's memory (in) and out of it (out) by its calls into the proxy.",
    )?;
    for (filter, sample) in totals {
        for (callback, cost) in &sample.callbacks {
            for (direction, bytes) in [("in", cost.bytes_in), ("out", cost.bytes_out)] {
                if bytes > 0 {
                    let labels =
                        [("filter", filter.as_str()), ("callback", callback), ("direction", direction)];
                    copied.sample(&labels, bytes)?;
                }
            }
        }
    }
    Ok(())
}

/// What each filter did, by name.
type Totals = BTreeMap<String, FilterSample>;

/// Counts of several kinds, and the label that tells the kinds apart.
type Kinds = (&'static str, fn(&FilterSample) -> &BTreeMap<&'static str, u64>);

/// Writes counts of several kinds.
fn write_kinds(
    page: &mut Page<'_>,
    totals: &Totals,
    name: &str,
    help: &str,
    (label, kinds): Kinds,
) -> fmt::Result {
    let mut family = page.counter(name, help)?;
    for (filter, sample) in totals {
        for (kind, count) in kinds(sample) {
            family.sample(&[("filter", filter), (label, kind)], *count)?;
        }
    }
    Ok(())
}
