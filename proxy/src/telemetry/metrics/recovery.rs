//! The names and help texts of what the cells count about clusters that fail.

use std::fmt;
use std::sync::Arc;

use super::cells::{ClusterCell, EjectionReason, Limit, RetryDenial, RetryReason};
use super::page::Page;
use super::registry::Cells;

/// Writes every family of them. What counted nothing is left out.
pub(super) fn write(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    write_by_reason(
        page,
        cells,
        ("tidegate_upstream_retries_total", "Requests sent again, by what came of the attempt before."),
        RetryReason::ALL.map(|reason| (reason, reason.word())),
        ClusterCell::retries,
    )?;
    write_by_reason(
        page,
        cells,
        (
            "tidegate_upstream_retries_denied_total",
            "Requests not sent again though it was called for: attempts, budget, body too long, wait too long.",
        ),
        RetryDenial::ALL.map(|denial| (denial, denial.word())),
        ClusterCell::retry_denials,
    )?;
    let mut family = page.counter(
        "tidegate_upstream_overflows_total",
        "Requests and connections refused by a cluster's breakers, by what there was enough of.",
    )?;
    for (cluster, workers) in &cells.clusters {
        for limit in Limit::ALL {
            let sum: u64 = workers.values().map(|cell| cell.overflows(limit)).sum();
            if sum > 0 {
                family.sample(&[("cluster", cluster), ("limit", limit.word())], sum)?;
            }
        }
    }
    write_by_reason(
        page,
        cells,
        ("tidegate_upstream_ejections_total", "Endpoints left alone for a while, by what they did."),
        EjectionReason::ALL.map(|reason| (reason, reason.word())),
        ClusterCell::ejections,
    )?;
    let mut family = page.counter(
        "tidegate_upstream_ejections_denied_total",
        "Endpoints not left alone because as many were as may be (max_ejection_percent).",
    )?;
    for (cluster, workers) in &cells.clusters {
        let sum: u64 = workers.values().map(|cell| cell.ejections_denied.value()).sum();
        if sum > 0 {
            family.sample(&[("cluster", cluster)], sum)?;
        }
    }
    let mut family = page
        .counter("tidegate_upstream_health_checks_total", "Health checks of endpoints, by how they went.")?;
    for (cluster, workers) in &cells.clusters {
        let passed: u64 = workers.values().map(|cell| cell.checks_passed.value()).sum();
        let failed: u64 = workers.values().map(|cell| cell.checks_failed.value()).sum();
        for (result, count) in [("success", passed), ("failure", failed)] {
            if passed + failed > 0 {
                family.sample(&[("cluster", cluster), ("result", result)], count)?;
            }
        }
    }
    Ok(())
}

fn write_by_reason<R: Copy, const N: usize>(
    page: &mut Page<'_>,
    cells: &Cells,
    (name, help): (&str, &str),
    reasons: [(R, &'static str); N],
    count: impl Fn(&ClusterCell, R) -> u64,
) -> fmt::Result {
    let mut family = page.counter(name, help)?;
    for (cluster, workers) in &cells.clusters {
        for (reason, word) in reasons {
            let sum: u64 = workers.values().map(|cell: &Arc<ClusterCell>| count(cell, reason)).sum();
            if sum > 0 {
                family.sample(&[("cluster", cluster), ("reason", word)], sum)?;
            }
        }
    }
    Ok(())
}
