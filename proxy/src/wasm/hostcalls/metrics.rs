//! Metrics, as [`crate::wasm::metrics`] keeps them, under the ids of one instance.
//!
//! An id's low two bits are the metric's type; ids of a type count up by 4. Unlike in Envoy, defining a metric again
//! gives the id that it has, so that a guest that defines one for each request takes no more and more memory.

use std::rc::Rc;
use std::sync::Arc;

use super::{Call, Outcome};
use crate::config::model::Filter;
use crate::wasm::abi::{MetricType, Status};
use crate::wasm::grants::Capability;
use crate::wasm::host::Host;
use crate::wasm::memory::{check, slice, store_u32, store_u64, view};
use crate::wasm::metrics::{GuestMetrics, MAX_NAME_LEN, MetricValue, Stat};

/// The metrics that one instance defined, by type. Cheap to clone: instances of one image begin with the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetricIds {
    by_type: Rc<[Vec<Arc<Stat>>; 3]>,
}

/// The kinds and names of the metrics that an instance defined, in the order in which it did for each kind.
pub(crate) type Definitions = Vec<(MetricType, String)>;

impl MetricIds {
    /// The id of a statistic, which is a new one if it has none. The first of each type is 4, 5 and 6.
    fn add(&mut self, stat: Arc<Stat>) -> u32 {
        let kind = stat.kind();
        let known = self.by_type[kind as usize].iter().position(|known| Arc::ptr_eq(known, &stat));
        let place = known.unwrap_or_else(|| {
            let stats = &mut Rc::make_mut(&mut self.by_type)[kind as usize];
            stats.push(stat);
            stats.len() - 1
        });
        // A quota on metrics keeps this far below 32 bits.
        (place as u32 + 1) * 4 + kind as u32
    }

    /// What was defined, so that it can be defined again.
    pub(crate) fn definitions(&self) -> Definitions {
        self.by_type.iter().flatten().map(|stat| (stat.kind(), stat.name().to_owned())).collect()
    }

    /// Defines them again, under the same ids. One that there is no room for has none, nor do those after it.
    pub(crate) fn again(definitions: &Definitions, filter: &Filter, metrics: &GuestMetrics) -> MetricIds {
        let mut ids = MetricIds::default();
        for (kind, name) in definitions {
            let Some(stat) = metrics.define(&filter.name, *kind, name, filter.limits.metrics) else { break };
            ids.add(stat);
        }
        ids
    }

    fn find(&self, id: u32) -> Option<&Arc<Stat>> {
        let place = (id >> 2).checked_sub(1)?;
        self.by_type.get((id & 3) as usize)?.get(place as usize)
    }
}

/// The id of every metric that a filter may not define. Whatever is done to it has no effect and is no error, so that a
/// filter works without its metrics.
const DENIED: u32 = 0;

/// Whether an id is that of a metric that was denied: only a filter with `capabilities` is given such a one.
fn is_denied(host: &Host, id: u32) -> bool {
    id == DENIED && host.grants().is_some()
}

/// `proxy_define_metric` (0.1.0): makes a metric, 0 a counter, 1 a gauge, 2 a histogram, and writes its id to `id`; for
/// one that this instance has defined before that is the same id, unlike in Envoy. Every worker's instance adds to the
/// same metric. One that the filter may not define has the id 0 and leads nowhere.
///
/// - `BadArgument`: the kind is none, or the name is not 1 to 1024 bytes of UTF-8.
/// - `InternalFailure`: the filter has as many metrics as its `limits.metrics` says.
/// - `InvalidMemoryAccess`: a pointer or a length is not of the guest's memory.
pub(crate) fn define(call: &mut Call<'_>, kind: u32, name: u32, name_len: u32, id: u32) -> Outcome {
    let kind = MetricType::try_from(kind)?;
    let (memory, host) = view(call)?;
    let name = slice(memory, name, name_len)?;
    check(memory, id, 4)?;
    let name = std::str::from_utf8(name).ok().filter(|name| (1..=MAX_NAME_LEN).contains(&name.len()));
    let name = name.ok_or(Status::BadArgument)?;
    if !host.may(Capability::Metrics, name.as_bytes()) {
        store_u32(memory, id, DENIED)?;
        return Ok(());
    }
    let filter = &host.root().filter;
    let quota = filter.limits.metrics;
    let stat = host.services.metrics.define(&filter.name, kind, name, quota);
    let new = host.metric_ids.add(stat.ok_or(Status::InternalFailure)?);
    store_u32(memory, id, new)?;
    Ok(())
}

/// `proxy_increment_metric` (0.1.0): adds to a counter or a gauge; a gauge may go down, but not below 0.
///
/// - `NotFound`: no metric has this id.
/// - `BadArgument`: it is a histogram, or a counter that would not go up.
pub(crate) fn increment(call: &mut Call<'_>, id: u32, offset: u64) -> Outcome {
    let host = call.data();
    if is_denied(host, id) {
        return Ok(());
    }
    let stat = host.metric_ids.find(id).ok_or(Status::NotFound)?;
    let offset = offset.cast_signed();
    match (stat.kind(), offset) {
        (MetricType::Counter, 1..) | (MetricType::Gauge, 0..) => {
            stat.add(host.services.worker, offset.unsigned_abs());
        }
        (MetricType::Gauge, ..0) => stat.subtract(offset.unsigned_abs()),
        (MetricType::Counter | MetricType::Histogram, _) => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

/// `proxy_record_metric` (0.1.0): adds to a counter, sets a gauge, observes a value in a histogram.
///
/// - `NotFound`: no metric has this id.
pub(crate) fn record(call: &mut Call<'_>, id: u32, value: u64) -> Outcome {
    let host = call.data();
    if is_denied(host, id) {
        return Ok(());
    }
    let stat = host.metric_ids.find(id).ok_or(Status::NotFound)?;
    stat.record(host.services.worker, value);
    Ok(())
}

/// `proxy_get_metric` (0.1.0): writes the value of a counter or a gauge to `value`, 8 bytes: what the instances of all
/// workers have made of it.
///
/// - `NotFound`: no metric has this id.
/// - `BadArgument`: it is a histogram.
/// - `InvalidMemoryAccess`: `value` is not of the guest's memory.
pub(crate) fn value(call: &mut Call<'_>, id: u32, value: u32) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, value, 8)?;
    if is_denied(host, id) {
        store_u64(memory, value, 0)?;
        return Ok(());
    }
    match host.metric_ids.find(id).ok_or(Status::NotFound)?.value() {
        MetricValue::Counter(found) | MetricValue::Gauge(found) => store_u64(memory, value, found)?,
        MetricValue::Histogram { .. } => return Err(Status::BadArgument.into()),
    }
    Ok(())
}
