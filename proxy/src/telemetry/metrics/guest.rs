//! Metrics that filters define themselves (`proxy_define_metric`), under names that Prometheus takes.
//!
//! Envoy keeps them as `wasmcustom.NAME`, so here they are `wasmcustom_NAME` with what Prometheus does not allow
//! replaced by `_`. The prefix is not for ornament: no filter can write a metric that looks like the proxy's own.
//! A counter also ends in `_total`, as every counter must.
//!
//! The ABI knows no labels. A name that is written as Prometheus writes a sample, `denied{rule="admin"}`, is a sample of
//! the family `denied`: that is how the SDK's families name theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::discriminant;

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
    let mut families: BTreeMap<String, Vec<(Labels, GuestMetric)>> = BTreeMap::new();
    for metric in metrics {
        let (name, labels) = split_labels(&metric.name).unwrap_or((&metric.name, Labels::new()));
        let members = families.entry(family_name(name, &metric.value)).or_default();
        let same_type =
            |(_, first): &(_, GuestMetric)| discriminant(&first.value) == discriminant(&metric.value);
        if members.iter().all(|(taken, _)| *taken != labels) && members.first().is_none_or(same_type) {
            members.push((labels, metric));
        }
    }
    for (family, members) in &families {
        let Some((labels, first)) = members.first() else { continue };
        let name =
            if labels.is_empty() { &first.name } else { first.name.split('{').next().unwrap_or_default() };
        let help = format!("Defined by a filter as {}.", help_text(name));
        let mut out = match first.value {
            GuestValue::Counter(_) => page.counter(family, &help)?,
            GuestValue::Gauge(_) => page.gauge(family, &help)?,
            GuestValue::Histogram(_) => page.histogram(family, &help)?,
        };
        for (labels, metric) in members {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            match &metric.value {
                GuestValue::Counter(value) | GuestValue::Gauge(value) => out.sample(&labels, *value)?,
                GuestValue::Histogram(sample) => out.distribution(&labels, sample)?,
            };
        }
    }
    Ok(())
}

/// Names and values, in the order in which they were written.
type Labels = Vec<(String, String)>;

/// Takes a name like `denied{rule="admin",why="a\"b"}` apart; `None` when it is not of this form to the last byte, or a
/// label has a name that Prometheus does not take or keeps for itself.
fn split_labels(full: &str) -> Option<(&str, Labels)> {
    let (name, rest) = full.split_once('{')?;
    let mut rest = rest.strip_suffix('}')?;
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"")?;
        let (value, after) = split_value(value)?;
        rest = match after.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            Some(_) => return None,
            None if after.is_empty() => after,
            None => return None,
        };
        let is_new = labels.iter().all(|(taken, _)| taken != label);
        if !is_label(label) || !is_new {
            return None;
        }
        labels.push((label.to_owned(), value));
    }
    (!labels.is_empty()).then_some((name, labels))
}

/// A value up to its closing quote, unescaped, and what follows.
fn split_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, character)) = chars.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            _ => value.push(character),
        }
    }
    None
}

fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    // `__…` is Prometheus' own, `le` that of histograms.
    name.starts_with(first) && name.chars().all(allowed) && !name.starts_with("__") && name != "le"
}

/// A name that Prometheus takes: `[a-zA-Z0-9_]` after the prefix, and a counter's ending for counters.
fn family_name(name: &str, value: &GuestValue) -> String {
    let allowed = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let cleaned: String = name.chars().map(allowed).collect();
    match value {
        GuestValue::Counter(_) => format!("wasmcustom_{}_total", cleaned.trim_end_matches("_total")),
        GuestValue::Gauge(_) | GuestValue::Histogram(_) => format!("wasmcustom_{cleaned}"),
    }
}

/// A name as a help text may have it: in one line, and nothing that either format reads as an escape.
fn help_text(name: &str) -> String {
    let escapes = |character: char| character.is_control() || matches!(character, '\\' | '"');
    name.replace(escapes, "?")
}
