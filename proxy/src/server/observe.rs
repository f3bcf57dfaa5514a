//! Brings together those who count and those who show: the filters' host knows no metrics, and metrics no filters.

use std::sync::Arc;
use std::time::Duration;

use crate::overload::{Excess, Overload, Stage, Work as Refused};
use crate::telemetry::metrics::{
    CallbackSample, CellsSample, FilterObservation, FilterSample, GuestMetric, GuestValue, HistogramSample,
    OverloadSample, Registry, write_cells, write_guest_metrics, write_overload,
};
use crate::wasm::metrics::MetricValue;
use crate::wasm::{
    Callback, CallbackCost, Capability, CellsUsage, FaultKind, FilterUsage, GuestMetrics, SharedData, Work,
};

/// Shows what a filter costs on a worker, for as long as the observation is kept.
pub(super) fn observe_filter(
    metrics: &Registry,
    filter: &str,
    usage: &Arc<FilterUsage>,
) -> FilterObservation {
    let usage = usage.clone();
    metrics.observe_filter(filter, move || sample(&usage))
}

fn sample(usage: &FilterUsage) -> FilterSample {
    let nonzero = |(name, count): (&'static str, u64)| (count > 0).then_some((name, count));
    FilterSample {
        callbacks: Callback::ALL
            .iter()
            .map(|callback| (label(callback.name()), usage.cost(*callback)))
            .filter(|(_, cost)| cost.calls > 0)
            .map(|(name, cost)| (name, callback_sample(cost)))
            .collect(),
        faults: FaultKind::ALL.iter().filter_map(|one| nonzero((one.word(), usage.faults(*one)))).collect(),
        rate_limited: Work::ALL
            .iter()
            .filter_map(|one| nonzero((one.word(), usage.withheld(*one))))
            .collect(),
        denials: Capability::ALL
            .iter()
            .filter_map(|one| nonzero((one.name(), usage.denials(*one))))
            .collect(),
        dropped_log_lines: usage.log_lines_dropped(),
        rebuilds: usage.rebuilds(),
        recycles: usage.recycles(),
        policies: usage.policies(),
        breaker_trips: usage.breaker_trips(),
        breakers_open: u64::from(usage.is_breaker_open()),
        workers: 1,
        instances: usage.instances(),
        memory_bytes: usage.memory_bytes(),
    }
}

fn callback_sample(cost: CallbackCost) -> CallbackSample {
    let CallbackCost { calls, instructions, nanoseconds, hostcalls, bytes_in, bytes_out } = cost;
    let time = Duration::from_nanos(nanoseconds);
    CallbackSample { calls, instructions, time, hostcalls, bytes_in, bytes_out }
}

/// A callback's name without what all of them begin with: `on_request_headers`.
fn label(callback: &'static str) -> &'static str {
    callback.strip_prefix("proxy_").unwrap_or(callback)
}

/// Shows what filters' cells take.
pub(super) fn export_cells(metrics: &Registry, shared_data: &Arc<SharedData>) {
    let shared_data = shared_data.clone();
    metrics.add_source(move |page| {
        let sample =
            |(vm_id, CellsUsage { cells, bytes, evicted })| CellsSample { vm_id, cells, bytes, evicted };
        let samples: Vec<CellsSample> = shared_data.cells().into_iter().map(sample).collect();
        if samples.is_empty() { Ok(()) } else { write_cells(page, &samples) }
    });
}

/// Shows how much the proxy has to do.
pub(super) fn export_overload(metrics: &Registry, overload: &Arc<Overload>) {
    let overload = overload.clone();
    metrics.add_source(move |page| {
        let refused = |work: Refused| {
            Excess::ALL.map(|excess| (work.word(), excess.word(), overload.refused(work, excess)))
        };
        let sample = OverloadSample {
            stages: Stage::ALL.map(|stage| (stage.word(), overload.entered(stage))).into(),
            stage: overload.stage() as u64,
            memory: overload.memory().map(|reading| (reading.used, reading.limit)),
            refused: Refused::ALL.into_iter().flat_map(refused).collect(),
        };
        write_overload(page, &sample)
    });
}

/// Shows the metrics that guests define.
pub(super) fn export_guest_metrics(metrics: &Registry, guests: &Arc<GuestMetrics>) {
    let guests = guests.clone();
    metrics.add_source(move |page| {
        let stats = guests.collect();
        let shown =
            stats.iter().map(|stat| GuestMetric { name: stat.name().to_owned(), value: value(stat.value()) });
        write_guest_metrics(page, shown)
    });
}

fn value(value: MetricValue) -> GuestValue {
    match value {
        MetricValue::Counter(count) => GuestValue::Counter(count),
        MetricValue::Gauge(level) => GuestValue::Gauge(level),
        MetricValue::Histogram { counts, sum } => {
            let bounds = crate::wasm::metrics::BUCKETS.iter().map(|bound| *bound as f64).chain([f64::MAX]);
            GuestValue::Histogram(HistogramSample {
                buckets: bounds.zip(counts).collect(),
                count: counts.iter().sum(),
                sum: sum as f64,
            })
        }
    }
}
