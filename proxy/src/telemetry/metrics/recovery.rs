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
    write_concurrency(page, cells)
}

/// Clusters whose limit adapts: it is never 0.
fn write_concurrency(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    type Level = fn(&ClusterCell) -> f64;
    let levels: [(&str, &str, Level); 3] = [
        (
            "tidegate_upstream_concurrency_limit",
            "Requests that a cluster may have in flight, where that adapts.",
            |cell| cell.concurrency_limit.value() as f64,
        ),
        (
            "tidegate_upstream_concurrency_min_rtt_seconds",
            "How long a cluster's requests take where there are few at once, as it was last measured.",
            |cell| cell.concurrency_base_us.value() as f64 / 1e6,
        ),
        (
            "tidegate_upstream_concurrency_gradient",
            "What a cluster's limit was last changed by: 0.5 to 2.",
            |cell| cell.concurrency_gradient_thousandths.value() as f64 / 1e3,
        ),
    ];
    for (name, help, level) in levels {
        let mut family = page.gauge(name, help)?;
        for (cluster, workers) in &cells.clusters {
            if let Some(cell) = workers.values().find(|cell| cell.concurrency_limit.value() > 0) {
                family.sample(&[("cluster", cluster)], level(cell))?;
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
