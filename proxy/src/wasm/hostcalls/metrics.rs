//! Metrics, as [`crate::wasm::metrics`] keeps them, under the ids of one instance.
//!
//! An id's low two bits are the metric's type; ids of a type count up by 4. Unlike in Envoy, defining a metric again
//! gives the id that it has, so that a guest that defines one for each request takes no more and more memory.

use std::sync::Arc;

use super::{Call, Outcome};
use crate::wasm::abi::{MetricType, Status};
use crate::wasm::memory::{check, slice, store_u32, store_u64, view};
use crate::wasm::metrics::{MAX_NAME_LEN, MetricValue, Stat};

/// The metrics that one instance defined, by type.
#[derive(Debug, Default)]
pub(crate) struct MetricIds {
    by_type: [Vec<Arc<Stat>>; 3],
}

impl MetricIds {
    /// The id of a statistic, which is a new one if it has none. The first of each type is 4, 5 and 6.
    fn add(&mut self, stat: Arc<Stat>) -> u32 {
        let kind = stat.kind();
        let stats = &mut self.by_type[kind as usize];
        let place = stats.iter().position(|known| Arc::ptr_eq(known, &stat)).unwrap_or_else(|| {
            stats.push(stat);
            stats.len() - 1
        });
        // A quota on metrics keeps this far below 32 bits.
        (place as u32 + 1) * 4 + kind as u32
    }

    fn find(&self, id: u32) -> Option<&Arc<Stat>> {
        let place = (id >> 2).checked_sub(1)?;
        self.by_type.get((id & 3) as usize)?.get(place as usize)
    }
}

/// `proxy_define_metric`. A quota that is used up is an `InternalFailure`.
pub(crate) fn define(call: &mut Call<'_>, kind: u32, name: u32, name_len: u32, id: u32) -> Outcome {
    let kind = MetricType::try_from(kind)?;
    let (memory, host) = view(call)?;
    let name = slice(memory, name, name_len)?;
    check(memory, id, 4)?;
    let name = std::str::from_utf8(name).ok().filter(|name| (1..=MAX_NAME_LEN).contains(&name.len()));
    let name = name.ok_or(Status::BadArgument)?;
    let filter = &host.root().filter;
    let quota = filter.limits.metrics;
    let stat = host.services.metrics.define(&filter.name, kind, name, quota);
    let new = host.metric_ids.add(stat.ok_or(Status::InternalFailure)?);
    store_u32(memory, id, new)?;
    Ok(())
}

/// `proxy_increment_metric`: a counter only goes up, a gauge not below 0, a histogram neither.
pub(crate) fn increment(call: &mut Call<'_>, id: u32, offset: u64) -> Outcome {
    let host = call.data();
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

/// `proxy_record_metric`: adds to a counter, sets a gauge, observes in a histogram.
pub(crate) fn record(call: &mut Call<'_>, id: u32, value: u64) -> Outcome {
    let host = call.data();
    let stat = host.metric_ids.find(id).ok_or(Status::NotFound)?;
    stat.record(host.services.worker, value);
    Ok(())
}

/// `proxy_get_metric`: what all workers' instances made of it.
pub(crate) fn value(call: &mut Call<'_>, id: u32, value: u32) -> Outcome {
    let (memory, host) = view(call)?;
    check(memory, value, 8)?;
    match host.metric_ids.find(id).ok_or(Status::NotFound)?.value() {
        MetricValue::Counter(found) | MetricValue::Gauge(found) => store_u64(memory, value, found)?,
        MetricValue::Histogram { .. } => return Err(Status::BadArgument.into()),
    }
    Ok(())
}
