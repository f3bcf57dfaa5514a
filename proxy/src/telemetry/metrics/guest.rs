//! Metrics that filters define themselves (`proxy_define_metric`), under names that Prometheus takes.
//!
//! Envoy keeps them as `wasmcustom.NAME`, so here they are `wasmcustom_NAME` with what Prometheus does not allow
//! replaced by `_`. The prefix is not for ornament: no filter can write a metric that looks like the proxy's own.
//! A counter also ends in `_total`, as every counter must.

use std::collections::BTreeMap;
use std::fmt;

use super::number::HistogramSample;
use super::page::Page;

/// A metric that a filter defined.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestMetric {
    /// As the filter gave it: any text.
    pub name: String,
    /// What it stands at, summed over workers.
    pub value: GuestValue,
}

/// The three types of metric in the ABI.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestValue {
    /// A counter.
    Counter(u64),
    /// A gauge.
    Gauge(u64),
    /// A histogram.
    Histogram(HistogramSample),
}

/// Writes filters' metrics. Where two would have one name once cleaned the first given is written and the others are
/// left out: adding up what may mean two things would be worse than showing one.
///
/// # Errors
/// Those of the page.
pub fn write_guest_metrics(
    page: &mut Page<'_>,
    metrics: impl IntoIterator<Item = GuestMetric>,
) -> fmt::Result {
    let mut families = BTreeMap::new();
    for metric in metrics {
        families.entry(family_name(&metric)).or_insert(metric);
    }
    for (family, metric) in &families {
        let help = format!("Defined by a filter as {}.", help_text(&metric.name));
        match &metric.value {
            GuestValue::Counter(value) => page.counter(family, &help)?.sample(&[], *value)?,
            GuestValue::Gauge(value) => page.gauge(family, &help)?.sample(&[], *value)?,
            GuestValue::Histogram(sample) => page.histogram(family, &help)?.distribution(&[], sample)?,
        }
    }
    Ok(())
}

/// A name that Prometheus takes: `[a-zA-Z0-9_]` after the prefix, and a counter's ending for counters.
fn family_name(metric: &GuestMetric) -> String {
    let allowed = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let cleaned: String = metric.name.chars().map(allowed).collect();
    match metric.value {
        GuestValue::Counter(_) => format!("wasmcustom_{}_total", cleaned.trim_end_matches("_total")),
        GuestValue::Gauge(_) | GuestValue::Histogram(_) => format!("wasmcustom_{cleaned}"),
    }
}

/// A name as a help text may have it: in one line, and nothing that either format reads as an escape.
fn help_text(name: &str) -> String {
    let escapes = |character: char| character.is_control() || matches!(character, '\\' | '"');
    name.replace(escapes, "?")
}
