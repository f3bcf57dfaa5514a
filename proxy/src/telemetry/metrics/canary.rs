//! Filters' second versions.

use std::fmt;

use super::page::{Described, Page};

/// A filter's two versions side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct CanarySample {
    /// The filter.
    pub filter: String,
    /// The second version's share in percent; `None` where there is none any more. A level.
    pub percent: Option<f64>,
    /// What each did, by version.
    pub versions: [(&'static str, VersionSample); 2],
    /// How often the second was rolled back, by reason.
    pub rollbacks: Vec<(&'static str, u64)>,
    /// How shadows' decisions compare with those of the first version, by result.
    pub compared: Vec<(&'static str, u64)>,
}

/// What one version did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VersionSample {
    /// Exchanges that it saw to their end.
    pub exchanges: u64,
    /// Responses to them whose status is 5xx.
    pub server_errors: u64,
    /// Exchanges that it ended itself.
    pub denials: u64,
    /// Exchanges that it failed on.
    pub faults: u64,
}

/// Counts of several kinds.
type Kinds = fn(&CanarySample) -> &Vec<(&'static str, u64)>;

/// Writes what became of canaries.
///
/// # Errors
/// Those of the page.
pub fn write_canaries(page: &mut Page<'_>, samples: &[CanarySample]) -> fmt::Result {
    let mut percent = page.gauge(
        "tidegate_filter_canary_percent",
        "Share of exchanges that a filter's second version gets now, in percent.",
    )?;
    for sample in samples {
        if let Some(share) = sample.percent {
            percent.sample(&[("filter", &sample.filter)], share)?;
        }
    }
    let counts: [Described<VersionSample, u64>; 4] = [
        (
            "tidegate_filter_canary_exchanges_total",
            "Exchanges that each version of a filter with a canary saw to their end.",
            |s| s.exchanges,
        ),
        (
            "tidegate_filter_canary_server_errors_total",
            "Responses with a status of 5xx to exchanges that each version of a filter with a canary served.",
            |s| s.server_errors,
        ),
        (
            "tidegate_filter_canary_denials_total",
            "Exchanges that each version of a filter with a canary ended itself, with an error or a close.",
            |s| s.denials,
        ),
        (
            "tidegate_filter_canary_faults_total",
            "Exchanges that each version of a filter with a canary failed on.",
            |s| s.faults,
        ),
    ];
    for (name, help, value) in counts {
        let mut family = page.counter(name, help)?;
        for CanarySample { filter, versions, .. } in samples {
            for (version, sample) in versions {
                family.sample(&[("filter", filter), ("version", version)], value(sample))?;
            }
        }
    }
    let kinds: [(&str, &str, &str, Kinds); 2] = [
        (
            "tidegate_filter_canary_rollbacks_total",
            "How often a filter's second version was rolled back.",
            "reason",
            |sample| &sample.rollbacks,
        ),
        (
            "tidegate_filter_canary_shadow_total",
            "Exchanges that a shadow was shown, by how its decision compares with that of the first version.",
            "result",
            |sample| &sample.compared,
        ),
    ];
    for (name, help, label, counts) in kinds {
        let mut family = page.counter(name, help)?;
        for sample in samples {
            for (word, count) in counts(sample) {
                family.sample(&[("filter", &sample.filter), (label, word)], *count)?;
            }
        }
    }
    Ok(())
}
