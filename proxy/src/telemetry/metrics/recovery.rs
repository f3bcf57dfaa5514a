//! The names and help texts of what the cells count about clusters that fail: retries.

use std::fmt;
use std::sync::Arc;

use super::cells::{ClusterCell, RetryDenial, RetryReason};
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
    )
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
